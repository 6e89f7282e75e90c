//! The values of the fields: how each is written and read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::RunText;
use crate::recording::{
    ArgumentValues, BadName, Exit, Folded, FoldedCall, FoldedSeen, Footprint, MAX_VALUES, Name,
    Run, RunId, Tally, ValueTally,
};
use crate::syscall::{Arch, Operation, Syscall, UnknownArch};

/// A time in files and messages: RFC 3339, UTC, whole milliseconds, from 1970 to the end of the year 9999.
pub(in crate::recording) fn timestamp(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let ms = i64::try_from(whole_ms(since_1970.unwrap_or_default())).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// A duration in files: whole milliseconds.
pub(in crate::recording) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The length of a path in the text.
pub(in crate::recording) fn text_length(path: &Path) -> usize {
    let text = String::from(Bytes(path.into()));
    serde_json::to_string(&text).map_or(0, |json| json.len())
}

/// The number of schema `N`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "u64")]
pub(super) struct SchemaNumber<const N: u64>;

impl<const N: u64> From<SchemaNumber<N>> for u64 {
    fn from(_: SchemaNumber<N>) -> u64 {
        N
    }
}

impl<const N: u64> TryFrom<u64> for SchemaNumber<N> {
    type Error = String;

    fn try_from(number: u64) -> Result<SchemaNumber<N>, String> {
        if number == N {
            Ok(SchemaNumber)
        } else {
            Err(format!("there is no schema {number}"))
        }
    }
}

/// Reads a field of schema `SINCE` that older ones don't have.
pub(super) fn since<'de, const SINCE: u64, const N: u64, D, T>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    if N < SINCE {
        return Err(de::Error::custom(format!("schema {N} has no such field")));
    }
    T::deserialize(deserializer).map(Some)
}

/// Reads a field that is left out if it has no value.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct NameText(pub(super) Name);

impl From<NameText> for String {
    fn from(name: NameText) -> String {
        name.0.to_string()
    }
}

impl TryFrom<String> for NameText {
    type Error = BadName;

    fn try_from(text: String) -> Result<NameText, BadName> {
        text.parse().map(NameText)
    }
}

/// A UUID in its usual form, with hyphens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Id(pub(super) RunId);

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Id, String> {
        match uuid::fmt::Hyphenated::from_str(&text) {
            Ok(id) => Ok(Id(RunId(id.into_uuid()))),
            Err(error) => Err(format!("{text:?} is not the id of a run: {error}")),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Timestamp(pub(super) SystemTime);

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        timestamp(time.0)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Timestamp, String> {
        match text.parse().and_then(jiff::Timestamp::try_into) {
            Ok(time) if timestamp(time) == text => Ok(Timestamp(time)),
            _ => Err(format!(
                "{text:?} is not a time such as 2026-01-31T12:34:56.789Z (UTC, milliseconds)"
            )),
        }
    }
}

/// A path or an argument, which are bytes. In JSON, a byte that is not UTF-8 is `\xHH`, and a backslash is `\\`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Bytes(pub(super) OsString);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        let mut text = String::new();
        for chunk in bytes.0.as_bytes().utf8_chunks() {
            text += &chunk.valid().replace('\\', r"\\");
            text.extend((chunk.invalid().iter()).map(|byte| format!(r"\x{byte:02x}")));
        }
        text
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Bytes, String> {
        if !text.contains('\\') {
            return Ok(Bytes(text.into()));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            rest = match (first, after) {
                (b'\\', [b'\\', after @ ..]) => {
                    bytes.push(b'\\');
                    after
                }
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let byte = hex_digit(*high).zip(hex_digit(*low));
                    bytes.extend(byte.map(|(high, low)| high << 4 | low));
                    if byte.is_none() {
                        return Err(bad_escape(&text));
                    }
                    after
                }
                (b'\\', _) => return Err(bad_escape(&text)),
                (byte, after) => {
                    bytes.push(*byte);
                    after
                }
            };
        }
        Ok(Bytes(OsString::from_vec(bytes)))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}

fn bad_escape(text: &str) -> String {
    format!(r"in {text:?}, a backslash is neither `\\` nor `\x` and two hexadecimal digits")
}

/// What the counts of a run are, if not exact.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CountsText {
    LowerBound,
}

/// How a run ended: one of both.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "how a run ended")]
struct Ending {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "Ending", try_from = "Ending")]
pub(super) struct ExitText(pub(super) Exit);

impl From<ExitText> for Ending {
    fn from(exit: ExitText) -> Ending {
        let (code, signal) = match exit.0 {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        Ending { code, signal }
    }
}

impl TryFrom<Ending> for ExitText {
    type Error = &'static str;

    fn try_from(ending: Ending) -> Result<ExitText, &'static str> {
        match (ending.code, ending.signal) {
            // What exit(2) passes on, and what `WTERMSIG` can give (wait(2)).
            (Some(code @ 0..=255), None) => Ok(ExitText(Exit::Code(code))),
            (None, Some(signal @ 1..=127)) => Ok(ExitText(Exit::Signal(signal))),
            _ => Err("a run ends with a `code` from 0 to 255 or with a `signal` from 1 to 127"),
        }
    }
}

/// The runs: an array, sorted by id.
pub(super) struct Runs<const N: u64>(pub(super) BTreeMap<RunId, Run>);

impl<const N: u64> Serialize for Runs<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values().map(RunText::<N>::from))
    }
}

impl<'de, const N: u64> Deserialize<'de> for Runs<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Runs<N>, D::Error> {
        struct RunsVisitor<const N: u64>;

        impl<'de, const N: u64> Visitor<'de> for RunsVisitor<N> {
            type Value = Runs<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of runs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Runs<N>, A::Error> {
                let mut runs = BTreeMap::new();
                while let Some(text) = texts.next_element::<RunText<N>>()? {
                    let id = text.id.0;
                    let run = Run::try_from(text)
                        .map_err(|error| de::Error::custom(format!("run {id}: {error}")))?;
                    // A merge by hand can leave the same run twice.
                    match runs.entry(id) {
                        Entry::Occupied(entry) if *entry.get() != run => {
                            let problem = format!("two different runs have the id {id}");
                            return Err(de::Error::custom(problem));
                        }
                        Entry::Occupied(_) => {}
                        Entry::Vacant(entry) => {
                            entry.insert(run);
                        }
                    }
                }
                Ok(Runs(runs))
            }
        }

        deserializer.deserialize_seq(RunsVisitor)
    }
}

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

fn texts(paths: &BTreeSet<PathBuf>) -> Vec<Bytes> {
    paths.iter().map(|path| Bytes(path.into())).collect()
}

fn paths(texts: Vec<Bytes>) -> BTreeSet<PathBuf> {
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

/// A name that this build doesn't know can't be kept: it has no number.
fn unknown(error: impl fmt::Display) -> String {
    format!("{error}; a newer sc-record or libseccomp may know it")
}

/// Reads an object without duplicate keys.
pub(super) fn unique_keys<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    unique(deserializer, |key| Ok((key.to_owned(), PhantomData)))
}

/// Reads an object without duplicate keys, since taking the last value would lose the others. `parse` converts a key, and
/// returns the seed that reads its value.
fn unique<'de, D, K, S>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<(K, S), String>,
) -> Result<BTreeMap<K, S::Value>, D::Error>
where
    D: Deserializer<'de>,
    K: Ord,
    S: DeserializeSeed<'de>,
{
    struct UniqueVisitor<P, K, S>(P, PhantomData<(K, S)>);

    impl<'de, P, K, S> Visitor<'de> for UniqueVisitor<P, K, S>
    where
        P: Fn(&str) -> Result<(K, S), String>,
        K: Ord,
        S: DeserializeSeed<'de>,
    {
        type Value = BTreeMap<K, S::Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = object.next_key::<String>()? {
                let (parsed, seed) = self.0(&key).map_err(de::Error::custom)?;
                let Entry::Vacant(entry) = map.entry(parsed) else {
                    return Err(de::Error::custom(format!("{key:?} is there twice")));
                };
                entry.insert(object.next_value_seed(seed)?);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(UniqueVisitor(parse, PhantomData))
}
