use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::event::{CallSite, Code, Event, Sink, Task};
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::profile::{ArgCmp, Op};
use crate::recording::{ArgumentValues, RunBuilder, Tally, ValueTally};

fn profile() -> Profile {
    Profile::new(EPERM)
        .with_architectures(Some(vec![Arch::X86_64]))
        .with_rules([
            allow("read write time mount"),
            rule("socket personality", Action::Allow, "arg0 == 1"),
            rule("clone3", ENOSYS, ""),
        ])
}

fn call(text: &str) -> Syscall {
    let (arch, name) = text.split_once(':').unwrap_or(("x86_64", text));
    Syscall::parse(arch.parse().unwrap(), name).unwrap()
}

/// What a profile and calls don't have in common. Each call has a first argument, or none is known.
fn compare(profile: &Profile, calls: &[(&str, Option<u64>)], terms: &Terms) -> Delta {
    let answers = Answers::of(profile).unwrap();
    let mut watch = Watch::start(answers.clone());
    let mut builder = RunBuilder::start("x".into(), "ptrace");
    for (name, first) in calls {
        let site = CallSite {
            args: first.map(|first| [first, 0, 0, 0, 0, 0]),
            ip: Some(0x1002),
            code: Arc::new(Code::Unknown),
            executable: None,
            process: Some(Task(1)),
            thread: None,
        };
        let event = Event::Syscall {
            task: Task(1),
            syscall: call(name),
            site: first.map(|_| Box::new(site)),
        };
        watch.look(&event);
        builder.event(event);
    }
    let evidence = Evidence::of_run(&builder.finish(None, false), watch);
    check(profile, &answers, &evidence, terms)
}

fn found(findings: &[Finding]) -> Vec<String> {
    let shown = |finding: &Finding| {
        let Finding {
            syscall,
            because,
            count,
            ..
        } = finding;
        let because = format!("{because:?}");
        let because = because.split(' ').next().unwrap();
        format!("{}:{syscall} {because} {count}", syscall.arch)
    };
    findings.iter().map(shown).collect()
}

#[test]
fn each_way_to_be_denied_is_told_apart() {
    let calls = [
        ("read", None),
        ("openat", Some(0)),
        ("openat", Some(7)),
        ("socket", Some(1)),
        ("socket", Some(2)),
        ("personality", None),
        ("clone3", Some(0)),
        ("x86:open", Some(0)),
        ("#-5", Some(0)),
        ("x86:#9999", Some(0)),
    ];
    let delta = compare(&profile(), &calls, &Terms::default());
    assert_eq!(
        found(&delta.denied),
        [
            "x86_64:#-5 NoName 1",
            "x86_64:socket Arguments 1",
            "x86_64:openat NotNamed 2",
            "x86_64:clone3 Refused 1",
            "x86:open UnlistedAbi 1",
            "x86:#9999 NoName 1",
        ]
    );
    assert_eq!(
        found(&delta.undecided),
        ["x86_64:personality UnknownArguments 1"]
    );
    let answers: Vec<_> = delta.denied.iter().map(|f| f.actions.clone()).collect();
    assert_eq!(answers[3], [ENOSYS].into());
    assert_eq!(answers[4], [Action::KillProcess].into());
    // An open on x86 is missing, and x86 with it; what a rule refuses on purpose is left so.
    let allow: Vec<_> = delta.missing.allow.iter().map(String::as_str).collect();
    assert_eq!(allow, ["open", "openat"]);
    // With the family that it was called with; the profile compares no other argument.
    let domain = ArgCmp::new(0, Op::MaskedEq, 0xffff_ffff, Some(2)).unwrap();
    let with = BTreeSet::from([("socket".to_owned(), vec![domain])]);
    assert_eq!(delta.missing.allow_with, with);
    assert_eq!(delta.missing.arches, [Arch::X86].into());
}

#[test]
fn the_edit_makes_the_profile_allow_what_it_lacked() {
    let calls = [
        ("openat", Some(0)),
        ("socket", Some(2)),
        ("x86:open", Some(0)),
    ];
    let delta = compare(&profile(), &calls, &Terms::default());
    let edited = delta.missing.apply(&profile());
    let delta = compare(&edited, &calls, &Terms::default());
    assert_eq!(found(&delta.denied), [""; 0]);
    assert!(delta.missing.is_empty());
}

#[test]
fn names_that_nobody_called_are_stale_unless_the_policy_adds_them() {
    let calls = [
        ("read", None),
        ("socket", Some(1)),
        ("personality", Some(2)),
    ];
    let delta = compare(&profile(), &calls, &Terms::default());
    let stale: Vec<_> = (delta.unused.stale())
        .map(|unused| (unused.name.as_str(), unused.conditional))
        .collect();
    assert_eq!(
        stale,
        [("write", false), ("mount", false), ("personality", true)]
    );
    let kept: Vec<_> = delta
        .unused
        .by_policy()
        .map(|unused| &unused.name)
        .collect();
    assert_eq!(kept, ["time"]);
    let exact = Terms {
        policy: Policy {
            extent: crate::profile::Extent::Exact,
            ..Policy::default()
        },
        ..Terms::default()
    };
    let delta = compare(&profile(), &calls, &exact);
    assert_eq!(delta.unused.by_policy().count(), 0);
}

#[test]
fn of_recordings_the_arguments_are_not_known() {
    let mut builder = RunBuilder::of_the_past("log");
    builder.event(Event::Clock {
        now: SystemTime::UNIX_EPOCH,
    });
    for name in ["read", "socket", "openat"] {
        builder.event(Event::Calls {
            task: Task(1),
            syscall: call(name),
            count: 3,
        });
    }
    builder.event(Event::Lost {
        count: None,
        why: "something".to_owned(),
    });
    let run = builder.finish(None, false);
    let id = run.id;
    let recording = Recording::of("x".parse().unwrap(), run);
    let answers = Answers::of(&profile()).unwrap();
    let evidence = Evidence::of_recording(&recording);
    let delta = check(&profile(), &answers, &evidence, &Terms::default());
    assert_eq!(found(&delta.denied), ["x86_64:openat NotNamed 3"]);
    assert_eq!(
        found(&delta.undecided),
        ["x86_64:socket UnknownArguments 3"]
    );
    // What may have held isn't stale.
    assert!(delta.unused.stale().all(|unused| unused.name != "socket"));
    assert_eq!(
        delta.incomplete,
        BTreeMap::from([(id, BTreeSet::from(["something".to_owned()]))])
    );
}

#[test]
fn a_profile_that_logs_or_allows_by_default_lacks_nothing_but_what_it_refuses() {
    for default in [Action::Log, Action::Allow] {
        let profile = profile().with_default_action(default);
        let calls = [("openat", Some(0)), ("clone3", Some(0)), ("#-5", None)];
        let delta = compare(&profile, &calls, &Terms::default());
        assert_eq!(found(&delta.denied), ["x86_64:clone3 Refused 1"]);
    }
}

#[test]
fn what_may_be_denied_is_no_finding_and_needs_no_patch() {
    let terms = Terms {
        tolerated: ["openat".to_owned()].into(),
        ..Terms::default()
    };
    let delta = compare(&profile(), &[("openat", Some(0))], &terms);
    assert_eq!((delta.denied.len(), delta.tolerated.len()), (0, 1));
    assert!(delta.missing.is_empty());
}

#[test]
fn a_storm_of_denied_calls_from_many_places_is_bounded() {
    let answers = Answers::of(&profile()).unwrap();
    let mut watch = Watch::start(answers);
    for n in 0..10_000_u64 {
        let site = CallSite {
            args: Some([n; 6]),
            ip: Some(n / 10),
            code: Arc::new(Code::Anonymous),
            executable: None,
            process: None,
            thread: None,
        };
        watch.look(&Event::Syscall {
            task: Task(1),
            syscall: call("openat"),
            site: Some(Box::new(site)),
        });
    }
    let calls = watch.into_calls();
    let denied = &calls[&call("openat")].denied;
    let by_callers: u64 = denied.callers.iter().map(|caller| caller.count).sum();
    assert_eq!(denied.callers.len(), MAX_CALLERS);
    assert_eq!(
        (denied.count, by_callers + denied.by_others),
        (10_000, 10_000)
    );
}

/// A recording of one run of `socket` with these domains and types.
fn sockets(domains: &[u64], types: &[u64]) -> Recording {
    let mut run = RunBuilder::start("x".into(), "ptrace").finish(None, false);
    let values = |values: &[u64]| {
        let tally = ValueTally {
            count: 2,
            first_ms: None,
            executables: BTreeSet::new(),
        };
        let each = values.iter().map(|&value| (value, tally.clone()));
        ArgumentValues::Each(each.collect())
    };
    let tally = Tally {
        count: 2 * domains.len() as u64,
        first_ms: None,
        executables: BTreeSet::new(),
        args: BTreeMap::from([(0, values(domains)), (1, values(types))]),
    };
    run.syscalls.insert(call("socket"), tally);
    Recording::of("x".parse().unwrap(), run)
}

#[test]
fn recorded_values_decide_on_rules_for_arguments() {
    let check = |rules: &[&str], recording: &Recording| {
        let rules = rules.iter().map(|args| rule("socket", Action::Allow, args));
        let profile = Profile::new(EPERM)
            .with_architectures(Some(vec![Arch::X86_64]))
            .with_rules(rules);
        let answers = Answers::of(&profile).unwrap();
        let evidence = Evidence::of_recording(recording);
        check(&profile, &answers, &evidence, &Terms::default())
    };
    let both = ["arg0 == 2, arg1 == 1", "arg0 == 1, arg1 == 2"];
    let denied = check(&both, &sockets(&[1, 2, 38], &[1, 2]));
    assert_eq!(found(&denied.denied), ["x86_64:socket Arguments 2"]);
    assert_eq!(denied.denied[0].values, BTreeSet::from([(0, 38)]));
    assert!(denied.denied[0].count_is_exact);
    // Which type belongs to which family was not recorded.
    assert_eq!(
        found(&denied.undecided),
        ["x86_64:socket UnknownArguments 4"]
    );
    let all = check(&["arg0 & 0xfffffffc == 0"], &sockets(&[1, 2], &[1]));
    assert!(all.denied.is_empty() && all.undecided.is_empty(), "{all:?}");
    // Of negative ints, a register may hold the sign.
    let negative = check(&["arg0 == 0xffffffff"], &sockets(&[0xffff_ffff], &[1]));
    assert_eq!(
        found(&negative.undecided),
        ["x86_64:socket UnknownArguments 2"]
    );
    // Arguments that were not recorded decide nothing.
    let mut without = sockets(&[38], &[1]);
    let mut runs = without.runs.values_mut();
    runs.next()
        .unwrap()
        .syscalls
        .values_mut()
        .next()
        .unwrap()
        .args
        .clear();
    assert_eq!(
        found(&check(&both, &without).undecided),
        ["x86_64:socket UnknownArguments 2"]
    );
}
