use proptest::prelude::*;

use super::*;
use crate::recording::{Tally, ValueTally};

/// Runs of `x86_64` with these values of one argument.
fn recording(call: &str, register: u8, runs: &[&[u64]]) -> Recording {
    recording_of(runs.iter().map(|values| vec![(call, register, *values)]))
}

fn recording_of<'a>(runs: impl Iterator<Item = Vec<(&'a str, u8, &'a [u64])>>) -> Recording {
    let mut recording: Option<Recording> = None;
    for calls in runs {
        let mut run = crate::recording::RunBuilder::start("app".into(), "test").finish(None, false);
        for (call, register, values) in calls {
            let tally = |count| ValueTally {
                count,
                first_ms: None,
                executables: BTreeSet::new(),
            };
            let each = values.iter().map(|&value| (value, tally(1))).collect();
            let syscall = Syscall::from_name(Arch::X86_64, call).unwrap();
            let tally = Tally {
                count: 1,
                first_ms: None,
                executables: BTreeSet::new(),
                args: BTreeMap::from([(register, ArgumentValues::Each(each))]),
            };
            run.syscalls.insert(syscall, tally);
        }
        let one = Recording::of("app".parse().unwrap(), run);
        recording = Some(match recording {
            Some(recording) => recording.merge(one).unwrap(),
            None => one,
        });
    }
    recording.unwrap()
}

fn first(recording: &Recording, call: &str, how: ArgumentRules) -> Result<AllowedValues, AnyValue> {
    let arches = BTreeSet::from([Arch::X86_64]);
    rules(recording, call, &arches, how, false).remove(0).values
}

fn safe(recording: &Recording, call: &str) -> Result<AllowedValues, AnyValue> {
    first(recording, call, ArgumentRules::Safe)
}

#[test]
fn safe_needs_runs_that_agree() {
    let two = recording("socket", 0, &[&[2], &[2]]);
    assert_eq!(
        safe(&two, "socket"),
        Err(AnyValue::FewRuns { runs: 2, needed: 3 })
    );
    let exact = first(&two, "socket", ArgumentRules::Exact).unwrap();
    assert_eq!(exact.all(), set(&[2]));
    let three = recording("socket", 0, &[&[2], &[2], &[2]]);
    assert_eq!(safe(&three, "socket").unwrap().all(), set(&[2]));
    let differ = recording("socket", 0, &[&[2], &[2, 10], &[2]]);
    assert_eq!(
        safe(&differ, "socket"),
        Err(AnyValue::NotSaturated { once: 1, runs: 3 })
    );
}

#[test]
fn why_values_are_not_known_is_the_same_after_compaction() {
    // The last run brings no new call.
    let mut recording = recording("socket", 0, &[&[2], &[2]]);
    let runs = recording.runs.values_mut();
    let args = runs.map(|run| &mut run.syscalls.values_mut().next().unwrap().args);
    let [of_first, of_last] = args.collect::<Vec<_>>().try_into().unwrap();
    of_first.insert(0, ArgumentValues::Many);
    of_last.clear();
    let before = safe(&recording, "socket");
    recording.compact();
    assert_eq!(recording.folded.len(), 1);
    assert_eq!(safe(&recording, "socket"), before);
}

#[test]
fn safe_compares_what_matters_and_adds_what_libraries_exchange() {
    // CLONE_VM and SIGCHLD, a thread, and two with CLONE_NEWUSER.
    let flags: &[u64] = &[0x111, 0x3d_0f00];
    let threads = recording("clone", 0, &[flags, flags, flags]);
    let allowed = safe(&threads, "clone").unwrap();
    assert_eq!((allowed.compared, allowed.all()), (0x7e02_0000, set(&[0])));
    let dup: &[u64] = &[0];
    let dup = recording("fcntl", 1, &[dup, dup, dup]);
    assert_eq!(safe(&dup, "fcntl").unwrap().added, set(&[1030]));
    let prot: &[u64] = &[1, 3, 5];
    let maps = recording("mmap", 2, &[prot, prot, prot]);
    assert_eq!(safe(&maps, "mmap").unwrap().all(), set(&[0, 2, 4]));
    // FIONBIO of a pipe, which a file or a terminal doesn't need: node waits for ever without it.
    let tcgets: &[u64] = &[0x5401];
    let ioctl = recording("ioctl", 1, &[tcgets, tcgets, tcgets]);
    let added = safe(&ioctl, "ioctl").unwrap().added;
    assert!(added.contains(&0x5421) && !added.contains(&0x5412));
    // The clock of a process.
    let clock: &[u64] = &[0xffff_ffd2];
    let clock = recording("clock_nanosleep", 0, &[clock, clock, clock]);
    assert_eq!(safe(&clock, "clock_nanosleep"), Err(AnyValue::Computed));
}

#[test]
fn values_that_were_not_recorded_in_every_run_are_unknown() {
    let mut some = recording("socket", 0, &[&[2], &[2], &[2], &[2]]);
    let call = Syscall::from_name(Arch::X86_64, "socket").unwrap();
    let mut runs = some.runs.values_mut();
    runs.next()
        .unwrap()
        .syscalls
        .get_mut(&call)
        .unwrap()
        .args
        .clear();
    assert_eq!(safe(&some, "socket"), Err(AnyValue::NotRecorded));
    let mut many = recording("socket", 0, &[&[2], &[2], &[2]]);
    let mut runs = many.runs.values_mut();
    let args = &mut runs.next().unwrap().syscalls.get_mut(&call).unwrap().args;
    args.insert(0, ArgumentValues::Many);
    assert_eq!(safe(&many, "socket"), Err(AnyValue::Many));
    assert_eq!(
        first(&many, "socket", ArgumentRules::Exact),
        Err(AnyValue::Many)
    );
}

#[test]
fn what_clone3_was_called_with_counts_for_clone() {
    let runs = |flags: &'static [u64]| {
        recording_of((0..3).map(move |_| vec![("clone", 0, &[17][..]), ("clone3", 0, flags)]))
    };
    assert_eq!(safe(&runs(&[0x3d_0f00]), "clone").unwrap().all(), set(&[0]));
    assert_eq!(
        safe(&runs(&[0x1_0000_4100]), "clone").unwrap().all(),
        set(&[0])
    );
    assert_eq!(
        safe(&runs(&[0x1000_0000]), "clone").unwrap().all(),
        set(&[0, 0x1000_0000])
    );
    // CLONE_INTO_CGROUP, CLONE_NEWTIME.
    for flags in [&[0x2_0000_0000][..], &[0x80]] {
        assert_eq!(safe(&runs(flags), "clone"), Err(AnyValue::OnlyClone3));
    }
}

#[test]
fn arguments_in_other_registers_on_another_abi_have_no_rule() {
    let threads = recording("clone", 0, &[&[0x111]]);
    let arches = BTreeSet::from([Arch::X86_64, Arch::S390x]);
    let rules = rules(&threads, "clone", &arches, ArgumentRules::Exact, false);
    assert_eq!(rules[0].values, Err(AnyValue::Registers));
}

#[test]
fn a_call_has_at_most_so_many_rules() {
    let odd: Vec<u64> = (0..9).map(|bit| 1 << bit).collect();
    let levels = recording("setsockopt", 1, &[&odd]);
    let mut both = levels.clone();
    let tally = both
        .runs
        .values_mut()
        .next()
        .unwrap()
        .syscalls
        .values_mut()
        .next()
        .unwrap();
    let names = tally.args[&1].clone();
    tally.args.insert(2, names);
    let arches = BTreeSet::from([Arch::X86_64]);
    let rules = rules(&both, "setsockopt", &arches, ArgumentRules::Exact, false);
    assert!(rules[0].values.is_ok());
    assert_eq!(rules[1].values, Err(AnyValue::TooManyRules));
    assert_eq!(alternatives(&rules).len(), 9);
}

fn set(values: &[u64]) -> BTreeSet<u64> {
    values.iter().copied().collect()
}

#[test]
fn values_are_joined_where_they_differ_in_one_bit() {
    let all = u64::from(u32::MAX);
    assert_eq!(minimize(all, &set(&[2, 10])), [(all & !8, 2)]);
    assert_eq!(minimize(all, &set(&[1, 2])), [(all, 1), (all, 2)]);
    // Writable or executable, not both.
    assert_eq!(minimize(6, &set(&[0, 2, 4])), [(2, 0), (4, 0)]);
    assert_eq!(minimize(6, &set(&[0, 2, 4, 6])), [(0, 0)]);
    assert_eq!(minimize(all, &set(&[])), []);
}

proptest! {
    #[test]
    fn joined_values_allow_exactly_the_same(
        compared in 0..256_u64, values in prop::collection::btree_set(0..256_u64, 0..20), other in 0..256_u64,
    ) {
        let values: BTreeSet<u64> = values.iter().map(|value| value & compared).collect();
        let joined = minimize(compared, &values);
        prop_assert!(joined.len() <= values.len());
        for value in (0..256).chain([other]) {
            let holds = joined.iter().any(|(mask, expected)| value & mask == *expected);
            prop_assert_eq!(holds, values.contains(&(value & compared)), "{:?} {}", joined, value);
        }
    }
}
