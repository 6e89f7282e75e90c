//! The field of folded runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::{Syscalls, convert, paths, texts, unknown};
use super::fields::{Bytes, Id, some, unique_keys};
use crate::recording::clock::whole_ms;
use crate::recording::{Folded, FoldedCall, FoldedSeen, Footprint, RunId};
use crate::syscall::{Arch, Syscall};

/// The runs that were folded.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "FoldedRunsText", try_from = "FoldedRunsText")]
pub(super) struct FoldedText(pub(super) Folded);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "folded runs")]
struct FoldedRunsText {
    runs: Vec<GroupText>,
    seen: SeenText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group of folded runs")]
struct GroupText {
    complete: bool,
    /// The calls of all folded runs that these did not make: mostly few.
    #[serde(deserialize_with = "unique_keys")]
    without: BTreeMap<String, Vec<String>>,
    ids: Vec<Id>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "what folded runs saw")]
struct SeenText {
    labels: BTreeSet<String>,
    longest_ms: u64,
    syscalls: Syscalls<FoldedCallText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a call of folded runs")]
struct FoldedCallText {
    #[serde(
        default,
        deserialize_with = "some",
        skip_serializing_if = "Option::is_none"
    )]
    first_ms: Option<u64>,
    executables: Vec<Bytes>,
}

impl From<FoldedText> for FoldedRunsText {
    fn from(text: FoldedText) -> FoldedRunsText {
        let Folded { groups, seen } = text.0;
        let runs = groups.into_iter().map(|(footprint, ids)| {
            let mut without = BTreeMap::<String, Vec<String>>::new();
            for syscall in seen.syscalls.keys() {
                if !footprint.calls.contains(syscall) {
                    let of_arch = without.entry(syscall.arch.to_string()).or_default();
                    of_arch.push(syscall.to_string());
                }
            }
            GroupText {
                complete: footprint.complete,
                without,
                ids: ids.into_iter().map(Id).collect(),
            }
        });
        FoldedRunsText {
            runs: runs.collect(),
            seen: SeenText {
                labels: seen.labels,
                longest_ms: whole_ms(seen.longest),
                syscalls: Syscalls(convert(seen.syscalls)),
            },
        }
    }
}

impl TryFrom<FoldedRunsText> for FoldedText {
    type Error = String;

    fn try_from(text: FoldedRunsText) -> Result<FoldedText, String> {
        let mut groups = BTreeMap::<Footprint, BTreeSet<RunId>>::new();
        let mut folded = BTreeSet::new();
        for group in text.runs {
            let mut calls: BTreeSet<Syscall> = text.seen.syscalls.0.keys().copied().collect();
            for (arch, names) in group.without {
                let arch: Arch = arch.parse().map_err(unknown)?;
                for name in names {
                    let syscall = Syscall::parse(arch, &name).map_err(unknown)?;
                    if !calls.remove(&syscall) {
                        return Err(format!("no folded run made {arch}:{name}"));
                    }
                }
            }
            if group.ids.is_empty() {
                return Err("a group of folded runs has no ids".to_owned());
            }
            let footprint = Footprint {
                complete: group.complete,
                calls,
            };
            let ids = groups.entry(footprint).or_default();
            for Id(id) in group.ids {
                if !folded.insert(id) {
                    return Err(format!("run {id} is folded twice"));
                }
                ids.insert(id);
            }
        }
        let seen = FoldedSeen {
            labels: text.seen.labels,
            longest: Duration::from_millis(text.seen.longest_ms),
            syscalls: convert(text.seen.syscalls.0),
        };
        Ok(FoldedText(Folded { groups, seen }))
    }
}

impl From<FoldedCall> for FoldedCallText {
    fn from(call: FoldedCall) -> FoldedCallText {
        FoldedCallText {
            first_ms: call.first_ms,
            executables: texts(&call.executables),
        }
    }
}

impl From<FoldedCallText> for FoldedCall {
    fn from(text: FoldedCallText) -> FoldedCall {
        FoldedCall {
            first_ms: text.first_ms,
            executables: paths(text.executables),
        }
    }
}
