//! Arguments that decide what a call does, in registers: which they are, and the names of their values. Pointers, sizes, offsets
//! and descriptors are not among them.

mod danger;
mod names;
mod table;

pub use danger::{Danger, danger};
pub use names::{Names, has_these_names};
pub(crate) use table::CLONE_NAMESPACES;

use std::collections::BTreeSet;

use super::{Arch, Syscall};

/// A call with arguments that carry a choice.
#[derive(Debug)]
pub struct CallArguments {
    /// Its names: variants have the same arguments.
    pub names: &'static [&'static str],
    /// The manual page that describes the arguments.
    pub source: &'static str,
    /// The number of all its arguments.
    pub arity: u8,
    /// Those that carry a choice, the one that matters most first.
    pub arguments: &'static [Argument],
    /// They are recorded on request only, since nearly every call has other values than the last one, or none that matter.
    pub on_request: bool,
}

/// An argument that carries a choice.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name in the manual page.
    pub name: &'static str,
    /// Its register, from 0, on most ABIs: see [`CallArguments::registers`].
    index: u8,
    /// How many bits of the register the kernel reads: 32 or 64. The rest can hold anything.
    pub width: u8,
    /// Its type.
    pub kind: ArgumentKind,
    /// Bits that don't matter for what a profile should allow: flags that libraries add, or that only change the caller.
    pub ignored: u64,
    /// Groups of values that libraries exchange for one another.
    pub siblings: &'static [&'static [u64]],
    /// Harmless values that libraries use without the program asking.
    pub always: &'static [u64],
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A number whose meaning depends on other arguments.
    Number,
    /// One of these.
    One(Names),
    /// A command, which can have the highest bit. Drivers have more than these.
    Command(Names),
    /// One of the former, in the bits of the mask, and any of the latter.
    Flags(u64, Names, Names),
}

use ArgumentKind::{Command, Flags, Number, One};

impl CallArguments {
    /// The calls of the table.
    #[must_use]
    pub fn all() -> &'static [CallArguments] {
        table::CALLS
    }

    /// The call with this name, if any of its arguments carries a choice.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static CallArguments> {
        table::CALLS.iter().find(|call| call.names.contains(&name))
    }

    /// The arguments that carry a choice, and their registers on an ABI. None where the call has them in memory there.
    pub fn registers(
        &'static self,
        name: &str,
        arch: Arch,
    ) -> impl Iterator<Item = (u8, &'static Argument)> {
        use Arch::{M68k, S390, S390x, X86};
        let in_memory = matches!(
            (name, arch),
            ("mmap", X86 | S390 | S390x | M68k) | ("mmap2", S390)
        );
        // CONFIG_CLONE_BACKWARDS2: the stack comes first.
        let swapped = name == "clone" && matches!(arch, S390 | S390x);
        let arguments = self.arguments.iter().filter(move |_| !in_memory);
        arguments.map(move |argument| (argument.index + u8::from(swapped), argument))
    }

    /// Whether its arguments are in a structure, which filters can't read: clone3(2).
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.names == ["clone3"]
    }
}

/// The calls on these ABIs whose arguments are recorded.
#[must_use]
pub fn watched(arches: &[Arch], on_request: bool) -> Vec<Syscall> {
    let calls = CallArguments::all()
        .iter()
        .filter(|call| on_request || !call.on_request);
    let names = calls.flat_map(|call| call.names.iter().map(move |name| (call, *name)));
    let watched = names.flat_map(|(call, name)| {
        (arches.iter())
            .filter(move |&&arch| call.registers(name, arch).next().is_some())
            .filter_map(move |&arch| Syscall::from_name(arch, name))
    });
    watched.collect()
}

/// A call with its arguments, named where they have names: `socket(AF_ALG, SOCK_SEQPACKET, 0x0)`. Of a call that isn't in the
/// table, all registers are shown.
#[must_use]
pub fn call_with_arguments(syscall: Syscall, args: &[u64; 6]) -> String {
    let name = syscall.to_string();
    let call = CallArguments::named(&name).filter(|call| !call.is_in_memory());
    let arity = call.map_or(args.len(), |call| usize::from(call.arity));
    let mut shown: Vec<String> = args[..arity]
        .iter()
        .map(|arg| format!("{arg:#x}"))
        .collect();
    for (register, argument) in call
        .iter()
        .flat_map(|call| call.registers(&name, syscall.arch))
    {
        let register = usize::from(register);
        shown[register] = argument.show(args[register], syscall.arch);
    }
    format!("{name}({})", shown.join(", "))
}

impl Argument {
    /// What the kernel reads of the register.
    #[must_use]
    pub fn cut(&self, register: u64) -> u64 {
        match self.width {
            32 => register & u64::from(u32::MAX),
            _ => register,
        }
    }

    /// The names of single values, then those of flags, and the mask of the former.
    fn names(&self) -> (u64, Names, Names) {
        match self.kind {
            Number => (0, &[], &[]),
            One(names) | Command(names) => (u64::MAX, names, &[]),
            Flags(mask, names, flags) => (mask, names, flags),
        }
    }

    /// The values that have a name, each with the bits of the argument that it is in. A flag is a value of its own bits.
    pub fn named_values(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mask, kinds, flags) = self.names();
        let kinds = kinds.iter().map(move |&(_, value)| (mask, value));
        let flags = flags.iter().map(|&(_, bits)| (bits, bits));
        let values: BTreeSet<(u64, u64)> = kinds.chain(flags).collect();
        values.into_iter()
    }

    /// A value with its names.
    #[must_use]
    pub fn show(&self, value: u64, arch: Arch) -> String {
        let value = self.cut(value);
        if has_these_names(arch) {
            self.show_generic(value)
        } else {
            format!("{value:#x}")
        }
    }

    fn show_generic(&self, value: u64) -> String {
        let (mask, kinds, flags) = self.names();
        let kind = value & mask;
        let (mut rest, mut parts) = (value & !mask, Vec::new());
        match kinds.iter().find(|(_, of)| *of == kind) {
            Some((name, _)) if kind != 0 || rest == 0 => parts.push(*name),
            Some(_) => {}
            None => rest |= kind,
        }
        for (name, bits) in flags.iter().filter(|(_, bits)| value & bits == *bits) {
            parts.push(name);
            rest &= !bits;
        }
        let rest = (rest != 0 || parts.is_empty()).then(|| format!("{rest:#x}"));
        let parts = parts.into_iter().chain(rest.as_deref());
        parts.collect::<Vec<_>>().join("|")
    }

    /// Reads what [`show`](Argument::show) shows, and numbers: decimal, octal or hexadecimal.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<u64> {
        let (_, kinds, flags) = self.names();
        let mut all = 0;
        for part in text.split('|') {
            let named = kinds.iter().chain(flags).find(|(name, _)| *name == part);
            all |= named.map(|(_, value)| *value).or_else(|| number(part))?;
        }
        Some(all)
    }
}

fn number(text: &str) -> Option<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8),
        None => text.parse(),
    };
    let negative = || text.parse::<i64>().map(i64::cast_unsigned);
    parsed.or_else(|_| negative()).ok()
}

#[cfg(test)]
mod tests;
