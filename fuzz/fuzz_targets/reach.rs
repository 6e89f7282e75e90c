//! Any bytes are either refused as a program, or analysed. Nothing panics, and the time is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::reach::analyse_bytes;

fuzz_target!(|bytes: &[u8]| {
    let _ = analyse_bytes(bytes.to_vec());
});
