//! Files of the wrong kind for a verb.

use std::fs::{self, File};
use std::path::Path;
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

/// Text that controls a terminal, hides itself, or is a command of a CI system: in paths, names and reasons.
const HOSTILE: &str = "x\n::error::forged\u{1b}[2J\u{9b}2J\u{202e}\u{200b}##[error]\u{7f}\u{e0041}";

#[apply(test)]
fn nothing_from_a_hostile_file_reaches_the_terminal_in_any_verb() {
    let room = Room::new();
    let hostile = |what: &str| format!("{HOSTILE} {what}");
    let mut first = run(1, &["read", "mount"]);
    for key in ["tool", "program", "backend", "kernel", "machine"] {
        first[key] = json!(hostile(key));
    }
    first["labels"] = json!({hostile("key"): hostile("value")});
    first["complete"] = json!(false);
    first["incomplete_because"] = json!([hostile("reason")]);
    for name in ["read", "mount"] {
        first["syscalls"]["x86_64"][name]["executables"] = json!([hostile("executable")]);
    }
    let file = hostile("file");
    let at = |prefix: &str| {
        room.path()
            .join(format!("{prefix}{}", file.replace('/', "")))
    };
    recording(&at("recording"), &[first, run(2, &["read"])]);
    profile(&at("profile"), &json!([allow(&["read", "write"])]));
    let names = json!([allow(&["read", &hostile("name")])]);
    profile(&at("names"), &names);
    let keys = json!([{"names": ["read"], "action": hostile("action"), (hostile("key")): 1}]);
    profile(&at("keys"), &keys);
    fs::write(at("text"), hostile("text")).unwrap();
    let lines = "type=SECCOMP msg=audit(1.0:1): x\u{1b}[2J\u{202e}\n::error::x\u{9b}2J\nwrite(1, \"\u{1b}\u{9b}\") = ?\n";
    fs::write(at("log"), lines).unwrap();

    let lines = [
        "merge RECORDING -o out.json",
        "merge RECORDING PROFILE -o out.json",
        "generate RECORDING -o out.json",
        "generate PROFILE",
        "stats RECORDING",
        "stats RECORDING --json",
        "check PROFILE RECORDING",
        "check PROFILE RECORDING --github",
        "check NAMES RECORDING",
        "check PROFILE -- PROGRAM",
        "diff PROFILE RECORDING",
        "diff RECORDING PROFILE",
        "diff RECORDING RECORDING",
        "diff NAMES PROFILE",
        "explain PROFILE --recording RECORDING",
        "explain PROFILE read --recording RECORDING",
        "explain KEYS",
        "lint PROFILE --recording RECORDING",
        "lint NAMES",
        "lint KEYS",
        "convert PROFILE -f systemd",
        "convert KEYS -f systemd",
        "convert TEXT -f oci",
        "inspect PROFILE",
        "inspect TEXT",
        "run NAMES -- true",
        "run PROFILE -- PROGRAM",
        "verify PROFILE -- PROGRAM",
        "verify PROFILE -- /bin/true",
        "minimize PROFILE -- /bin/true",
        "resolve TEXT",
        "import audit LOG",
        "import strace LOG -o none",
        "import strace LOG -n TEXT",
        "-r RECORDING -o none -- /bin/true",
        "-r PROFILE -o none -- /bin/true",
        "-r NOTHING -o none -n TEXT -- /bin/true",
        "-o PROFILE -r NOTHING -- PROGRAM",
        "-- NOTHING",
    ];
    // A program whose path is one line after another.
    let program = at("program");
    room.copy(Path::new("/bin/true"), &program);
    for line in lines {
        let mut command = Command::new(PROGRAM);
        for word in line.split_whitespace() {
            match word.to_lowercase().as_str() {
                lower if lower != word && !word.starts_with('-') => command.arg(at(lower)),
                _ => command.arg(word),
            };
        }
        let ended = room.run(&mut command);
        for text in [&ended.stdout, &ended.stderr] {
            let bad = |c: char| sc_record::escape::is_unsafe(c) && !"\n\t".contains(c);
            let is_json = line.contains("--json");
            assert!(is_json || !text.contains(bad), "{line}: {text:?}");
            for line_of_text in text.lines() {
                let start = line_of_text.trim_start();
                let is_command = start.starts_with("::")
                    && start.contains("forged")
                    && !start.contains("%0A")
                    && !line.contains("--github");
                assert!(!is_command, "{line}: {text:?}");
                assert!(!start.starts_with("::error::"), "{line}: {text:?}");
                assert!(is_json || !start.contains("##["), "{line}: {text:?}");
            }
        }
        let spoke = ended.stdout.len() + ended.stderr.len() > 0;
        assert!(spoke || ended.code() == 0, "{line}: {ended:?}");
    }
}

/// A program of 2047 instructions: comparisons of arguments, which double the paths, between comparisons of the number and the ABI.
fn slow_program() -> Vec<u8> {
    let mut program = Vec::new();
    let mut instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        program.extend(code.to_ne_bytes());
        program.extend([jt, jf]);
        program.extend(k.to_ne_bytes());
    };
    let arches = [
        0xc000_003e_u32,
        0x4000_0003,
        0xc000_00b7,
        0x4000_0028,
        0xc000_00f3,
        0x8000_0016,
    ];
    for number in 0..341_u32 {
        // A different word and value each time: neither side of a branch decides another.
        instruction(0x20, 0, 0, 16 + number % 12 * 4);
        instruction(0x15, 0, 0, number / 12);
        instruction(0x20, 0, 0, 4);
        instruction(0x15, 0, 0, arches[number as usize % arches.len()]);
        instruction(0x20, 0, 0, 0);
        instruction(0x15, 0, 0, number * 3);
    }
    instruction(0x06, 0, 0, 0x7fff_0000);
    program
}

#[apply(test)]
#[needs(program("prlimit"))]
fn no_small_file_takes_long() {
    let room = Room::new();
    let write = |name: &str, bytes: &[u8]| fs::write(room.path().join(name), bytes).unwrap();
    let names: Vec<String> = (0..20_000)
        .map(|number| format!("unknown_{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    profile(&room.path().join("names"), &json!([allow(&names)]));
    let values = (0..20_000).map(|value| json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
    }));
    let values: Vec<_> = values.collect();
    profile(&room.path().join("values"), &json!(values));
    profile(&room.path().join("other"), &json!([allow(&["read"])]));
    recording(&room.path().join("recording"), &[run(1, &["read"])]);
    write("bpf", &slow_program());
    let lines =
        |count, line: &dyn Fn(u32) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let groups = lines(10_000, &|number| format!("SystemCallFilter=@g{number}"));
    let removals = lines(10_000, &|number| format!("SystemCallFilter=~@g{number}"));
    write(
        "unit",
        format!("[Service]\n{groups}\n{removals}\n").as_bytes(),
    );
    let unfinished = lines(40_000, &|number| {
        format!("{} read(0,  <unfinished ...>", number + 100_000)
    });
    write("strace", unfinished.as_bytes());
    let command_lines = [
        "lint names",
        "check names recording",
        "check names recording --github --strict",
        "check names recording --update --remove-unused",
        "diff values other",
        "inspect bpf",
        "convert bpf -f oci --lossy",
        "diff bpf other",
        "convert unit -f oci --lossy",
        "import strace strace -n app",
    ];
    for line in command_lines {
        let mut command = Command::new("prlimit");
        // Processor time, which others on the machine don't use up; a debug build needs a few seconds.
        command
            .args(["--cpu=40"])
            .arg(PROGRAM)
            .args(line.split_whitespace());
        let ended = room.run(&mut command);
        assert!(
            ended.code() < 128 && ended.code() != 101,
            "{line}: {}",
            ended.code()
        );
    }
}
