//! The values of the fields: how each is written and read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{RunText, SCHEMA};
use crate::recording::{BadName, Exit, Name, Run, RunId, Tally};
use crate::syscall::{Arch, Syscall};

/// A time as files and messages have it: RFC 3339, UTC, whole milliseconds, from 1970 to the end of the year 9999.
pub(in crate::recording) fn timestamp(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let ms = i64::try_from(whole_ms(since_1970.unwrap_or_default())).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// A duration as files have it: whole milliseconds.
pub(in crate::recording) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The only schema there is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "u64")]
pub(super) struct SchemaNumber;

impl From<SchemaNumber> for u64 {
    fn from(_: SchemaNumber) -> u64 {
        SCHEMA
    }
}

impl TryFrom<u64> for SchemaNumber {
    type Error = String;

    fn try_from(number: u64) -> Result<SchemaNumber, String> {
        match number {
            SCHEMA => Ok(SchemaNumber),
            other => Err(format!("there is no schema {other}")),
        }
    }
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

/// A path or an argument. They are bytes, and JSON has only text: a byte that is not UTF-8 is `\xHH`, and a backslash
/// is `\\`.
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

/// How a run ended: one of the two.
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
pub(super) struct Runs(pub(super) BTreeMap<RunId, Run>);

impl Serialize for Runs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values().map(RunText::from))
    }
}

impl<'de> Deserialize<'de> for Runs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Runs, D::Error> {
        struct RunsVisitor;

        impl<'de> Visitor<'de> for RunsVisitor {
            type Value = Runs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of runs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Runs, A::Error> {
                let mut runs = BTreeMap::new();
                while let Some(text) = texts.next_element::<RunText>()? {
                    let id = text.id.0;
                    let run = Run::try_from(text)
                        .map_err(|error| de::Error::custom(format!("run {id}: {error}")))?;
                    // The same run twice is what a merge by hand can leave, and says nothing new.
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
struct TallyText {
    #[serde(deserialize_with = "count")]
    count: u64,
    first_ms: u64,
    executables: Vec<Bytes>,
}

/// A call that was not seen is not in the file.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    NonZeroU64::deserialize(deserializer).map(NonZeroU64::get)
}

impl From<&Tally> for TallyText {
    fn from(tally: &Tally) -> TallyText {
        let executables = tally.executables.iter();
        TallyText {
            count: tally.count,
            first_ms: tally.first_ms,
            executables: executables.map(|path| Bytes(path.into())).collect(),
        }
    }
}

impl From<TallyText> for Tally {
    fn from(text: TallyText) -> Tally {
        let executables = text.executables.into_iter();
        Tally {
            count: text.count,
            first_ms: text.first_ms,
            executables: executables.map(|path| PathBuf::from(path.0)).collect(),
        }
    }
}

/// The calls: an object of ABIs, each an object of names (or `#` and numbers) and tallies.
pub(super) struct Syscalls(pub(super) BTreeMap<Syscall, Tally>);

impl Serialize for Syscalls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut abis = BTreeMap::<Arch, BTreeMap<String, TallyText>>::new();
        for (syscall, tally) in &self.0 {
            let calls = abis.entry(syscall.arch).or_default();
            calls.insert(syscall.to_string(), tally.into());
        }
        abis.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Syscalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Syscalls, D::Error> {
        let abis: BTreeMap<Arch, BTreeMap<Syscall, Tally>> = unique(deserializer, |key| {
            let arch: Arch = key.parse().map_err(unknown)?;
            Ok((arch, CallsOf(arch)))
        })?;
        Ok(Syscalls(abis.into_values().flatten().collect()))
    }
}

/// Reads the calls of one ABI.
struct CallsOf(Arch);

impl<'de> DeserializeSeed<'de> for CallsOf {
    type Value = BTreeMap<Syscall, Tally>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let calls: BTreeMap<Syscall, TallyText> = unique(deserializer, |key| {
            let syscall = Syscall::parse(self.0, key).map_err(unknown)?;
            Ok((syscall, PhantomData))
        })?;
        Ok(calls
            .into_iter()
            .map(|(syscall, text)| (syscall, text.into()))
            .collect())
    }
}

/// What this build doesn't know can't be kept: without a number there is nothing to keep.
fn unknown(error: impl fmt::Display) -> String {
    format!("{error}; a newer sc-record or libseccomp may know it")
}

/// Reads an object of texts, each of whose keys is there once.
pub(super) fn unique_keys<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    unique(deserializer, |key| Ok((key.to_owned(), PhantomData)))
}

/// Reads an object, each of whose keys is there once: to take the last of several would lose the others. `parse` makes
/// of a key what it stands for, and what reads its value.
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
