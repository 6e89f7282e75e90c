//! Instructions for seccomp programs that are written by hand: the recording filters.
//!
//! libseccomp can't write them. It can't return a computed value, and it translates numbers to other ABIs by name, which not
//! every number has.

use libc::{BPF_ABS, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// The offset of the number in `struct seccomp_data` (seccomp(2)).
pub(crate) const NR: u32 = 0;
/// The offset of the `AUDIT_ARCH_*` value.
pub(crate) const ARCH: u32 = 4;
/// The offset of the lower half of the address after the call.
#[cfg(target_arch = "x86_64")]
pub(crate) const IP_LOWER: u32 = 8;

/// The offset of the lower half of an argument.
pub(crate) const fn arg_lower(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// The offset of the upper half of an argument.
pub(crate) const fn arg_upper(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 0 } else { 4 }
}

/// Loads a word of `struct seccomp_data`.
pub(crate) fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

/// Returns a `SECCOMP_RET_*` value.
pub(crate) fn answer(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

/// Any instruction that doesn't branch.
#[allow(clippy::cast_possible_truncation)] // The header declares codes as 16 bits.
pub(crate) fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Compares A with `k`, and skips `jt` instructions if the comparison holds and `jf` otherwise.
pub(crate) fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..statement(BPF_JMP | test | BPF_K, k)
    }
}
