//! Programs that may call through the vsyscall page, where there is no recording filter to see it.
//!
//! The kernel emulates the three calls of that page (gettimeofday, time, getcpu) in the page fault that a jump there
//! makes: it asks seccomp, but there is no syscall-stop (`emulate_vsyscall`, arch/x86/entry/vsyscall). So a task that is
//! stopped by `PTRACE_SYSCALL` only could make these calls unseen. Only programs of before 2012 or so and static ones with
//! an old libc do. They have the address in their code: a file that a task executes is looked through for it, once.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use crate::backend::proc;
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// What is looked for: `mov $ADDRESS,%reg` with a sign-extended half, whatever the register, or the whole address, as
/// `movabs` and tables have it. The lowest byte of all three addresses is 0, and the two upper ones of the half are these.
const NEEDLE: [u8; 2] = [0x60, 0xff];
/// The second lowest byte: gettimeofday, time, getcpu.
const CALLS: [u8; 3] = [0x00, 0x04, 0x08];

/// How much of a file is searched at once.
const CHUNK: usize = 1 << 20;
/// The bytes before and after [`NEEDLE`] that decide.
const BEFORE: usize = 5;
const AFTER: usize = 4;

/// Of mmap(2).
const PROT_EXEC: u64 = 0x4;
const MAP_ANONYMOUS: u64 = 0x20;

/// Searches the files that tasks execute.
#[derive(Debug)]
pub(in crate::backend::ptrace) struct Vsyscall {
    /// The call that brings in libraries. Only 64-bit code reaches the page.
    mmap: Syscall,
    /// The files that were looked through, by device and inode.
    known: HashSet<(u64, u64)>,
}

impl Vsyscall {
    /// `None` where the kernel has no such page (`vsyscall=none`, other machines).
    pub(in crate::backend::ptrace) fn new() -> Option<Vsyscall> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mmap = Syscall::from_name(Arch::X86_64, "mmap")?;
        maps.contains("[vsyscall]").then(|| Vsyscall {
            mmap,
            known: HashSet::new(),
        })
    }

    /// Searches the files that a task executes. Returns, as reasons for the user, those that may make unseen calls.
    pub(in crate::backend::ptrace) fn executes(&mut self, task: Task) -> Vec<String> {
        let files = proc::executable_files_of(task);
        let look = |name: PathBuf| self.look(proc::open_as_seen_by(task, &name), &name);
        files.into_iter().filter_map(look).collect()
    }

    /// The same for a file that a task maps to execute it, if its call does that.
    pub(in crate::backend::ptrace) fn called(
        &mut self,
        task: Task,
        syscall: Syscall,
        args: [u64; 6],
    ) -> Option<String> {
        let [_, _, protection, flags, fd, _] = args;
        let is_code = protection & PROT_EXEC != 0;
        let is_file = flags & MAP_ANONYMOUS == 0;
        if syscall != self.mmap || !is_code || !is_file {
            return None;
        }
        // The kernel takes an int.
        let fd = u32::try_from(fd & 0xffff_ffff).ok()?;
        let (file, name) = proc::open_descriptor(task, fd.cast_signed()).ok()?;
        self.look(Ok(file), &name)
    }

    fn look(&mut self, file: io::Result<File>, name: &Path) -> Option<String> {
        let (may, error) = match file.and_then(|file| self.may_call(file)) {
            Ok(false) => return None,
            // The task or the file is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(true) => ("can", String::new()),
            Err(error) => ("may", format!("can't be read ({error}) and ")),
        };
        Some(format!(
            "{} {error}{may} call through the vsyscall page (gettimeofday, time, getcpu), which is seen only by the \
             recording filter; a profile that allows all three misses none",
            name.display()
        ))
    }

    /// Whether a file that was not looked through before has one of the addresses in it.
    fn may_call(&mut self, file: File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || !self.known.insert((metadata.dev(), metadata.ino())) {
            return Ok(false);
        }
        has_address(file)
    }
}

fn has_address(mut file: impl Read) -> io::Result<bool> {
    let finder = Finder::new(&NEEDLE);
    let mut bytes = Vec::with_capacity(CHUNK + BEFORE + AFTER);
    loop {
        let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        if file.by_ref().take(chunk).read_to_end(&mut bytes)? == 0 {
            return Ok(false);
        }
        if finder.find_iter(&bytes).any(|at| is_address(&bytes, at)) {
            return Ok(true);
        }
        // An address can begin in this chunk and end in the next.
        let rest = bytes.len().saturating_sub(BEFORE + NEEDLE.len() + AFTER);
        bytes.drain(..rest);
    }
}

/// Whether [`NEEDLE`], found here, is of one of the three addresses.
fn is_address(bytes: &[u8], at: usize) -> bool {
    let (before, after) = (&bytes[..at], &bytes[at + NEEDLE.len()..]);
    let Some((&call, before)) = before.split_last() else {
        return false;
    };
    let Some((0, before)) = before.split_last() else {
        return false;
    };
    // REX.W (with or without REX.B), the opcode, and the register.
    let is_mov = matches!(before, [.., 0x48 | 0x49, 0xc7, 0xc0..=0xc7]);
    CALLS.contains(&call) && (is_mov || after.starts_with(&[0xff; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_wherever_it_is() {
        let check = |address: &[u8], expected: bool| {
            for before in [
                0,
                1,
                3,
                100,
                CHUNK - 8,
                CHUNK - 5,
                CHUNK - 1,
                CHUNK,
                CHUNK + 3,
            ] {
                for after in [0, 1, CHUNK] {
                    let bytes = [&vec![0x90; before], address, &vec![0x90; after]].concat();
                    let found = has_address(&bytes[..]).unwrap();
                    assert_eq!(found, expected, "{address:x?} after {before} bytes");
                }
            }
        };
        check(&[0x48, 0xc7, 0xc0, 0x00, 0x00, 0x60, 0xff], true);
        check(&[0x49, 0xc7, 0xc3, 0x00, 0x04, 0x60, 0xff], true);
        check(&0xffff_ffff_ff60_0800_u64.to_le_bytes(), true);
        check(&0xffff_ffff_ff60_0c00_u64.to_le_bytes(), false);
        check(&[0xc7, 0xc0, 0x00, 0x00, 0x60, 0xff], false);
        check(&[0x60, 0xff, 0xff, 0xff, 0xff, 0xff], false);
        check(&[], false);
    }

    #[test]
    fn the_c_library_of_today_has_none() {
        // As on a kernel with a vsyscall page, whether or not this one has it.
        let mut vsyscall = Vsyscall {
            mmap: Syscall::from_name(Arch::X86_64, "mmap").unwrap(),
            known: HashSet::new(),
        };
        let reasons = vsyscall.executes(Task(nix::unistd::getpid().as_raw()));
        // Of this process's files, only this program has the addresses: those of the test above.
        let myself = std::env::current_exe().unwrap();
        let myself = format!("{} can call", myself.display());
        assert!(
            reasons.iter().all(|why| why.starts_with(&myself)),
            "{reasons:?}"
        );
        assert!(vsyscall.known.len() > 1);
    }
}
