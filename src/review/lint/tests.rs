use std::collections::BTreeSet;

use super::*;
use crate::profile::{Action, ArgCmp, ErrnoRet, Flag, Listener, Op, Rule};
use crate::recording::RunBuilder;

const EPERM: Action = Action::Errno(ErrnoRet::EPERM);

/// A profile under which nothing is found, for any target.
fn clean() -> Profile {
    let runtimes = [
        "capget",
        "capset",
        "chdir",
        "close",
        "execve",
        "exit",
        "exit_group",
        "faccessat2",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getpid",
        "getppid",
        "newfstatat",
        "openat",
        "prctl",
        "read",
        "rt_sigaction",
        "rt_sigprocmask",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setuid",
        "write",
    ];
    // runc calls faccessat2, so EPERM would be what older calls get too that libc probes for.
    Profile::new(Action::Errno(ErrnoRet::ENOSYS))
        .with_architectures(Some(vec![Arch::X86_64]))
        .with_rules([allow(&runtimes)])
}

fn rule(names: &[&str], action: Action, args: &[(u64, Op, u64, Option<u64>)]) -> Rule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let args = args
        .iter()
        .map(|&(index, op, value, two)| ArgCmp::new(index, op, value, two).unwrap());
    Rule::new(names, action, args.collect()).unwrap()
}

fn allow(names: &[&str]) -> Rule {
    rule(names, Action::Allow, &[])
}

/// The clean profile, and this.
fn with(rules: Vec<Rule>) -> Profile {
    let clean = clean();
    let rules = clean
        .rules()
        .iter()
        .cloned()
        .chain(rules)
        .collect::<Vec<_>>();
    clean.with_rules(rules)
}

fn with_args(name: &str, args: &[(u64, Op, u64, Option<u64>)]) -> Profile {
    with(vec![rule(&[name], Action::Allow, args)])
}

fn without(name: &str) -> Profile {
    clean().with_names(|_, kept| kept != name)
}

/// What is looked at, and for whom.
struct Case {
    profile: Profile,
    target: Target,
    libseccomp: Version,
    recording: Option<Recording>,
    conditional: Vec<String>,
}

impl Case {
    fn findings(&self) -> Vec<Finding> {
        lint(&Context {
            profile: &self.profile,
            target: self.target,
            libseccomp: self.libseccomp,
            recording: self.recording.as_ref(),
            conditional: &self.conditional,
        })
    }

    fn ids(&self) -> BTreeSet<&'static str> {
        self.findings()
            .iter()
            .map(|finding| finding.rule.id)
            .collect()
    }

    fn on(self, target: Target) -> Case {
        Case { target, ..self }
    }

    fn libseccomp(self, version: &str) -> Case {
        Case {
            libseccomp: version.parse().unwrap(),
            ..self
        }
    }

    fn recorded(self, calls: &[&str]) -> Case {
        let mut run = RunBuilder::start("/bin/app".into(), "test").finish(None, false);
        for call in calls {
            let (arch, name) = call.split_once(':').unwrap();
            let call = crate::syscall::Syscall::parse(arch.parse().unwrap(), name).unwrap();
            let tally = crate::recording::Tally {
                count: 1,
                first_ms: None,
                executables: BTreeSet::new(),
            };
            run.syscalls.insert(call, tally);
        }
        Case {
            recording: Some(Recording::of("app".parse().unwrap(), run)),
            ..self
        }
    }

    fn conditional(self, path: &str) -> Case {
        Case {
            conditional: vec![path.to_owned()],
            ..self
        }
    }
}

fn case(profile: Profile) -> Case {
    Case {
        profile,
        target: Target::Runc,
        libseccomp: Version::new(2, 6, 1),
        recording: None,
        conditional: Vec::new(),
    }
}

/// For each rule a profile on which it fires, and one as near as can be on which it doesn't.
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn cases() -> Vec<(&'static str, Case, Case)> {
    let notify = |name| with(vec![rule(&[name], Action::Notify, &[])]);
    let listening = |profile: Profile| profile.with_listener(Listener::new("/run/a".into(), None));
    let arches = |arches: &[Arch]| clean().with_architectures(Some(arches.to_vec()));
    let flags = |flags: &[Flag]| clean().with_flags(Some(flags.to_vec()));
    let default = |default_action| clean().with_default_action(default_action);
    let enosys = Action::Errno(ErrnoRet::ENOSYS);
    vec![
        ("SCR001", case(without("exit_group")), case(clean())),
        (
            "SCR002",
            case(without("getcwd")),
            case(without("getcwd")).on(Target::Crun),
        ),
        (
            "SCR003",
            case(with(vec![allow(&["mouunt"])])),
            case(with(vec![allow(&["sync"])])),
        ),
        (
            "SCR004",
            case(with(vec![allow(&["mseal"])])).libseccomp("2.5.5"),
            case(with(vec![allow(&["mseal"])])).libseccomp("2.6.0"),
        ),
        (
            "SCR005",
            case(with(vec![allow(&["cachestat"])]).with_default_action(EPERM)),
            case(with(vec![allow(&["cachestat"])]).with_default_action(EPERM)).on(Target::Crun),
        ),
        (
            "SCR006",
            case(with(vec![allow(&["stat64"])])),
            case(with(vec![allow(&["stat"])])),
        ),
        (
            "SCR007",
            case(with(vec![rule(&["read"], Action::KillProcess, &[])])),
            case(with(vec![rule(&["sync"], Action::KillProcess, &[])])),
        ),
        (
            "SCR008",
            case(with(vec![rule(&["sync"], enosys, &[])])),
            case(with(vec![rule(&["sync"], EPERM, &[])])),
        ),
        (
            "SCR009",
            case(with(vec![allow(&["mount"])])),
            case(with(vec![rule(&["mount"], enosys, &[])])),
        ),
        (
            "SCR010",
            case(with(vec![
                rule(
                    &["clone"],
                    Action::Allow,
                    &[(0, Op::MaskedEq, 0x7e02_0000, Some(0))],
                ),
                allow(&["clone3"]),
            ])),
            case(with(vec![allow(&["clone", "clone3"])])),
        ),
        (
            "SCR011",
            case(with(vec![allow(&["socketcall"])]).with_architectures(Some(vec![Arch::X86]))),
            case(with(vec![allow(&["socketcall"])])),
        ),
        (
            "SCR020",
            case(with_args(
                "socket",
                &[(0, Op::Ne, 1, None), (0, Op::Ne, 2, None)],
            )),
            case(with_args(
                "socket",
                &[(0, Op::Ne, 1, None), (1, Op::Ne, 2, None)],
            )),
        ),
        (
            "SCR021",
            case(with_args(
                "socket",
                &[(0, Op::Ge, 3, None), (0, Op::Le, 5, None)],
            )),
            case(with_args(
                "socket",
                &[(0, Op::Ge, 3, None), (1, Op::Le, 5, None)],
            )),
        ),
        (
            "SCR022",
            case(with_args("socket", &[(0, Op::Eq, 1, None)])),
            case(with_args(
                "socket",
                &[(0, Op::MaskedEq, 0xffff_ffff, Some(1))],
            )),
        ),
        (
            "SCR023",
            case(with_args("openat", &[(1, Op::Eq, 0x1000, None)])),
            case(with_args("sendto", &[(4, Op::Eq, 0, None)])),
        ),
        (
            "SCR024",
            case(
                with_args("clone", &[(0, Op::MaskedEq, 0x7e02_0000, Some(0))])
                    .with_architectures(Some(vec![Arch::X86_64, Arch::S390x])),
            ),
            case(with_args(
                "clone",
                &[(0, Op::MaskedEq, 0x7e02_0000, Some(0))],
            )),
        ),
        (
            "SCR025",
            case(with(vec![
                rule(&["lseek"], Action::Allow, &[(1, Op::Le, 5, None)]),
                rule(&["lseek"], Action::Allow, &[(1, Op::Eq, 9, None)]),
            ]))
            .libseccomp("2.6.0"),
            case(with_args("lseek", &[(1, Op::Le, 5, None)])).libseccomp("2.6.0"),
        ),
        (
            "SCR026",
            case(with_args("lseek", &[(1, Op::MaskedEq, 0x1, Some(0x3))])),
            case(with_args("lseek", &[(1, Op::MaskedEq, 0x3, Some(0x1))])),
        ),
        (
            "SCR030",
            case(default(Action::Allow)),
            case(default(Action::Log)),
        ),
        (
            "SCR031",
            case(arches(&[Arch::X86_64, Arch::X86])),
            case(arches(&[Arch::X86_64, Arch::X86])).recorded(&["x86_64:read", "x86:read"]),
        ),
        (
            "SCR032",
            case(arches(&[Arch::Riscv64])).libseccomp("2.4.4"),
            case(arches(&[Arch::Riscv64])).libseccomp("2.5.0"),
        ),
        (
            "SCR033",
            case(flags(&[Flag::WaitKillableRecv])).libseccomp("2.5.5"),
            case(flags(&[Flag::WaitKillableRecv])).libseccomp("2.6.0"),
        ),
        (
            "SCR034",
            case(clean())
                .conditional("syscalls[3].includes")
                .on(Target::Containerd),
            case(clean())
                .conditional("syscalls[3].includes")
                .on(Target::Docker),
        ),
        (
            "SCR035",
            case(listening(notify("write"))),
            case(listening(notify("sync"))),
        ),
        (
            "SCR036",
            case(notify("sync")),
            case(listening(notify("sync"))),
        ),
        (
            "SCR037",
            case(with_args("socket", &[(0, Op::Eq, 1, None)])).on(Target::Systemd),
            case(clean()).on(Target::Systemd),
        ),
        ("SCR038", case(Profile::new(EPERM)), case(clean())),
        ("SCR039", case(flags(&[])), case(clean())),
        (
            "SCR040",
            case(clean()).recorded(&["x86_64:sync"]),
            case(clean()).recorded(&["x86_64:read"]),
        ),
        (
            "SCR041",
            case(listening(clean())),
            case(listening(notify("sync"))),
        ),
    ]
}

#[test]
fn every_rule_fires_where_it_should_and_not_beside_it() {
    for (id, fires, does_not) in cases() {
        assert!(
            fires.ids().contains(id),
            "{id} does not fire: {:?}",
            fires.findings()
        );
        assert!(
            !does_not.ids().contains(id),
            "{id} fires: {:?}",
            does_not.findings()
        );
    }
}

#[test]
fn every_rule_has_such_a_pair() {
    let tested: Vec<&str> = cases().iter().map(|(id, ..)| *id).collect();
    let rules: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(tested, rules);
}

#[test]
fn nothing_is_found_in_a_profile_without_fault() {
    for &target in Target::ALL {
        let findings = case(clean()).on(target).findings();
        assert!(findings.is_empty(), "{target}: {findings:?}");
    }
}

#[test]
fn systemd_allows_the_exit_by_itself() {
    let on = |target| {
        case(without("exit_group"))
            .on(target)
            .ids()
            .contains("SCR001")
    };
    assert!(on(Target::Crun) && !on(Target::Systemd));
}

#[test]
fn rules_have_ids_and_names_of_their_own_and_sentences() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!((ids.len(), names.len()), (RULES.len(), RULES.len()));
    for one in RULES {
        assert!(
            one.text.ends_with('.') && one.fix.ends_with('.'),
            "{}",
            one.id
        );
        assert_eq!(super::rule(one.name).map(|rule| rule.id), Some(one.id));
        assert_eq!(
            super::rule(&one.id.to_lowercase()).map(|rule| rule.id),
            Some(one.id)
        );
    }
}

#[test]
fn findings_lead_to_their_place() {
    let profile = with(vec![allow(&["sync", "mouunt"])]);
    let findings = case(profile).findings();
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(finding.places, [Place::Name { rule: 1, name: 1 }]);
    assert_eq!(
        finding.message,
        "no architecture has a call named \"mouunt\""
    );
}

#[test]
fn the_trap_names_what_falls_into_it() {
    let profile = with(vec![allow(&["cachestat"])]).with_default_action(EPERM);
    let findings = case(profile).findings();
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert!(
        finding.message.starts_with("cachestat is 451 on x86_64"),
        "{}",
        finding.message
    );
    assert!(
        finding.message.contains("clone3 (435)"),
        "{}",
        finding.message
    );
    assert!(
        !finding.message.contains("fchmodat2"),
        "{}",
        finding.message
    );
}

#[test]
fn the_runtimes_calls_are_among_those_that_were_measured() {
    // The base profiles of the Security Profiles Operator were recorded with runc 1.4.2 and crun 1.26.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("integration/fixtures/published/spo");
    for (runtime, target) in [("runc", Target::Runc), ("crun", Target::Crun)] {
        let file = folder.join(format!("baseprofile-{runtime}.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        let names = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- "));
        let names: Vec<&str> = names.filter(|name| !name.contains(':')).collect();
        let profile = clean().with_rules([allow(&names)]);
        let ids = case(profile).on(target).ids();
        assert!(!ids.contains("SCR002"), "{runtime}");
    }
}

#[test]
fn a_rule_has_one_finding_with_all_names_and_places() {
    let profile = with(vec![
        allow(&["mouunt", "sync"]),
        allow(&["umouunt", "mouunt"]),
        rule(&["socket"], Action::Allow, &[(0, Op::Eq, 1, None)]),
        rule(&["socketpair"], Action::Allow, &[(0, Op::Eq, 1, None)]),
    ]);
    let findings = case(profile).findings();
    let told: Vec<_> = (findings.iter())
        .map(|finding| {
            (
                finding.rule.id,
                finding.message.as_str(),
                finding.places.len(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "SCR003",
                "no architecture has a call named \"mouunt\", \"umouunt\"",
                3
            ),
            (
                "SCR022",
                "these arguments have 32 bits: socket arg0 == 0x1, socketpair arg0 == 0x1",
                2
            ),
        ]
    );
}

#[test]
fn a_call_of_an_unlisted_architecture_needs_no_newer_libseccomp() {
    // Of riscv64 only, since libseccomp 2.5.5.
    let profile = || with(vec![allow(&["riscv_hwprobe"])]);
    assert!(!case(profile()).libseccomp("2.5.4").ids().contains("SCR004"));
    let listed = profile().with_architectures(Some(vec![Arch::X86_64, Arch::Riscv64]));
    assert!(case(listed).libseccomp("2.5.4").ids().contains("SCR004"));
}
