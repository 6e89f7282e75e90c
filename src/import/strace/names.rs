//! Translates strace's names of system calls.

use std::collections::HashMap;

use crate::input::text::nr_of;
use crate::syscall::multiplexed::multiplexer_on;
use crate::syscall::{Arch, Syscall};

/// The names of strace 6.1 (`src/linux/*/syscallent*.h`) that differ from the kernel's, without calls that no kernel has any
/// more.
const NAMES: &[(Arch, &str, &str)] = &[
    (Arch::Arm, "fadvise64_64", "arm_fadvise64_64"),
    (Arch::Arm, "sync_file_range2", "arm_sync_file_range"),
];

/// The calls that a name can mean in one ABI: the call itself, and one that it can be made through. The name alone doesn't show
/// which, so both count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NameMeaning {
    pub(super) own: Option<Syscall>,
    pub(super) through: Option<Syscall>,
}

impl NameMeaning {
    pub(super) fn is_none(self) -> bool {
        self.own.is_none() && self.through.is_none()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Syscall> {
        self.own.into_iter().chain(self.through)
    }

    /// Those with this number (-n).
    fn with_number(self, number: u64) -> NameMeaning {
        let nr = nr_of(number.cast_signed());
        let fits = |call: &Syscall| Some(call.audit_nr()) == nr;
        NameMeaning {
            own: self.own.filter(fits),
            through: self.through.filter(fits),
        }
    }
}

/// The ABIs of one architecture's kernel, and the names in them.
pub(super) struct StraceNames {
    arches: Vec<Arch>,
    /// The calls of names in each of `arches`.
    known: HashMap<Box<str>, Box<[NameMeaning]>>,
}

impl StraceNames {
    /// For the ABI of strace itself.
    pub(super) fn new(native: Arch) -> StraceNames {
        let compat = match native {
            Arch::X32 => &[Arch::X86],
            native => native.companions(),
        };
        StraceNames {
            arches: [&[native], compat].concat(),
            known: HashMap::new(),
        }
    }

    pub(super) fn native(&self) -> Arch {
        self.arches[0]
    }

    /// Whether there is only one ABI.
    pub(super) fn is_one(&self) -> bool {
        self.arches.len() == 1
    }

    /// The ABI of a mode that strace prints (`PERSONALITY_NAMES`).
    pub(super) fn of_mode(&self, mode: &str) -> Option<Arch> {
        let has = |arch| self.arches.contains(&arch).then_some(arch);
        match mode {
            "64 bit" => has(self.native()).filter(|&arch| is_64_bit(arch)),
            "32 bit" => (self.arches.iter().copied())
                .find(|&arch| !is_64_bit(arch) && !matches!(arch, Arch::X32 | Arch::Mips64n32)),
            "x32" => has(Arch::X32),
            _ => None,
        }
    }

    /// The ABIs that have a name (with a number, if known), and its calls there.
    pub(super) fn of(
        &mut self,
        name: &str,
        number: Option<u64>,
        wide: Option<bool>,
    ) -> Vec<(Arch, NameMeaning)> {
        let calls = self.calls(name);
        let candidates = self.arches.iter().copied().zip(calls);
        let mut found: Vec<_> = candidates
            .filter(|&(arch, _)| match wide {
                // strace prints the instruction pointer with the width of the mode.
                Some(wide) => is_64_bit(arch) == wide,
                None => true,
            })
            .map(|(arch, calls)| match number {
                Some(number) => (arch, calls.with_number(number)),
                None => (arch, calls),
            })
            .filter(|(_, calls)| !calls.is_none())
            .collect();
        if name.starts_with("syscall_") {
            // A number that the native ABI doesn't have is more likely x32's, which has the same entry into the kernel.
            found.sort_by_key(|(arch, _)| *arch == Arch::X86);
        }
        found
    }

    fn calls(&mut self, name: &str) -> Box<[NameMeaning]> {
        if let Some(calls) = self.known.get(name) {
            return calls.clone();
        }
        let calls: Box<[NameMeaning]> = (self.arches.iter())
            .map(|&arch| calls_of(arch, name))
            .collect();
        // There are few names, but there can be many numbers.
        let is_name = !name.starts_with("syscall_");
        if is_name && calls.iter().any(|calls| !calls.is_none()) {
            self.known.insert(name.into(), calls.clone());
        }
        calls
    }
}

/// Whether pointers of the ABI have 64 bits.
fn is_64_bit(arch: Arch) -> bool {
    /// `__AUDIT_ARCH_64BIT` (linux/audit.h).
    const AUDIT_ARCH_64BIT: u32 = 0x8000_0000;
    let compat = matches!(arch, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32);
    arch.audit() & AUDIT_ARCH_64BIT != 0 && !compat
}

fn calls_of(arch: Arch, name: &str) -> NameMeaning {
    let own = if let Some(number) = name.strip_prefix("syscall_") {
        numbered(arch, number)
    } else if let Some(native) = name.strip_suffix("#64") {
        // strace marks x86_64 numbers in x32 mode where x32 has a number of its own.
        let call = Syscall::from_name(Arch::X86_64, native).filter(|_| arch == Arch::X32);
        call.map(|call| Syscall { arch, nr: call.nr })
    } else {
        let differs = NAMES
            .iter()
            .find(|(of, strace, _)| *of == arch && *strace == name);
        let name = differs.map_or(name, |(_, _, name)| name);
        Syscall::from_name(arch, name)
    };
    // strace decodes socketcall and ipc, where the ABI has them.
    let through = multiplexer_on(arch, name).and_then(|call| Syscall::from_name(arch, call));
    NameMeaning { own, through }
}

/// Whether this is a number without a name, with the bit of x32.
pub(super) fn has_x32_bit(name: &str) -> bool {
    let call = name.strip_prefix("syscall_");
    let call = call.and_then(|number| numbered(Arch::X86_64, number));
    call.is_some_and(|call| call.arch == Arch::X32)
}

/// `syscall_0x186a0`: a number that strace has no name for, sign-extended, in x32 mode with the bit of x32.
fn numbered(arch: Arch, number: &str) -> Option<Syscall> {
    let number = u64::from_str_radix(number.strip_prefix("0x")?, 16).ok()?;
    let nr = nr_of(number.cast_signed())?;
    match arch {
        // x32 has its own table, which doesn't need the bit.
        Arch::X32 if (0..0x4000_0000).contains(&nr) => Some(Syscall { arch, nr }),
        // strace treats negative numbers as x32's; the kernel doesn't.
        arch => Syscall::from_audit(arch.audit(), nr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(native: Arch, name: &str, number: Option<u64>) -> Vec<String> {
        let found = StraceNames::new(native).of(name, number, None);
        let text = |(arch, calls): (Arch, NameMeaning)| {
            let calls: Vec<_> = calls
                .iter()
                .map(|call| format!("{}:{}", call.arch, call.nr))
                .collect();
            format!("{arch} {}", calls.join(" "))
        };
        found.into_iter().map(text).collect()
    }

    #[test]
    fn a_name_is_looked_up_in_every_abi_of_the_machine() {
        assert_eq!(
            of(Arch::X86_64, "arch_prctl", None),
            ["x86_64 x86_64:158", "x86 x86:384", "x32 x32:158"]
        );
        assert_eq!(of(Arch::X86_64, "mmap2", None), ["x86 x86:192"]);
        assert_eq!(of(Arch::X86_64, "ioctl#64", None), ["x32 x32:16"]);
        assert_eq!(of(Arch::X86_64, "frobnicate", None), [""; 0]);
        assert_eq!(of(Arch::Aarch64, "fadvise64_64", None), ["arm arm:270"]);
        assert_eq!(of(Arch::X86, "mmap2", None), ["x86 x86:192"]);
    }

    #[test]
    fn a_multiplexed_call_counts_for_both_unless_the_number_shows_which() {
        assert_eq!(of(Arch::X86, "socket", None), ["x86 x86:359 x86:102"]);
        assert_eq!(of(Arch::X86, "accept", None), ["x86 x86:102"]);
        assert_eq!(of(Arch::X86, "semget", None), ["x86 x86:393 x86:117"]);
        assert_eq!(of(Arch::X86, "socket", Some(359)), ["x86 x86:359"]);
        assert_eq!(of(Arch::X86_64, "socket", Some(102)), ["x86 x86:102"]);
        assert_eq!(of(Arch::X86_64, "socket", Some(41)), ["x86_64 x86_64:41"]);
        assert_eq!(
            of(Arch::X86_64, "socket", Some(0x4000_0029)),
            ["x32 x32:41"]
        );
    }

    #[test]
    fn numbers_without_a_name_are_kept() {
        assert_eq!(
            of(Arch::X86_64, "syscall_0x186a0", None),
            ["x86_64 x86_64:100000", "x32 x32:100000", "x86 x86:100000"]
        );
        assert_eq!(
            of(Arch::X86_64, "syscall_0xfffffffffffffffb", None),
            ["x86_64 x86_64:-5", "x32 x86_64:-5", "x86 x86:-5"]
        );
        assert_eq!(
            of(Arch::X86_64, "syscall_0x40000258", None)[1],
            "x32 x32:600"
        );
        assert_eq!(of(Arch::X86_64, "syscall_0xzz", None), [""; 0]);
    }

    #[test]
    fn modes_are_abis() {
        let modes = |native| {
            ["64 bit", "32 bit", "x32", "?"].map(|mode| StraceNames::new(native).of_mode(mode))
        };
        assert_eq!(
            modes(Arch::X86_64),
            [Some(Arch::X86_64), Some(Arch::X86), Some(Arch::X32), None]
        );
        assert_eq!(
            modes(Arch::Aarch64),
            [Some(Arch::Aarch64), Some(Arch::Arm), None, None]
        );
        assert_eq!(modes(Arch::X86), [None, Some(Arch::X86), None, None]);
    }
}
