//! The fields that have something for each call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::de::{self, DeserializeSeed, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::fields::{Bytes, some, unique, unique_keys};
use crate::recording::{ArgumentValues, MAX_VALUES, Tally, ValueTally};
use crate::syscall::{Arch, Operation, Syscall, UnknownArch};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the tally of a call")]
pub(super) struct TallyText {
    #[serde(deserialize_with = "count")]
    count: u64,
    #[serde(
        default,
        deserialize_with = "some",
        skip_serializing_if = "Option::is_none"
    )]
    first_ms: Option<u64>,
    executables: Vec<Bytes>,
    #[serde(
        default,
        deserialize_with = "registers",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    args: BTreeMap<u8, ValuesText>,
}

fn registers<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<u8, ValuesText>, D::Error> {
    unique(d, |key| match key.as_bytes() {
        [register @ b'0'..=b'5'] => Ok((register - b'0', PhantomData)),
        _ => Err(format!("{key:?} is not a register from 0 to 5")),
    })
}

/// The values of an argument, each with its tally, or `null` if there are too many.
#[derive(Serialize, Deserialize)]
struct ValuesText(Option<ValueTallies>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the tally of a value")]
struct ValueTallyText {
    #[serde(deserialize_with = "count")]
    count: u64,
    #[serde(
        default,
        deserialize_with = "some",
        skip_serializing_if = "Option::is_none"
    )]
    first_ms: Option<u64>,
    executables: Vec<Bytes>,
}

/// The tallies of values, which are hexadecimal numbers.
struct ValueTallies(BTreeMap<u64, ValueTallyText>);

impl Serialize for ValueTallies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.0.iter();
        serializer.collect_map(values.map(|(value, tally)| (format!("{value:#x}"), tally)))
    }
}

impl<'de> Deserialize<'de> for ValueTallies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ValueTallies, D::Error> {
        let values = unique(deserializer, |key| {
            let digits = key.strip_prefix("0x");
            let value = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            match value.filter(|value| format!("{value:#x}") == key) {
                Some(value) => Ok((value, PhantomData)),
                None => Err(format!("{key:?} is not a value such as 0x1f")),
            }
        })?;
        if values.len() > MAX_VALUES {
            let problem = format!("an argument has more than {MAX_VALUES} values");
            return Err(de::Error::custom(problem));
        }
        Ok(ValueTallies(values))
    }
}

impl From<&ArgumentValues> for ValuesText {
    fn from(values: &ArgumentValues) -> ValuesText {
        ValuesText(match values {
            ArgumentValues::Many => None,
            ArgumentValues::Each(values) => {
                let values = values.iter().map(|(&value, tally)| {
                    let text = ValueTallyText {
                        count: tally.count,
                        first_ms: tally.first_ms,
                        executables: texts(&tally.executables),
                    };
                    (value, text)
                });
                Some(ValueTallies(values.collect()))
            }
        })
    }
}

impl From<ValuesText> for ArgumentValues {
    fn from(text: ValuesText) -> ArgumentValues {
        let Some(ValueTallies(values)) = text.0 else {
            return ArgumentValues::Many;
        };
        let values = values.into_iter().map(|(value, text)| {
            let tally = ValueTally {
                count: text.count,
                first_ms: text.first_ms,
                executables: paths(text.executables),
            };
            (value, tally)
        });
        ArgumentValues::Each(values.collect())
    }
}

/// The file has no calls with a count of 0.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    NonZeroU64::deserialize(deserializer).map(NonZeroU64::get)
}

impl From<&Tally> for TallyText {
    fn from(tally: &Tally) -> TallyText {
        TallyText {
            count: tally.count,
            first_ms: tally.first_ms,
            executables: texts(&tally.executables),
            args: convert(
                tally
                    .args
                    .iter()
                    .map(|(&register, values)| (register, values)),
            ),
        }
    }
}

impl From<TallyText> for Tally {
    fn from(text: TallyText) -> Tally {
        Tally {
            count: text.count,
            first_ms: text.first_ms,
            executables: paths(text.executables),
            args: convert(text.args),
        }
    }
}

pub(super) fn texts(paths: &BTreeSet<PathBuf>) -> Vec<Bytes> {
    paths.iter().map(|path| Bytes(path.into())).collect()
}

pub(super) fn paths(texts: Vec<Bytes>) -> BTreeSet<PathBuf> {
    texts.into_iter().map(|path| path.0.into()).collect()
}

/// Something for each call: an object of ABIs, each an object of names (or `#` and numbers).
pub(super) struct Syscalls<T>(pub(super) BTreeMap<Syscall, T>);

/// Converts the values of a map.
pub(super) fn convert<K: Ord, T, U: From<T>>(
    map: impl IntoIterator<Item = (K, T)>,
) -> BTreeMap<K, U> {
    map.into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect()
}

impl<T: Serialize> Serialize for Syscalls<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut abis = BTreeMap::<Arch, BTreeMap<String, &T>>::new();
        for (syscall, value) in &self.0 {
            let calls = abis.entry(syscall.arch).or_default();
            calls.insert(syscall.to_string(), value);
        }
        abis.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Syscalls<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Syscalls<T>, D::Error> {
        let abis: BTreeMap<Arch, BTreeMap<Syscall, T>> = unique(deserializer, |key| {
            let arch: Arch = key.parse().map_err(unknown)?;
            Ok((arch, CallsOf(arch, PhantomData)))
        })?;
        Ok(Syscalls(abis.into_values().flatten().collect()))
    }
}

/// Reads the calls of one ABI.
struct CallsOf<T>(Arch, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for CallsOf<T> {
    type Value = BTreeMap<Syscall, T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        unique(deserializer, |key| {
            let syscall = Syscall::parse(self.0, key).map_err(unknown)?;
            Ok((syscall, PhantomData))
        })
    }
}

/// Operations of `io_uring` and how often each was submitted: an object of their names (or `#` and opcodes).
pub(super) struct Operations(pub(super) BTreeMap<Operation, u64>);

impl Serialize for Operations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(operation, n)| (operation.to_string(), n)),
        )
    }
}

impl<'de> Deserialize<'de> for Operations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Operations, D::Error> {
        let counts: BTreeMap<_, NonZeroU64> = unique(deserializer, |key| {
            let operation: Operation = key.parse().map_err(unknown)?;
            Ok((operation, PhantomData))
        })?;
        Ok(Operations(convert(counts)))
    }
}

/// Calls: an object of ABIs, each with its names (or `#` and numbers).
#[derive(Clone, Serialize)]
#[serde(into = "BTreeMap<String, Vec<String>>")]
pub(super) struct SyscallSet(pub(super) BTreeSet<Syscall>);

impl From<SyscallSet> for BTreeMap<String, Vec<String>> {
    fn from(calls: SyscallSet) -> BTreeMap<String, Vec<String>> {
        let mut by_arch = BTreeMap::<String, Vec<String>>::new();
        for syscall in calls.0 {
            let of_arch = by_arch.entry(syscall.arch.to_string()).or_default();
            of_arch.push(syscall.to_string());
        }
        by_arch
    }
}

impl<'de> Deserialize<'de> for SyscallSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SyscallSet, D::Error> {
        let unknown = |error: String| de::Error::custom(unknown(error));
        let mut calls = BTreeSet::new();
        for (arch, names) in unique_keys::<D, Vec<String>>(deserializer)? {
            let arch: Arch = arch
                .parse()
                .map_err(|error: UnknownArch| unknown(error.to_string()))?;
            for name in names {
                let syscall = Syscall::parse(arch, &name);
                calls.insert(syscall.map_err(|error| unknown(error.to_string()))?);
            }
        }
        Ok(SyscallSet(calls))
    }
}

/// A name that this build doesn't know can't be kept: it has no number.
pub(super) fn unknown(error: impl fmt::Display) -> String {
    format!("{error}; a newer sc-record or libseccomp may know it")
}
