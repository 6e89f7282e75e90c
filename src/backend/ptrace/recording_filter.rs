//! The recording filter: a seccomp program that stops a task at every call, and says in the stop's message which it is.
//!
//! `SECCOMP_RET_TRACE` carries 16 bits for the tracer (`PTRACE_GETEVENTMSG`). They hold the number and the ABI of the
//! call, so that one cheap request per call is enough; where they can't, they say so.

use libc::{BPF_ALU, BPF_JEQ, BPF_JGE, BPF_K, BPF_OR, BPF_RET, SECCOMP_RET_TRACE, sock_filter};

use super::arch::MACHINE;
use crate::bpf::assemble::{ARCH, NR, answer, jump, load, statement};
use crate::syscall::Syscall;

/// Numbers below this fit into a message; the rest of it is the index of the ABI and 1. So no message of this filter is
/// small, as those of a workload's own filter mostly are.
const NUMBERS: u32 = 1 << 12;

/// The message that tells nothing: `PTRACE_GET_SYSCALL_INFO` must be asked.
const ASK: u32 = 0xffff;

/// The program. It looks at nothing but the ABI and the number.
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![load(ARCH)];
    for (index, arch) in (1..).zip(MACHINE.abis_by_audit) {
        // Not this ABI: over the five instructions of its block, to the next one.
        program.extend([
            jump(BPF_JEQ, arch.audit(), 0, 5),
            load(NR),
            // Too large, negative, or x32: an unsigned comparison is enough.
            jump(BPF_JGE, NUMBERS, 2, 0),
            statement(
                BPF_ALU | BPF_OR | BPF_K,
                SECCOMP_RET_TRACE | (index * NUMBERS),
            ),
            statement(BPF_RET | libc::BPF_A, 0),
            answer(SECCOMP_RET_TRACE | ASK),
        ]);
    }
    program.push(answer(SECCOMP_RET_TRACE | ASK));
    program
}

/// Whether this filter, and not one of the workload's own, gave the message of a stop at this call.
pub(super) fn is_from_here(message: u64, syscall: Syscall) -> bool {
    decode(message).map_or(message == u64::from(ASK), |told| told == syscall)
}

/// What a stop's message says of its call; `None`: ask the kernel.
pub(super) fn decode(message: u64) -> Option<Syscall> {
    let message = u32::try_from(message)
        .ok()
        .filter(|message| *message != ASK)?;
    let index = (message / NUMBERS).checked_sub(1)?;
    let arch = *MACHINE.abis_by_audit.get(index as usize)?;
    let nr = i32::try_from(message % NUMBERS).ok()?;
    Some(Syscall { arch, nr })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Program;
    use crate::bpf::emulate::SeccompData;
    use crate::syscall::Arch;

    #[test]
    fn every_call_is_traced_and_named_or_asked_about() {
        let audits = Arch::ALL
            .iter()
            .map(|arch| arch.audit())
            .chain([0xdead_beef]);
        let program = Program::new(program()).unwrap();
        for audit in audits {
            for nr in (0..5000).chain([-1, -5, i32::MIN, i32::MAX, 0x4000_0000, 0x4000_0208]) {
                let (_, value) = program.run(&SeccompData::new(audit, nr, &[0; 6]));
                assert_eq!(
                    value & libc::SECCOMP_RET_ACTION_FULL,
                    SECCOMP_RET_TRACE,
                    "{audit:#x} {nr}"
                );
                let told = decode(u64::from(value & libc::SECCOMP_RET_DATA));
                let small = (0..i32::try_from(NUMBERS).unwrap()).contains(&nr);
                let known = MACHINE
                    .abis_by_audit
                    .iter()
                    .any(|arch| arch.audit() == audit);
                let expected = Syscall::from_audit(audit, nr).filter(|_| small && known);
                assert_eq!(told, expected, "{audit:#x} {nr}");
            }
        }
    }
}
