//! The identity of a system call: an ABI and a number.
//!
//! The names come from the tables of the crate `syscalls`; libseccomp provides those that they lack (x32, the MIPS and
//! s390 variants, numbers newer than the tables).

mod arch;
pub mod arguments;
pub(crate) mod multiplexed;
mod operation;

use std::borrow::Cow;
use std::fmt;

use libseccomp::ScmpSyscall;

pub use arch::{Arch, UnknownArch};
pub use operation::{Operation, UnknownOperation};

use crate::nearest::nearest;

/// The bit of the number that marks a call of the x32 ABI (`__X32_SYSCALL_BIT`, `asm/unistd.h`). x32 and `x86_64` share
/// one audit value, so only this bit distinguishes them.
const X32_SYSCALL_BIT: i32 = 0x4000_0000;

/// libseccomp's pseudo numbers of calls that can go through socketcall(2) or ipc(2) (`seccomp-syscalls.h`: -101 to -120
/// and -201 to -224). Those of calls that the ABI doesn't have start at -10001.
const MULTIPLEXED_PSEUDO_NRS: std::ops::RangeInclusive<i32> = -999..=-1;

/// Above the numbers of s390. It has no table in the crate `syscalls`, and libseccomp resolves the names of its
/// socketcall(2) and ipc(2) calls to pseudo numbers.
const S390_NRS: i32 = 500;

/// A system call of an ABI. The number is the value of the register: it may have no name, be negative, or be far out of
/// range (the kernel returns ENOSYS, but the program did call it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Syscall {
    /// The ABI.
    pub arch: Arch,
    /// The number in the ABI's own table; for x32 without `__X32_SYSCALL_BIT`.
    pub nr: i32,
}

impl Syscall {
    /// The call with this `AUDIT_ARCH_*` value and number, as in `struct seccomp_data` (seccomp(2)) or an audit record.
    /// `None` if the value is unknown.
    #[must_use]
    pub fn from_audit(audit: u32, nr: i32) -> Option<Syscall> {
        let arch = Arch::from_audit(audit)?;
        Some(Syscall::from_audit_nr(arch, nr))
    }

    /// Separates the ABIs that share an audit value. A negative number has `__X32_SYSCALL_BIT` set too, but isn't x32.
    pub(crate) fn from_audit_nr(arch: Arch, nr: i32) -> Syscall {
        match arch {
            Arch::X86_64 | Arch::X32 if nr >= X32_SYSCALL_BIT => Syscall {
                arch: Arch::X32,
                nr: nr & !X32_SYSCALL_BIT,
            },
            arch => Syscall { arch, nr },
        }
    }

    /// The number in `struct seccomp_data`: with `__X32_SYSCALL_BIT` for x32.
    #[must_use]
    pub fn audit_nr(self) -> i32 {
        match self.arch {
            Arch::X32 => self.nr | X32_SYSCALL_BIT,
            _ => self.nr,
        }
    }

    /// The call with this name; `None` if the ABI has no such call.
    #[must_use]
    pub fn from_name(arch: Arch, name: &str) -> Option<Syscall> {
        let nr = arch.table_nr(name).or_else(|| {
            let scmp = ScmpSyscall::from_name_by_arch(name, arch.scmp()?).ok()?;
            match scmp.as_raw_syscall() {
                nr if nr >= 0 => Some(Syscall::from_audit_nr(arch, nr).nr),
                nr if arch == Arch::S390 && MULTIPLEXED_PSEUDO_NRS.contains(&nr) => {
                    (0..S390_NRS).find(|&nr| Syscall { arch, nr }.name().as_deref() == Some(name))
                }
                // The ABI has no number for this call.
                _ => None,
            }
        })?;
        Some(Syscall { arch, nr })
    }

    /// The call's name; `None` if no table has the number.
    #[must_use]
    pub fn name(self) -> Option<Cow<'static, str>> {
        let nr = usize::try_from(self.nr).ok()?;
        if let Some(name) = self.arch.table_name(nr) {
            return Some(Cow::Borrowed(name));
        }
        // libseccomp also accepts numbers without the offset of the MIPS ABIs, and numbers that already have the x32
        // bit.
        let first = match self.arch {
            Arch::Mips | Arch::Mipsel => 4_000,
            _ => 0,
        };
        if !(first..X32_SYSCALL_BIT).contains(&self.nr) {
            return None;
        }
        let arch = self.arch.scmp()?;
        let name = (ScmpSyscall::from_raw_syscall(self.audit_nr()).get_name_by_arch(arch)).ok()?;
        // A name counts only if it resolves to this number or to a pseudo number.
        let back = ScmpSyscall::from_name_by_arch(&name, arch)
            .ok()?
            .as_raw_syscall();
        (back == self.audit_nr() || back < 0).then_some(Cow::Owned(name))
    }

    /// Parses the text that [`Syscall`] displays as: a name, or `#` and a number.
    pub fn parse(arch: Arch, text: &str) -> Result<Syscall, UnknownSyscall> {
        let found = match text.strip_prefix('#') {
            Some(number) => number.parse().ok().map(|nr| Syscall { arch, nr }),
            None => Syscall::from_name(arch, text),
        };
        found.ok_or_else(|| UnknownSyscall {
            arch,
            text: text.to_owned(),
        })
    }
}

/// The text is neither the name of a call of the ABI nor `#` and a number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown system call {text:?} of {arch}")]
pub struct UnknownSyscall {
    /// The ABI.
    pub arch: Arch,
    /// The text.
    pub text: String,
}

/// `; did you mean NAME?`, if one of the ABIs has a call with a similar name; else nothing.
#[must_use]
pub fn suggestion(arches: &[Arch], name: &str) -> String {
    let exists = |name: &str| (arches.iter()).any(|&arch| Syscall::from_name(arch, name).is_some());
    // The tables of x86 have nearly every name. All their numbers are below 1024.
    let known = [Arch::X86_64, Arch::X86]
        .into_iter()
        .flat_map(|arch| (0..1024).filter_map(move |nr| Syscall { arch, nr }.name()));
    match nearest(name, known.filter(|name| exists(name))) {
        Some(like) => format!("; did you mean {like}?"),
        None => String::new(),
    }
}

impl fmt::Display for Syscall {
    /// The name, or `#NR` for a number without one, as in recordings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(&name),
            None => f.pad(&format!("#{}", self.nr)),
        }
    }
}

#[cfg(test)]
mod tests;
