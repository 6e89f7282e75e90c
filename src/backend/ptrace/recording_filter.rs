//! The recording filter: a seccomp program that stops a task at every call, and identifies the call in the stop's message.
//!
//! `SECCOMP_RET_TRACE` carries 16 bits for the tracer (`PTRACE_GETEVENTMSG`). They hold the number and the ABI of the call,
//! so that one cheap request per call is enough; where they can't, they say so. A filter of the workload's own can answer
//! `SECCOMP_RET_TRACE` too, and then its message replaces this one's. So that it can't be taken for this one's, every
//! recording has a random key that is in all messages.

use std::hash::{BuildHasher, RandomState};

use libc::{BPF_ALU, BPF_JEQ, BPF_JGE, BPF_K, BPF_RET, BPF_XOR, SECCOMP_RET_TRACE, sock_filter};

use super::arch::{MACHINE, known_calls};
use crate::bpf::assemble::{ARCH, NR, answer, jump, load, statement};
use crate::syscall::Syscall;

/// Numbers below this fit into a message; the rest of it is the index of the ABI and 1.
const NUMBERS: u32 = 1 << 12;

/// The message that names no call: use `PTRACE_GET_SYSCALL_INFO`.
const ASK: u32 = 0xffff;

/// The recording filter of one recording.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordingFilter {
    /// Every message is combined with it by an exclusive or.
    key: u32,
    /// Calls that are known are allowed; see [`FastPath`](super::arch::FastPath).
    allows_known: bool,
}

impl RecordingFilter {
    pub(super) fn new(allows_known: bool) -> RecordingFilter {
        RecordingFilter {
            key: key().into(),
            allows_known,
        }
    }

    /// Whether calls that are known may be allowed.
    pub(super) fn allows_known(self) -> bool {
        self.allows_known
    }

    /// The program. It looks at the ABI, the number, and at the address if known calls are allowed.
    pub(super) fn program(self) -> Vec<sock_filter> {
        let ask = SECCOMP_RET_TRACE | (ASK ^ self.key);
        let mut program = vec![load(ARCH)];
        for (index, arch) in (1..).zip(MACHINE.abis_by_audit) {
            let known = if self.allows_known {
                known_calls(*arch)
            } else {
                Vec::new()
            };
            #[allow(clippy::cast_possible_truncation)] // There are 42.
            let length = known.len() as u8;
            // Not this ABI: over the instructions of its block, to the next one.
            program.push(jump(BPF_JEQ, arch.audit(), 0, 5 + length));
            program.extend(known);
            program.extend([
                load(NR),
                // Too large, negative, or x32: an unsigned comparison is enough.
                jump(BPF_JGE, NUMBERS, 2, 0),
                statement(
                    BPF_ALU | BPF_XOR | BPF_K,
                    SECCOMP_RET_TRACE | ((index * NUMBERS) ^ self.key),
                ),
                statement(BPF_RET | libc::BPF_A, 0),
                answer(ask),
            ]);
        }
        program.push(answer(ask));
        program
    }

    /// Whether this filter, and not one of the workload's own, gave the message of a stop at this call.
    pub(super) fn gave(self, message: u64, syscall: Syscall) -> bool {
        let is_told = u32::try_from(syscall.nr).is_ok_and(|nr| nr < NUMBERS)
            && MACHINE.abis_by_audit.contains(&syscall.arch);
        if is_told {
            self.decode(message) == Some(syscall)
        } else {
            message == u64::from(ASK ^ self.key)
        }
    }

    /// The call that a stop's message identifies; `None`: ask the kernel.
    pub(super) fn decode(self, message: u64) -> Option<Syscall> {
        let message = u32::try_from(message).ok()? ^ self.key;
        let index = (message / NUMBERS).checked_sub(1)?;
        let arch = *MACHINE.abis_by_audit.get(index as usize)?;
        let nr = i32::try_from(message % NUMBERS).ok()?;
        Some(Syscall { arch, nr })
    }
}

/// A new key. Tests need one with which the messages that a workload tries are all wrong.
fn key() -> u16 {
    #[cfg(debug_assertions)]
    if let Ok(key) = std::env::var("SC_RECORD_TEST_KEY")
        && let Ok(key) = key.parse()
    {
        return key;
    }
    let [low, high, ..] = RandomState::new().hash_one(0).to_le_bytes();
    u16::from_le_bytes([low, high])
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
        for (audit, allows_known) in audits.flat_map(|audit| [(audit, false), (audit, true)]) {
            let filter = RecordingFilter::new(allows_known);
            let program = Program::new(filter.program()).unwrap();
            for nr in (0..5000).chain([-1, -5, i32::MIN, i32::MAX, 0x4000_0000, 0x4000_0208]) {
                let (_, value) = program.run(&SeccompData::new(audit, nr, &[0; 6]));
                assert_eq!(
                    value & libc::SECCOMP_RET_ACTION_FULL,
                    SECCOMP_RET_TRACE,
                    "{audit:#x} {nr}"
                );
                let told = filter.decode(u64::from(value & libc::SECCOMP_RET_DATA));
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

    #[test]
    fn one_message_per_call_is_its_own() {
        let filter = RecordingFilter::new(false);
        let program = Program::new(filter.program()).unwrap();
        for arch in MACHINE.abis {
            for nr in [0, 39, 4095, 4096, -1] {
                let data = SeccompData::new(arch.audit(), nr, &[0; 6]);
                let message = program.run(&data).1 & libc::SECCOMP_RET_DATA;
                let call = Syscall::from_audit(arch.audit(), nr).unwrap();
                let own = (0..1 << 16).filter(|message| filter.gave(*message, call));
                assert_eq!(own.collect::<Vec<_>>(), [u64::from(message)], "{arch} {nr}");
            }
        }
    }

    /// Whether the filter lets the chunk of a call make it.
    #[cfg(target_arch = "x86_64")]
    fn allows(program: &Program, nr: i32, args: [u64; 6]) -> bool {
        let data = SeccompData::new(Arch::X86_64.audit(), nr, &args);
        let chunk = 0x7f12_7000_0000 + u64::from(nr.cast_unsigned()) * 32;
        let (_, value) = program.run(&data.at(chunk + 19));
        let action = value & libc::SECCOMP_RET_ACTION_FULL;
        assert!([libc::SECCOMP_RET_ALLOW, SECCOMP_RET_TRACE].contains(&action));
        action == libc::SECCOMP_RET_ALLOW
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn mappings_of_code_or_over_windows_are_not_allowed_where_others_are() {
        const WINDOWS: [u64; 2] = [0x7f12_7000_0000, 0x7f12_f000_0000];
        const LENGTH: u64 = 1 << 18;
        const UPPER: [u64; 3] = [0, 1 << 32, 1 << 63];
        let program = Program::new(RecordingFilter::new(true).program()).unwrap();
        let mut allowed = 0;
        let mut check = |nr, args, expected: bool| {
            let found = allows(&program, nr, args);
            assert!(!found || expected, "{nr} {args:x?}");
            allowed += u32::from(found);
            found
        };
        let starts = [
            0,
            0x1000_0000,
            0x3fff_f000,
            0x4000_0000,
            0x6fff_e000,
            0x6fff_f000,
        ];
        let starts = starts
            .into_iter()
            .chain([0x7000_0000, 0x7003_f000, 0x7004_0000, 0x7fff_f000]);
        let starts: Vec<u64> = starts.map(|of| 0x7f12_0000_0000 + of).collect();
        let lengths = [
            1,
            4096,
            4097,
            8192,
            1 << 18,
            1 << 28,
            1 << 29,
            (1 << 29) + 1,
            1 << 31,
            1 << 32,
            u64::MAX,
        ];
        for (&start, length) in starts
            .iter()
            .flat_map(|start| lengths.map(|of| (start, of)))
        {
            let end = start.saturating_add(length).saturating_add(4095) & !4095;
            // A page of 1 GiB.
            let end = if start.is_multiple_of(1 << 30) {
                end.max(start + (1 << 30))
            } else {
                end
            };
            let overlaps = |window: &u64| start < window + LENGTH && *window < end;
            let is_beside = !WINDOWS.iter().any(overlaps);
            let unmap = check(11, [start, length, 0, 0, 0, 0], is_beside);
            for (prot, upper) in (0..8).flat_map(|prot| UPPER.map(|upper| (prot, upper))) {
                let protect = check(
                    10,
                    [start, length, prot | upper, 0, 0, 0],
                    is_beside && prot & 6 == 0,
                );
                assert_eq!(protect, unmap && prot & 6 == 0);
                for (flags, is_fixed) in [(0x02, false), (0x22, false), (0x12, true), (0x32, true)]
                {
                    let flags = flags | 1 << 20 | upper;
                    let is_harmless = prot & 4 == 0 && (is_beside || !is_fixed);
                    let map = check(9, [start, length, prot | upper, flags, 0, 0], is_harmless);
                    assert_eq!(map, prot & 4 == 0 && (unmap || !is_fixed));
                }
            }
        }
        assert!(allowed > 1000, "{allowed}");
        for length in [4096, 1 << 29] {
            assert!(allows(&program, 11, [0x7f12_1000_0000, length, 0, 0, 0, 0]));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_that_could_open_memory_for_writing_are_not_allowed() {
        let program = Program::new(RecordingFilter::new(true).program()).unwrap();
        for flags in (0..16).chain([0x8_0000, 0x8_0002, 0x20_0000, 0x24_0001, 1 << 32, 3 << 33]) {
            let is_read = flags % 4 == 0;
            assert_eq!(allows(&program, 2, [3, flags, 3, 3, 3, 3]), is_read);
            assert_eq!(allows(&program, 257, [3, 3, flags, 3, 3, 3]), is_read);
        }
        for request in [0, 0x5401, 0xaa01, 0xc020_aa3f, 0xaa00, 0x1_0000_aa00] {
            let makes_userfaultfd = request & 0xffff_ffff == 0xaa00;
            assert_ne!(
                allows(&program, 16, [0, request, 0, 0, 0, 0]),
                makes_userfaultfd
            );
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn of_arch_prctl_only_the_base_of_fs_is_allowed() {
        let program = Program::new(RecordingFilter::new(true).program()).unwrap();
        for option in (0..0x6000).chain([0x1_0000_1002, 0x1003]) {
            let expected = option & 0xffff_ffff == 0x1002;
            assert_eq!(
                allows(&program, 158, [option, 0, 0, 0, 0, 0]),
                expected,
                "{option:#x}"
            );
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_call_is_allowed_only_where_the_address_is_that_of_its_number() {
        let program = Program::new(RecordingFilter::new(true).program()).unwrap();
        let allowed = |audit, nr, ip| {
            let data = SeccompData::new(audit, nr, &[0; 6]).at(ip);
            program.run(&data).1 == libc::SECCOMP_RET_ALLOW
        };
        let audit = Arch::X86_64.audit();
        let address = |nr: u64| 0x7f12_7000_4013 + nr * 32;
        for nr in 0..600 {
            let number = i32::try_from(nr).unwrap();
            // Of arch_prctl(2), one option is.
            let is_allowed = nr < 512 && nr != 158;
            assert_eq!(allowed(audit, number, address(nr)), is_allowed, "{nr}");
            let others = [
                number + 1,
                number | 0x4000_0000,
                -1,
                number - 512,
                number + 512,
            ];
            let others = others
                .iter()
                .any(|&other| allowed(audit, other, address(nr)) && nr < 512);
            assert!(!others, "{nr}");
            for off in (1..32).chain([1 << 18, 1 << 20, 1 << 29]) {
                assert!(!allowed(audit, number, address(nr) + off), "{nr} {off}");
            }
            assert!(!allowed(Arch::X86.audit(), number, address(nr)), "{nr}");
        }
    }
}
