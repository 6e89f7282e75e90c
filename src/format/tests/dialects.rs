//! What each format alone has: dialects, conditions, groups, schemas.

use super::*;

/// What the profile of a file can't hold.
fn extras(parsed: &Parsed) -> String {
    format!("{:?}", parsed.extras.as_ref().unwrap())
}

#[test]
fn the_default_profile_of_docker_survives_a_round_trip() {
    let bytes = data("docker/default.json");
    let source = read(&bytes, None, &Reading::default()).unwrap();
    assert_eq!(source.format, Format::Docker);
    let written = source.write(Format::Docker, &Writing::default()).unwrap();
    let again = read(&written.bytes, Some(Format::Docker), &Reading::default()).unwrap();
    assert_eq!(extras(&again), extras(&source));
    // But for a null that means an empty list, it is the same JSON.
    let mut theirs: Value = serde_json::from_slice(&bytes).unwrap();
    for entry in theirs["archMap"].as_array_mut().unwrap() {
        let others = &mut entry["subArchitectures"];
        if others.is_null() {
            *others = Value::Array(Vec::new());
        }
    }
    let ours: Value = serde_json::from_slice(&written.bytes).unwrap();
    assert_eq!(ours, theirs);
    assert!(
        String::from_utf8(written.bytes)
            .unwrap()
            .contains("s390 parameter ordering")
    );
}

#[test]
fn conditions_of_docker_are_resolved_as_docker_does() {
    let bytes = data("docker/default.json");
    let resolved = |arch, caps: Option<&[&str]>, kernel| {
        let caps = caps.map(|caps| caps.iter().map(|&cap| cap.to_owned()).collect());
        let machine = Machine { arch, caps, kernel };
        let reading = Reading {
            machine,
            ..Reading::default()
        };
        read(&bytes, None, &reading).unwrap().profile
    };
    let allows =
        |profile: &Profile, name: &str| profile.answers(name, &[0; ARGS]).contains(&Action::Allow);
    let amd64 = resolved(Arch::X86_64, None, None);
    assert_eq!(
        amd64.architectures(),
        Some(&[Arch::X86_64, Arch::X86, Arch::X32][..])
    );
    assert!(allows(&amd64, "chroot") && allows(&amd64, "arch_prctl") && allows(&amd64, "ptrace"));
    assert!(!allows(&amd64, "mount") && !allows(&amd64, "riscv_flush_icache"));
    assert_eq!(amd64.answers("clone3", &[0; ARGS]), [ENOSYS].into());
    let admin = resolved(Arch::X86_64, Some(&["CAP_SYS_ADMIN"]), None);
    assert!(allows(&admin, "mount") && allows(&admin, "clone3") && !allows(&admin, "chroot"));
    let old = KernelVersion {
        kernel: 4,
        major: 7,
    };
    assert!(!allows(&resolved(Arch::X86_64, None, Some(old)), "ptrace"));
    // s390 swaps the arguments of clone.
    let s390x = resolved(Arch::S390x, None, None);
    let clone = |profile: &Profile| profile.only("clone").rules()[0].args()[0].index();
    assert_eq!((clone(&amd64), clone(&s390x)), (0, 1));
    assert_eq!(resolved(Arch::Sparc64, None, None).architectures(), None);
}

#[test]
fn the_default_profile_of_podman_survives_a_round_trip() {
    let bytes = data("podman/seccomp.json");
    let source = read(&bytes, None, &Reading::default()).unwrap();
    assert_eq!(source.format, Format::Podman);
    let written = source.write(Format::Podman, &Writing::default()).unwrap();
    let again = read(&written.bytes, Some(Format::Podman), &Reading::default()).unwrap();
    assert_eq!(extras(&again), extras(&source));
    assert_eq!(source.profile.default_action(), ENOSYS);
    let docker = source.write(Format::Docker, &Writing::default()).unwrap();
    let docker = read(&docker.bytes, Some(Format::Docker), &Reading::default()).unwrap();
    assert_eq!(extras(&docker), extras(&source));
}

#[test]
fn the_base_profiles_of_the_operator_survive_a_round_trip() {
    for file in ["spo/baseprofile-crun.yaml", "spo/baseprofile-runc.yaml"] {
        let bytes = data(file);
        let source = read(&bytes, None, &Reading::default()).unwrap();
        let written = source.write(Format::Spo, &Writing::default()).unwrap();
        let again = read(&written.bytes, None, &Reading::default()).unwrap();
        assert_eq!(extras(&again), extras(&source));
        assert!(extras(&source).contains("-v1."));
    }
}

#[test]
fn resources_are_valid_by_the_schema_of_the_operator() {
    let bytes = data("spo/seccompprofile-crd.yaml");
    let text = String::from_utf8(bytes).unwrap();
    let crd: Vec<Value> = yaml::documents(&text).unwrap();
    let schema = crd[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    assert!(schema.is_object());
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("crd.json", schema).unwrap();
    let index = compiler.compile("crd.json", &mut schemas).unwrap();
    let mut profile = sample(EPERM);
    profile = profile.with_flags(Some(vec![]));
    for profile in [profile, Profile::new(Action::Allow)] {
        let bytes = written(Format::Spo, &profile).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let values: Vec<Value> = yaml::documents(&text).unwrap();
        schemas
            .validate(&values[0], index)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn seccompiler_accepts_what_is_written_for_it() {
    let bytes = written(Format::Seccompiler, &sample(EPERM)).unwrap();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filters = ::seccompiler::compile_from_json(&bytes[..], arch).unwrap();
    assert!(filters["workload"].len() > 10);
    let nothing = written(Format::Seccompiler, &Profile::new(EPERM)).unwrap();
    ::seccompiler::compile_from_json(&nothing[..], arch).unwrap();
}

#[test]
fn lines_of_systemd_add_up_as_systemd_adds_them() {
    fn groups(group: &str) -> Option<Vec<String>> {
        let calls: &[&str] = match group {
            "@default" => &["execve", "exit"],
            "@io" => &["read", "write"],
            _ => return None,
        };
        Some(calls.iter().map(|&call| call.to_owned()).collect())
    }
    let check = |lines: &str, expected: &[(&str, Action)]| {
        let text = format!("[Unit]\nDescription=x\n[Service]\n{lines}\n");
        let reading = Reading {
            groups: Some(groups),
            ..Reading::default()
        };
        let profile = read(text.as_bytes(), Some(Format::Systemd), &reading)
            .unwrap()
            .profile;
        let found: BTreeMap<&str, Action> = (profile.rules().iter())
            .flat_map(|rule| {
                rule.names()
                    .iter()
                    .map(|name| (name.as_str(), rule.action()))
            })
            .collect();
        assert_eq!(found, expected.iter().copied().collect(), "{lines}");
        profile.default_action()
    };
    let (allow, kill) = (Action::Allow, Action::KillProcess);
    let implied = [("execve", allow), ("exit", allow), ("read", allow)];
    assert_eq!(check("SystemCallFilter=read", &implied), kill);
    let both = "SystemCallFilter=@io\nSystemCallFilter=~write exit\nSystemCallErrorNumber=1";
    assert_eq!(check(both, &[("execve", allow), ("read", allow)]), EPERM);
    let denied = "SystemCallFilter=~@io dup:EPERM \\\n  dup2:kill";
    let expected = [
        ("read", kill),
        ("write", kill),
        ("dup", EPERM),
        ("dup2", kill),
    ];
    assert_eq!(check(denied, &expected), allow);
    let reset = "SystemCallFilter=read\nSystemCallFilter=\nSystemCallFilter=~mount";
    assert_eq!(check(reset, &[("mount", kill)]), allow);
    let error = read_as(Format::Systemd, b"[Service]\nSystemCallFilter=@io\n").unwrap_err();
    assert_eq!(
        error,
        "line 2, column 1: the calls of @default, which only systemd knows"
    );
}

/// What a profile becomes in the systemd format has these lines, and means the same.
fn survives_in_systemd(profile: &Profile, lines: &[&str]) {
    let text = render(Format::Systemd, profile).unwrap();
    for line in lines {
        assert!(text.contains(line), "{line}{text}");
    }
    let back = read_as(Format::Systemd, text.as_bytes()).unwrap();
    for name in [
        "clone",
        "clone3",
        "personality",
        "read",
        "sched_setscheduler",
        "socket",
        "unshare",
    ] {
        let values = (0..50).chain([0x1000_0000, 0x2_0000, 0x1_0000_0000, u64::MAX]);
        for value in values {
            let args = [value, value, 0, 0, 0, 0];
            assert_eq!(
                back.answers(name, &args),
                profile.answers(name, &args),
                "{name} {value}"
            );
        }
    }
}

#[test]
fn settings_of_systemd_restrict_arguments_where_they_mean_the_same() {
    let enosys = rule("clone3", ENOSYS, "");
    let clone = || rule("clone", Action::Allow, "arg0 & 0x7e020000 == 0x0");
    let personality = |comparison| rule("personality", Action::Allow, comparison);
    let realtime = ["arg1 == 0x0", "arg1 == 0x3", "arg1 == 0x5"];
    let realtime = realtime.map(|policy| rule("sched_setscheduler", Action::Allow, policy));
    let profile = |rules: &[Rule]| {
        let rules = [&[allow("read"), enosys.clone()], rules].concat();
        Profile::new(EPERM).with_rules(rules)
    };
    // What other families answer.
    let no_family = Action::Errno(ErrnoRet::EAFNOSUPPORT);
    let family = |action, comparison| rule("socket", action, comparison);
    let unix_and_internet = [
        family(Action::Allow, "arg0 == 0x1"),
        family(Action::Allow, "arg0 == 0x2"),
        family(no_family, "arg0 < 0x1"),
        family(no_family, "arg0 > 0x2"),
    ];
    let all = [
        &[clone(), personality("arg0 == 0x0")],
        &realtime[..],
        &unix_and_internet,
    ];
    let all = profile(&all.concat());
    let other = Profile::new(Action::Allow).with_rules([
        rule("mount", EPERM, ""),
        family(no_family, "arg0 == 0x26"),
        family(no_family, "arg0 == 0x28"),
    ]);
    let only =
        Profile::new(no_family).with_rules([allow("read"), family(Action::Allow, "arg0 == 0x10")]);
    survives_in_systemd(
        &all,
        &[
            "SystemCallFilter=clone personality read sched_setscheduler socket\n",
            "SystemCallFilter=~clone3:ENOSYS\n",
            "RestrictNamespaces=yes\n",
            "LockPersonality=yes\n",
            "RestrictRealtime=yes\n",
            "RestrictAddressFamilies=AF_UNIX AF_INET\n",
        ],
    );
    survives_in_systemd(&other, &["RestrictAddressFamilies=~AF_ALG AF_VSOCK\n"]);
    survives_in_systemd(&only, &["RestrictAddressFamilies=AF_NETLINK\n"]);
    let lines = "RestrictAddressFamilies=AF_INET AF_ALG\nRestrictAddressFamilies=~AF_ALG";
    let added = format!("[Service]\nSystemCallFilter=~mount\n{lines}\n");
    let added = read_as(Format::Systemd, added.as_bytes()).unwrap();
    let answers = |family| added.answers("socket", &[family, 0, 0, 0, 0, 0]);
    assert_eq!(answers(2), BTreeSet::from([Action::Allow]));
    for family in [1, 38, 0x1_0000_0002] {
        assert_eq!(answers(family), BTreeSet::from([no_family]), "{family}");
    }
    for (other, why) in [
        (
            profile(&[family(Action::Allow, "arg0 == 0x2")]),
            "socket: its rules compare arguments (RestrictAddressFamilies= answers EAFNOSUPPORT",
        ),
        (
            only.clone().with_rules([
                allow("read"),
                family(Action::Allow, "arg0 & 0xffffffff == 0x10"),
            ]),
            "socket: its rules compare arguments (RestrictAddressFamilies=",
        ),
        (
            only.clone().with_architectures(Some(vec![Arch::X86])),
            "socket: its rules compare arguments (RestrictAddressFamilies=",
        ),
        // A call with junk in the upper half of the register is refused by systemd only.
        (
            profile(&[personality("arg0 & 0xffffffff == 0x0")]),
            "personality: its rules compare arguments (LockPersonality= allows 0 only, compares 64 bits",
        ),
        (
            profile(&realtime[..2]),
            "sched_setscheduler: its rules compare arguments (RestrictRealtime= allows",
        ),
        (
            profile(&[rule("mmap", Action::Allow, "arg2 & 0x6 == 0x0")]),
            "mmap: its rules compare arguments (MemoryDenyWriteExecute= is",
        ),
        (
            profile(&[clone(), allow("unshare")]),
            "clone: its rules compare arguments",
        ),
        (
            profile(&[clone()]).with_default_action(Action::KillProcess),
            "clone: its rules compare arguments",
        ),
    ] {
        let error = render(Format::Systemd, &other).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let alone = b"[Service]\nSystemCallFilter=~mount\nRestrictNamespaces=yes\n";
    let error = read_as(Format::Systemd, alone).unwrap_err();
    assert_eq!(
        error,
        "line 3, column 1: RestrictNamespaces=yes: systemd adds a filter of its own to it"
    );
}

#[test]
fn expressions_of_minijail_become_comparisons() {
    let read = |text: &str| read_as(Format::Minijail, text.as_bytes());
    let profile = read(
        "{ read, write }: 1\nopen: arg1 in 0x3 && arg1 & 0x1 || arg0 == -1\nptrace: return EPERM\n",
    )
    .unwrap();
    let answer = |name: &str, args: [u64; 2]| {
        let args = [args[0], args[1], 0, 0, 0, 0];
        profile.answers(name, &args).into_iter().next().unwrap()
    };
    assert_eq!(profile.default_action(), Action::KillProcess);
    assert_eq!(answer("write", [0, 0]), Action::Allow);
    assert_eq!(answer("open", [0, 1]), Action::Allow);
    assert_eq!(answer("open", [0, 3]), Action::Allow);
    assert_eq!(answer("open", [0, 2]), Action::KillProcess);
    assert_eq!(answer("open", [0, 5]), Action::KillProcess);
    assert_eq!(answer("open", [u64::MAX, 5]), Action::Allow);
    assert_eq!(answer("ptrace", [0, 0]), EPERM);
    let refused = |text: &str, message: &str| assert_eq!(read(text).unwrap_err(), message);
    let what = "line 1, column 1: @include: the rules of the other file";
    refused("@include ./other.policy\n", what);
    let what = "line 1, column 15: O_RDONLY is a constant of the machine that compiles the policy: only numbers are read";
    refused("read: arg0 == O_RDONLY\n", what);
    let what = "line 1, column 12: arg6 is not an argument: they are arg0 to arg5";
    refused("read: arg6 == 1\n", what);
    let what = "line 1, column 1: read: two comparisons of one argument that must both hold";
    refused("read: arg0 >= 1 && arg0 <= 3\n", what);
    assert!(
        read("read: arg0 == 1; return 1\n")
            .unwrap_err()
            .contains("opposite ways")
    );
}

#[test]
fn code_that_was_changed_is_not_read() {
    let bytes = written(Format::Libseccomp, &sample(EPERM)).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(read_as(Format::Libseccomp, text.as_bytes()).is_ok());
    let changed = text.replace("SCMP_ACT_KILL_PROCESS);", "SCMP_ACT_ALLOW);");
    let error = read_as(Format::Libseccomp, changed.as_bytes()).unwrap_err();
    assert!(error.contains("the code is not what"), "{error}");
    let more = format!("{text}int x;\n");
    assert!(read_as(Format::Libseccomp, more.as_bytes()).is_err());
}

#[test]
fn a_filter_reads_back_as_what_it_was_compiled_from() {
    let bytes = written(Format::Bpf, &sample(EPERM)).unwrap();
    let back = read_as(Format::Bpf, &bytes).unwrap();
    same_meaning(&sample(EPERM), &back).unwrap();
    assert_eq!(back.architectures(), Some(&[Arch::NATIVE][..]));
    assert_eq!(written(Format::Bpf, &back).unwrap(), bytes);
    let mut odd = bytes.clone();
    odd.pop();
    assert!(
        read_as(Format::Bpf, &odd)
            .unwrap_err()
            .contains("not a whole number of")
    );
    odd.truncate(8);
    assert_eq!(
        read_as(Format::Bpf, &odd).unwrap_err(),
        "line 1, column 1: the last instruction (0) does not return"
    );
}

/// The cases of moby's `TestMarshalUnmarshalFilter`.
#[test]
fn versions_of_linux_are_those_that_moby_reads() {
    let reads = |version: &str| {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "includes": {{"arches": ["s390x"], "minKernel": {version}}}}}]}}"#
        );
        read(text.as_bytes(), Some(Format::Docker), &Reading::default()).is_ok()
    };
    for version in r#"null "" "0.5" "0.50" "5.0" "50.0" "4.15""#.split(' ') {
        assert!(reads(version), "{version}");
    }
    let refused = r#"3 3.12 true "0.0" "3" ".3" "3." "true" "3.12.1" "4.15abc""#;
    for version in refused.split(' ') {
        assert!(!reads(version), "{version}");
    }
}

#[test]
fn fields_of_older_versions_of_the_operator_are_read() {
    let old = "apiVersion: security-profiles-operator.x-k8s.io/v1alpha1\nkind: SeccompProfile\n\
        metadata:\n  name: old\n  namespace: app\nspec:\n  targetWorkload: app\n  disabled: DISABLED\n  \
        defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - action: SCMP_ACT_ERRNO\n    errnoRet: \"38\"\n    names:\n    - clone3\n";
    let [enabled, disabled] = ["false", "true"].map(|value| old.replace("DISABLED", value));
    let profile = parse(Format::Spo, enabled.as_bytes()).unwrap();
    assert_eq!(profile.rules()[0].action(), ENOSYS);
    // A disabled profile is none, and stays disabled as a resource.
    let fails = |text: &str, why: &str| {
        let error = parse(Format::Spo, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    fails(&disabled, "spec.disabled: the profile is disabled");
    let reading = Reading {
        into: Some(Format::Spo),
        ..Reading::default()
    };
    let source = read(disabled.as_bytes(), None, &reading).unwrap();
    let written = source.write(Format::Spo, &Writing::default()).unwrap();
    let text = String::from_utf8(written.bytes).unwrap();
    assert!(text.contains("  state: Disabled\n"));
    let wrong = enabled.replace("\"38\"", "ENOSYS");
    fails(&wrong, "syscalls[0].errnoRet: not a number");
}
