//! What holds for every format.

mod dialects;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::enforce::compile_known;
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::profile::{ARGS, Action, ArgCmp, ErrnoRet, Op, Profile, Rule, strategies};
use crate::syscall::Arch;

/// A profile or a schema that others published.
fn data(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration/fixtures/published");
    std::fs::read(folder.join(file)).unwrap()
}

/// A profile with what most formats can say.
fn sample(default_action: Action) -> Profile {
    Profile::new(default_action)
        .with_architectures(Some(vec![Arch::NATIVE]))
        .with_rules([
            allow("close exit_group read write"),
            rule("clone", Action::Allow, "arg0 & 0x7e020000 == 0"),
            rule("socket", Action::Allow, "arg0 == 1, arg1 != 3"),
        ])
}

/// The sample with a default action that the format has.
fn sample_for(format: Format) -> Profile {
    sample(match format {
        Format::Minijail => Action::KillProcess,
        _ => EPERM,
    })
}

fn written(format: Format, profile: &Profile) -> Result<Vec<u8>, RenderError> {
    let writing = Writing {
        compile: Some(compile_known),
        ..Writing::default()
    };
    write(format, profile, &writing).map(|written| written.bytes)
}

fn read_as(format: Format, bytes: &[u8]) -> Result<Profile, String> {
    let reading = Reading {
        compile: Some(compile_known),
        ..Reading::default()
    };
    let parsed = read(bytes, Some(format), &reading);
    parsed
        .map(|parsed| parsed.profile)
        .map_err(|error| error.to_string())
}

/// The arguments on both sides of what a profile compares.
fn arguments(profile: &Profile) -> Vec<[u64; ARGS]> {
    let mut all = vec![[0; ARGS], [u64::MAX; ARGS], [1, 2, 3, 4, 5, 6]];
    for arg in profile.rules().iter().flat_map(Rule::args) {
        let values = [arg.value(), arg.value_two().unwrap_or(0)];
        for value in values
            .into_iter()
            .flat_map(|v| [v, v.wrapping_add(1), v.wrapping_sub(1)])
        {
            for base in [[0; ARGS], [value; ARGS]] {
                let mut args = base;
                args[arg.index()] = value;
                all.push(args);
            }
        }
    }
    all
}

/// Whether two profiles answer the same to every call that one of them names, where they don't contradict themselves.
fn same_meaning(one: &Profile, other: &Profile) -> Result<(), String> {
    if one.default_action() != other.default_action() {
        return Err(format!(
            "{} is not {}",
            one.default_action(),
            other.default_action()
        ));
    }
    let names = one
        .rules()
        .iter()
        .chain(other.rules())
        .flat_map(Rule::names);
    for name in names {
        for args in arguments(one) {
            let (a, b) = (one.answers(name, &args), other.answers(name, &args));
            if a.len() == 1 && a != b {
                return Err(format!("{name} {args:x?}: {a:?} became {b:?}"));
            }
        }
    }
    Ok(())
}

/// The formats that don't need the profile compiled, and say the default action.
fn texts() -> impl Iterator<Item = Format> {
    let skipped = [Format::Bpf, Format::Falco];
    (Format::ALL.iter().copied()).filter(move |format| !skipped.contains(format))
}

proptest! {
    #[test]
    fn what_a_dialect_of_oci_says_reads_back_rule_by_rule(profile in strategies::profile()) {
        for &format in Format::ALL.iter().filter(|format| format.is_oci()) {
            let Ok(bytes) = written(format, &profile) else {
                prop_assert!(format == Format::Podman && profile.listener().is_some());
                continue;
            };
            prop_assert_eq!(read_as(format, &bytes), Ok(profile.clone()));
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_written_the_same(profile in strategies::profile()) {
        for format in texts() {
            let Ok(bytes) = written(format, &profile) else { continue };
            let back = read_as(format, &bytes);
            let text = String::from_utf8_lossy(&bytes);
            let back = match back {
                Ok(back) => back,
                Err(error) => return Err(TestCaseError::fail(format!("{format}: {error}\n{text}"))),
            };
            let again = written(format, &back).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(String::from_utf8_lossy(&again), text, "{}", format);
        }
    }

    #[test]
    fn a_profile_that_fits_means_the_same_afterwards(profile in fitting()) {
        for format in texts() {
            let Ok(bytes) = written(format, &profile) else { continue };
            let back = read_as(format, &bytes).map_err(TestCaseError::fail)?;
            if let Err(error) = same_meaning(&profile, &back) {
                return Err(TestCaseError::fail(format!("{format}: {error}")));
            }
        }
    }

    #[test]
    fn lossy_writing_always_gives_what_can_be_read(profile in strategies::profile()) {
        let lossy = Writing { name: "a b", lossy: true, ..Writing::default() };
        for format in texts() {
            let Ok(written) = write(format, &profile, &lossy) else { continue };
            let text = String::from_utf8(written.bytes).unwrap();
            if written.lost.is_empty() {
                prop_assert_eq!(&text, &String::from_utf8(super::write(format, &profile, &Writing { lossy: false, ..lossy }).unwrap().bytes).unwrap());
            }
            let back = read_as(format, text.as_bytes());
            // A drop-in that refuses nothing says nothing.
            if format != Format::Systemd {
                prop_assert!(back.is_ok(), "{}: {:?}\n{}", format, back, text);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for &format in Format::ALL {
            if let Err(error) = parse(format, &bytes) {
                let lines = bytes.split(|&byte| byte == b'\n').count();
                prop_assert!((1..=lines).contains(&error.position.line), "{}: {}", format, error);
            }
        }
    }

    #[test]
    fn damaged_text_is_refused_with_its_place_or_read(
        at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        for format in texts() {
            let lossy = Writing { lossy: true, ..Writing::default() };
            let mut bytes = write(format, &sample_for(format), &lossy).unwrap().bytes;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Err(error) = parse(format, &bytes) {
                let lines = bytes.split(|&byte| byte == b'\n').count();
                prop_assert!((1..=lines).contains(&error.position.line), "{}: {}", format, error);
            }
        }
    }
}

/// Profiles that every format can say something of.
fn fitting() -> impl Strategy<Value = Profile> {
    use proptest::collection::{btree_set, vec};
    use proptest::sample::select;
    let name = || select(vec!["read", "write", "socket", "clone", "openat", "dup"]);
    let ops = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
    let value = || {
        prop_oneof![
            0..9_u64,
            select(vec![0x7e02_0000, 1 << 31, 1 << 32, i64::MAX.unsigned_abs()])
        ]
    };
    let arg = (0..3_u64, select(ops.to_vec()), value(), value())
        .prop_map(|(index, op, a, b)| ArgCmp::new(index, op, a, Some(b)).unwrap());
    let rule = (btree_set(name(), 1..3), vec(arg, 0..3)).prop_map(|(names, args)| {
        let names = names.into_iter().map(str::to_owned).collect();
        Rule::new(names, Action::Allow, args).unwrap()
    });
    let default = select(vec![EPERM, Action::KillProcess, Action::Trap]);
    (default, vec(rule, 1..4))
        .prop_map(|(default_action, rules)| Profile::new(default_action).with_rules(rules))
}

#[test]
fn each_format_of_a_profile() {
    for format in texts().chain([Format::Falco]) {
        let lossy = Writing {
            name: "app",
            lossy: true,
            ..Writing::default()
        };
        let written = write(format, &sample_for(format), &lossy).unwrap();
        let mut text = String::from_utf8(written.bytes).unwrap();
        if format == Format::Libseccomp {
            // The code is the same for all.
            let code = text.find("/* Which call a name is").unwrap();
            text.truncate(code);
        }
        if cfg!(target_arch = "x86_64") {
            insta::assert_snapshot!(format.name(), text);
        }
        if let Some(companion) = written.companion {
            insta::assert_snapshot!(format!("{format}_{}", companion.extension), companion.text);
        }
    }
}

#[test]
fn what_a_format_can_not_say_is_refused_by_name() {
    let refused = |format, profile: &Profile| match written(format, profile) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let check = |format: Format, profile: &Profile, what: &str| {
        let message = format!("the {format} format can't express this: {what}");
        assert_eq!(refused(format, profile), message);
    };
    let sample = sample(EPERM);
    let compares = "clone: its rules compare arguments";
    check(Format::Systemd, &sample, compares);
    check(Format::Falco, &sample, compares);
    let kills = "defaultAction: SCMP_ACT_ERRNO(EPERM); the process is killed";
    check(Format::Minijail, &sample, kills);
    let enosys = Profile::new(ENOSYS);
    assert!(refused(Format::Spo, &enosys).contains("calls without a rule get EPERM"));
    let two = Profile::new(EPERM).with_architectures(Some(vec![Arch::X86_64, Arch::X86]));
    check(
        Format::Seccompiler,
        &two,
        "architectures: x86 besides x86_64",
    );
    let big = Profile::new(EPERM).with_rules([rule("a", Action::Allow, "arg0 == -1")]);
    let above = "syscalls[0] (a): 18446744073709551615 is above 2^63-1";
    assert!(refused(Format::Spo, &big).contains(above));
}

#[test]
fn a_file_with_several_profiles_needs_a_choice() {
    let text = r#"{"a":{"mismatch_action":"trap","match_action":"allow","filter":[{"syscall":"read"}]},
        "b":{"mismatch_action":"trap","match_action":"allow","filter":[{"syscall":"write"}]}}"#;
    let with = |select| {
        let reading = Reading {
            select,
            ..Reading::default()
        };
        let source = read(text.as_bytes(), None, &reading);
        source
            .map(|source| source.profile.rules()[0].names().join(" "))
            .map_err(|error| error.to_string())
    };
    assert_eq!(with(Some("b")), Ok("write".to_owned()));
    let fails = |select, why: &str| {
        assert_eq!(with(select), Err(format!("line 1, column 1: {why}")));
    };
    fails(None, "there is more than one filter: a, b");
    fails(Some("c"), "there is no filter c, only: a, b");
}

#[test]
fn hostile_files_are_refused_with_a_place() {
    let deep = |open: &str| open.repeat(200_000).into_bytes();
    let long = vec![b' '; MAX_BYTES + 1];
    for &format in Format::ALL {
        for bytes in [
            deep("["),
            deep("{\"a\":"),
            deep("- "),
            deep("a: "),
            deep("("),
            deep("~"),
            b"\xff\xfe\xfd".to_vec(),
            b"{\"defaultAction\":NaN}".to_vec(),
            b"{\"defaultAction\":1,\"defaultAction\":2}".to_vec(),
            b"kind: a\nkind: b\n".to_vec(),
            b"&a [*a, *a]".to_vec(),
            Vec::new(),
        ] {
            let error = parse(format, &bytes).unwrap_err();
            let lines = bytes.split(|&byte| byte == b'\n').count();
            assert!(
                (1..=lines).contains(&error.position.line),
                "{format}: {error}"
            );
        }
        let error = parse(format, &long).unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::TooLong(MAX_BYTES), "{format}");
        assert_eq!(error.position.column, MAX_BYTES + 1);
    }
}
