use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::compile::within;
use super::*;
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::profile::{ARGS, Action, ArgCmp, ErrnoRet, Op, Profile, ProfilePart, Rule};
use crate::syscall::{Arch, Syscall};

fn deny(arches: &[Arch], rules: Vec<Rule>) -> Profile {
    Profile::new(EPERM)
        .with_architectures(Some(arches.to_vec()))
        .with_rules(rules)
}

fn compiled(profile: &Profile) -> Filter {
    compile(profile, OnUnknown::Fail).unwrap_or_else(|error| panic!("{error}: {profile:?}"))
}

fn refused(profile: &Profile) -> String {
    compile(profile, OnUnknown::Fail).unwrap_err().to_string()
}

#[track_caller]
fn answers(filter: &Filter, arch: Arch, name: &str, args: &[u64], action: Action) {
    let syscall = Syscall::from_name(arch, name).unwrap();
    let mut all = [0; ARGS];
    all[..args.len()].copy_from_slice(args);
    assert_eq!(
        filter.action(syscall, &all),
        action,
        "{arch} {name} {args:?}"
    );
}

/// Once, a profile was refused on a machine that was so busy that its thread waited for seconds.
#[test]
fn only_the_time_of_a_processor_counts_as_endless() {
    let patience = Duration::from_millis(50);
    let profile = deny(&[], Vec::new());
    let waits = |profile: &Profile| {
        thread::sleep(Duration::from_millis(500));
        compile(profile, OnUnknown::Fail)
    };
    within(patience, &profile, waits).unwrap();

    let (given_up, is_given_up) = mpsc::channel::<()>();
    let computes = move |profile: &Profile| {
        while is_given_up.try_recv() == Err(TryRecvError::Empty) {}
        compile(profile, OnUnknown::Fail)
    };
    let ended = within(patience, &profile, computes);
    assert!(matches!(ended, Err(CompileError::Endless)));
    drop(given_up);
}

#[test]
fn every_action_is_compiled() {
    let actions = [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap,
        ENOSYS,
        Action::Notify,
        Action::Trace(0xffff),
        Action::Log,
        Action::Allow,
    ];
    for action in actions {
        let filter = compiled(&deny(&[], vec![rule("mount", action, "")]));
        answers(&filter, Arch::NATIVE, "mount", &[], action);
        answers(&filter, Arch::NATIVE, "umount2", &[], EPERM);
    }
    for action in actions
        .into_iter()
        .filter(|action| *action != Action::Notify)
    {
        let mut profile = Profile::new(action);
        profile = profile.with_rules([rule("mount", EPERM, "")]);
        let filter = compiled(&profile);
        answers(&filter, Arch::NATIVE, "mount", &[], EPERM);
        answers(&filter, Arch::NATIVE, "umount2", &[], action);
    }
    let by_default = refused(&Profile::new(Action::Notify));
    assert!(by_default.contains("SCMP_ACT_NOTIFY can't be the default"));
}

#[test]
fn every_comparison_is_compiled_with_whole_64_bit_values() {
    let value = 0x1_0000_0005;
    let max = u64::MAX;
    let matching: [(&str, &[u64], &[u64]); 7] = [
        ("==", &[value], &[5, value + 1, 0x2_0000_0005]),
        ("!=", &[5, value + 1], &[value]),
        ("<", &[0, 5, 0xffff_ffff, value - 1], &[value, value + 1]),
        ("<=", &[0, value - 1, value], &[value + 1, max]),
        (">=", &[value, value + 1, max], &[0, 0xffff_ffff, value - 1]),
        (">", &[value + 1, 0x2_0000_0000], &[value, 0xffff_ffff, 0]),
        (
            "& 0x100000005 ==",
            &[value, value | 0xf0, max],
            &[0, 5, 1 << 32],
        ),
    ];
    for (op, good, bad) in matching {
        let compared = rule("mount", Action::Allow, &format!("arg1 {op} {value}"));
        let filter = compiled(&deny(&[], vec![compared]));
        for &arg in good {
            answers(&filter, Arch::NATIVE, "mount", &[0, arg], Action::Allow);
        }
        for &arg in bad {
            answers(&filter, Arch::NATIVE, "mount", &[0, arg], EPERM);
        }
    }
}

#[test]
fn an_argument_compared_twice_makes_alternatives() {
    let twice = rule("dup", Action::Allow, "arg0 == 1, arg0 == 2");
    let filter = compiled(&deny(&[], vec![twice]));
    for (arg, action) in [(1, Action::Allow), (2, Action::Allow), (3, EPERM)] {
        answers(&filter, Arch::NATIVE, "dup", &[arg], action);
    }
}

#[test]
fn a_rule_that_answers_what_the_default_does_is_left_out() {
    let rules = vec![rule("read", EPERM, ""), allow("write")];
    let filter = compiled(&deny(&[], rules));
    answers(&filter, Arch::NATIVE, "read", &[], EPERM);
    answers(&filter, Arch::NATIVE, "write", &[], Action::Allow);
}

#[cfg(target_arch = "x86_64")]
mod on_x86_64 {
    use super::*;

    #[test]
    fn an_abi_that_is_not_listed_ends_the_process() {
        let rules = || vec![allow("read")];
        let native = compiled(&deny(&[Arch::X86_64], rules()));
        answers(&native, Arch::X86, "read", &[], Action::KillProcess);
        answers(&native, Arch::X32, "read", &[], Action::KillProcess);
        let both = compiled(&deny(&[Arch::X86, Arch::X86_64], rules()));
        answers(&both, Arch::X86, "read", &[], Action::Allow);
        answers(&both, Arch::X86, "write", &[], EPERM);
        answers(&both, Arch::X32, "read", &[], Action::KillProcess);
        let all = compiled(&deny(&[Arch::X32, Arch::X86, Arch::X86_64], rules()));
        answers(&all, Arch::X32, "read", &[], Action::Allow);
    }

    #[test]
    fn the_native_abi_is_there_although_it_is_not_listed() {
        let filter = compiled(&deny(&[Arch::X86], vec![allow("execve")]));
        answers(&filter, Arch::X86_64, "execve", &[], Action::Allow);
        assert_eq!(filter.notes(), [FilterNote::NativeNotListed]);
    }

    #[test]
    fn names_hold_for_the_abis_that_have_them() {
        let names = ["socketcall", "open", "waitpid", "clock_gettime64"];
        let rules = vec![allow(&names.join(" "))];
        let filter = compiled(&deny(&[Arch::X86_64, Arch::X86], rules));
        for name in names {
            answers(&filter, Arch::X86, name, &[], Action::Allow);
        }
        answers(&filter, Arch::X86_64, "open", &[], Action::Allow);
    }

    #[test]
    fn a_socket_call_is_also_let_through_socketcall() {
        let rules = vec![allow("socket")];
        let filter = compiled(&deny(&[Arch::X86_64, Arch::X86], rules));
        answers(&filter, Arch::X86, "socket", &[], Action::Allow);
        // SYS_SOCKET and SYS_BIND of linux/net.h.
        answers(&filter, Arch::X86, "socketcall", &[1], Action::Allow);
        answers(&filter, Arch::X86, "socketcall", &[2], EPERM);
        assert_eq!(filter.notes(), []);
    }

    #[test]
    fn arguments_that_socketcall_hides_are_noted() {
        let rules = vec![rule("socket", Action::Allow, "arg0 == 1")];
        let filter = compiled(&deny(&[Arch::X86_64, Arch::X86], rules));
        answers(&filter, Arch::X86, "socket", &[1], Action::Allow);
        answers(&filter, Arch::X86, "socket", &[2], EPERM);
        let place = ProfilePart::Name { rule: 0, name: 0 };
        let name = "socket".to_owned();
        let arch = Arch::X86;
        assert_eq!(
            filter.notes(),
            [FilterNote::ArgsUnseen { place, name, arch }]
        );
    }

    #[test]
    fn a_value_too_wide_for_an_abi_is_refused() {
        let rules = |value| {
            vec![rule(
                "personality",
                Action::Allow,
                &format!("arg0 == {value}"),
            )]
        };
        let wide = deny(&[Arch::X86_64, Arch::X86], rules(0x1_0000_0001));
        assert_eq!(
            refused(&wide),
            "syscalls[0].args[0]: arg0 == 0x100000001: the value is too wide for the 32-bit arguments of x86"
        );
        compiled(&deny(&[Arch::X86_64], rules(0x1_0000_0001)));
        // personality(0xffffffff) asks for the current one; C programs write it -1.
        let minus_one = compiled(&deny(&[Arch::X86_64, Arch::X86], rules(u64::MAX)));
        answers(
            &minus_one,
            Arch::X86,
            "personality",
            &[0xffff_ffff],
            Action::Allow,
        );
        answers(
            &minus_one,
            Arch::X86_64,
            "personality",
            &[0xffff_ffff],
            EPERM,
        );
    }

    #[test]
    fn an_abi_of_another_byte_order_is_refused() {
        let profile = deny(&[Arch::X86_64, Arch::S390x], vec![]);
        assert!(refused(&profile).starts_with("architectures[1]: libseccomp "));
        let profile = deny(&[Arch::Sparc64], vec![]);
        assert!(refused(&profile).contains("can't put sparc64 into a filter"));
    }
}

#[test]
fn an_unknown_name_is_refused_or_ignored_as_asked() {
    let profile = deny(&[], vec![allow("read raed")]);
    let error = compile(&profile, OnUnknown::Fail).unwrap_err();
    assert_eq!(
        error.to_string(),
        "raed is not a system call of any known ABI"
    );
    assert_eq!(error.place(), Some(ProfilePart::Name { rule: 0, name: 1 }));
    let filter = compile(&profile, OnUnknown::Ignore).unwrap();
    answers(&filter, Arch::NATIVE, "read", &[], Action::Allow);
    let ignored: Vec<_> = filter.unknown().iter().map(|name| &name.name).collect();
    assert_eq!(ignored, ["raed"]);
}

#[test]
fn a_call_newer_than_libseccomp_is_known_by_its_number() {
    let newest = "file_setattr";
    let filter = compiled(&deny(&[], vec![allow(newest)]));
    answers(&filter, Arch::NATIVE, newest, &[], Action::Allow);
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let rules = vec![
        rule("dup", Action::Allow, "arg0 == 1"),
        rule("dup", Action::Log, "arg0 == 1"),
    ];
    let error = compile(&deny(&[], rules), OnUnknown::Fail).unwrap_err();
    assert_eq!(error.place(), Some(ProfilePart::Name { rule: 1, name: 0 }));
    assert!(matches!(error, CompileError::Contradiction { .. }));
}

/// A profile of a few calls, so that rules meet, with values that differ in either half.
fn profiles() -> impl Strategy<Value = Profile> {
    let actions = [Action::Allow, Action::Log, Action::Trap, ENOSYS, EPERM];
    let names = select(vec!["read", "dup", "openat", "socket", "semop", "waitpid"]);
    let value = prop_oneof![
        0..4_u64,
        (0..3_u64, 0..3_u64).prop_map(|(high, low)| high << 32 | low),
        select(vec![0xffff_ffff, 0x1_0000_0000, u64::MAX, 1 << 63]),
        any::<u64>(),
    ];
    let ops = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
    let arg = (0..3_u64, select(ops.to_vec()), value.clone(), value)
        .prop_map(|(index, op, value, two)| ArgCmp::new(index, op, value, Some(two)).unwrap());
    let rule = (vec(names, 1..3), select(actions.to_vec()), vec(arg, 0..2)).prop_map(
        |(names, action, args)| {
            let names = names.into_iter().map(str::to_owned).collect();
            Rule::new(names, action, args).unwrap()
        },
    );
    let arches = option::of(vec(select(vec![Arch::X86_64, Arch::X86, Arch::X32]), 0..3));
    (select(actions.to_vec()), arches, vec(rule, 1..5)).prop_map(
        |(default_action, architectures, rules)| {
            Profile::new(default_action)
                .with_architectures(architectures.filter(|_| cfg!(target_arch = "x86_64")))
                .with_rules(rules)
        },
    )
}

proptest! {
    #[test]
    fn a_filter_says_what_its_profile_says_or_is_refused(profile in profiles()) {
        match compile(&profile, OnUnknown::Fail) {
            // It was checked.
            Ok(_) | Err(CompileError::TooWide(_) | CompileError::Contradiction { .. }) => {}
            // libseccomp gets nothing else wrong but what GHSA-4q85-33p6-j5g6 is about.
            Err(CompileError::Wrong { .. }) => prop_assert!(compares_wide_orders(&profile)),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

/// Whether two rules compare the order of 64-bit values, at least one of which needs them.
fn compares_wide_orders(profile: &Profile) -> bool {
    let args = profile.rules().iter().flat_map(Rule::args);
    let orders = args.filter(|arg| matches!(arg.op(), Op::Lt | Op::Le | Op::Ge | Op::Gt));
    let orders: Vec<_> = orders.collect();
    orders.len() > 1 && orders.iter().any(|arg| arg.value() >= u64::from(u32::MAX))
}

/// What moby's and podman's default profiles compare.
#[test]
fn comparisons_of_the_default_profiles_of_container_engines_are_compiled() {
    let allowed = Action::Allow;
    let einval = Action::Errno(ErrnoRet::new(22).unwrap());
    let arches: &[Arch] = if cfg!(target_arch = "x86_64") {
        &[Arch::X86_64, Arch::X86, Arch::X32]
    } else {
        &[]
    };
    let moby = deny(
        arches,
        [0x0_u32, 0x8, 0x20000, 0x20008, 0xffff_ffff]
            .map(|value| rule("personality", allowed, &format!("arg0 == {value}")))
            .into_iter()
            .chain([
                rule("clone", allowed, "arg0 & 2114060288 == 0"),
                rule("socket", allowed, "arg0 != 40"),
                rule("clone3", ENOSYS, ""),
            ])
            .collect(),
    );
    let filter = compiled(&moby);
    answers(&filter, Arch::NATIVE, "personality", &[8], allowed);
    answers(&filter, Arch::NATIVE, "personality", &[9], EPERM);
    answers(&filter, Arch::NATIVE, "clone", &[0x11], allowed);
    answers(&filter, Arch::NATIVE, "clone", &[0x1000_0000], EPERM);
    answers(&filter, Arch::NATIVE, "socket", &[40], EPERM);
    let podman = vec![
        rule("socket", einval, "arg0 == 16, arg2 == 9"),
        rule("socket", allowed, "arg2 != 9"),
        rule("socket", allowed, "arg0 != 16"),
    ];
    let filter = compiled(&deny(&[], podman));
    answers(&filter, Arch::NATIVE, "socket", &[16, 3, 9], einval);
    answers(&filter, Arch::NATIVE, "socket", &[16, 3, 0], allowed);
    answers(&filter, Arch::NATIVE, "socket", &[2, 1, 9], allowed);
}

#[test]
fn a_filter_that_libseccomp_gets_wrong_is_refused() {
    // libseccomp 2.5.4; a later one may get it right.
    let rules = vec![
        rule("read", Action::Log, "arg0 < 0"),
        rule("read", Action::Log, "arg0 < 0x100000000"),
    ];
    match compile(&deny(&[], rules), OnUnknown::Fail) {
        Ok(filter) => answers(&filter, Arch::NATIVE, "read", &[0xffff_ffff], Action::Log),
        Err(error) => assert!(matches!(error, CompileError::Wrong { .. }), "{error}"),
    }
}
