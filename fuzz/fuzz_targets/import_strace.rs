//! Traces of any bytes, in one file or several: no panics, and the counts are consistent.
#![no_main]

use std::io::Cursor;
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use sc_record::event::{Event, Sink};
use sc_record::import::{ImportSource, StraceOptions, import_strace};
use sc_record::recording::RunBuilder;
use sc_record::syscall::Arch;

fuzz_target!(|bytes: &[u8]| {
    // One ABI per input, since names are looked up again for each.
    let natives = [Arch::X86_64, Arch::Aarch64, Arch::X86];
    let native = natives[bytes.len() % natives.len()];
    let names = [&["trace"][..], &["trace.7", "trace.8"]][bytes.len() / natives.len() % 2];
    let half = bytes.len() / names.len();
    let parts = bytes.chunks(half.max(1));
    let sources = names.iter().zip(parts);
    let sources = sources.map(|(name, part)| ImportSource::new(name, Cursor::new(part.to_vec())));
    let options = StraceOptions {
        native,
        began: SystemTime::UNIX_EPOCH,
        assume_complete: false,
    arguments: true,
    };
    let mut builder = RunBuilder::of_the_past("strace");
    let mut calls = 0_u64;
    let mut sink = |event: Event| {
        calls = calls.saturating_add(match event {
            Event::Syscall { .. } => 1,
            Event::Calls { count, .. } => count,
            _ => 0,
        });
        builder.event(event);
    };
    let Ok(summary) = import_strace(sources.collect(), &options, &mut sink, &mut |_| {}) else {
        return;
    };
    // A multiplexed call counts for both.
    assert!(calls >= summary.calls);
    let run = builder.finish(summary.exit, false);
    assert!(!run.is_complete());
});
