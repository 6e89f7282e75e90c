use std::path::PathBuf;

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_DIV, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT,
    BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MUL,
    BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
    BPF_XOR,
};

use super::*;
use crate::bpf::InvalidProgram;
use crate::enforce::{OnUnknown, compile};
use crate::format::{Reading, read};

/// Reads a profile, compiles it, and compares the program with the kernel.
fn proven(path: &PathBuf) -> Proof {
    let bytes = std::fs::read(path).unwrap();
    let source = read(&bytes, None, &Reading::default()).unwrap();
    // Other tests cover names that this libseccomp doesn't know.
    let filter = compile(&source.profile, OnUnknown::Ignore).unwrap();
    let program = filter.program();
    prove(program, Some(&source.profile))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_kernel_agrees_on_every_committed_profile() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let proven = proven(&path);
            assert!(proven.calls > 2_000, "{proven:?}");
            assert!(proven.arches.contains(&Arch::NATIVE));
            files += 1;
        }
    }
    assert!(files >= 10);
}

#[test]
fn the_kernel_agrees_on_every_rule_of_the_default_profiles_of_engines() {
    for file in ["docker/default.json", "podman/seccomp.json"] {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("integration/fixtures/published")
            .join(file);
        let proven = proven(&data);
        let (calls, arches) = match Arch::NATIVE {
            Arch::X86_64 => (3_000, vec![Arch::X86_64, Arch::X86, Arch::X32]),
            native => (2_000, vec![native]),
        };
        assert!(proven.calls > calls, "{proven:?}");
        assert_eq!(proven.arches, arches);
    }
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = u16::try_from(code).unwrap();
    sock_filter { code, jt, jf, k }
}

fn program(instructions: &[(u32, u32, u8, u8)]) -> Result<Program, InvalidProgram> {
    let instructions = instructions
        .iter()
        .map(|&(code, k, jt, jf)| instruction(code, k, jt, jf));
    Program::new(instructions.collect())
}

const ALLOW: (u32, u32, u8, u8) = (BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0);
const REFUSE: (u32, u32, u8, u8) = (BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | 1, 0, 0);
const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;

/// Every instruction that seccomp allows, each with an effect on the answer.
#[test]
fn the_kernel_agrees_on_every_instruction() {
    let operations = [
        BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH, BPF_DIV,
    ];
    let mut most = 0;
    for operation in operations {
        for source in [BPF_K, BPF_X] {
            for test in [BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET] {
                let program = program(&[
                    (BPF_LDX | BPF_IMM, 7, 0, 0),
                    (LOAD, 0, 0, 0),
                    (BPF_ALU | operation | source, 3, 0, 0),
                    (BPF_ST, 15, 0, 0),
                    (BPF_STX, 0, 0, 0),
                    (BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
                    (BPF_LDX | BPF_W | BPF_LEN, 0, 0, 0),
                    (BPF_LD | BPF_MEM, 15, 0, 0),
                    (BPF_LDX | BPF_MEM, 0, 0, 0),
                    (BPF_MISC | BPF_TAX, 0, 0, 0),
                    (BPF_MISC | BPF_TXA, 0, 0, 0),
                    (BPF_ALU | BPF_NEG, 0, 0, 0),
                    (BPF_ALU | BPF_AND | BPF_K, 0xff, 0, 0),
                    (BPF_LDX | BPF_IMM, 0x95, 0, 0),
                    (BPF_JMP | test | BPF_X, 0, 1, 0),
                    (BPF_JMP | BPF_JA, 1, 0, 0),
                    (BPF_JMP | test | BPF_K, 0xf3, 1, 2),
                    (BPF_RET | BPF_K, libc::SECCOMP_RET_TRAP, 0, 0),
                    REFUSE,
                    ALLOW,
                ]);
                let program = program.unwrap();
                let proven =
                    prove(&program, None).unwrap_or_else(|error| panic!("{error}\n{program}"));
                assert!(proven.arches.contains(&Arch::NATIVE));
                most = most.max(proven.ends.0);
            }
        }
    }
    // More than one instruction returned.
    assert!(most >= 2);
}

#[test]
fn a_program_that_the_kernel_refuses_is_invalid() {
    let refused =
        |instructions: &[(u32, u32, u8, u8)]| program(instructions).unwrap_err().to_string();
    assert_eq!(refused(&[]), "a program has at least one instruction");
    assert_eq!(
        refused(&[(LOAD, 0, 0, 0)]),
        "the last instruction (0) does not return"
    );
    assert_eq!(
        refused(&[(LOAD, 64, 0, 0), ALLOW]),
        "instruction 0 (0x0020) has the invalid operand 0x40"
    );
    assert_eq!(
        refused(&[(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), ALLOW]),
        "instruction 0 jumps to 2, beyond the end"
    );
    assert_eq!(
        refused(&[(BPF_LD | BPF_MEM, 3, 0, 0), ALLOW]),
        "instruction 0 reads M[3], which not every path to it writes"
    );
    // Loads of half words, and modulo.
    assert!(
        refused(&[(BPF_LD | libc::BPF_H | BPF_ABS, 0, 0, 0), ALLOW])
            .contains("is not allowed by seccomp")
    );
    assert!(
        refused(&[(BPF_ALU | libc::BPF_MOD | BPF_K, 3, 0, 0), ALLOW])
            .contains("is not allowed by seccomp")
    );
    assert!(refused(&[(BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0), ALLOW]).contains("invalid operand"));
    assert!(refused(&[(BPF_ALU | BPF_LSH | BPF_K, 32, 0, 0), ALLOW]).contains("invalid operand"));
    assert_eq!(
        refused(&vec![ALLOW; 4097]),
        "4097 instructions; the kernel accepts at most 4096"
    );
    program(&vec![ALLOW; 4096]).unwrap();
}

#[test]
fn a_program_is_explained_with_its_conditions() {
    let lower = if cfg!(target_endian = "big") { 20 } else { 16 };
    let upper = 36 - lower;
    // read: arg0 > 0x1_0000_0005; anything else is refused.
    let program = program(&[
        (LOAD, 0, 0, 0),
        (BPF_JMP | BPF_JEQ | BPF_K, number("read"), 0, 5),
        (LOAD, upper, 0, 0),
        (BPF_JMP | BPF_JGT | BPF_K, 1, 4, 0),
        (BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 2),
        (LOAD, lower, 0, 0),
        (BPF_JMP | BPF_JGT | BPF_K, 5, 1, 0),
        REFUSE,
        ALLOW,
    ])
    .unwrap();
    let answers = explain_arch(&program, Arch::NATIVE);
    assert_eq!(
        answers.rest,
        FilterAnswer::Always(Action::Errno(crate::profile::ErrnoRet::EPERM))
    );
    let read = Syscall::from_name(Arch::NATIVE, "read").unwrap();
    let FilterAnswer::Depends { cases, .. } = &answers.calls[&read.nr] else {
        panic!("{answers:?}");
    };
    let cases: Vec<String> = cases
        .iter()
        .map(|(all, action)| format!("{action} if {}", all[0]))
        .collect();
    assert_eq!(cases, ["SCMP_ACT_ALLOW if arg0 >= 0x100000006"]);
    assert_eq!(answers.calls.len(), 1);
    assert!(program.to_string().contains("0001: 0x15"), "{program}");
}

fn number(name: &str) -> u32 {
    let nr = Syscall::from_name(Arch::NATIVE, name).unwrap().nr;
    u32::try_from(nr).unwrap()
}
