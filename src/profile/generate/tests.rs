use std::time::{Duration, SystemTime};

use super::super::Extent;
use super::*;
use crate::recording::{Run, Tally};

/// A run with these calls: `arch:name` or `arch:#number`.
fn run(calls: &[&str]) -> Run {
    let syscalls = calls.iter().map(|call| {
        let (arch, name) = call.split_once(':').unwrap();
        let arch = arch.parse().unwrap();
        let tally = Tally {
            count: 2,
            first_ms: None,
            executables: BTreeSet::from(["/usr/bin/app".into()]),
            args: BTreeMap::new(),
        };
        (Syscall::parse(arch, name).unwrap(), tally)
    });
    Run {
        id: RunId::new(),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        tool: "sc-record".into(),
        program: "app".into(),
        argv: None,
        labels: BTreeMap::new(),
        backend: "ptrace".into(),
        aggregated: false,
        lower_bounds: false,
        kernel: "6.18".into(),
        machine: "x86_64".into(),
        no_new_privs: false,
        exit: None,
        tasks: Some(1),
        incomplete_because: BTreeSet::new(),
        syscalls: syscalls.collect(),
        io_uring: BTreeMap::new(),
        runtime: BTreeMap::new(),
        not_observed: BTreeSet::new(),
    }
}

fn recording(runs: &[Run]) -> Recording {
    Recording {
        name: "app".parse().unwrap(),
        runs: runs.iter().map(|run| (run.id, run.clone())).collect(),
        folded: crate::recording::Folded::default(),
    }
}

fn of(calls: &[&str], extent: Extent) -> Generated<'static> {
    let policy = Policy {
        extent,
        enosys_probes: false,
        ..Policy::default()
    };
    // It lives as long as the test does.
    generate(Box::leak(Box::new(recording(&[run(calls)]))), policy).unwrap()
}

fn names<'a>(generated: &'a Generated<'_>) -> Vec<&'a str> {
    generated.names.keys().map(String::as_str).collect()
}

#[test]
fn exact_is_what_was_recorded() {
    let generated = of(
        &["x86_64:write", "x86_64:read", "x86_64:execve"],
        Extent::Exact,
    );
    assert_eq!(names(&generated), ["execve", "read", "write"]);
    assert_eq!(generated.additions().count(), 0);
    let [rule] = &generated.profile.rules[..] else {
        panic!("{:?}", generated.profile)
    };
    assert_eq!(rule.names(), ["execve", "read", "write"]);
    assert_eq!(rule.action(), Action::Allow);
    assert_eq!(generated.profile.architectures, Some(vec![Arch::X86_64]));
}

#[test]
fn safe_adds_what_the_abi_has() {
    assert_eq!(
        names(&of(&["x86_64:read"], Extent::Safe)),
        [
            "clock_getres",
            "clock_gettime",
            "execve",
            "exit",
            "exit_group",
            "getcpu",
            "gettimeofday",
            "read",
            "restart_syscall",
            "rt_sigreturn",
            "time"
        ]
    );
    let on_aarch64 = of(&["aarch64:read"], Extent::Safe);
    assert!(!on_aarch64.names.contains_key("time"));
    let on_x86 = of(&["x86:read"], Extent::Safe);
    for name in ["sigreturn", "clock_gettime64", "clock_getres_time64"] {
        assert!(on_x86.names.contains_key(name), "{name}");
    }
}

#[test]
fn portable_adds_families_of_what_was_recorded_on_the_same_abi() {
    let generated = of(&["x86_64:openat", "x86:read"], Extent::Portable);
    let opens = &generated.names["open"];
    assert_eq!(opens.keys().collect::<Vec<_>>(), [&Arch::X86_64]);
    let Reason::Added { for_recorded, .. } = &opens[&Arch::X86_64] else {
        panic!("{opens:?}")
    };
    assert_eq!(*for_recorded, BTreeSet::from(["openat".to_owned()]));
    assert!(matches!(
        generated.names["openat"][&Arch::X86_64],
        Reason::Recorded(_)
    ));
    assert!(generated.names.contains_key("openat2"));
    for name in ["fork", "newfstatat", "dup3"] {
        assert!(!generated.names.contains_key(name), "{name}");
    }
}

#[test]
fn a_multiplexer_brings_its_calls_but_they_don_t_bring_one_another() {
    let through = of(&["x86:socketcall"], Extent::Portable);
    assert!(through.names.contains_key("bind"));
    let direct = of(&["x86:socket"], Extent::Portable);
    assert!(!direct.names.contains_key("bind"));
    assert!(!direct.names.contains_key("socketcall"));
}

/// Adds values of an argument to a call of every run.
fn with_values(mut recording: Recording, name: &str, register: u8, values: &[u64]) -> Recording {
    let call = Syscall::from_name(Arch::X86_64, name).unwrap();
    for run in recording.runs.values_mut() {
        let tally = run.syscalls.get_mut(&call).unwrap();
        let value = crate::recording::ValueTally {
            count: 1,
            first_ms: None,
            executables: BTreeSet::new(),
        };
        let values = values.iter().map(|&of| (of, value.clone())).collect();
        let values = crate::recording::ArgumentValues::Each(values);
        tally.args.insert(register, values);
    }
    recording
}

fn answer(profile: &Profile, name: &str, first: u64) -> Vec<Action> {
    let answers = profile.answers(name, &[first, 1, 0, 0, 0, 0]);
    answers.into_iter().collect()
}

const WITH_RULES: Policy = Policy {
    extent: Extent::Safe,
    enosys_probes: false,
    runtime: None,
    reachable: None,
    arguments: ArgumentRules::Safe,
    refuse_multiplexers: false,
};

#[test]
fn a_program_that_makes_threads_with_clone3_gets_a_rule_for_clone() {
    let runs = [(); 3].map(|()| run(&["x86_64:clone3", "x86_64:read"]));
    let recording = with_values(recording(&runs), "clone3", 0, &[0x3d_0f00]);
    let generated = generate(&recording, WITH_RULES).unwrap();
    let profile = &generated.profile;
    assert_eq!(answer(profile, "clone", 0x3d_0f00), [Action::Allow]);
    let denied = [Action::Errno(ErrnoRet::EPERM)];
    assert_eq!(answer(profile, "clone", 0x1000_0011), denied);
    assert_eq!(
        answer(profile, "clone3", 0),
        [Action::Errno(ErrnoRet::ENOSYS)]
    );
    assert!(generated.names.contains_key("clone") && !generated.names.contains_key("clone3"));
    // Without values there is no rule, and clone3 stays.
    let policy = Policy {
        arguments: ArgumentRules::Off,
        ..WITH_RULES
    };
    let off = generate(&recording, policy).unwrap().profile;
    assert_eq!(answer(&off, "clone3", 0), [Action::Allow]);
    assert_eq!(answer(&off, "clone", 0), denied);
}

#[test]
fn calls_with_equal_comparisons_share_a_rule_and_those_of_others_have_none() {
    let calls = ["x86_64:socket", "x86_64:socketpair", "x86_64:prctl"];
    let mut runs = [(); 3].map(|()| run(&calls));
    runs[0]
        .runtime
        .insert(Syscall::from_name(Arch::X86_64, "prctl").unwrap(), 1);
    let mut recording = recording(&runs);
    for name in ["socket", "socketpair"] {
        for (register, value) in [(0, 1), (1, 1), (2, 0)] {
            recording = with_values(recording, name, register, &[value]);
        }
    }
    recording = with_values(recording, "prctl", 0, &[15]);
    let generated = generate(&recording, WITH_RULES).unwrap();
    let rules = generated.profile.rules();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert_eq!(rules[1].names(), ["socket", "socketpair"]);
    assert_eq!(rules[1].args().len(), 3);
    let prctl = &generated.arguments["prctl"][0].values;
    assert_eq!(*prctl, Err(super::super::AnyValue::OtherCallers));
    assert_eq!(answer(&generated.profile, "socket", 1), [Action::Allow]);
    assert_eq!(
        answer(&generated.profile, "socket", 38),
        [Action::Errno(ErrnoRet::EPERM)]
    );
}

#[test]
fn a_multiplexer_that_gets_around_rules_answers_enosys_unless_it_was_recorded() {
    let enosys = [Action::Errno(ErrnoRet::ENOSYS)];
    let answers = |calls: &[&str], policy| {
        let runs = [(); 3].map(|()| run(calls));
        let mut recording = recording(&runs);
        for (register, value) in [(0, 2), (1, 1), (2, 0)] {
            recording = with_values(recording, "socket", register, &[value]);
        }
        let generated = generate(&recording, policy).unwrap();
        answer(&generated.profile, "socketcall", 1)
    };
    let refusing = Policy {
        refuse_multiplexers: true,
        ..WITH_RULES
    };
    let both = ["x86_64:socket", "x86:read"];
    assert_eq!(answers(&both, WITH_RULES), enosys);
    let made = ["x86_64:socket", "x86:socketcall"];
    assert_eq!(answers(&made, WITH_RULES), [Action::Allow]);
    assert_eq!(answers(&made, refusing), enosys);
    // The ABI has none.
    let eperm = [Action::Errno(ErrnoRet::EPERM)];
    assert_eq!(answers(&both[..1], refusing), eperm);
}

#[test]
fn every_name_has_a_reason_and_every_reason_a_name() {
    for extent in [Extent::Exact, Extent::Safe, Extent::Portable] {
        let generated = of(
            &["x86_64:openat", "x86:clone", "aarch64:epoll_pwait"],
            extent,
        );
        assert!(generated.names.values().all(|reasons| !reasons.is_empty()));
        assert_eq!(generated.profile.rules[0].names(), names(&generated));
    }
}

#[test]
fn probes_answer_enosys_unless_they_are_allowed() {
    let policy = |extent| Policy {
        extent,
        enosys_probes: true,
        ..Policy::default()
    };
    let recording = recording(&[run(&["x86_64:clone", "x86_64:statx"])]);
    let safe = generate(&recording, policy(Extent::Safe)).unwrap();
    assert!(safe.probes.contains_key("clone3"));
    assert!(!safe.probes.contains_key("statx"));
    assert!(
        !safe.probes.contains_key("futex_time64"),
        "not a call of x86_64"
    );
    let answers = safe.profile.answers("clone3", &[0; 6]);
    assert_eq!(answers, BTreeSet::from([Action::Errno(ErrnoRet::ENOSYS)]));
    let answers = safe.profile.answers("mount", &[0; 6]);
    assert_eq!(answers, BTreeSet::from([Action::Errno(ErrnoRet::EPERM)]));
    let portable = generate(&recording, policy(Extent::Portable)).unwrap();
    assert!(portable.names.contains_key("clone3"));
    assert!(!portable.probes.contains_key("clone3"));
}

#[test]
fn numbers_without_a_name_are_reported_with_where_they_were_seen() {
    let runs = [
        run(&["x86_64:read", "x86_64:#-5"]),
        run(&["x86_64:#-5", "x86:#100000"]),
    ];
    let recording = recording(&runs);
    let generated = generate(&recording, Policy::default()).unwrap();
    let said: Vec<String> = generated.unnamed.iter().map(Unnamed::to_string).collect();
    let (first, second) = (runs[0].id, runs[1].id);
    assert_eq!(
        said,
        [
            format!("x86_64 number -5, called 4 times by /usr/bin/app in run {first}, {second}"),
            format!("x86 number 100000, called 2 times by /usr/bin/app in run {second}"),
        ]
    );
    let arches = generated.profile.architectures;
    assert_eq!(arches, Some(vec![Arch::X86_64, Arch::X86]));
}

#[test]
fn incomplete_runs_are_named_with_their_reasons() {
    let mut lossy = run(&["x86_64:read"]);
    lossy.incomplete_because = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let id = lossy.id;
    let runs = [run(&["x86_64:read"]), lossy];
    let recording = recording(&runs);
    let generated = generate(&recording, Policy::default()).unwrap();
    let [incomplete] = &generated.incomplete[..] else {
        panic!("{:?}", generated.incomplete)
    };
    assert_eq!(incomplete.to_string(), format!("run {id}: a; b"));
}

#[test]
fn nothing_recorded_makes_no_profile() {
    assert_eq!(
        generate(&recording(&[]), Policy::default()),
        Err(GenerateError::NoRuns)
    );
    assert_eq!(
        generate(&recording(&[run(&["x86_64:#-5"])]), Policy::default()),
        Err(GenerateError::NoCalls)
    );
}
