use proptest::prelude::*;

use super::*;
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::profile::{Rule, strategies};
use crate::review::RiskClass;

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
    let same = |a: Vec<Rule>, b: Vec<Rule>| {
        let diff = diff(&profile(a), &profile(b));
        assert!(diff.is_empty(), "{diff:?}");
    };
    let one = |name, args| vec![rule(name, Action::Allow, args)];
    let all = |args: &[&str]| {
        let rules = args.iter().map(|args| rule("socket", Action::Allow, args));
        rules.collect::<Vec<_>>()
    };
    same(
        vec![allow("read write")],
        vec![allow("write"), allow("read read")],
    );
    same(vec![rule("mount", EPERM, "")], vec![]);
    same(one("ioctl", "arg1 < 5"), one("ioctl", "arg1 <= 4"));
    // One argument twice is "or".
    same(
        all(&["arg0 == 1, arg0 == 2"]),
        all(&["arg0 == 2", "arg0 == 1"]),
    );
    same(all(&["arg0 != 1, arg0 != 2"]), all(&[""]));
    same(all(&["", "arg0 == 1"]), all(&["arg1 >= 0"]));
    let listed = Profile::new(EPERM)
        .with_flags(Some(vec![Flag::SpecAllow]))
        .with_architectures(Some(vec![]));
    assert!(diff(&listed, &Profile::new(EPERM)).is_empty());
}

#[test]
fn each_change_is_wider_or_narrower_by_what_is_executed() {
    use Direction::{Mixed, Narrower, Other, Wider};
    let check = |from: &Profile, to: &Profile, expect| {
        assert_eq!(direction(from, to), Some(expect), "{from:?} {to:?}");
    };
    let none = profile(vec![]);
    let of = |action, args| profile(vec![rule("socket", action, args)]);
    let allowed = of(Action::Allow, "");
    let some = of(Action::Allow, "arg0 == 1");
    check(&none, &allowed, Wider);
    check(&allowed, &none, Narrower);
    check(&allowed, &some, Narrower);
    check(&none, &some, Wider);
    check(&some, &of(Action::Allow, "arg0 == 2"), Mixed);
    check(&some, &of(Action::Allow, "arg0 == 1, arg1 == 3"), Narrower);
    check(&allowed, &of(Action::Log, ""), Other);
    check(&none, &of(ENOSYS, ""), Other);
    check(&none, &of(Action::Notify, ""), Wider);
    check(&allowed, &of(Action::Notify, ""), Narrower);
    let masked = |args| profile(vec![rule("clone", Action::Allow, args)]);
    let (more, fewer) = ("arg0 & 0x7e020000 == 0", "arg0 & 0x7c020000 == 0");
    check(&masked(more), &masked(fewer), Wider);

    let default = |default_action| none.clone().with_default_action(default_action);
    check(&none, &default(Action::Allow), Wider);
    check(&none, &default(Action::KillProcess), Other);
    let arches = |arches: &[Arch]| none.clone().with_architectures(Some(arches.to_vec()));
    check(&none, &arches(&[Arch::X86_64, Arch::X86]), Wider);
    check(&none.clone().with_architectures(None), &none, Other);
    let flags = |flags: &[Flag]| none.clone().with_flags(Some(flags.to_vec()));
    check(&none, &flags(&[]), Narrower);
    check(&none, &flags(&[Flag::SpecAllow, Flag::Log]), Other);
}

#[test]
fn what_is_gravest_comes_first() {
    let from = profile(vec![allow("personality")]);
    let to = profile(vec![allow("read ptrace mount stat64")]);
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
    let b = profile(vec![allow("read")]);
    let diff = diff(&a, &b);
    assert_eq!(
        diff.apply(&b).unwrap_err().to_string(),
        "the profile is not the one that was compared: the rule for read differs"
    );
}

#[test]
fn a_rule_that_says_what_the_other_default_says_changes_nothing_for_its_call() {
    let from = profile(vec![allow("read")]);
    let to = profile(vec![]).with_default_action(Action::Allow);
    let diff = diff(&from, &to);
    let call = &diff.differences[1];
    assert_eq!(call.direction, Direction::Other);
    assert_eq!(call.note, Some("the default action does the same"));
}
