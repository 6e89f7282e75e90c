//! Tests with bytes instead of programs. `integration/reach.rs` has programs.

use proptest::prelude::*;

use super::analyse_bytes;

/// A small program that every machine of the tests has.
fn program() -> Vec<u8> {
    std::fs::read("/bin/true").unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_is_analysed() {
    // It makes no call itself: its libraries do.
    assert_eq!(analyse_bytes(program()), Ok(0));
}

#[test]
fn what_is_no_elf_file_for_x86_64_is_refused() {
    let check = |bytes: &[u8], problem: &str| {
        assert_eq!(analyse_bytes(bytes.to_vec()), Err(problem.to_owned()));
    };
    check(b"", "not an ELF file");
    check(b"#!/bin/sh\n", "not an ELF file");
    check(b"\x7fELF\x01\x01\x01", "32-bit code is not read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_change_of_a_program_is_an_error_or_another_program(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        cut in prop::option::of(any::<prop::sample::Index>()),
        at_start in any::<bool>(),
    ) {
        let mut bytes = program();
        // Most of what is read first is in the headers.
        let length = if at_start { 4096.min(bytes.len()) } else { bytes.len() };
        for (at, byte) in changes {
            bytes[at.index(length)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = analyse_bytes(bytes);
    }
}
