use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::format::{self, OnUnnamed, document};
use crate::profile::{Extent, Policy, ProfilePart, strategies};
use crate::recording::{Recording, Run, RunId, Tally};

/// What a text reads as: `Ok`, or the message.
fn read(text: &str) -> Result<Profile, String> {
    read_bytes(text.as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<Profile, String> {
    format::parse(Format::Oci, bytes).map_err(|error| error.to_string())
}

/// The text is refused with this message, for what begins with `at`.
#[track_caller]
fn refused(text: &str, at: &str, message: &str) {
    let error = format::parse(Format::Oci, text.as_bytes()).unwrap_err();
    assert_eq!(error.kind.to_string(), message);
    let line = text.split('\n').nth(error.position.line - 1).unwrap();
    let rest = &line[error.position.column - 1..];
    assert!(rest.starts_with(at), "{} is {rest}", error.position);
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same_profile(profile in strategies::profile()) {
        let text = format::render(Format::Oci, &profile).unwrap();
        let back = read(&text).unwrap();
        prop_assert_eq!(&back, &profile, "{}", text);
        prop_assert_eq!(format::render(Format::Oci, &back).unwrap(), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_bytes(&bytes);
    }

    #[test]
    fn a_damaged_file_never_reads_as_the_same_profile_unless_it_says_the_same(
        profile in strategies::profile(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let text = format::render(Format::Oci, &profile).unwrap();
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match format::parse(Format::Oci, &bytes) {
            Ok(other) => prop_assert_eq!(read(&format::render(Format::Oci, &other).unwrap()).unwrap(), other),
            Err(error) => {
                let lines = bytes.split(|&byte| byte == b'\n').count();
                prop_assert!((1..=lines).contains(&error.position.line), "{}", error);
            }
        }
    }
}

#[test]
fn architectures_and_flags_are_kept_once_and_found_in_the_file() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW",
"architectures":["SCMP_ARCH_X86","SCMP_ARCH_X86","SCMP_ARCH_ARM"],
"flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_LOG"]}"#;
    let profile = read(text).unwrap();
    let arches = [Arch::X86, Arch::Arm];
    assert_eq!(profile.architectures(), Some(&arches[..]));
    assert_eq!(profile.flags(), Some(&[Flag::Log][..]));
    let parsed = format::read(text.as_bytes(), None, &format::Reading::default()).unwrap();
    let arm = (parsed.positions(text.as_bytes())).of(ProfilePart::Architecture(1));
    assert_eq!(arm.unwrap().to_string(), "line 2, column 50");
}

#[test]
fn absent_and_empty_lists_stay_apart() {
    let of = |fields: &str| read(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{fields}}}"#));
    let absent = of("").unwrap();
    assert_eq!((absent.architectures(), absent.flags()), (None, None));
    assert_eq!(
        of(r#","architectures":null,"flags":null"#),
        Ok(absent.clone())
    );
    let empty = of(r#","architectures":[],"flags":[]"#).unwrap();
    assert_eq!(empty.architectures(), Some(&[][..]));
    assert_eq!(empty.flags(), Some(&[][..]));
    assert!(
        !format::render(Format::Oci, &absent)
            .unwrap()
            .contains("flags")
    );
    assert!(
        format::render(Format::Oci, &empty)
            .unwrap()
            .contains(r#""flags": []"#)
    );
}

#[test]
fn every_architecture_has_the_same_name_in_both_directions() {
    for &arch in Arch::ALL {
        match arch.oci_name() {
            Some(name) => {
                let written = write_arch(arch, Format::Oci).unwrap();
                let json = serde_json::to_value(written).unwrap();
                assert_eq!(json, name);
                assert_eq!(read_arch(written), Ok(arch));
            }
            None => assert!(write_arch(arch, Format::Oci).is_err()),
        }
    }
}

#[test]
fn an_absent_errno_is_eperm_and_kill_is_kill_thread() {
    let profile = read(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["a"],"action":"SCMP_ACT_TRACE"},{"names":["b"],"action":"SCMP_ACT_KILL"},
            {"names":["c"],"action":"SCMP_ACT_ERRNO","errnoRet":0}]}"#,
    )
    .unwrap();
    assert_eq!(profile.default_action(), Action::Errno(ErrnoRet::EPERM));
    let actions: Vec<_> = profile.rules().iter().map(Rule::action).collect();
    let success = ErrnoRet::new(0).unwrap();
    assert_eq!(
        actions,
        [Action::Trace(1), Action::KillThread, Action::Errno(success)]
    );
}

#[test]
fn values_are_whole_64_bit_numbers() {
    let profile = read(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":5,"value":18446744073709551615,"valueTwo":9223372036854775809,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
    )
    .unwrap();
    let arg = profile.rules()[0].args()[0];
    assert_eq!((arg.index(), arg.value()), (5, u64::MAX));
    assert_eq!(arg.value_two(), Some((1 << 63) | 1));
}

/// A profile with this rule, and the rule on the second line.
fn with_rule(rule: &str) -> String {
    format!("{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[\n{rule}]}}")
}

#[test]
fn what_the_specification_forbids_is_refused_with_its_place() {
    refused(
        &with_rule(r#"{"names":["a"],"action":"SCMP_ACT_KILL","errnoRet":1}"#),
        "1}",
        "syscalls[0].errnoRet: SCMP_ACT_KILL has no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE \
         have",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
        "1}",
        "defaultErrnoRet: SCMP_ACT_ALLOW has no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have",
    );
    refused(
        &with_rule(r#"{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#),
        "4096",
        "syscalls[0].errnoRet: 4096 is too great: SCMP_ACT_ERRNO takes 0 to 4095",
    );
    refused(
        &with_rule(r#"{"names":["a"],"action":"SCMP_ACT_TRACE","errnoRet":65536}"#),
        "65536",
        "syscalls[0].errnoRet: 65536 is too great: SCMP_ACT_TRACE takes 0 to 65535",
    );
    refused(
        &with_rule(
            r#"{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
        ),
        "6,",
        "syscalls[0].args[0].index: there is no argument 6: system calls have arguments 0 to 5",
    );
    refused(
        &with_rule(r#"{"names":[],"action":"SCMP_ACT_ALLOW"}"#),
        "[]",
        "syscalls[0].names: a rule needs at least one name",
    );
    refused(
        &with_rule(r#"{"names":["a",""],"action":"SCMP_ACT_ALLOW"}"#),
        "\"\"",
        "syscalls[0].names[1]: a name is empty",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#,
        "\"x\"",
        "listenerMetadata: it needs listenerPath: without a listener, there is nobody to send it to",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":""}"#,
        "\"\"",
        "listenerPath: the path of a socket can't be empty",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_NATIVE"]}"#,
        "\"SCMP_ARCH_NATIVE",
        "architectures[1]: SCMP_ARCH_NATIVE is not an architecture of the OCI specification, and runc \
         refuses it",
    );
}

#[test]
fn hostile_text_is_refused_with_its_place() {
    let check = |text: &str, start: &str| {
        let message = read(text).unwrap_err();
        assert!(message.starts_with(start), "{message}\nnot {start}");
    };
    check("", "line 1, column 0: EOF while parsing a value");
    check(
        "[]",
        "line 1, column 0: invalid type: sequence, expected an object",
    );
    check("{}", "line 1, column 2: missing field `defaultAction`");
    check("nul", "line 1, column 3: EOF");
    check("\n\n NaN", "line 3, column 2: expected value");
    check(
        &"[".repeat(100_000),
        "line 1, column 0: invalid type: sequence, expected an object",
    );
    let deep = format!("{{\"syscalls\":{}", "[".repeat(100_000));
    check(&deep, "line 1, column 13: invalid type: sequence");
    let deep = format!("{{\"x\":{}", "{\"a\":".repeat(100_000));
    check(&deep, "line 1, column 4: unknown field `x`");
    check(
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}\n}",
        "line 2, column 1: trailing characters",
    );
    check(
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\n\"defaultAction\":\"SCMP_ACT_KILL\"}",
        "line 2, column 15: duplicate field `defaultAction`",
    );
    check(
        "{\"defaultAction\":\n\"SCMP_ACT_FOO\"}",
        "line 2, column 14: unknown variant `SCMP_ACT_FOO`",
    );
    check("{\"defaultAction\":7}", "line 1, column 18: expected value");
    let errno = |number: &str| {
        with_rule(&format!(
            r#"{{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":{number}}}"#
        ))
    };
    for (number, column, why) in [
        ("-1", 54, "invalid value: integer `-1`, expected u32"),
        (
            "4294967296",
            62,
            "invalid value: integer `4294967296`, expected u32",
        ),
        (
            "1.0",
            55,
            "invalid type: floating point `1.0`, expected u32",
        ),
        ("1e999", 57, "number out of range"),
        ("\"1\"", 55, "invalid type: string \"1\", expected u32"),
        ("NaN", 53, "expected value"),
    ] {
        check(&errno(number), &format!("line 2, column {column}: {why}"));
    }
    for value in ["18446744073709551616", "-1"] {
        let rule = format!(
            r#"{{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
        );
        check(&with_rule(&rule), "line 2, column ");
    }
    let message = read_bytes(b"{\"defaultAction\":\n \"\xff\"}").unwrap_err();
    assert_eq!(message, "line 2, column 3: not UTF-8");
}

#[test]
fn a_profile_in_the_dialect_of_docker_is_named_as_such() {
    refused(
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\n\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\"}],\"syscalls\":[]}",
        "[{",
        "`archMap` is not a field of the oci format: this is a profile in the dialect of Docker and \
         Podman, not plain OCI JSON",
    );
    refused(
        &with_rule(
            r#"{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}"#,
        ),
        "{\"caps",
        "`syscalls[0].includes` is not a field of the oci format: this is a profile in the dialect of \
         Docker and Podman, not plain OCI JSON",
    );
    refused(
        "{\"ociVersion\":\"1.2.0\"}",
        "\"1.2.0",
        "`ociVersion` is not a field of the oci format: this is a whole OCI runtime configuration; the \
         profile is its linux.seccomp",
    );
}

/// A small recording of two ABIs.
fn recording() -> Recording {
    let calls = [
        (Arch::X86_64, "execve"),
        (Arch::X86_64, "openat"),
        (Arch::X86_64, "newfstatat"),
        (Arch::X86_64, "clone"),
        (Arch::X86, "write"),
        (Arch::X86, "poll"),
        (Arch::X86, "exit_group"),
    ];
    let syscalls = calls.into_iter().map(|(arch, name)| {
        let tally = Tally {
            count: 1,
            first_ms: None,
            executables: BTreeSet::from([PathBuf::from("/usr/bin/app")]),
            args: std::collections::BTreeMap::new(),
        };
        let syscall = crate::syscall::Syscall::from_name(arch, name);
        (syscall.unwrap(), tally)
    });
    let run = Run {
        id: RunId::new(),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        tool: String::new(),
        program: PathBuf::from("app"),
        argv: None,
        labels: BTreeMap::new(),
        backend: String::new(),
        aggregated: false,
        lower_bounds: false,
        kernel: String::new(),
        machine: String::new(),
        no_new_privs: false,
        exit: None,
        tasks: Some(1),
        incomplete_because: BTreeSet::new(),
        syscalls: syscalls.collect(),
        io_uring: BTreeMap::new(),
        runtime: BTreeMap::new(),
        not_observed: BTreeSet::new(),
    };
    Recording::of("app".parse().unwrap(), run)
}

fn text_of(extent: Extent, enosys_probes: bool) -> String {
    let policy = Policy {
        extent,
        enosys_probes,
        ..Policy::default()
    };
    let recording = recording();
    let document = document(
        &recording,
        policy,
        Format::Oci,
        OnUnnamed::Fail,
        &format::Writing::default(),
    )
    .unwrap();
    assert_eq!(
        read_bytes(&document.written.bytes),
        Ok(document.generated.profile)
    );
    String::from_utf8(document.written.bytes).unwrap()
}

#[test]
fn profiles_of_the_three_policies() {
    insta::assert_snapshot!("exact", text_of(Extent::Exact, false));
    insta::assert_snapshot!("safe", text_of(Extent::Safe, false));
    insta::assert_snapshot!("portable", text_of(Extent::Portable, false));
    insta::assert_snapshot!("safe_enosys", text_of(Extent::Safe, true));
}

/// The folder with the schemas of the specification.
fn schemas() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration/fixtures/published")
}

#[test]
fn what_is_written_is_valid_by_the_schema_of_the_specification() {
    let folder = schemas();
    let mut compiler = boon::Compiler::new();
    let mut schemas = boon::Schemas::new();
    compiler.set_default_draft(boon::Draft::V4);
    let schema = folder.join("oci/config-linux.json").display().to_string();
    let schema = compiler
        .compile(&format!("{schema}#/linux/properties/seccomp"), &mut schemas)
        .unwrap();
    let valid = |text: &str| {
        let seccomp: serde_json::Value = serde_json::from_str(text).unwrap();
        schemas
            .validate(&seccomp, schema)
            .map_err(|error| error.to_string())
    };
    assert!(valid(r#"{"defaultAction":"SCMP_ACT_FOO"}"#).is_err());
    assert!(valid(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[]}]}"#).is_err());
    for extent in [Extent::Exact, Extent::Safe, Extent::Portable] {
        assert_eq!(valid(&text_of(extent, true)), Ok(()));
    }
    proptest!(|(profile in strategies::profile())| {
        prop_assert_eq!(valid(&format::render(Format::Oci, &profile).unwrap()), Ok(()));
    });
}

#[test]
fn the_default_profile_of_docker_is_refused_as_plain_oci() {
    let folder = schemas();
    let text = std::fs::read_to_string(folder.join("docker/default.json")).unwrap();
    let message = read(&text).unwrap_err();
    assert!(message.contains("dialect of Docker"), "{message}");
}
