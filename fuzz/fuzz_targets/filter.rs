//! Any bytes are either refused as a filter, or a program whose action for every call is that of its explanation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::bpf::{Program, explain};
use sc_record::syscall::Syscall;

fuzz_target!(|bytes: &[u8]| {
    // A long program of branches has too many paths.
    if bytes.len() > 8 * 64 {
        return;
    }
    let Ok(program) = Program::from_bytes(bytes) else {
        return;
    };
    assert_eq!(program.to_bytes(), bytes);
    assert_eq!(program.to_string().lines().count(), program.len());
    let args = [0, 1, 5, u64::MAX, 1 << 32, 7];
    for answers in explain(&program) {
        for (&nr, answer) in &answers.calls {
            let syscall = Syscall { arch: answers.arch, nr };
            let (at, action) = program.end(syscall, &args);
            assert!(at < program.len());
            if let Some(always) = answer.always() {
                assert_eq!(action, always);
            }
        }
    }
});
