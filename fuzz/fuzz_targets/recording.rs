//! A recording that was read is written as text that reads back as the same recording. Nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::recording::Recording;

fuzz_target!(|text: &[u8]| {
    if let Ok(recording) = Recording::parse(text) {
        let rendered = recording.render();
        assert_eq!(Recording::parse(&rendered).as_ref(), Ok(&recording));
        assert!(rendered.ends_with(b"}\n"));
    }
});
