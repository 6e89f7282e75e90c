use std::collections::BTreeSet;

use super::*;
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::profile::{Action, ErrnoRet, Flag, Listener, Rule};
use crate::recording::RunBuilder;

/// A profile under which nothing is found, for any target.
fn clean() -> Profile {
    let runtimes = "capget capset chdir close execve exit exit_group faccessat2 fcntl fstat fstatfs futex getcwd \
                    getdents64 getpid getppid newfstatat openat prctl pselect6 read rt_sigaction rt_sigprocmask setgid \
                    setgroups setresgid setresuid setuid write";
    // runc calls faccessat2, so EPERM would be what older calls get too that libc probes for.
    Profile::new(ENOSYS)
        .with_architectures(Some(vec![Arch::X86_64]))
        .with_rules([allow(runtimes)])
}

/// The clean profile, and this.
fn with(rules: &[Rule]) -> Profile {
    let clean = clean();
    let rules = [clean.rules(), rules].concat();
    clean.with_rules(rules)
}

fn without(name: &str) -> Profile {
    clean().with_names(|_, kept| kept != name)
}

/// The input of lint.
struct Case {
    profile: Profile,
    target: LintTarget,
    libseccomp: Version,
    recording: Option<Recording>,
    conditional: Vec<String>,
}

impl Case {
    fn findings(&self) -> Vec<LintFinding> {
        lint(&Context {
            profile: &self.profile,
            target: self.target,
            libseccomp: self.libseccomp,
            recording: self.recording.as_ref(),
            conditional: &self.conditional,
        })
    }

    fn ids(&self) -> BTreeSet<&'static str> {
        (self.findings().iter())
            .map(|finding| finding.rule.id)
            .collect()
    }

    fn on(self, target: LintTarget) -> Case {
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
                args: std::collections::BTreeMap::new(),
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
        target: LintTarget::Runc,
        libseccomp: Version::new(2, 6, 1),
        recording: None,
        conditional: Vec::new(),
    }
}

/// The clean profile, and a rule.
fn plus(names: &str, action: Action, args: &str) -> Case {
    case(with(&[rule(names, action, args)]))
}

/// For each rule a profile on which it fires, and one as near as can be on which it doesn't.
#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, Case, Case)> {
    let allowing = |names| case(with(&[allow(names)]));
    let comparing = |name, args| plus(name, Action::Allow, args);
    let notify = |name| with(&[rule(name, Action::Notify, "")]);
    let listening = |profile: Profile| profile.with_listener(Listener::new("/run/a".into(), None));
    let on = |case: Case, arches: &[Arch]| Case {
        profile: case.profile.with_architectures(Some(arches.to_vec())),
        ..case
    };
    let arches = |arches: &[Arch]| on(case(clean()), arches);
    let flags = |flags: &[Flag]| case(clean().with_flags(Some(flags.to_vec())));
    let default = |default_action| case(clean().with_default_action(default_action));
    let cachestat = || case(with(&[allow("cachestat")]).with_default_action(EPERM));
    let namespaces = || rule("clone", Action::Allow, "arg0 & 0x7e020000 == 0");
    let lseek = |args| rule("lseek", Action::Allow, args);
    let included = || case(clean()).conditional("syscalls[3].includes");
    let both = || arches(&[Arch::X86_64, Arch::X86]);
    let on_two = |names| on(allowing(names), &[Arch::X86_64, Arch::Aarch64]);
    let mut cases = Vec::new();
    let mut add = |id, fires, does_not| cases.push((id, fires, does_not));
    let getcwd = || case(without("getcwd"));
    add("SCR001", case(without("exit_group")), case(clean()));
    add("SCR002", getcwd(), getcwd().on(LintTarget::Crun));
    add("SCR003", allowing("mouunt"), allowing("sync"));
    let mseal = |version| allowing("mseal").libseccomp(version);
    add("SCR004", mseal("2.5.5"), mseal("2.6.0"));
    add("SCR005", cachestat(), cachestat().on(LintTarget::Crun));
    add("SCR006", allowing("stat64"), allowing("stat"));
    let kill = |name| plus(name, Action::KillProcess, "");
    add("SCR007", kill("read"), kill("sync"));
    add("SCR008", plus("sync", ENOSYS, ""), plus("sync", EPERM, ""));
    add("SCR009", allowing("mount"), plus("mount", ENOSYS, ""));
    let clone3 = case(with(&[namespaces(), allow("clone3")]));
    add("SCR010", clone3, allowing("clone clone3"));
    let on_x86 = on(allowing("socketcall"), &[Arch::X86]);
    add("SCR011", on_x86, allowing("socketcall"));
    let entering = allowing("io_uring_enter");
    add("SCR012", allowing("io_uring_setup"), entering);
    add("SCR013", on_two("dup2"), on_two("dup2 dup3"));
    let socket = |args| comparing("socket", args);
    add(
        "SCR020",
        socket("arg0 != 1, arg0 != 2"),
        socket("arg0 != 1, arg1 != 2"),
    );
    add(
        "SCR021",
        socket("arg0 >= 3, arg0 <= 5"),
        socket("arg0 >= 3, arg1 <= 5"),
    );
    add(
        "SCR022",
        socket("arg0 == 1"),
        socket("arg0 & 0xffffffff == 1"),
    );
    let sendto = comparing("sendto", "arg4 == 0");
    add("SCR023", comparing("openat", "arg1 == 0x1000"), sendto);
    let clone = || case(with(&[namespaces()]));
    add("SCR024", on(clone(), &[Arch::X86_64, Arch::S390x]), clone());
    let two = case(with(&[lseek("arg1 <= 5"), lseek("arg1 == 9")]));
    let one = case(with(&[lseek("arg1 <= 5")]));
    add("SCR025", two.libseccomp("2.6.0"), one.libseccomp("2.6.0"));
    let masked = |args| comparing("lseek", args);
    add(
        "SCR026",
        masked("arg1 & 0x1 == 0x3"),
        masked("arg1 & 0x3 == 0x1"),
    );
    let inet = || rule("socket", Action::Allow, "arg0 & 0xffffffff == 2");
    let on_both = |rules: &[Rule]| on(case(with(rules)), &[Arch::X86_64, Arch::X86]);
    let refused = rule("socketcall", Action::Errno(ErrnoRet::EPERM), "");
    add("SCR027", on_both(&[inet()]), on_both(&[inet(), refused]));
    add("SCR030", default(Action::Allow), default(Action::Log));
    add(
        "SCR031",
        both(),
        both().recorded(&["x86_64:read", "x86:read"]),
    );
    let riscv64 = |version| arches(&[Arch::Riscv64]).libseccomp(version);
    add("SCR032", riscv64("2.4.4"), riscv64("2.5.0"));
    let killable = |version| flags(&[Flag::WaitKillableRecv]).libseccomp(version);
    add("SCR033", killable("2.5.5"), killable("2.6.0"));
    add(
        "SCR034",
        included().on(LintTarget::Containerd),
        included().on(LintTarget::Docker),
    );
    let heard = |name| case(listening(notify(name)));
    add("SCR035", heard("write"), heard("sync"));
    add("SCR036", case(notify("sync")), heard("sync"));
    let on_systemd = socket("arg0 == 1").on(LintTarget::Systemd);
    add("SCR037", on_systemd, case(clean()).on(LintTarget::Systemd));
    add("SCR038", case(Profile::new(EPERM)), case(clean()));
    add("SCR039", flags(&[]), case(clean()));
    let recorded = |call| case(clean()).recorded(&[call]);
    add("SCR040", recorded("x86_64:sync"), recorded("x86_64:read"));
    add("SCR041", case(listening(clean())), heard("sync"));
    cases
}

#[test]
fn every_rule_fires_where_it_should_and_not_beside_it() {
    for (id, fires, does_not) in cases() {
        let findings = fires.findings();
        assert!(fires.ids().contains(id), "{id} does not fire: {findings:?}");
        let findings = does_not.findings();
        assert!(!does_not.ids().contains(id), "{id} fires: {findings:?}");
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
    for &target in LintTarget::ALL {
        let findings = case(clean()).on(target).findings();
        assert!(findings.is_empty(), "{target}: {findings:?}");
    }
}

#[test]
fn systemd_allows_the_exit_by_itself() {
    let ids = |target| case(without("exit_group")).on(target).ids();
    assert!(
        ids(LintTarget::Crun).contains("SCR001") && !ids(LintTarget::Systemd).contains("SCR001")
    );
}

#[test]
fn rules_have_ids_and_names_of_their_own_and_sentences() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!((ids.len(), names.len()), (RULES.len(), RULES.len()));
    for one in RULES {
        let id = one.id;
        assert!(one.text.ends_with('.') && one.fix.ends_with('.'), "{id}");
        for name in [one.name, &id.to_lowercase()] {
            assert_eq!(super::super::lint::rule(name).map(|rule| rule.id), Some(id));
        }
    }
}

fn only(case: &Case) -> LintFinding {
    let findings = case.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.into_iter().next().unwrap()
}

#[test]
fn findings_lead_to_their_place() {
    let profile = with(&[allow("sync mouunt")]);
    let finding = only(&case(profile));
    assert_eq!(finding.places, [ProfilePart::Name { rule: 1, name: 1 }]);
    let message = "no architecture has a call named \"mouunt\"";
    assert_eq!(finding.message, message);
}

#[test]
fn the_trap_names_what_falls_into_it() {
    let profile = with(&[allow("cachestat")]).with_default_action(EPERM);
    let message = only(&case(profile)).message;
    assert!(
        message.starts_with("cachestat is 451 on x86_64"),
        "{message}"
    );
    assert!(message.contains("clone3 (435)"), "{message}");
    assert!(!message.contains("fchmodat2"), "{message}");
}

#[test]
fn the_runtimes_calls_are_among_those_that_were_measured() {
    // The base profiles of the Security Profiles Operator were recorded with runc 1.4.2 and crun 1.26.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("integration/fixtures/published/spo");
    for (runtime, target) in [("runc", LintTarget::Runc), ("crun", LintTarget::Crun)] {
        let file = folder.join(format!("baseprofile-{runtime}.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        let names = (text.lines()).filter_map(|line| line.trim().strip_prefix("- "));
        let names: Vec<&str> = names.filter(|name| !name.contains(':')).collect();
        let profile = clean().with_rules([allow(&names.join(" "))]);
        let ids = case(profile).on(target).ids();
        assert!(!ids.contains("SCR002"), "{runtime}");
    }
}

#[test]
fn a_rule_has_one_finding_with_all_names_and_places() {
    let profile = with(&[
        allow("mouunt sync"),
        allow("umouunt mouunt"),
        rule("socket", Action::Allow, "arg0 == 1"),
        rule("socketpair", Action::Allow, "arg0 == 1"),
    ]);
    let findings = case(profile).findings();
    let shown = findings.iter().map(|finding| {
        let (id, message, places) = (finding.rule.id, &finding.message, finding.places.len());
        format!("{id} at {places}: {message}")
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "SCR003 at 3: no architecture has a call named \"mouunt\", \"umouunt\"",
            "SCR022 at 2: these arguments have 32 bits: socket arg0 == 0x1, socketpair arg0 == 0x1",
        ]
    );
}

#[test]
fn a_call_of_an_unlisted_architecture_needs_no_newer_libseccomp() {
    // Of riscv64 only, since libseccomp 2.5.5.
    let profile = || with(&[allow("riscv_hwprobe")]);
    assert!(!case(profile()).libseccomp("2.5.4").ids().contains("SCR004"));
    let listed = profile().with_architectures(Some(vec![Arch::X86_64, Arch::Riscv64]));
    assert!(case(listed).libseccomp("2.5.4").ids().contains("SCR004"));
}
