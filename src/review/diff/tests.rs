use proptest::prelude::*;

use super::*;
use crate::profile::{ArgCmp, ErrnoRet, Op, Rule, strategies};
use crate::review::RiskClass;

const EPERM: Action = Action::Errno(ErrnoRet::EPERM);
const ENOSYS: Action = Action::Errno(ErrnoRet::ENOSYS);

proptest! {
    #[test]
    fn a_profile_does_not_differ_from_itself(a in strategies::profile()) {
        prop_assert!(diff(&a, &a).is_empty());
        prop_assert!(diff(&a, &a.canonical()).is_empty());
        prop_assert_eq!(a.canonical().canonical(), a.canonical());
    }

    #[test]
    fn a_difference_makes_the_one_profile_of_the_other(a in strategies::profile(), b in strategies::profile()) {
        prop_assert_eq!(diff(&a, &b).apply(&a), Ok(b.canonical()));
    }

    #[test]
    fn the_canonical_form_gives_every_call_the_same_answer(
        a in strategies::profile(), args in any::<[u64; 6]>(), small in prop::array::uniform6(0..5_u64),
    ) {
        // Rules that answer what the default does are no rules, and more than one answer is a contradiction.
        let plain = |profile: &Profile, name: &str, args: &[u64; 6]| {
            let mut answers = profile.answers(name, args);
            if answers.len() > 1 {
                answers.remove(&profile.default_action());
            }
            answers
        };
        for name in a.rules().iter().flat_map(Rule::names) {
            for args in [&args, &small, &[0; 6], &[u64::MAX; 6]] {
                prop_assert_eq!(plain(&a, name, args), plain(&a.canonical(), name, args), "{}", name);
            }
        }
    }

    #[test]
    fn the_way_back_is_the_other_way(a in strategies::profile(), b in strategies::profile()) {
        let turned = |direction| match direction {
            Direction::Wider => Direction::Narrower,
            Direction::Narrower => Direction::Wider,
            other => other,
        };
        let mut forth: Vec<_> = diff(&a, &b).differences.iter().map(|d| turned(d.direction)).collect();
        let mut back: Vec<_> = diff(&b, &a).differences.iter().map(|d| d.direction).collect();
        forth.sort();
        back.sort();
        prop_assert_eq!(forth, back);
    }
}

fn rule(names: &[&str], action: Action, args: &[(u64, Op, u64)]) -> Rule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let args = args
        .iter()
        .map(|&(index, op, value)| ArgCmp::new(index, op, value, None).unwrap());
    Rule::new(names, action, args.collect()).unwrap()
}

fn profile(rules: Vec<Rule>) -> Profile {
    Profile::new(EPERM)
        .with_architectures(Some(vec![Arch::X86_64]))
        .with_rules(rules)
}

/// The direction of the one difference between two profiles; `None` if there is none.
fn direction(from: &Profile, to: &Profile) -> Option<Direction> {
    let diff = diff(from, to);
    match &diff.differences[..] {
        [] => None,
        [one] => Some(one.direction),
        _ => panic!("{diff:?}"),
    }
}

#[test]
fn what_means_the_same_does_not_differ() {
    let allow = Action::Allow;
    let same = |a: Vec<Rule>, b: Vec<Rule>| {
        let diff = diff(&profile(a), &profile(b));
        assert!(diff.is_empty(), "{diff:?}");
    };
    same(
        vec![rule(&["read", "write"], allow, &[])],
        vec![
            rule(&["write"], allow, &[]),
            rule(&["read", "read"], allow, &[]),
        ],
    );
    same(vec![rule(&["mount"], EPERM, &[])], vec![]);
    same(
        vec![rule(&["ioctl"], allow, &[(1, Op::Lt, 5)])],
        vec![rule(&["ioctl"], allow, &[(1, Op::Le, 4)])],
    );
    // One argument twice is "or".
    same(
        vec![rule(&["socket"], allow, &[(0, Op::Eq, 1), (0, Op::Eq, 2)])],
        vec![
            rule(&["socket"], allow, &[(0, Op::Eq, 2)]),
            rule(&["socket"], allow, &[(0, Op::Eq, 1)]),
        ],
    );
    same(
        vec![rule(&["socket"], allow, &[(0, Op::Ne, 1), (0, Op::Ne, 2)])],
        vec![rule(&["socket"], allow, &[])],
    );
    same(
        vec![
            rule(&["socket"], allow, &[]),
            rule(&["socket"], allow, &[(0, Op::Eq, 1)]),
        ],
        vec![rule(&["socket"], allow, &[(1, Op::Ge, 0)])],
    );
    let listed = Profile::new(EPERM)
        .with_flags(Some(vec![Flag::SpecAllow]))
        .with_architectures(Some(vec![]));
    assert!(diff(&listed, &Profile::new(EPERM)).is_empty());
}

#[test]
fn each_change_is_wider_or_narrower_by_what_is_executed() {
    let none = profile(vec![]);
    let of = |action, args: &[_]| profile(vec![rule(&["socket"], action, args)]);
    let allowed = of(Action::Allow, &[]);
    let some = of(Action::Allow, &[(0, Op::Eq, 1)]);
    let others = of(Action::Allow, &[(0, Op::Eq, 2)]);
    assert_eq!(direction(&none, &allowed), Some(Direction::Wider));
    assert_eq!(direction(&allowed, &none), Some(Direction::Narrower));
    assert_eq!(direction(&allowed, &some), Some(Direction::Narrower));
    assert_eq!(direction(&none, &some), Some(Direction::Wider));
    assert_eq!(direction(&some, &others), Some(Direction::Mixed));
    let stricter = of(Action::Allow, &[(0, Op::Eq, 1), (1, Op::Eq, 3)]);
    assert_eq!(direction(&some, &stricter), Some(Direction::Narrower));
    assert_eq!(
        direction(&allowed, &of(Action::Log, &[])),
        Some(Direction::Other)
    );
    assert_eq!(direction(&none, &of(ENOSYS, &[])), Some(Direction::Other));
    assert_eq!(
        direction(&none, &of(Action::Notify, &[])),
        Some(Direction::Wider)
    );
    assert_eq!(
        direction(&allowed, &of(Action::Notify, &[])),
        Some(Direction::Narrower)
    );
    let masked = |mask, expected| {
        let arg = ArgCmp::new(0, Op::MaskedEq, mask, Some(expected)).unwrap();
        profile(vec![
            rule(&["clone"], Action::Allow, &[]).with_args(vec![arg]),
        ])
    };
    assert_eq!(
        direction(&masked(0x7e02_0000, 0), &masked(0x7c02_0000, 0)),
        Some(Direction::Wider)
    );

    let default = |default_action| none.clone().with_default_action(default_action);
    assert_eq!(
        direction(&none, &default(Action::Allow)),
        Some(Direction::Wider)
    );
    assert_eq!(
        direction(&none, &default(Action::KillProcess)),
        Some(Direction::Other)
    );
    let arches = |arches: &[Arch]| none.clone().with_architectures(Some(arches.to_vec()));
    assert_eq!(
        direction(&none, &arches(&[Arch::X86_64, Arch::X86])),
        Some(Direction::Wider)
    );
    let native = none.clone().with_architectures(None);
    assert_eq!(direction(&native, &none), Some(Direction::Other));
    let flags = |flags: &[Flag]| none.clone().with_flags(Some(flags.to_vec()));
    assert_eq!(direction(&none, &flags(&[])), Some(Direction::Narrower));
    assert_eq!(
        direction(&none, &flags(&[Flag::SpecAllow, Flag::Log])),
        Some(Direction::Other)
    );
}

#[test]
fn what_is_gravest_comes_first() {
    let from = profile(vec![rule(&["personality"], Action::Allow, &[])]);
    let to = profile(vec![rule(
        &["read", "ptrace", "mount", "stat64"],
        Action::Allow,
        &[],
    )]);
    let diff = diff(&from, &to);
    let told: Vec<_> = (diff.differences.iter())
        .map(|difference| match &difference.change {
            Change::Call { name, .. } => (
                difference.direction,
                name.as_str(),
                difference.risk.unwrap().class,
            ),
            _ => panic!("{difference:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (Direction::Wider, "mount", RiskClass::Escape),
            (Direction::Wider, "ptrace", RiskClass::Debugging),
            (Direction::Wider, "read", RiskClass::Ordinary),
            (Direction::Narrower, "personality", RiskClass::Memory),
            // x86_64 has no such call.
            (Direction::Other, "stat64", RiskClass::Ordinary),
        ]
    );
}

#[test]
fn a_difference_fits_only_where_it_was_made() {
    let a = profile(vec![]);
    let b = profile(vec![rule(&["read"], Action::Allow, &[])]);
    let diff = diff(&a, &b);
    assert_eq!(
        diff.apply(&b).unwrap_err().to_string(),
        "the profile is not the one that was compared: the rule for read differs"
    );
}

#[test]
fn a_rule_that_says_what_the_other_default_says_changes_nothing_for_its_call() {
    let from = profile(vec![rule(&["read"], Action::Allow, &[])]);
    let to = profile(vec![]).with_default_action(Action::Allow);
    let diff = diff(&from, &to);
    let call = &diff.differences[1];
    assert_eq!(call.direction, Direction::Other);
    assert_eq!(call.note, Some("the default action does the same"));
}
