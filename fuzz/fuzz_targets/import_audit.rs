//! Logs of any bytes: nothing panics, and what is told adds up.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use sc_record::event::{Event, Sink};
use sc_record::import::Source;
use sc_record::import::audit::{Options, Record, import};
use sc_record::recording::RunBuilder;

fuzz_target!(|bytes: &[u8]| {
    let _ = Record::parse(bytes);
    let mut builder = RunBuilder::of_the_past("audit");
    let (mut calls, mut problems, mut lost) = (0, 0, 0);
    let mut sink = |event: Event| {
        match &event {
            Event::Syscall { .. } => calls += 1,
            Event::Lost { why, .. } if !why.contains("the rest can't be read") => lost += 1,
            _ => {}
        }
        builder.event(event);
    };
    let source = Source::new("log", Cursor::new(bytes.to_vec()));
    let options = Options::default();
    let Ok(summary) = import(vec![source], &options, &mut sink, &mut |_| problems += 1) else {
        return;
    };
    assert_eq!(calls, summary.records);
    assert!(problems >= summary.broken);
    assert!(lost >= 1);
    let run = builder.finish(None, false);
    assert!(!run.is_complete());
    let counted: u64 = run.syscalls.values().map(|tally| tally.count).sum();
    assert_eq!(counted, calls);
});
