//! The values of the fields: how each is written and read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::event::Exit;
use crate::recording::clock::timestamp;
use crate::recording::{BadName, Name, RunId};

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
pub(super) fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
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
pub(super) fn unique<'de, D, K, S>(
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
