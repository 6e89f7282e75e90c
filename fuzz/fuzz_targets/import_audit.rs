//! Logs of any bytes: no panics, and the counts are consistent.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use sc_record::event::{Event, Sink};
use sc_record::audit::Record;
use sc_record::import::{AuditOptions, ImportSource, import_audit};
use sc_record::recording::RunBuilder;

fuzz_target!(|bytes: &[u8]| {
    let _ = Record::parse(bytes);
    let mut builder = RunBuilder::of_the_past("audit");
    let (mut calls, mut bad_lines, mut lost) = (0, 0, 0);
    let mut sink = |event: Event| {
        match &event {
            Event::Syscall { .. } => calls += 1,
            Event::Lost { why, .. } if !why.contains("the rest can't be read") => lost += 1,
            _ => {}
        }
        builder.event(event);
    };
    let source = ImportSource::new("log", Cursor::new(bytes.to_vec()));
    let options = AuditOptions::default();
    let Ok(summary) = import_audit(vec![source], &options, &mut sink, &mut |_| bad_lines += 1) else {
        return;
    };
    assert_eq!(calls, summary.records);
    assert!(bad_lines >= summary.broken);
    assert!(lost >= 1);
    let run = builder.finish(None, false);
    assert!(!run.is_complete());
    let counted: u64 = run.syscalls.values().map(|tally| tally.count).sum();
    assert_eq!(counted, calls);
});
