//! Any bytes can be read as a profile of any format without a panic. A profile that was read is written with the same
//! meaning; an error names a place in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sc_record::format::{self, Format, Reading, Writing};
use sc_record::profile::ProfilePart;

fuzz_target!(|text: &[u8]| {
    let detected = format::detect(text);
    for &format in Format::ALL {
        // Reading a filter compiles a profile; that is the target `filter`.
        if format == Format::Bpf {
            continue;
        }
        let reading = Reading {
            into: Some(format),
            ..Reading::default()
        };
        let parsed = match format::read(text, Some(format), &reading) {
            Ok(parsed) => parsed,
            Err(error) => {
                let lines = text.split(|&byte| byte == b'\n').count();
                assert!((1..=lines).contains(&error.position.line), "{detected} {error}");
                continue;
            }
        };
        let positions = parsed.positions(text);
        for (rule, of_rule) in parsed.profile.rules().iter().enumerate() {
            let name = of_rule.names().len() - 1;
            if format.is_oci() {
                assert!(positions.of(ProfilePart::Name { rule, name }).is_some());
            }
        }
        // Some readable content can't be written: a name that would need quotes.
        let Ok(written) = parsed.write(format, &Writing::default()) else {
            continue;
        };
        let again = format::read(&written.bytes, Some(format), &reading).unwrap();
        // Lists of names are sets in the resource: duplicates are written once.
        if format.is_oci() {
            assert_eq!(again.profile, parsed.profile);
        }
        let twice = again.write(format, &Writing::default()).unwrap();
        assert_eq!(twice.bytes, written.bytes);
    }
});
