use proptest::prelude::*;

use super::*;
use crate::event::Exit;
use crate::recording::clock::timestamp;
use crate::recording::{ArgumentValues, Folded, Name, RunId, Tally, ValueTally, strategies};
use crate::syscall::{Arch, Operation, Syscall};

/// The recording of every field, and of every way to write one.
fn example() -> Recording {
    let call = |arch, nr, count, first_ms, executables: &[&str]| {
        let executables = executables.iter().map(Into::into).collect();
        let tally = Tally {
            count,
            first_ms: Some(first_ms),
            executables,
            args: BTreeMap::new(),
        };
        (Syscall { arch, nr }, tally)
    };
    let first = Run {
        id: RunId("0198c0de-0000-7000-8000-000000000001".parse().unwrap()),
        started: fields::Timestamp::try_from("2026-01-31T12:34:56.789Z".to_owned())
            .unwrap()
            .0,
        duration: Duration::from_millis(1500),
        tool: "sc-record 0.1.0".to_owned(),
        program: "./integration-tests.sh".into(),
        argv: None,
        labels: BTreeMap::from([("shard".to_owned(), "1/2".to_owned())]),
        backend: "ptrace".to_owned(),
        aggregated: false,
        lower_bounds: false,
        kernel: "6.18.0".to_owned(),
        machine: "x86_64".to_owned(),
        no_new_privs: false,
        exit: Some(Exit::Code(0)),
        tasks: Some(2),
        incomplete_because: BTreeSet::new(),
        syscalls: BTreeMap::from([
            call(Arch::X86_64, 1, 7, 3, &["/usr/bin/dash", "/usr/bin/cat"]),
            call(Arch::X86_64, 0, 9, 2, &["/usr/bin/cat"]),
            call(Arch::X86_64, 100_000, 1, 8, &[]),
            call(Arch::X86, 4, 1, 4, &["/usr/bin/dash"]),
        ]),
        io_uring: BTreeMap::new(),
        runtime: BTreeMap::new(),
        not_observed: BTreeSet::new(),
    };
    let second = Run {
        id: RunId("0198c0de-0000-7000-8000-000000000002".parse().unwrap()),
        argv: Some(vec!["./x".into(), r"back\slash".into()]),
        labels: BTreeMap::new(),
        exit: Some(Exit::Signal(9)),
        incomplete_because: BTreeSet::from(["Ctrl-C ended the recording".to_owned()]),
        syscalls: BTreeMap::new(),
        ..first.clone()
    };
    Recording {
        name: "integration-tests".parse::<Name>().unwrap(),
        runs: [second, first].map(|run| (run.id, run)).into(),
        folded: Folded::default(),
    }
}

/// The example with what later schemas brought.
fn newest() -> Recording {
    let mut recording = example();
    let first = recording.runs.values().next().unwrap().clone();
    let read = Syscall {
        arch: Arch::X86_64,
        nr: 0,
    };
    let socket = Syscall {
        arch: Arch::X86_64,
        nr: 41,
    };
    let value = ValueTally {
        count: 1,
        first_ms: Some(2),
        executables: BTreeSet::from(["/usr/bin/cat".into()]),
    };
    let values = BTreeMap::from([(2, value.clone()), (10, value)]);
    let of_socket = Tally {
        count: 2,
        first_ms: Some(2),
        executables: BTreeSet::from(["/usr/bin/cat".into()]),
        args: BTreeMap::from([(0, ArgumentValues::Each(values)), (1, ArgumentValues::Many)]),
    };
    let with_args = recording.runs.values_mut().next().unwrap();
    with_args.syscalls.insert(socket, of_socket);
    let run = |number: u8, duration_ms| {
        let id = format!("0198c0de-0000-7000-8000-0000000000{number:02}");
        let mut run = Run {
            id: RunId(id.parse().unwrap()),
            duration: Duration::from_millis(duration_ms),
            labels: BTreeMap::from([("host".to_owned(), number.to_string())]),
            backend: "ebpf".to_owned(),
            aggregated: true,
            tasks: None,
            ..first.clone()
        };
        run.syscalls
            .values_mut()
            .for_each(|tally| tally.first_ms = None);
        run
    };
    let mut fewer = run(12, 900);
    fewer.syscalls.remove(&read);
    let runs = [run(10, 2500), run(11, 100), fewer];
    recording.runs.extend(runs.map(|run| (run.id, run)));
    recording.compact();
    let mut last = run(13, 700);
    last.syscalls
        .insert(Syscall { nr: 39, ..read }, last.syscalls[&read].clone());
    last.io_uring = BTreeMap::from([(Operation(22), 5), (Operation(200), 1)]);
    last.runtime = BTreeMap::from([(Syscall { nr: 157, ..read }, 3)]);
    last.lower_bounds = true;
    last.not_observed = BTreeSet::from([Syscall { nr: 1, ..read }]);
    recording.runs.insert(last.id, last);
    recording
}

#[test]
fn a_recording_is_sorted_and_has_one_line_for_each_call() {
    let text = String::from_utf8(example().render()).unwrap();
    insta::assert_snapshot!(text);
    assert!(text.ends_with("}\n"));
}

#[test]
fn aggregated_and_folded_runs_are_in_the_file() {
    let text = newest().render();
    assert_eq!(Recording::parse(&text), Ok(newest()));
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
}

#[test]
fn a_file_of_schema_2_is_read() {
    let text = String::from_utf8(example().render()).unwrap();
    let of_2 = text.replace(r#""schema": 3"#, r#""schema": 2"#);
    assert_eq!(Recording::parse(of_2.as_bytes()), Ok(example()));
    let newer = of_2.replacen(r#""runs""#, r#""runz""#, 1);
    assert!(problem(newer.as_bytes()).contains("unknown field"));
    let newer = of_2.replacen(r#""syscalls""#, r#""io_uring": {}, "syscalls""#, 1);
    assert!(problem(newer.as_bytes()).ends_with("schema 2 has no such field"));
}

#[test]
fn a_file_of_schema_1_is_read() {
    let text = include_str!("fixtures/schema-1.json");
    assert_eq!(Recording::parse(text.as_bytes()), Ok(example()));
    // As strictly as it was written.
    let check = |old: &str, new: &str, expect: &str| {
        assert!(text.contains(old), "{old}");
        let problem = problem(text.replacen(old, new, 1).as_bytes());
        assert!(problem.ends_with(expect), "{problem}");
    };
    check(
        r#""tasks": 2"#,
        r#""aggregated": false, "tasks": 2"#,
        "schema 1 has no such field",
    );
    check(
        r#""runs""#,
        r#""folded": {}, "runs""#,
        "schema 1 has no such field",
    );
    for field in ["runtime", "counts", "not_observed", "io_uring"] {
        check(
            r#""tasks": 2"#,
            &format!(r#""{field}": {{}}, "tasks": 2"#),
            "schema 1 has no such field",
        );
    }
    let timed = "in schema 1, `tasks` and `first_ms` have a value";
    check(r#""tasks": 2"#, r#""tasks": null"#, timed);
    check(r#""first_ms": 3, "#, "", timed);
}

/// The example, with a part of its text replaced.
fn with(old: &str, new: &str) -> Vec<u8> {
    let text = String::from_utf8(newest().render()).unwrap();
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1).into_bytes()
}

/// What is said about a text, with its place.
fn problem(text: &[u8]) -> String {
    Recording::parse(text).unwrap_err().at(Path::new("r.json"))
}

#[test]
fn what_is_wrong_is_said_with_line_and_column() {
    let changes = [
        (r#""count": 9"#, r#""count": 0"#),
        (r#""count": 9"#, r#""count": -1"#),
        (r#""count": 9"#, r#""count": 1.5"#),
        (r#""count": 9"#, r#""count": 18446744073709551616"#),
        (r#""count": 9"#, r#""count": "9""#),
        (r#""count": 9"#, r#""count": 9, "count": 9"#),
        (r#""count": 9"#, r#""count": 9, "more": 9"#),
        (r#""count": 9, "#, ""),
        (r##""#100000""##, r#""read""#),
        (r##""#100000""##, r##""#0""##),
        (r##""#100000""##, r#""readd""#),
        (r##""#100000""##, r##""#x""##),
        (r##""#100000""##, r##""#2147483648""##),
        (r#""x86":"#, r#""x86_64":"#),
        (r#""x86":"#, r#""vax":"#),
        ("/usr/bin/cat", r"/usr/\\bin"),
        ("/usr/bin/cat", r"/usr/\\x+fbin"),
        ("0198c0de-", "0198c0de"),
        ("000000000001", "00000000000g"),
        ("000000000001", "000000000002"),
        ("12:34:56.789Z", "12:34:56Z"),
        ("12:34:56.789Z", "12:34:60.789Z"),
        ("2026-01-31", "2026-02-31"),
        (r#""code": 0"#, r#""code": 256"#),
        (r#""signal": 9"#, r#""signal": 0"#),
        (r#""signal": 9"#, r#""signal": 9, "code": 1"#),
        (r#""signal": 9"#, r#""stopped": 9"#),
        (r#""complete": false"#, r#""complete": true"#),
        (r#""shard": "1/2""#, r#""shard": "1/2", "shard": "2/2""#),
        (r#""name": "integration-tests""#, r#""name": "../x""#),
        (r#""tasks": 2"#, r#""tasks": true"#),
        (r#""tasks": 2"#, r#""tasks": 2, "colour": "red""#),
        (r#""labels""#, r#""labelz""#),
        (r#""tasks": 2,"#, ""),
        (r#""aggregated": false,"#, ""),
        (r#""aggregated": false,"#, r#""aggregated": null,"#),
        (r#""first_ms": 2"#, r#""first_ms": null"#),
        (r#""IORING_OP_READ": 5"#, r#""IORING_OP_READ": 0"#),
        (r#""IORING_OP_READ": 5"#, r#""IORING_OP_REED": 5"#),
        (r#""IORING_OP_READ": 5"#, r##""#22": 5"##),
        (r#""without": {}"#, r#""without": {"x86_64": ["getpid"]}"#),
        (r#""without": {}"#, r#""without": {"x86_64": ["readd"]}"#),
        (r#""without": {}"#, r#""without": {"vax": ["read"]}"#),
        (
            r#""without": {}"#,
            r#""without": {"x86_64": [], "x86_64": []}"#,
        ),
        ("-8000-000000000011", "-8000-000000000012"),
        ("-8000-000000000011", "-8000-000000000013"),
        (r#""0x2": "#, r#""2": "#),
        (r#""0x2": "#, r#""0x02": "#),
        (r#""0x2": "#, r#""0xa": "#),
        (r#""args": {"0""#, r#""args": {"6""#),
        (r#""args": {"0""#, r#""args": {"1""#),
        (r#""longest_ms": 2500,"#, ""),
        (r#""longest_ms": 2500"#, r#""longest_ms": 2500, "more": 1"#),
        (r#""schema": 3"#, r#""schema": 0"#),
        (r#""schema": 3"#, r#""schema": 1"#),
        (r#""schema": 3"#, r#""schema": 4, "more": true"#),
        (r#""schema": 3"#, r#""schema": "3""#),
        (r#""schema": 3"#, r#""schema": 3, "schema": 3"#),
        (r#""schema": 3,"#, ""),
        (r#""tool""#, "tool"),
        (r#"  "runs""#, "<<<<<<< HEAD\n  \"runs\""),
        ("/usr/bin/cat", "/usr/\nbin/cat"),
        ("  }\n}\n", "  }\n}\n{}"),
    ];
    let said = changes.map(|(old, new)| format!("{old} → {new}\n    {}", problem(&with(old, new))));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn texts_that_are_no_recordings_are_refused() {
    let deep = |before: &str| [before.as_bytes(), "[".repeat(100_000).as_bytes()].concat();
    let said = [
        problem(b""),
        problem(b"\n"),
        problem(b"{"),
        problem(b"[]"),
        problem(b"null"),
        problem(b"{}"),
        problem(b"{\"schema\": 1}"),
        problem(b"{\"schema\": 1, \"name\": \"\xff\"}"),
        problem(b"\xef\xbb\xbf{}"),
        problem(b"\0\0\0\0"),
        problem(&deep("")),
        problem(&deep("{\"runs\": ")),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_text_that_is_cut_short_anywhere_is_refused() {
    let text = newest().render();
    let end = text.len() - 1;
    for length in 0..end {
        let problem = problem(&text[..length]);
        assert!(
            problem.contains("ends too early") || length == 0,
            "{length}: {problem}"
        );
    }
    // The newline at the end is no part of the JSON.
    assert_eq!(Recording::parse(&text[..end]), Ok(newest()));
}

#[test]
fn a_number_that_got_a_name_since_is_kept_under_its_name() {
    let old = with("\"#100000\"", "\"#40\"");
    let rendered = String::from_utf8(Recording::parse(&old).unwrap().render()).unwrap();
    assert!(
        rendered.contains("\"sendfile\": {\"count\": 1,"),
        "{rendered}"
    );
}

#[test]
fn a_run_that_is_there_twice_is_there_once() {
    let text = String::from_utf8(example().render()).unwrap();
    let runs = text
        .split_once("\"runs\": [")
        .unwrap()
        .1
        .rsplit_once(']')
        .unwrap()
        .0;
    let twice = text.replacen(runs, &format!("{runs},{runs}"), 1);
    assert_eq!(Recording::parse(twice.as_bytes()), Ok(example()));
}

#[test]
fn times_that_rfc_3339_lacks_are_moved_to_its_nearest() {
    use std::time::SystemTime;
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(timestamp(before), "1970-01-01T00:00:00.000Z");
    let after = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(timestamp(after), "9999-12-30T22:00:00.999Z");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(recording in strategies::recording()) {
        let text = recording.render();
        let parsed = Recording::parse(&text);
        prop_assert_eq!(parsed.as_ref(), Ok(&recording));
        prop_assert_eq!(parsed.unwrap().render(), text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Recording::parse(&bytes);
    }

    #[test]
    fn any_change_of_a_byte_is_read_or_refused(at: proptest::sample::Index, byte: u8) {
        let mut text = newest().render();
        *at.get_mut(&mut text) = byte;
        if let Ok(recording) = Recording::parse(&text) {
            prop_assert_eq!(Recording::parse(&recording.render()), Ok(recording));
        }
    }
}
