//! Whatever a file holds, reading it as a profile of any format ends well, and what was read is written as it was. What is
//! refused is refused for a place in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::format::{self, Format};
use sc_record::profile::Place;

fuzz_target!(|text: &[u8]| {
    for &format in Format::ALL {
        match format::parse(format, text) {
            Ok(profile) => {
                // A format that was read can be written: it expressed the profile.
                let rendered = format::render(format, &profile).unwrap();
                assert_eq!(format::parse(format, rendered.as_bytes()).unwrap(), profile);
                for (rule, of_rule) in profile.rules.iter().enumerate() {
                    let name = of_rule.names().len() - 1;
                    assert!(format::locate(format, text, Place::Name { rule, name }).is_some());
                }
            }
            Err(error) => {
                let lines = text.split(|&byte| byte == b'\n').count();
                assert!((1..=lines).contains(&error.position.line), "{error}");
            }
        }
    }
});
