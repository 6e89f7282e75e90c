//! What a filter answers: a reader of its program, so that it can be checked before the kernel gets it.
//!
//! The language is classic BPF as seccomp(2) allows it. Of its instructions those are known that libseccomp uses.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, sock_filter,
};

use crate::profile::{ARGS, Action, ErrnoRet};
use crate::syscall::Syscall;

/// The kernel refuses longer programs (`BPF_MAXINSNS`, `linux/bpf_common.h`).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

const WORD: usize = size_of::<u32>();
const INSTRUCTION: usize = size_of::<sock_filter>();

/// What the kernel tells a filter of a call: `struct seccomp_data` (seccomp(2)), as the words that programs load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data([u8; 64]);

impl Data {
    pub(super) fn new(syscall: Syscall, args: &[u64; ARGS]) -> Data {
        Data::raw(syscall.arch.audit(), syscall.audit_nr(), args)
    }

    pub(super) fn raw(audit_arch: u32, nr: i32, args: &[u64; ARGS]) -> Data {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&nr.to_ne_bytes());
        bytes[4..8].copy_from_slice(&audit_arch.to_ne_bytes());
        // From 8 on: the instruction pointer, which no profile looks at.
        for (place, arg) in bytes[16..].chunks_exact_mut(8).zip(args) {
            place.copy_from_slice(&arg.to_ne_bytes());
        }
        Data(bytes)
    }

    fn load(&self, offset: u32) -> Option<u32> {
        let offset = usize::try_from(offset)
            .ok()
            .filter(|offset| offset % WORD == 0)?;
        let word = self.0.get(offset..offset + WORD)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    }
}

/// What can't be read, or would not end with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at} ({code:#06x}) of the program can't be followed")]
pub struct BadProgram {
    /// Which instruction, from 0.
    pub at: usize,
    /// Its code; 0 beyond the end.
    pub code: u16,
}

/// The program in the bytes that libseccomp exports: an array of `struct sock_filter` (`linux/filter.h`).
pub(super) fn from_bytes(bytes: &[u8]) -> Vec<sock_filter> {
    let instruction = |bytes: &[u8]| sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.chunks_exact(INSTRUCTION).map(instruction).collect()
}

/// What the program answers to a call.
pub(super) fn answer(program: &[sock_filter], data: &Data) -> Result<Action, BadProgram> {
    const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
    const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
    const JUMP: u32 = BPF_JMP | BPF_JA;
    const IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
    const IF_GREATER: u32 = BPF_JMP | BPF_JGT | BPF_K;
    const IF_GREATER_OR_EQUAL: u32 = BPF_JMP | BPF_JGE | BPF_K;
    const IF_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;
    const RETURN: u32 = BPF_RET | BPF_K;

    let mut accumulator = 0_u32;
    let mut at = 0;
    loop {
        let Some(&sock_filter { code, jt, jf, k }) = program.get(at) else {
            return Err(BadProgram { at, code: 0 });
        };
        let bad = BadProgram { at, code };
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        // Jumps go forward only, so the loop ends.
        at += 1;
        match u32::from(code) {
            LOAD => accumulator = data.load(k).ok_or(bad)?,
            AND => accumulator &= k,
            JUMP => at += usize::try_from(k).map_err(|_| bad)?,
            IF_EQUAL => at += branch(accumulator == k),
            IF_GREATER => at += branch(accumulator > k),
            IF_GREATER_OR_EQUAL => at += branch(accumulator >= k),
            IF_ANY_BIT => at += branch(accumulator & k != 0),
            RETURN => return action(k).ok_or(bad),
            _ => return Err(bad),
        }
    }
}

/// The action in a filter's return value (seccomp(2)).
fn action(value: u32) -> Option<Action> {
    let data = value & libc::SECCOMP_RET_DATA;
    Some(match value & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_KILL_PROCESS => Action::KillProcess,
        libc::SECCOMP_RET_KILL_THREAD => Action::KillThread,
        libc::SECCOMP_RET_TRAP => Action::Trap,
        libc::SECCOMP_RET_ERRNO => Action::Errno(ErrnoRet::new(data)?),
        libc::SECCOMP_RET_USER_NOTIF => Action::Notify,
        libc::SECCOMP_RET_TRACE => Action::Trace(u16::try_from(data).ok()?),
        libc::SECCOMP_RET_LOG => Action::Log,
        libc::SECCOMP_RET_ALLOW => Action::Allow,
        _ => return None,
    })
}
