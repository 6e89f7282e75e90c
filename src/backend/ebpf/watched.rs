//! The calls that are counted with their arguments: the table for the programs in the kernel, and the values from there.

use crate::backend::Interest;
use crate::syscall::arguments::{self, Argument};
use crate::syscall::{Arch, Syscall};

/// The ABIs by their number in `record/shared.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::X86];
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHES: [Arch; 2] = [Arch::Aarch64, Arch::Arm];

/// The maximum number of arguments of a call that carry a choice.
pub(super) const ARGUMENTS: usize = 3;

/// The arguments of a call that carry a choice, with their registers.
pub(super) fn arguments_of(syscall: Syscall) -> Vec<(u8, &'static Argument, bool)> {
    let name = syscall.name().unwrap_or_default();
    let call = arguments::CallArguments::named(&name);
    let of = |call: &'static arguments::CallArguments| {
        let registers = call.registers(&name, syscall.arch);
        registers.map(|(register, argument)| (register, argument, call.is_in_memory()))
    };
    call.into_iter().flat_map(of).collect()
}

/// The table `watched`: for each call whose arguments are wanted, a byte per argument.
pub(super) fn watched(interest: &Interest) -> Vec<u32> {
    const NUMBERS: usize = 1024;
    const WIDE: u32 = 8;
    const IN_MEMORY: u32 = 16;
    let mut watched = vec![0; 4 * NUMBERS];
    for syscall in interest.arguments() {
        let table = match syscall.arch {
            Arch::X32 => 2,
            arch => usize::from(arch == ARCHES[1]),
        };
        let nr = usize::try_from(syscall.nr).ok().filter(|&nr| nr < NUMBERS);
        let Some(nr) = nr else { continue };
        let each = arguments_of(syscall).into_iter().zip(0_u32..);
        for ((register, argument, is_in_memory), place) in each {
            let wide = if argument.width == 64 { WIDE } else { 0 };
            let in_memory = if is_in_memory { IN_MEMORY } else { 0 };
            let byte = u32::from(register + 1) | wide | in_memory;
            watched[table * NUMBERS + nr] |= byte << (8 * place);
        }
    }
    watched
}

/// The six registers: those of arguments that carry no choice are 0.
pub(super) fn in_registers(syscall: Syscall, values: [u64; ARGUMENTS]) -> [u64; 6] {
    let mut registers = [0; 6];
    for ((register, ..), value) in arguments_of(syscall).into_iter().zip(values) {
        registers[usize::from(register)] = value;
    }
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watched_call_has_a_place_in_the_table() {
        let interest = Interest::in_arguments(true);
        let watched = watched(&interest);
        let in_table = watched.iter().filter(|&&arguments| arguments != 0);
        assert_eq!(in_table.count(), interest.arguments().count());
        for syscall in interest.arguments() {
            assert!(arguments_of(syscall).len() <= ARGUMENTS, "{syscall}");
        }
    }
}
