//! Windows: the memory of the workload at whose addresses the filter allows known calls.

use nix::libc::user_regs_struct;

use super::stub::{WINDOW, overlaps_window};
use super::{AtExit, write};
use crate::backend::proc::{self, Mapping};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// Makes the call that a task enters one that maps a window.
pub(super) fn map_window(
    stopped: &Stopped,
    registers: user_regs_struct,
    window: u64,
    syscall: Syscall,
    mappings: Vec<Mapping>,
) -> Result<AtExit, Died> {
    let mmap = Syscall::from_name(Arch::X86_64, "mmap").ok_or(Died)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let number = |int: i32| u64::from(int.cast_unsigned());
    let call = user_regs_struct {
        orig_rax: number(mmap.nr),
        rdi: window,
        rsi: WINDOW,
        rdx: number(libc::PROT_READ | libc::PROT_EXEC),
        r10: number(flags | libc::MAP_NORESERVE),
        r8: u64::MAX,
        r9: 0,
        ..registers
    };
    write(stopped, call)?;
    Ok(AtExit::Window {
        registers: Box::new(registers),
        window,
        syscall,
        mappings,
    })
}

/// Whether a window can be mapped beside these mappings without a consequence: the kernel itself looks for what is there already.
pub(super) fn is_free(task: Task, mappings: &[Mapping], window: u64) -> bool {
    const LAST: u64 = 0x7fff_ffff_0000;
    const HEAP: u64 = 256 << 20;
    const GUARD: u64 = 16 << 20;
    let end = |name: &[u8]| {
        let mapping = mappings.iter().find(|mapping| mapping.name == name);
        mapping.map(|mapping| mapping.range.end)
    };
    let into_heap = end(b"[heap]").is_some_and(|end| (end..end + HEAP).contains(&window));
    let [space, stack] = proc::limits(task, ["Max address space", "Max stack size"]);
    // The window would count.
    if space.is_some() {
        return false;
    }
    let stack = stack.unwrap_or(u64::MAX).clamp(8 << 20, 1 << 30) + GUARD;
    let into_stack =
        end(b"[stack]").is_some_and(|end| window < end && window + WINDOW + stack > end);
    window + WINDOW < LAST && !into_heap && !into_stack
}

/// Whether the filter would allow calls of code that isn't a chunk.
pub(super) fn has_code_in_window(mappings: &[Mapping]) -> bool {
    mappings.iter().any(|mapping| {
        let length = mapping.range.end - mapping.range.start;
        mapping.permissions[2] == b'x' && overlaps_window(mapping.range.start, length)
    })
}
