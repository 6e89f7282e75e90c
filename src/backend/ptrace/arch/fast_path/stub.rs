//! Where known calls are made: chunks of code at addresses that tell the recording filter which number they are for.
//!
//! Each 2 GiB of the address space has a window that `jmp rel32` reaches from everywhere in them. It consists of blocks,
//! and a block has one chunk per number. So the address of a call says which number it may have, and a filter that compares both
//! is right whatever the workload does to its registers, or jumps to.

use libc::{
    BPF_ADD, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JSET, BPF_K, BPF_MISC, BPF_RSH,
    BPF_TAX, BPF_X, SECCOMP_RET_ALLOW, sock_filter,
};

use super::writers::USERFAULTFD_IOC_NEW;
use crate::bpf::assemble::{IP_LOWER, NR, answer, arg_lower, arg_upper, jump, load, statement};

/// The distance between windows.
const PERIOD: u64 = 1 << 31;
/// Where a window begins in its period.
const START: u64 = 0x7000_0000;
/// The size of a window.
pub(super) const WINDOW: u64 = 1 << 18;

/// Numbers below this can have chunks.
pub(super) const NUMBERS: u16 = 512;
const CHUNK_BITS: u32 = 5;
/// The size of a chunk.
pub(super) const CHUNK: u64 = 1 << CHUNK_BITS;
/// The size of a block.
const BLOCK: u64 = NUMBERS as u64 * CHUNK;

// Where the parts of a chunk are.
/// A no-op that a jump to another number's chunk can replace.
const NEXT: u64 = 8;
/// A call that stops, for numbers that have no chunk.
const STOPPING: u64 = 13;
/// A call that doesn't.
const SILENT: u64 = 17;
/// What is done after both.
const TAIL: u64 = SILENT + CALL;
/// The length of `syscall`.
pub(super) const CALL: u64 = 2;
/// The length of `jmp rel32`.
pub(super) const JUMP: u64 = 5;

/// How many bytes before a call can be moved into a chunk.
pub(super) const MOVABLE: usize = 11;

pub(super) const INT3: u8 = 0xcc;
/// `nopl 0(%rax,%rax,1)`
pub(super) const NOTHING: [u8; JUMP as usize] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// The window that code at this address reaches.
pub(super) fn window_of(address: u64) -> u64 {
    (address & !(PERIOD - 1)) + START
}

/// Whether a range has an address in common with any window.
pub(super) fn overlaps_window(start: u64, length: u64) -> bool {
    let from_start = start & (PERIOD - 1);
    let Some(end) = from_start.checked_add(length) else {
        return true;
    };
    let overlaps = |window| from_start < window + WINDOW && window < end;
    overlaps(START) || overlaps(START + PERIOD)
}

/// The chunks for a number in a window.
pub(super) fn chunks(window: u64, number: u16) -> impl Iterator<Item = u64> {
    let first = window + u64::from(number) * CHUNK;
    (0..WINDOW / BLOCK).map(move |block| first + block * BLOCK)
}

/// Instructions of the recording filter: they allow a call of this ABI that a chunk for its number makes, and otherwise go on
/// behind them. Calls that change mappings are allowed only where nothing becomes code, and no window is gone or can't be executed any
/// more; `arch_prctl(2)` only with `ARCH_SET_FS`; and calls that open files only without a right to write, which a window's own memory
/// could be opened with ([`writers`](super::writers)).
pub(super) fn filter() -> [sock_filter; 42] {
    /// The address that the filter sees is that after the call.
    const AFTER: u64 = SILENT + CALL;
    #[allow(clippy::cast_possible_truncation)]
    const MASK: u32 = ((PERIOD - 1) & !(WINDOW - 1) | (CHUNK - 1)) as u32;
    #[allow(clippy::cast_possible_truncation)]
    const IS: u32 = (START | AFTER) as u32;
    #[allow(clippy::cast_possible_truncation)]
    const PERIOD_MASK: u32 = (PERIOD - 1) as u32;
    #[allow(clippy::cast_possible_truncation)]
    const WINDOW_END: u32 = (START + WINDOW) as u32;
    /// The kernel rounds up to pages.
    #[allow(clippy::cast_possible_truncation)]
    const LAST_END: u32 = (START - 4096) as u32;
    const ARCH_SET_FS: u32 = 0x1002;
    const O_ACCMODE: u32 = libc::O_ACCMODE.cast_unsigned();
    const EXEC: u32 = libc::PROT_EXEC.cast_unsigned();
    const WRITE: u32 = libc::PROT_WRITE.cast_unsigned();
    /// The largest range. Its end fits into 32 bits with what is before it.
    const LARGEST: u32 = 1 << 29;
    /// The only place below a window where a page of 1 GiB reaches it.
    const HUGE: u32 = 1 << 30;
    // Instructions that others jump to.
    const MMAP: u8 = 24;
    const MPROTECT: u8 = 28;
    const RANGE: u8 = 30;
    const ALLOW: u8 = 41;
    const END: u8 = 42;
    let number = |nr: i64| u32::try_from(nr).unwrap_or(u32::MAX);
    // An instruction at a place, and where it jumps to.
    let branch = |at: u8, test, k, yes: u8, no: u8| jump(test, k, yes - at - 1, no - at - 1);
    [
        load(IP_LOWER),
        statement(BPF_ALU | BPF_AND | BPF_K, MASK),
        branch(2, BPF_JEQ, IS, 3, END),
        load(NR),
        statement(BPF_MISC | BPF_TAX, 0),
        load(IP_LOWER),
        statement(BPF_ALU | BPF_RSH | BPF_K, CHUNK_BITS),
        statement(BPF_ALU | BPF_AND | BPF_K, u32::from(NUMBERS - 1)),
        branch(8, BPF_JEQ | BPF_X, 0, 9, END),
        branch(9, BPF_JEQ, number(libc::SYS_mmap), MMAP, 10),
        branch(10, BPF_JEQ, number(libc::SYS_mprotect), MPROTECT, 11),
        branch(11, BPF_JEQ, number(libc::SYS_munmap), RANGE, 12),
        branch(12, BPF_JEQ, number(libc::SYS_openat), 18, 13),
        branch(13, BPF_JEQ, number(libc::SYS_open), 20, 14),
        branch(14, BPF_JEQ, number(libc::SYS_ioctl), 22, 15),
        branch(15, BPF_JEQ, number(libc::SYS_arch_prctl), 16, ALLOW),
        load(arg_lower(0)),
        branch(17, BPF_JEQ, ARCH_SET_FS, ALLOW, END),
        // openat(2), and open(2)
        load(arg_lower(2)),
        branch(19, BPF_JSET, O_ACCMODE, END, ALLOW),
        load(arg_lower(1)),
        branch(21, BPF_JSET, O_ACCMODE, END, ALLOW),
        // ioctl(2)
        load(arg_lower(1)),
        branch(23, BPF_JEQ, USERFAULTFD_IOC_NEW, END, ALLOW),
        // MMAP
        load(arg_lower(2)),
        branch(25, BPF_JSET, EXEC, END, 26),
        load(arg_lower(3)),
        branch(27, BPF_JSET, libc::MAP_FIXED.cast_unsigned(), RANGE, ALLOW),
        // MPROTECT
        load(arg_lower(2)),
        branch(29, BPF_JSET, EXEC | WRITE, END, RANGE),
        // RANGE
        load(arg_upper(1)),
        branch(31, BPF_JEQ, 0, 32, END),
        load(arg_lower(1)),
        branch(33, BPF_JGT, LARGEST, END, 34),
        statement(BPF_MISC | BPF_TAX, 0),
        load(arg_lower(0)),
        statement(BPF_ALU | BPF_AND | BPF_K, PERIOD_MASK),
        branch(37, BPF_JEQ, HUGE, END, 38),
        branch(38, BPF_JGE, WINDOW_END, ALLOW, 39),
        statement(BPF_ALU | BPF_ADD | BPF_X, 0),
        branch(40, BPF_JGT, LAST_END, END, ALLOW),
        answer(SECCOMP_RET_ALLOW),
    ]
}

/// How an instruction that ends at one address encodes another; `None` if that is too far.
fn distance(end: u64, to: u64) -> Option<[u8; 4]> {
    let distance = to.wrapping_sub(end).cast_signed();
    Some(i32::try_from(distance).ok()?.to_le_bytes())
}

/// `jmp rel32` at one address to another; `None` if that is too far.
pub(super) fn jump_to(from: u64, to: u64) -> Option<[u8; 5]> {
    let [a, b, c, d] = distance(from.wrapping_add(JUMP), to)?;
    Some([0xe9, a, b, c, d])
}

/// `jmp rel8` at one address to another; `None` if that is too far.
pub(super) fn short_jump_to(from: u64, to: u64) -> Option<[u8; 2]> {
    let distance = to.wrapping_sub(from.wrapping_add(2)).cast_signed();
    let [distance] = i8::try_from(distance).ok()?.to_le_bytes();
    Some([0xeb, distance])
}

/// Whether `mov $NUMBER,%eax` is among these instructions.
pub(super) fn sets(moved: &[u8], number: u16) -> bool {
    let [low, high] = number.to_le_bytes();
    let mov = [0xb8, low, high, 0, 0];
    moved.windows(mov.len()).any(|window| window == mov)
}

/// What a chunk does for the call at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The address of the call in the workload's code.
    pub(super) site: u64,
    /// The length of the instructions before the call that the chunk has instead.
    pub(super) moved: u8,
}

impl Chunk {
    /// The code of a chunk at this address. It changes no register and no flag that the call doesn't change, and uses no
    /// stack. `moved` are the instructions that were before the call.
    pub(super) fn code(&self, address: u64, number: u16, moved: &[u8]) -> Option<[u8; 32]> {
        let back = self.site + CALL;
        let mut code = [INT3; CHUNK as usize];
        let mut put = |at: u64, bytes: &[u8]| {
            #[allow(clippy::cast_possible_truncation)]
            let at = at as usize;
            let place = code.get_mut(at..at + bytes.len());
            place.map(|place| place.copy_from_slice(bytes))
        };
        let after_moved = moved.len() as u64;
        put(0, moved)?;
        if sets(moved, number) {
            put(after_moved, &short_jump_to(after_moved, SILENT)?)?;
        } else {
            // lea -NUMBER(%rax),%ecx: the kernel looks at the lower half of rax only.
            let [a, b, c, d] = (-i32::from(number)).to_le_bytes();
            put(after_moved, &[0x8d, 0x88, a, b, c, d])?;
            // jrcxz SILENT
            let next = after_moved + 8;
            put(next - 2, &[0xe3, u8::try_from(SILENT - next).ok()?])?;
            // Instead of that, the call that stops can follow.
            if next == NEXT {
                put(NEXT, &NOTHING)?;
            } else if next != STOPPING {
                return None;
            }
        }
        put(STOPPING, &[0x0f, 0x05])?;
        put(STOPPING + CALL, &short_jump_to(STOPPING + CALL, TAIL)?)?;
        put(SILENT, &[0x0f, 0x05])?;
        // lea BACK(%rip),%rcx: a call leaves the address after it there.
        let jump = TAIL + 7;
        let [a, b, c, d] = distance(address + jump, back)?;
        put(TAIL, &[0x48, 0x8d, 0x0d, a, b, c, d])?;
        put(jump, &jump_to(address + jump, back)?)?;
        Some(code)
    }

    /// Where a chunk at this address can go on for another number.
    pub(super) fn next(address: u64) -> u64 {
        address + NEXT
    }

    /// Makes the code of a chunk go on for another number by this jump.
    pub(super) fn go_on(code: &mut [u8; 32], jump: [u8; JUMP as usize]) -> Option<()> {
        let place = code.get_mut(NEXT as usize..(NEXT + JUMP) as usize)?;
        place.copy_from_slice(&jump);
        Some(())
    }

    /// The address after the call that stops.
    pub(super) fn after_stopping(address: u64) -> u64 {
        address + STOPPING + CALL
    }

    /// The address after the call that doesn't.
    pub(super) fn after_silent(address: u64) -> u64 {
        address + SILENT + CALL
    }

    /// The workload's address that corresponds to this place in the chunk.
    pub(super) fn original(&self, place: u64) -> u64 {
        let moved = u64::from(self.moved);
        match place {
            _ if place < moved => self.site - moved + place,
            place if place == STOPPING + CALL || place >= TAIL => self.site + CALL,
            _ => self.site,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_that_touches_a_window_overlaps_it() {
        let check = |start, length, expected| {
            assert_eq!(
                overlaps_window(start, length),
                expected,
                "{start:#x} {length:#x}"
            );
        };
        for base in [0, 0x5555_8000_0000, 0x7fff_0000_0000] {
            check(base + START, 1, true);
            check(base + START - 1, 1, false);
            check(base + START - 1, 2, true);
            check(base + START + WINDOW - 1, 1, true);
            check(base + START + WINDOW, 1, false);
            check(base + START + WINDOW, PERIOD - WINDOW, false);
            check(base + START + WINDOW, PERIOD - WINDOW + 1, true);
            check(base, PERIOD, true);
        }
        check(0x7fff_0000_0000, u64::MAX, true);
    }

    #[test]
    fn a_chunk_tells_its_number_by_its_address() {
        let window = window_of(0x7f12_3456_7890);
        assert_eq!(window, 0x7f12_7000_0000);
        let chunk = Chunk {
            site: 0x7f12_3456_7890,
            moved: 0,
        };
        for number in [0, 39, NUMBERS - 1] {
            let mut all: Vec<u64> = chunks(window, number).collect();
            all.dedup();
            assert_eq!(all.len() as u64, WINDOW / BLOCK);
            for address in all {
                assert!((window..window + WINDOW).contains(&address));
                assert_eq!(
                    address >> CHUNK_BITS & u64::from(NUMBERS - 1),
                    u64::from(number)
                );
                let code = chunk.code(address, number, &[]).unwrap();
                assert_eq!(&code[17..19], &[0x0f, 0x05]);
                assert_eq!(chunk.original(19), chunk.site + 2);
                assert_eq!(chunk.original(26), chunk.site + 2);
                assert_eq!(chunk.original(15), chunk.site + 2);
                assert_eq!(chunk.original(13), chunk.site);
                assert_eq!(chunk.original(17), chunk.site);
            }
        }
    }

    #[test]
    fn a_chunk_checks_the_number_where_moved_instructions_do_not_set_it() {
        let chunk = Chunk {
            site: 0x7f12_3456_7890,
            moved: 5,
        };
        // mov $AT_FDCWD,%edi
        let moved = [0xbf, 0x9c, 0xff, 0xff, 0xff];
        let code = chunk.code(0x7f12_7000_2020, 257, &moved).unwrap();
        assert_eq!(code[..5], moved);
        // lea -257(%rax),%ecx; jrcxz 17; syscall
        assert_eq!(
            code[5..15],
            [0x8d, 0x88, 0xff, 0xfe, 0xff, 0xff, 0xe3, 4, 0x0f, 0x05]
        );
        assert_eq!(
            [0, 5, 15].map(|place| chunk.original(place)),
            [chunk.site - 5, chunk.site, chunk.site + 2]
        );
        assert!(chunk.code(0x7f12_7000_2020, 257, &moved[..4]).is_none());
        // mov $257,%eax
        let code = chunk
            .code(0x7f12_7000_2020, 257, &[0xb8, 1, 1, 0, 0])
            .unwrap();
        assert_eq!(code[..7], [0xb8, 1, 1, 0, 0, 0xeb, 10]);
    }
}
