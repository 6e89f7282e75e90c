//! Files of the wrong kind for a verb.

use std::fs::{self, File};
use std::process::Command;

use serde_json::json;

use crate::support::process::{Ended, Room};
use crate::support::recorder::PROGRAM;
use crate::support::recordings::{allow, profile, recording, run};

/// Every verb that reads a file; `FILE` stands for that file.
const READERS: &[&str] = &[
    "merge FILE -o out.json",
    "merge recording FILE -o out.json",
    "generate FILE -o out.json",
    "stats FILE",
    "check profile FILE",
    "check FILE recording",
    "diff FILE profile",
    "diff recording FILE",
    "explain FILE",
    "explain profile --recording FILE",
    "lint FILE",
    "lint profile --recording FILE",
    "convert FILE -f oci",
    "inspect FILE",
    "run FILE -- true",
    "verify FILE -- true",
    "minimize FILE -- true",
    "minimize profile --state FILE -- true",
    "-q -r recording -o none --log-mode --assume FILE -- true",
];

/// Runs each of these lines with less memory than a large file would need, and passes its output to `check`.
fn each(lines: &[&str], file: &str, check: impl Fn(&str, &Ended)) {
    let room = Room::new();
    recording(&room.path().join("recording"), &[run(1, &["read"])]);
    profile(&room.path().join("profile"), &json!([allow(&["read"])]));
    fs::write(room.path().join("empty"), "").unwrap();
    fs::write(room.path().join("mark"), "\u{feff}{}").unwrap();
    File::create(room.path().join("large"))
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    for line in lines {
        let mut command = Command::new("prlimit");
        command.arg(format!("--as={}", 256 << 20)).arg(PROGRAM);
        command.args(line.replace("FILE", file).split_whitespace());
        let ended = room.run(&mut command);
        check(line, &ended);
        assert_eq!(ended.stdout, "", "{line}");
        assert!(matches!(ended.code(), 2 | 125), "{line}: {ended:?}");
    }
}

#[apply(test)]
#[needs(program("prlimit"))]
fn a_file_of_the_wrong_kind_is_refused_in_every_verb_before_it_is_read() {
    let cases = [
        ("/dev/zero", "/dev/zero is a device, not a "),
        ("large", "large is larger than "),
        ("empty", "empty is empty"),
        ("mark", "mark starts with a byte order mark"),
    ];
    for (file, expect) in cases {
        each(READERS, file, |line, ended| {
            assert!(ended.stderr.contains(expect), "{line}: {}", ended.stderr);
        });
    }
}

#[apply(test)]
#[needs(program("prlimit"))]
fn a_profile_given_as_a_recording_is_called_a_profile_and_the_reverse() {
    let of_recordings = [
        "merge FILE -o out.json",
        "generate FILE -o out.json",
        "stats FILE",
        "check profile FILE",
        "explain profile --recording FILE",
        "lint profile --recording FILE",
    ];
    each(&of_recordings, "profile", |line, ended| {
        let expect = "profile is a profile, not a recording\n  hint: ";
        assert!(ended.stderr.contains(expect), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("sc-record convert"), "{line}");
    });
    let of_profiles = [
        "check FILE recording",
        "explain FILE",
        "lint FILE",
        "convert FILE -f oci",
        "inspect FILE",
        "run FILE -- true",
        "verify FILE -- true",
        "minimize FILE -- true",
        "-q -r recording -o none --log-mode --assume FILE -- true",
    ];
    each(&of_profiles, "recording", |line, ended| {
        let expect = "recording is a recording, not a profile\n  hint: ";
        assert!(ended.stderr.contains(expect), "{line}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("sc-record generate recording"),
            "{line}"
        );
    });
}
