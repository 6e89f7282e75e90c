//! The recording filter: a seccomp program that logs every call except known ones.
//!
//! For a known call the program returns a constant, which the kernel caches per number, so it costs next to nothing.
//! Two calls can load a filter of the workload, which then hides calls from this one: they are logged, even if known,
//! when their arguments load a filter.

use std::collections::BTreeSet;

use libc::{
    BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG,
    sock_filter,
};

use crate::bpf::MAX_INSTRUCTIONS;
use crate::bpf::assemble::{ARCH, NR, answer, arg_lower, arg_upper, jump, load, statement};
#[cfg(test)]
use crate::syscall::Arch;
use crate::syscall::Syscall;

/// Known calls that don't fit into the program are logged.
const LONGEST: usize = MAX_INSTRUCTIONS;

/// The program that logs every unknown call.
pub(super) fn program(known: &BTreeSet<Syscall>) -> Vec<sock_filter> {
    // x32 shares the value of x86_64: one block for both.
    let mut values: Vec<u32> = known.iter().map(|syscall| syscall.arch.audit()).collect();
    values.sort_unstable();
    values.dedup();
    let mut program = vec![load(ARCH)];
    for value in values {
        let rest = LONGEST.saturating_sub(program.len() + 3);
        let block = block(value, known, rest);
        // Another ABI: skip the block. A conditional jump reaches only 255 instructions.
        program.extend([
            jump(BPF_JEQ, value, 1, 0),
            statement(BPF_JMP | BPF_JA | BPF_K, length(&block)),
        ]);
        program.extend(block);
    }
    program.push(answer(SECCOMP_RET_LOG));
    program
}

/// The instructions for the ABIs of one audit value, at most `longest` of them. They always end with a return.
fn block(value: u32, known: &BTreeSet<Syscall>, longest: usize) -> Vec<sock_filter> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut block = vec![load(NR)];
    for syscall in known.iter().filter(|syscall| syscall.arch.audit() == value) {
        let nr = syscall.audit_nr().cast_unsigned();
        match own_filter(*syscall) {
            Some(test) => {
                block.extend([
                    jump(BPF_JEQ, nr, 1, 0),
                    statement(BPF_JMP | BPF_JA | BPF_K, length(&test)),
                ]);
                block.extend(test);
            }
            None => numbers.push(nr),
        }
    }
    numbers.sort_unstable();
    for range in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (Some(&first), Some(&last)) = (range.first(), range.last()) else {
            continue;
        };
        if block.len() + 4 > longest {
            break;
        }
        block.extend([
            jump(BPF_JGE, first, 0, 2),
            jump(BPF_JGT, last, 1, 0),
            answer(SECCOMP_RET_ALLOW),
        ]);
    }
    block.push(answer(SECCOMP_RET_LOG));
    block
}

/// For a call that can load a filter: instructions that log it if its arguments do, and allow it otherwise.
fn own_filter(syscall: Syscall) -> Option<Vec<sock_filter>> {
    let log = || answer(SECCOMP_RET_LOG);
    let allow = || answer(SECCOMP_RET_ALLOW);
    match syscall.name()?.as_ref() {
        "prctl" => Some(vec![
            load(arg_lower(0)),
            jump(BPF_JEQ, libc::PR_SET_SECCOMP.cast_unsigned(), 0, 1),
            log(),
            allow(),
        ]),
        // SECCOMP_SET_MODE_STRICT is 0; SECCOMP_SET_MODE_FILTER is 1; libraries probe the kernel by calling it without
        // a program, which fails. The other operations load nothing.
        "seccomp" => Some(vec![
            load(arg_lower(0)),
            jump(BPF_JEQ, libc::SECCOMP_SET_MODE_STRICT, 5, 0),
            jump(BPF_JEQ, libc::SECCOMP_SET_MODE_FILTER, 0, 5),
            load(arg_lower(2)),
            jump(BPF_JEQ, 0, 0, 2),
            load(arg_upper(2)),
            jump(BPF_JEQ, 0, 1, 0),
            log(),
            allow(),
        ]),
        _ => None,
    }
}

/// Whether a call can load a filter, by its number.
pub(super) fn can_load_filter(syscall: Syscall) -> bool {
    own_filter(syscall).is_some()
}

#[allow(clippy::cast_possible_truncation)] // A program has at most 4096 instructions.
fn length(instructions: &[sock_filter]) -> u32 {
    instructions.len() as u32
}

/// The ABIs that a workload can use on this machine.
#[cfg(test)]
const MACHINE: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bpf::Program;
    use crate::bpf::emulate::SeccompData;

    /// The filter's answers, by the `AUDIT_ARCH_*` value, the number and the arguments.
    fn answers(known: &BTreeSet<Syscall>) -> impl Fn(u32, i32, [u64; 6]) -> u32 + use<> {
        let program = Program::new(program(known)).unwrap();
        move |arch, nr, args| program.run(&SeccompData::new(arch, nr, &args)).1
    }

    fn syscall(arch: Arch, name: &str) -> Syscall {
        Syscall::from_name(arch, name).unwrap()
    }

    fn any_syscall() -> impl Strategy<Value = Syscall> {
        let numbers = prop_oneof![0..500, -10..0_i32, 99_990..100_010, Just(i32::MAX)];
        (prop::sample::select(MACHINE.to_vec()), numbers).prop_map(|(arch, nr): (Arch, i32)| {
            match arch {
                Arch::X32 => Syscall {
                    arch,
                    nr: nr.rem_euclid(600),
                },
                arch => Syscall::from_audit(arch.audit(), nr).unwrap(),
            }
        })
    }

    proptest! {
        #[test]
        fn known_calls_are_allowed_and_all_others_are_logged(
            known in prop::collection::btree_set(any_syscall(), 0..300),
            others in prop::collection::vec(any_syscall(), 100),
        ) {
            let answers = answers(&known);
            for syscall in known.iter().chain(&others) {
                // No argument of these loads a filter.
                let args = [99, 99, 0, 0, 0, 0];
                let answer = answers(syscall.arch.audit(), syscall.audit_nr(), args);
                let expected = if known.contains(syscall) { SECCOMP_RET_ALLOW } else { SECCOMP_RET_LOG };
                prop_assert_eq!(answer, expected, "{:?}", syscall);
            }
            prop_assert_eq!(answers(0xdead_beef, 0, [0; 6]), SECCOMP_RET_LOG);
        }
    }

    #[test]
    fn a_program_at_the_length_limit_logs_the_calls_that_do_not_fit() {
        let known: BTreeSet<_> = (0..5000)
            .map(|nr| Syscall {
                arch: Arch::X86_64,
                nr: nr * 2,
            })
            .collect();
        let answers = answers(&known);
        let answer = |nr| answers(Arch::X86_64.audit(), nr, [0; 6]);
        assert_eq!(answer(0), SECCOMP_RET_ALLOW);
        assert_eq!(answer(1), SECCOMP_RET_LOG);
        assert_eq!(answer(9998), SECCOMP_RET_LOG);
    }

    #[test]
    fn loading_a_filter_is_logged_even_if_the_call_is_known() {
        for arch in MACHINE {
            let [prctl, seccomp] = ["prctl", "seccomp"].map(|name| syscall(arch, name));
            let answers = answers(&BTreeSet::from([prctl, seccomp]));
            let check = |call: Syscall, args: [u64; 3], logged: bool| {
                let [a, b, c] = args;
                let answer = answers(arch.audit(), call.audit_nr(), [a, b, c, 0, 0, 0]);
                assert_eq!(answer == SECCOMP_RET_LOG, logged, "{call:?} {args:?}");
            };
            check(prctl, [22, 2, 4096], true);
            // `option` is an int: the upper half is junk.
            check(prctl, [0xffff_0000_0000_0016, 2, 0], true);
            check(prctl, [15, 0, 0], false);
            check(seccomp, [0, 0, 0], true);
            check(seccomp, [1, 0, 4096], true);
            check(seccomp, [1, 0, 1 << 32], true);
            check(seccomp, [1, 1, 0], false);
            check(seccomp, [2, 0, 4096], false);
            check(seccomp, [3, 0, 4096], false);
        }
    }
}
