//! Files of the wrong kind for a verb.

mod work;

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
    let write = |name: &str, text: &str| fs::write(room.path().join(name), text).unwrap();
    write("empty", "");
    write("text", "Nothing of all this.\n");
    write("unit", "[Service]\nSystemCallFilter=read\n");
    write("strace", "read(0, \"\", 1) = 0\n+++ exited with 0 +++\n");
    let record = "type=SECCOMP msg=audit(1.0:1): auid=0 uid=0 gid=0 ses=1 pid=1 comm=\"a\" exe=\"/bin/a\" sig=0 \
                  arch=c000003e syscall=0 compat=0 ip=0x7f code=0x7ffc0000\n";
    write("audit", record);
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

/// What a verb wants a file to be.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Profile,
    Recording,
    /// Either of them.
    Both,
    /// Results that `minimize` saved.
    State,
    Audit,
    Strace,
}

/// The lines of [`READERS`], and others, with what they want.
const WANTED: &[(Wanted, &str)] = &[
    (Wanted::Recording, "merge FILE -o out.json"),
    (Wanted::Recording, "merge recording FILE -o out.json"),
    (Wanted::Recording, "generate FILE -o out.json"),
    (Wanted::Recording, "stats FILE"),
    (Wanted::Recording, "check profile FILE"),
    (Wanted::Recording, "explain profile --recording FILE"),
    (Wanted::Recording, "lint profile --recording FILE"),
    (Wanted::Recording, "-q -r FILE -o none -n app -- true"),
    (
        Wanted::Recording,
        "import strace strace -q -r FILE -o none -n app",
    ),
    (Wanted::Both, "diff FILE profile"),
    (Wanted::Both, "diff recording FILE"),
    (Wanted::Profile, "check FILE recording"),
    (Wanted::Profile, "check FILE -- true"),
    (Wanted::Profile, "explain FILE"),
    (Wanted::Profile, "lint FILE"),
    (Wanted::Profile, "convert FILE -f oci"),
    (Wanted::Profile, "inspect FILE"),
    (Wanted::Profile, "run FILE -- true"),
    (Wanted::Profile, "verify FILE -- true"),
    (Wanted::Profile, "minimize FILE -- true"),
    (
        Wanted::Profile,
        "-q -r other -o none --log-mode --assume FILE -- true",
    ),
    (Wanted::Profile, "log-profile --assume FILE -o out.json"),
    (Wanted::State, "minimize profile --state FILE -- true"),
    (
        Wanted::Audit,
        "import audit FILE -r out.json -o none -n app",
    ),
    (
        Wanted::Strace,
        "import strace FILE -r out.json -o none -n app",
    ),
];

#[apply(test)]
#[needs(program("prlimit"))]
fn every_verb_says_what_a_file_of_another_kind_is() {
    let kinds = [
        ("profile", "a profile", "sc-record convert profile"),
        ("unit", "a profile", "sc-record convert unit"),
        ("recording", "a recording", "sc-record generate recording"),
        ("audit", "an audit log", "sc-record import audit audit"),
        (
            "strace",
            "the output of strace",
            "sc-record import strace strace",
        ),
        ("text", "", ""),
    ];
    for (file, is, advice) in kinds {
        let fits = |wanted| match wanted {
            Wanted::Profile => is == "a profile",
            Wanted::Recording => is == "a recording",
            Wanted::Both => is == "a profile" || is == "a recording",
            Wanted::State => false,
            Wanted::Audit => file == "audit",
            Wanted::Strace => file == "strace",
        };
        for (wanted, line) in WANTED.iter().filter(|(wanted, _)| !fits(*wanted)) {
            let name = match wanted {
                Wanted::Profile | Wanted::Both => "a profile",
                Wanted::Recording => "a recording",
                Wanted::State => "a file of saved results",
                Wanted::Audit => "an audit log",
                Wanted::Strace => "the output of strace",
            };
            each(&[line], file, |_, ended| {
                let said = &ended.stderr;
                let expect = match (wanted, is) {
                    (Wanted::Audit, "" | "the output of strace") => "no seccomp record".to_owned(),
                    (Wanted::Strace, "" | "an audit log") if is.is_empty() => {
                        "no system call".to_owned()
                    }
                    (Wanted::Recording, "") => "it is not a recording".to_owned(),
                    (Wanted::State, _) | (_, "") => format!("{file} is not {name}"),
                    _ => format!("{file} is {is}, not {name}\n  hint: "),
                };
                let named = said.contains(&expect)
                    || said.contains(&format!("{file} is {is}, not {name}\n  hint: "));
                assert!(named, "{line}: {said}");
                let advised = *wanted == Wanted::State || !said.contains(", not a");
                assert!(advised || said.contains(advice), "{line}: {said}");
                assert!(!said.contains("version control"), "{line}: {said}");
            });
        }
    }
}

/// Text that controls a terminal, hides itself, or is a command of a CI system: in paths, names and reasons.
const HOSTILE: &str = "x\n::error::forged\u{1b}[2J\u{9b}2J\u{202e}\u{200b}##[error]\u{7f}\u{e0041}";

/// Lines whose words in capitals stand for hostile files.
const HOSTILE_LINES: &[&str] = &[
    "merge RECORDING -o out.json",
    "merge RECORDING",
    "merge RECORDING --json -o out.json",
    "merge RECORDING PROFILE -o out.json",
    "generate RECORDING -o -",
    "generate RECORDING -f falco -o -",
    "generate RECORDING -f libseccomp -o -",
    "generate RECORDING --json -o out.json",
    "generate RECORDING -o out.json",
    "generate PROFILE",
    "stats RECORDING",
    "stats RECORDING --json",
    "check PROFILE RECORDING",
    "check PROFILE RECORDING --github",
    "check PROFILE RECORDING --json",
    "check PROFILE RECORDING --junit -",
    "check PROFILE --json -- PROGRAM",
    "check NAMES RECORDING",
    "check PROFILE -- PROGRAM",
    "diff PROFILE RECORDING",
    "diff RECORDING PROFILE",
    "diff RECORDING RECORDING",
    "diff RECORDING PROFILE --json",
    "diff NAMES PROFILE",
    "explain PROFILE --recording RECORDING",
    "explain PROFILE read --recording RECORDING",
    "explain PROFILE --recording RECORDING --json",
    "explain KEYS",
    "lint PROFILE --recording RECORDING",
    "lint PROFILE --recording RECORDING --json",
    "lint PROFILE --recording RECORDING --sarif",
    "lint NAMES",
    "lint KEYS",
    "convert PROFILE -f systemd",
    "convert KEYS -f systemd",
    "convert TEXT -f oci",
    "inspect PROFILE",
    "inspect PROFILE --json",
    "inspect TEXT",
    "run NAMES -- true",
    "run PROFILE -- PROGRAM",
    "verify PROFILE -- PROGRAM",
    "verify PROFILE --json -- PROGRAM",
    "verify PROFILE -- /bin/true",
    "minimize PROFILE -- /bin/true",
    "resolve TEXT",
    "import audit LOG",
    "import strace LOG -o none",
    "import strace LOG -n TEXT",
    "import strace LOG -n app -r NEW -o none --json",
    "--json -r NEW -o none -n app -- PROGRAM",
    "-r RECORDING -o none -- /bin/true",
    "-r PROFILE -o none -- /bin/true",
    "-r NOTHING -o none -n TEXT -- /bin/true",
    "-o PROFILE -r NOTHING -- PROGRAM",
    "-- NOTHING",
];

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

    // A program whose path is one line after another.
    let program = at("program");
    room.copy(Path::new("/bin/true"), &program);
    for line in HOSTILE_LINES {
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
            assert!(!text.contains(bad), "{line}: {text:?}");
            for line_of_text in text.lines() {
                let start = line_of_text.trim_start();
                let is_command = start.starts_with("::")
                    && start.contains("forged")
                    && !start.contains("%0A")
                    && !line.contains("--github");
                assert!(!is_command, "{line}: {text:?}");
                assert!(!start.starts_with("::error::"), "{line}: {text:?}");
                assert!(!start.contains("##["), "{line}: {text:?}");
            }
        }
        let spoke = ended.stdout.len() + ended.stderr.len() > 0;
        assert!(spoke || ended.code() == 0, "{line}: {ended:?}");
    }
}

/// Lines that write to stdout.
const REPORTS: &[&str] = &[
    "merge recording",
    "merge recording -o out.json --json",
    "generate recording -o -",
    "generate recording -o out.json --json",
    "stats recording",
    "check profile recording",
    "check profile recording --json",
    "check profile recording --github --strict",
    "check profile recording --junit -",
    "diff profile recording",
    "explain profile",
    "explain profile --json",
    "lint profile",
    "lint profile --sarif",
    "lint --rules",
    "convert profile -f systemd",
    "inspect profile",
    "inspect profile --json",
    "resolve read",
    "resolve read --json",
    "log-profile -o -",
    "import strace strace -n app -r new -o none --json",
    "completions bash",
    "-q -r none -o - -- true",
];

#[apply(test)]
fn a_report_that_can_not_be_written_is_an_error_that_says_so() {
    let room = Room::new();
    recording(&room.path().join("recording"), &[run(1, &["read"])]);
    profile(&room.path().join("profile"), &json!([allow(&["read"])]));
    fs::write(room.path().join("strace"), "read(0, \"\", 1) = 0\n").unwrap();
    let shell = |script: &str, line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, PROGRAM]);
        room.run(command.args(line.split_whitespace()))
    };
    for line in REPORTS {
        let full = shell("exec \"$0\" \"$@\" >/dev/full", line);
        let writes = !line.starts_with("check") || line.contains("--j") || !full.stderr.is_empty();
        if writes && !line.contains("--github") {
            assert!(matches!(full.code(), 2 | 125), "{line}: {full:?}");
            assert!(full.stderr.contains("stdout"), "{line}: {full:?}");
            assert!(full.stderr.contains("No space left"), "{line}: {full:?}");
        }
        // A reader that is gone ends the writer by SIGPIPE, and a recorder by an error.
        let gone = shell("{ sleep 0.3; \"$0\" \"$@\"; echo $? >&2; } | :", line);
        let status = gone.stderr.lines().last().unwrap_or_default();
        assert!(
            ["0", "1", "125", "141"].contains(&status),
            "{line}: {gone:?}"
        );
        let closed = shell("exec \"$0\" \"$@\" <&- >&- 2>&-", line);
        assert!(matches!(closed.code(), 0..=2), "{line}: {closed:?}");
        for ended in [full, gone, closed] {
            assert!(!ended.stderr.contains("panicked"), "{line}: {ended:?}");
        }
    }
}

#[apply(test)]
fn file_names_of_any_bytes_are_accepted_in_every_verb() {
    use std::os::unix::ffi::OsStrExt;
    let room = Room::new();
    let name = |bytes: &[u8]| room.path().join(std::ffi::OsStr::from_bytes(bytes));
    let (of_profile, of_recording, program) = (name(b"p\xff\xc3"), name(b"r\xff"), name(b"x\xff"));
    recording(&of_recording, &[run(1, &["read"])]);
    profile(
        &of_profile,
        &json!([allow(&["read", "execve", "exit_group"])]),
    );
    room.copy(Path::new("/bin/true"), &program);
    let lines = [
        ("merge R -o NEW", 0),
        ("generate R -o NEW", 0),
        ("stats R", 0),
        ("stats R --json", 0),
        ("check P R", 0),
        ("check P R --json", 0),
        ("check P R --github", 0),
        ("diff P R", 1),
        ("explain P --recording R", 0),
        ("lint P --sarif", 1),
        ("convert P -f systemd", 0),
        ("convert P -f falco", 0),
        ("inspect P", 0),
        ("-q -r NEW2 -o NEW3 -- X", 0),
        ("-q -r NEW2 -o NEW3 -- X", 0),
        ("generate NEW2 -f falco --lossy -o NEW4", 0),
        ("run NEW3 -- X", 0),
        ("verify NEW3 -- X", 0),
        ("check NEW3 -- X", 0),
    ];
    for (line, code) in lines {
        let mut command = Command::new("env");
        // Without any of what programs expect in their environment.
        command.args(["-i", "LANG=C", PROGRAM]);
        for word in line.split(' ') {
            match word {
                "P" => command.arg(&of_profile),
                "R" => command.arg(&of_recording),
                "X" => command.arg(&program),
                new if new.starts_with("NEW") => {
                    command.arg(name(&[new.as_bytes(), b"\xff"].concat()))
                }
                word => command.arg(word),
            };
        }
        let ended = room.run(&mut command);
        assert_eq!(ended.code(), code, "{line}: {ended:?}");
    }
}
