//! Whatever bytes are given as a filter, they are refused, or they are a program that ends for every call with the answer
//! that its explanation tells.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::bpf::{Program, explain};
use sc_record::syscall::Syscall;

fuzz_target!(|bytes: &[u8]| {
    // A long program of branches has more ways than there is time for.
    if bytes.len() > 8 * 64 {
        return;
    }
    let Ok(program) = Program::from_bytes(bytes) else {
        return;
    };
    assert_eq!(program.to_bytes(), bytes);
    assert_eq!(program.to_string().lines().count(), program.len());
    let args = [0, 1, 5, u64::MAX, 1 << 32, 7];
    for table in explain(&program) {
        for (&nr, outcome) in &table.calls {
            let syscall = Syscall { arch: table.arch, nr };
            let (at, action) = program.ends(syscall, &args);
            assert!(at < program.len());
            if let Some(always) = outcome.always() {
                assert_eq!(action, always);
            }
        }
    }
});
