mod models;

use std::fmt::Write;
use std::io::Cursor;

use itertools::Itertools;

use super::*;

use crate::syscall::{Arch, Syscall};

/// The result of importing these bytes, as text.
fn outcome(bytes: &[u8], options: &AuditOptions) -> String {
    let source = ImportSource::new("log", Cursor::new(bytes.to_vec()));
    let mut text = String::new();
    let mut problems = Vec::new();
    let mut sink = |event| {
        let _ = match event {
            Event::Clock { now } => {
                writeln!(text, "{:.3}", jiff::Timestamp::try_from(now).unwrap())
            }
            Event::Exec { task, executable } => {
                writeln!(text, "  {task} executes {}", executable.display())
            }
            Event::Syscall { task, syscall, .. } => {
                writeln!(text, "  {task} {} {syscall}", syscall.arch)
            }
            Event::Lost { count, why } => writeln!(text, "lost {count:?}: {why}"),
            event => writeln!(text, "{event:?}"),
        };
    };
    let summary = import_audit(vec![source], options, &mut sink, &mut |problem| {
        problems.push(problem.to_string());
    });
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    let _ = writeln!(text, "{:?}", summary.unwrap());
    text
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures/audit");
    std::fs::read(format!("{directory}/{name}")).unwrap()
}

/// Believes all lines.
fn trusting() -> AuditOptions {
    AuditOptions {
        trust_syslog: true,
        ..AuditOptions::default()
    }
}

/// A log of each kind, as the programs wrote it.
const FIXTURES: &[&str] = &[
    "auditd.log",
    "auditd-enriched.log",
    "auditd-mixed.log",
    "ausearch.txt",
    "ausearch-raw.txt",
    "dmesg.txt",
    "journal-cat.txt",
    "journal-export.txt",
    "journal-json.txt",
    "journal-short.txt",
    "journal-short-unix.txt",
    "kmsg.txt",
    "syslog-traditional.log",
];

#[test]
fn logs_of_every_kind() {
    for name in FIXTURES {
        let snapshot = name.replace('.', "-");
        insta::assert_snapshot!(snapshot, outcome(&fixture(name), &trusting()));
    }
}

/// Asserts that two logs have the same result, except for the number of lines.
fn check_same(name: &str, like: &str, edit: impl Fn(&str) -> String) {
    let shape = |name: &str| {
        let text = outcome(&fixture(name), &trusting());
        let (start, lines) = text.rsplit_once("lines: ").unwrap();
        edit(&format!("{start}{}", lines.split_once(',').unwrap().1))
    };
    assert_eq!(shape(name), shape(like), "{name}");
}

#[test]
fn logs_of_one_kind_in_every_format() {
    for name in ["-T", "-x", "-r", "-iso", "-t", "-e", "-d"] {
        check_same(&format!("dmesg{name}.txt"), "dmesg.txt", str::to_owned);
    }
    for name in ["syslog-iso.log", "syslog-5424.log"] {
        check_same(name, "syslog-traditional.log", str::to_owned);
    }
    for name in ["journal-json-seq.txt", "journal-json-sse.txt"] {
        check_same(name, "journal-json.txt", str::to_owned);
    }
    // The times before the lines differ in precision.
    let without_times = |text: &str| {
        let mut lines = text.lines().filter(|line| !line.starts_with("2026-"));
        lines.join("\n")
    };
    for name in ["-iso", "-precise", "-full", "-monotonic", "-unix"] {
        let name = format!("journal-short{name}.txt");
        check_same(&name, "journal-short.txt", without_times);
    }
    check_same("journal-with-unit.txt", "journal-short.txt", without_times);
    // ausearch -i prints names instead of numbers, and times in the machine's zone.
    check_same("ausearch-i.txt", "ausearch.txt", |text| {
        without_times(text).lines().take(14).join("\n")
    });
}

/// Formats that wrap the lines of others.
#[test]
fn records_in_json_of_dmesg_and_filebeat() {
    let quoted = |line: &str| serde_json::to_string(line).unwrap();
    let whole = |name: &str| {
        let text = String::from_utf8(fixture(name)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let shape = |text: &str, options: &AuditOptions| {
        let text = outcome(text.as_bytes(), options);
        text.rsplit_once("AuditSummary").unwrap().0.to_owned()
    };
    let entries = whole("dmesg.txt").into_iter().map(|line| {
        let (time, message) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
        let time = time.trim();
        let message = quoted(message);
        format!("{{\n         \"pri\": 5,\n         \"time\": {time},\n         \"msg\": {message}\n      }}")
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    let dmesg = format!("{{\n   \"dmesg\": [\n      {entries}\n   ]\n}}\n");
    let plain = String::from_utf8(fixture("dmesg.txt")).unwrap();
    let options = AuditOptions::default();
    assert!(plain.contains("type=1326"));
    assert_eq!(shape(&dmesg, &options), shape(&plain, &options));

    let beat = |path: &str| {
        let lines = whole("auditd.log").into_iter().map(|line| {
            let line = quoted(&line);
            format!("{{\"@timestamp\":\"2026-11-21T23:46:11.029Z\",\"message\":{line},\"log\":{{\"offset\":0,\"file\":{{\"path\":\"{path}\"}}}}}}\n")
        });
        lines.collect::<String>()
    };
    let plain = String::from_utf8(fixture("auditd.log")).unwrap();
    let trusted = beat("/var/log/audit/audit.log");
    assert_eq!(shape(&trusted, &options), shape(&plain, &options));
    // Any program writes such a line into a file of its own.
    assert!(!shape(&beat("/home/x/log"), &options).contains("getppid"));
    assert!(shape(&beat("/home/x/log"), &trusting()).contains("getppid"));
    // Other JSON has such fields too.
    let other = r#"{"log":"audit\n","stream":"stdout","message":{"a":1}}"#;
    assert!(!outcome(other.as_bytes(), &options).contains("bad JSON"));
}

#[test]
fn records_are_selected_by_their_time() {
    let later = LINE.replace("1795304771", "1795304871");
    let log = format!("{LINE}\n{later}\n");
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    let check = |since, until, expected: &str| {
        let options = AuditOptions {
            selection: Selection {
                since,
                until,
                ..Selection::default()
            },
            ..AuditOptions::default()
        };
        let text = outcome(log.as_bytes(), &options);
        assert!(text.contains(expected), "{text}");
    };
    check(None, None, "records: 2, refused: 0, filtered: 0");
    check(at(1_795_304_800), None, "23:47:51.029Z");
    check(
        at(1_795_304_800),
        None,
        "records: 1, refused: 0, filtered: 1",
    );
    check(
        None,
        at(1_795_304_800),
        "records: 1, refused: 0, filtered: 1",
    );
    check(None, at(1_795_304_800), "23:46:11.029Z");
    check(
        at(1_795_304_900),
        None,
        "records: 0, refused: 0, filtered: 2",
    );
}

const LINE: &str = "type=SECCOMP msg=audit(1795304771.029:15): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=27025 \
                    comm=\"logged\" exe=\"/opt/x\" sig=0 arch=c000003e syscall=110 compat=0 ip=0x7f272a032829 \
                    code=0x7ffc0000";

#[test]
fn a_runtime_that_executes_itself_from_a_mount_has_a_name() {
    let line = LINE
        .replace("/opt/x", "/")
        .replace("logged", "runc:[2:INIT]");
    insta::assert_snapshot!(outcome(line.as_bytes(), &AuditOptions { assume_complete: true, ..AuditOptions::default() }), @r"
    2026-11-21T23:46:11.029Z
      27025 executes runc:[2:INIT]
      27025 x86_64 getppid
    AuditSummary { lines: 1, records: 1, refused: 0, filtered: 0, untrusted: 0, other: 0, broken: 0 }
    ");
}

#[test]
fn broken_lines_are_reported_with_their_numbers_and_are_a_loss() {
    let lines = [
        LINE,
        "type=SECCOMP msg=audit(1795304771.029:15): auid=4294967295 uid=0",
        "type=SECCOMP",
        &LINE.replace("c000003e", "deadbeef"),
        &LINE.replace("=110", "=x"),
        &LINE.replace("=110", "=99999999999"),
        &LINE.replace("pid=27025", "pid=none"),
        "",
        "anything",
        &LINE.replace(" code=0x7ffc0000", ""),
        &LINE.replace("code=0x7ffc0000", "code=0xzz"),
        "{\"MESSAGE\":\"audi",
        LINE,
    ];
    insta::assert_snapshot!(outcome(lines.join("\n").as_bytes(), &AuditOptions::default()), @r#"
    2026-11-21T23:46:11.029Z
      27025 executes /opt/x
      27025 x86_64 getppid
      27025 x86_64 getppid
    lost Some(9): log: records can't be read
    lost None: a saved log can't prove that no records are missing
    log:2: the record has no pid=: it may be truncated
    log:3: the record has no audit(TIME:SERIAL)
    log:4: arch=deadbeef is not a known architecture
    log:5: x is not a system call of x86_64
    log:6: syscall=99999999999 is not a valid value
    log:7: pid=none is not a valid value
    log:10: the record has no code=: it may be truncated
    log:11: code=0xzz is not a valid value
    log:12: bad JSON: EOF while parsing a string at line 1 column 16
    AuditSummary { lines: 13, records: 2, refused: 0, filtered: 0, untrusted: 0, other: 0, broken: 9 }
    "#);
}

#[test]
fn unusual_bytes_around_a_record_don_t_hide_it() {
    let check = |text: &[u8]| {
        let text = outcome(text, &trusting());
        assert!(text.contains("27025 x86_64 getppid\n"), "{text}");
    };
    check(&[b"\xff\xfe junk \xff\n", LINE.as_bytes()].concat());
    for text in [
        format!("\u{feff}{LINE}"),
        format!("{LINE}\r\n"),
        format!("\0\0\0\0{LINE}\n\0\0"),
        LINE.replace("type=SECCOMP msg=", "type=UNKNOWN[1326] msg="),
        LINE.replace("type=SECCOMP msg=", "type=1326 "),
        format!("Nov 21 23:48:11 host audisp-syslog[12]: {LINE}"),
        format!("<13>Nov 21 23:48:11 host audispd: node=a {LINE}"),
        format!("{LINE}#035ARCH=x86_64 SYSCALL=getppid AUID=\"unset\""),
        // An AppArmor label has a space.
        LINE.replace(" pid=", " subj=docker-default (enforce) pid="),
        format!("{}{LINE}", "x".repeat(3 << 20) + "\n"),
    ] {
        check(text.as_bytes());
    }
}

/// Real rsyslogd wrote the same for `logger -t kernel` of an ordinary user as for the kernel, and journald set the transport.
#[test]
fn lines_that_any_user_can_write_are_not_trusted() {
    let record = LINE.split_once("msg=").unwrap().1;
    let body = record.split_once(": ").unwrap().1;
    let json = |fields: &str, message: &str| {
        let message = message.replace('"', "\\\"");
        format!("{{{fields},\"MESSAGE\":\"{message}\"}}")
    };
    let check = |line: String, trusted: bool| {
        let counts = |options| {
            let text = outcome(line.as_bytes(), &options);
            let believed = text.contains("records: 1,");
            assert_ne!(believed, text.contains("untrusted: 1,"), "{line}\n{text}");
            let lost = text
                .contains("skipped records in lines that any user can write (logger -t kernel)");
            assert_ne!(believed, lost, "{line}\n{text}");
            believed
        };
        assert_eq!(counts(AuditOptions::default()), trusted, "{line}");
        assert!(counts(trusting()), "{line}");
    };
    for line in [
        format!("Nov 26 12:26:13 vm kernel: audit: type=1326 {record}"),
        format!("Nov 26 12:26:13 vm kernel: [ 6073.018759] audit: type=1326 {record}"),
        format!("2026-11-26T12:26:13.566342+00:00 vm kernel: audit: type=1326 {record}"),
        format!("<5>Nov 26 12:26:13 vm kernel: audit: type=1326 {record}"),
        format!("<5>1 2026-11-26T12:26:13.5+00:00 vm kernel - - - audit: type=1326 {record}"),
        format!("[ 6073.018759] vm kernel: audit: type=1326 {record}"),
        format!("Nov 26 12:26:13 vm audisp-syslog[12]: {LINE}"),
        format!("Nov 26 12:26:13 vm audit[27433]: SECCOMP {body}"),
        format!("SECCOMP {body}"),
        format!("audit: type=1326 {record}"),
        json(
            r#""_TRANSPORT":"syslog","_UID":"1000","SYSLOG_IDENTIFIER":"audisp-syslog""#,
            LINE,
        ),
    ] {
        check(line, false);
    }
    for line in [
        LINE.to_owned(),
        format!("node=host {LINE}"),
        format!("[ 6073.018759] audit: type=1326 {record}"),
        format!("<5>[ 6073.018759] audit: type=1326 {record}"),
        format!("kern  :notice: [ 6073.018759] audit: type=1326 {record}"),
        format!("2026-11-26T12:26:13,566342+00:00 audit: type=1326 {record}"),
        format!("5,398,2315681332,-;audit: type=1326 {record}"),
        json(
            r#""_TRANSPORT":"kernel""#,
            &format!("audit: type=1326 {record}"),
        ),
        json(
            r#""_TRANSPORT":"audit","_AUDIT_TYPE":"1326""#,
            &format!("SECCOMP {body}"),
        ),
        json(
            r#""_TRANSPORT":"syslog","_UID":"0","SYSLOG_IDENTIFIER":"audisp-syslog""#,
            LINE,
        ),
    ] {
        check(line, true);
    }
}

#[test]
fn only_the_kernel_and_auditd_are_trusted() {
    let check = |line: &str| {
        let text = outcome(line.as_bytes(), &trusting());
        assert!(text.contains("records: 0,"), "{line}\n{text}");
    };
    let record = LINE.split_once("msg=").unwrap().1;
    let body = record.split_once(": ").unwrap().1;
    for text in [
        format!("audit: type=1326 {record}"),
        format!("kernel: audit: type=1326 {record}"),
        LINE.to_owned(),
        format!("audit: {LINE}"),
        format!("audit[1]: SECCOMP {body}"),
        format!("SECCOMP {body}"),
    ] {
        check(&format!("Nov 21 23:48:16 host root[1]: {text}"));
        check(&format!("2026-11-21T23:48:16+00:00 host app: {text}"));
        check(&format!("12,400,2315681574,-;{text}"));
        check(&format!("12,400,2315681574,-;x {text}"));
        check(&format!("[    1.000000] x: {text}"));
        check(&format!("user  :warn  : [ 2315.681574] {text}"));
        check(&format!("<13>Nov 21 23:48:16 host app: {text}"));
        let text = text.replace('"', "\\\"");
        check(&format!(
            "{{\"_TRANSPORT\":\"syslog\",\"MESSAGE\":\"{text}\"}}"
        ));
        check(&format!("type=USER msg=audit(1.000:1): msg='text={text}'"));
    }
}

#[test]
fn losses_that_the_kernel_reports_have_a_reason() {
    let log = "[    1.0] audit: audit_lost=5 audit_rate_limit=0 audit_backlog_limit=64\n\
               [    1.0] audit: backlog limit exceeded\n\
               [    2.0] audit: audit_lost=9 audit_rate_limit=0 audit_backlog_limit=64\n\
               [    3.0] kauditd_printk_skb: 40 callbacks suppressed\n\
               [    3.0] net_ratelimit: 3 callbacks suppressed\n\
               Nov 21 23:48:13 host systemd-journald[316]: Missed 12 kernel messages\n";
    let assumed = AuditOptions {
        assume_complete: true,
        ..AuditOptions::default()
    };
    insta::assert_snapshot!(outcome(log.as_bytes(), &assumed), @r"
    lost Some(40): log: the kernel did not print all records (kernel.printk_ratelimit)
    lost Some(12): log: journald missed messages of the kernel
    lost Some(5): log: the kernel dropped records (audit_lost)
    lost None: log: the kernel dropped records: backlog limit exceeded
    AuditSummary { lines: 6, records: 0, refused: 0, filtered: 0, untrusted: 0, other: 0, broken: 0 }
    ");
}

#[test]
fn a_gap_of_serials_is_a_loss_only_if_there_are_records_of_all_types() {
    let record = |kind: &str, serial: u32| {
        LINE.replace("SECCOMP", kind)
            .replace(":15)", &format!(":{serial})"))
            + "\n"
    };
    let gap = |log: String| {
        let text = outcome(log.as_bytes(), &AuditOptions::default());
        text.contains("lost Some(3): log: serial numbers of records are missing")
    };
    let seccomp = record("SECCOMP", 1) + &record("SECCOMP", 5);
    assert!(!gap(seccomp.clone()));
    assert!(gap(record("AVC", 1) + &seccomp));
    assert!(!gap(record("AVC", 1) + "----\n" + &seccomp));
    // auditd's own records are numbered by auditd.
    assert!(!gap(record("DAEMON_START", 1) + &seccomp));
}

#[test]
fn a_truncated_compressed_log_gives_the_part_before() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(format!("{LINE}\n").as_bytes()).unwrap();
    let mut bytes = encoder.finish().unwrap();
    bytes.truncate(bytes.len() - 4);
    let text = outcome(&bytes, &trusting());
    assert!(text.contains("27025 x86_64 getppid\n"), "{text}");
    assert!(
        text.contains("lost None: log: the rest can't be read: "),
        "{text}"
    );
}

#[test]
fn records_are_selected_by_pid_name_and_file() {
    let check = |pids: &[i32], comms: &[&str], exes: &[&str], records: u64| {
        let options = AuditOptions {
            selection: Selection {
                pids: pids.to_vec(),
                comms: comms.iter().map(Into::into).collect(),
                exes: exes.iter().map(Into::into).collect(),
                allowed_only: false,
                since: None,
                until: None,
            },
            ..AuditOptions::default()
        };
        let text = outcome(&fixture("auditd.log"), &options);
        let records = format!("records: {records},");
        assert!(text.contains(&records), "{options:?} {text}");
    };
    check(&[], &[], &[], 23);
    check(&[27027], &[], &[], 4);
    check(&[], &["my prog"], &[], 3);
    check(&[], &["wor ker\"1"], &[], 2);
    check(&[], &[], &["/opt/fixture/my prog"], 3);
    let exes = ["/opt/fixture/my prog", "/opt/fixture/logged32"];
    check(&[], &[], &exes, 13);
    check(&[27027], &["logged"], &[], 1);
    check(&[], &["longer than the kernel keeps"], &[], 0);
}
