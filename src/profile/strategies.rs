//! Random profiles for property tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Action, ArgCmp, ErrnoRet, Flag, Listener, Op, Profile, Rule};
use crate::syscall::Arch;

/// Any profile on ABIs that have a name in OCI.
pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    let arches: Vec<Arch> = (Arch::ALL.iter().copied())
        .filter(|arch| arch.oci_name().is_some())
        .collect();
    let flags = [
        Flag::Tsync,
        Flag::Log,
        Flag::SpecAllow,
        Flag::WaitKillableRecv,
    ];
    let listener = ("(/|.+)", option::of(any::<String>()))
        .prop_filter_map("a path", |(path, metadata)| Listener::new(path, metadata));
    (
        action(),
        option::of(vec(select(arches), 0..4)),
        option::of(vec(select(flags.to_vec()), 0..3)),
        option::of(listener),
        vec(rule(), 0..5),
    )
        .prop_map(|(default_action, architectures, flags, listener, rules)| {
            Profile::new(default_action)
                .with_architectures(architectures)
                .with_flags(flags)
                .with_listener(listener)
                .with_rules(rules)
        })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        (0..=4095_u32).prop_filter_map("an errno", |n| ErrnoRet::new(n).map(Action::Errno)),
        Just(Action::Notify),
        any::<u16>().prop_map(Action::Trace),
        Just(Action::Log),
        Just(Action::Allow),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let name = prop_oneof![9 => "[a-z_0-9]{1,12}", 1 => ".{1,4}"];
    (vec(name, 1..4), action(), vec(arg(), 0..4))
        .prop_filter_map("a rule", |(names, action, args)| {
            Rule::new(names, action, args).ok()
        })
}

fn arg() -> impl Strategy<Value = ArgCmp> {
    let ops = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
    let value = prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)];
    (
        0..6_u64,
        select(ops.to_vec()),
        value.clone(),
        option::of(value),
    )
        .prop_filter_map("a comparison", |(index, op, value, value_two)| {
            ArgCmp::new(index, op, value, value_two).ok()
        })
}
