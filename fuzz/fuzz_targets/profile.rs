//! Whatever a file holds, reading it as a profile of any format ends well, and what was read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::format::{self, Format};

fuzz_target!(|text: &[u8]| {
    for &format in Format::ALL {
        let Ok(profile) = format::parse(format, text) else {
            continue;
        };
        // A format that was read can be written: it expressed the profile.
        let rendered = format::render(format, &profile).unwrap();
        assert_eq!(format::parse(format, rendered.as_bytes()).unwrap(), profile);
    }
});
