//! Classic BPF for seccomp(2): what the recording filters are written with.
//!
//! They are written out by hand. libseccomp can't return a value that is computed, and translates numbers to other ABIs
//! by their names, which not every number has.

use libc::{BPF_ABS, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Offsets into `struct seccomp_data` (seccomp(2)).
pub(crate) const NR: u32 = 0;
/// See [`NR`].
pub(crate) const ARCH: u32 = 4;

/// The offset of the lower half of an argument. The upper half is at [`arg_upper`].
pub(crate) const fn arg_lower(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// The offset of the upper half of an argument.
pub(crate) const fn arg_upper(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 0 } else { 4 }
}

/// Loads a word of the call's data.
pub(crate) fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

/// Ends with this answer.
pub(crate) fn answer(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

/// Any instruction that doesn't branch.
#[allow(clippy::cast_possible_truncation)] // Every code fits: the header declares them as such.
pub(crate) fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Compares with `k`, and skips so many instructions if that holds (`jt`) or doesn't (`jf`).
pub(crate) fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..statement(BPF_JMP | test | BPF_K, k)
    }
}

/// Runs a program as the kernel would.
#[cfg(test)]
pub(crate) fn run(program: &[sock_filter], arch: u32, nr: i32, args: [u64; 6]) -> u32 {
    use libc::{BPF_ALU, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_OR};
    let word = |offset: u32| match offset {
        NR => nr.cast_unsigned(),
        ARCH => arch,
        offset => {
            let index = (0..6).find(|i| (16 + 8 * i..24 + 8 * i).contains(&offset));
            let arg = args[index.unwrap() as usize];
            let upper = offset == arg_upper(index.unwrap());
            u32::try_from(if upper { arg >> 32 } else { arg & 0xffff_ffff }).unwrap()
        }
    };
    let (mut pc, mut a) = (0, 0u32);
    loop {
        let instruction = program[pc];
        pc += 1;
        let k = instruction.k;
        let branch = |taken: bool| {
            usize::from(if taken {
                instruction.jt
            } else {
                instruction.jf
            })
        };
        match u32::from(instruction.code) {
            code if code == BPF_LD | BPF_W | BPF_ABS => a = word(k),
            code if code == BPF_JMP | BPF_JA | BPF_K => pc += k as usize,
            code if code == BPF_JMP | BPF_JEQ | BPF_K => pc += branch(a == k),
            code if code == BPF_JMP | BPF_JGT | BPF_K => pc += branch(a > k),
            code if code == BPF_JMP | BPF_JGE | BPF_K => pc += branch(a >= k),
            code if code == BPF_ALU | BPF_OR | BPF_K => a |= k,
            code if code == BPF_RET | libc::BPF_A => return a,
            code if code == BPF_RET | BPF_K => return k,
            code => panic!("instruction {code:#x} is not in the program"),
        }
    }
}
