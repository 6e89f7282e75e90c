//! Random recordings for property tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{ArgumentValues, Folded, Name, Recording, Run, RunId, Tally, ValueTally};
use crate::event::Exit;
use crate::syscall::{Arch, Operation, Syscall};

/// Any recording, with up to 4 runs, some of which may be folded.
pub(crate) fn recording() -> impl Strategy<Value = Recording> {
    (whole(), any::<bool>()).prop_map(compact_if)
}

/// Any recording without folded runs.
pub(crate) fn whole() -> impl Strategy<Value = Recording> {
    (name(), vec(run(), 0..=4)).prop_map(|(name, runs)| Recording {
        name,
        runs: runs.into_iter().map(|run| (run.id, run)).collect(),
        folded: Folded::default(),
    })
}

/// Recordings of one workload that may have runs in common, as the shards of a CI matrix. Some are compacted.
pub(crate) fn shards() -> impl Strategy<Value = [Recording; 3]> {
    whole().prop_flat_map(|all| {
        let runs: Vec<_> = all.runs.into_iter().collect();
        let shard = subsequence(runs.clone(), 0..=runs.len()).prop_map(move |runs| Recording {
            name: all.name.clone(),
            runs: runs.into_iter().collect(),
            folded: Folded::default(),
        });
        let shard = (shard, any::<bool>()).prop_map(compact_if);
        [shard.clone(), shard.clone(), shard]
    })
}

fn compact_if((mut recording, compact): (Recording, bool)) -> Recording {
    if compact {
        recording.compact();
    }
    recording
}

fn name() -> impl Strategy<Value = Name> {
    "[^/]{1,8}".prop_filter_map("a name", |text| text.parse().ok())
}

fn run() -> impl Strategy<Value = Run> {
    let last_ms = jiff::Timestamp::MAX.as_millisecond().unsigned_abs();
    let identity = (any::<u128>(), 0..=last_ms, any::<u64>());
    let texts = [any::<String>(); 4];
    let labels = btree_map(any::<String>(), any::<String>(), 0..3);
    let argv = option::of(vec(bytes(), 0..3));
    let end = (option::of(exit()), any::<bool>(), option::of(any::<u64>()));
    let reasons = prop_oneof![
        2 => Just(BTreeSet::new()),
        1 => btree_set(any::<String>().prop_map(|why| crate::escape::Line(why).to_string()), 0..3),
        1 => Just(BTreeSet::from(["lost".to_owned()])),
    ];
    let reasons = (reasons, any::<bool>(), any::<bool>());
    let operation = any::<u8>().prop_map(Operation);
    let beside = (
        btree_map(operation, 1..=u64::MAX, 0..3),
        btree_map(syscall(), 1..=u64::MAX, 0..3),
        btree_set(syscall(), 0..3),
    );
    let syscalls = (btree_map(syscall(), tally(), 0..6), beside);
    (
        identity,
        texts,
        bytes(),
        labels,
        argv,
        end,
        reasons,
        syscalls,
    )
        .prop_map(
            |(
                (id, started_ms, duration_ms),
                [tool, backend, kernel, machine],
                program,
                labels,
                argv,
                (exit, no_new_privs, tasks),
                (incomplete_because, aggregated, lower_bounds),
                (syscalls, (io_uring, runtime, not_observed)),
            )| Run {
                id: RunId(uuid::Uuid::from_u128(id)),
                started: SystemTime::UNIX_EPOCH + Duration::from_millis(started_ms),
                duration: Duration::from_millis(duration_ms),
                tool,
                program: program.into(),
                argv,
                labels,
                backend,
                aggregated,
                lower_bounds,
                kernel,
                machine,
                no_new_privs,
                exit,
                tasks,
                incomplete_because,
                syscalls,
                io_uring,
                runtime,
                not_observed,
            },
        )
}

/// What a path or an argument can be: any bytes, mostly text, with what the file format must escape.
fn bytes() -> impl Strategy<Value = OsString> {
    prop_oneof![
        4 => "(/[a-z0-9.]{1,6}){1,3}".prop_map(OsString::from),
        1 => any::<String>().prop_map(OsString::from),
        1 => "[\\\\x0-9a-f]{0,8}".prop_map(OsString::from),
        1 => vec(any::<u8>(), 0..8).prop_map(OsString::from_vec),
    ]
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        (0..=255).prop_map(Exit::Code),
        (1..=64).prop_map(Exit::Signal)
    ]
}

pub(crate) fn syscall() -> impl Strategy<Value = Syscall> {
    // Some are in several runs.
    let common = (0..3).prop_map(|nr| Syscall {
        arch: Arch::X86_64,
        nr,
    });
    let number = prop_oneof![8 => 0..500, 1 => any::<i32>()];
    let any = (select(Arch::ALL), number).prop_map(|(arch, nr)| match arch {
        // Such a number has its bit taken off.
        Arch::X32 => Syscall {
            arch,
            nr: nr & 0x3fff_ffff,
        },
        _ => Syscall { arch, nr },
    });
    prop_oneof![6 => common, 1 => any]
}

fn tally() -> impl Strategy<Value = Tally> {
    let values = prop_oneof![
        3 => btree_map(0..4_u64, value(), 0..3).prop_map(ArgumentValues::Each),
        1 => Just(ArgumentValues::Many),
    ];
    let args = prop_oneof![3 => Just(BTreeMap::new()), 1 => btree_map(0..6_u8, values, 0..3)];
    (value(), args).prop_map(|(of_all, args)| Tally {
        count: of_all.count,
        first_ms: of_all.first_ms,
        executables: of_all.executables,
        args,
    })
}

fn value() -> impl Strategy<Value = ValueTally> {
    let count = prop_oneof![1..1_000_u64, Just(u64::MAX)];
    (count, option::of(any::<u64>()), btree_set(bytes(), 0..3)).prop_map(
        |(count, first_ms, executables)| ValueTally {
            count,
            first_ms,
            executables: executables.into_iter().map(PathBuf::from).collect(),
        },
    )
}
