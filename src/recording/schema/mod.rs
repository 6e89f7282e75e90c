//! The text of a recording: JSON of a fixed schema, whose bytes depend on the recording alone.
//!
//! Only this module knows the fields. Unknown fields, duplicate keys and values out of range are errors: the file is
//! rewritten, and an unknown part would be lost. A new field means a new schema number. Files of every older schema
//! are read:
//!
//! - 2 has no `io_uring` and `counts`.
//! - 1 has no `folded`, `aggregated`, `runtime`, `not_observed` and `args`, and `tasks` and `first_ms` have a value.

mod calls;
mod fields;
mod folded;
mod layout;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use self::calls::{Operations, SyscallSet, Syscalls, TallyText, convert};
pub(super) use self::fields::text_length;
use self::fields::{Bytes, CountsText, ExitText, Id, NameText, SchemaNumber, Timestamp};
use self::folded::FoldedText;
use self::layout::Layout;
use super::clock::whole_ms;
use super::{Folded, Recording, Run, RunId};
use crate::escape::Line;

/// The schema that is written here, and the newest that is read.
const SCHEMA: u64 = 3;

const CONFLICT: &str = "a merge conflict is unresolved";

/// Why a text is not a recording.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// It has a schema that this build doesn't know.
    #[error(
        "its schema is {schema}, and this sc-record reads up to {SCHEMA}: a newer sc-record wrote it"
    )]
    Newer {
        /// Which.
        schema: u64,
    },
    /// A version control system left its conflict markers in it.
    #[error("line {line}: {CONFLICT}")]
    Conflict {
        /// The line of the first marker, from 1.
        line: usize,
    },
    /// It is not JSON, or not of the schema.
    #[error("line {line}, column {column}: {message}")]
    Invalid {
        /// From 1; 0 at the end of an empty text.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

impl Recording {
    /// Reads what [`Recording::render`] writes.
    pub fn parse(text: &[u8]) -> Result<Recording, ParseError> {
        let invalid = |error| ParseError::from_json(text, &error);
        let head: Head = serde_json::from_slice(text).map_err(invalid)?;
        if head.schema > SCHEMA {
            return Err(ParseError::Newer {
                schema: head.schema,
            });
        }
        let read = match head.schema {
            1 => serde_json::from_slice(text).map(|Checked::<1>(recording)| recording),
            2 => serde_json::from_slice(text).map(|Checked::<2>(recording)| recording),
            _ => serde_json::from_slice(text).map(|Checked::<SCHEMA>(recording)| recording),
        };
        read.map_err(invalid)
    }

    /// The content of its file: JSON, sorted, one line per call, with a newline at the end.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "a Vec takes all bytes, every key is a string, and no Serialize of the schema fails"
    )]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, Layout::default());
        RecordingText::from(self)
            .serialize(&mut serializer)
            .expect("a recording can be written as JSON");
        text.push(b'\n');
        text
    }

    /// The same on one line, without a newline.
    pub(super) fn render_line(&self) -> Vec<u8> {
        // As above, it can't fail; an empty line is no recording.
        serde_json::to_vec(&RecordingText::from(self)).unwrap_or_default()
    }
}

impl ParseError {
    /// The error and the file that it is in, as compilers write it: `FILE:LINE:COLUMN: what is wrong`.
    #[must_use]
    pub fn at(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            ParseError::Newer { .. } => format!("{path}: {self}"),
            ParseError::Conflict { line } => format!("{path}:{line}: {CONFLICT}"),
            ParseError::Invalid {
                line,
                column,
                message,
            } => format!("{path}:{line}:{column}: {message}"),
        }
    }

    fn from_json(text: &[u8], error: &serde_json::Error) -> ParseError {
        if error.is_syntax() {
            let mut lines = text.split(|&byte| byte == b'\n');
            if let Some(marker) = lines.position(|line| line.starts_with(b"<<<<<<< ")) {
                return ParseError::Conflict { line: marker + 1 };
            }
        }
        let (line, column) = match error.line() {
            // The parts are valid, but don't fit together.
            0 => (text.split(|&byte| byte == b'\n').count() - 1, 1),
            line => (line, error.column()),
        };
        let message = error.to_string();
        let at = format!(" at line {line} column {column}");
        let message = message.strip_suffix(&at).unwrap_or(&message);
        let is_json = text.trim_ascii_start().starts_with(b"{");
        let message = if error.is_syntax() && !is_json {
            &format!("it is not a recording: {message}")
        } else {
            message
        };
        ParseError::Invalid {
            line,
            column,
            message: match error.is_eof() {
                true if text.is_empty() => "the file is empty".to_owned(),
                true => format!("the file ends too early: {message}"),
                false => message.to_owned(),
            },
        }
    }
}

/// The field that every schema has. The others are ignored.
struct Head {
    schema: u64,
}

impl<'de> Deserialize<'de> for Head {
    /// Takes objects only, unlike what serde derives.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Head, D::Error> {
        struct HeadVisitor;

        impl<'de> Visitor<'de> for HeadVisitor {
            type Value = Head;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a recording, an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Head, A::Error> {
                let mut schema = None;
                while let Some(key) = object.next_key::<String>()? {
                    if key == "schema" {
                        schema = Some(object.next_value()?);
                    } else {
                        object.next_value::<IgnoredAny>()?;
                    }
                }
                let schema = schema.ok_or_else(|| de::Error::missing_field("schema"))?;
                Ok(Head { schema })
            }
        }

        deserializer.deserialize_any(HeadVisitor)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a recording")]
struct RecordingText<const N: u64> {
    schema: SchemaNumber<N>,
    name: NameText,
    runs: Runs<N>,
    #[serde(
        default,
        deserialize_with = "fields::since::<2, N, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    folded: Option<FoldedText>,
}

impl From<&Recording> for RecordingText<SCHEMA> {
    fn from(recording: &Recording) -> RecordingText<SCHEMA> {
        let folded = &recording.folded;
        RecordingText {
            schema: SchemaNumber,
            name: NameText(recording.name.clone()),
            runs: Runs(recording.runs.clone()),
            folded: (*folded != Folded::default()).then(|| FoldedText(folded.clone())),
        }
    }
}

/// A recording whose parts fit together.
struct Checked<const N: u64>(Recording);

impl<'de, const N: u64> Deserialize<'de> for Checked<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checked<N>, D::Error> {
        let text = RecordingText::<N>::deserialize(deserializer)?;
        let mut recording = Recording {
            name: text.name.0,
            runs: text.runs.0,
            folded: Folded::default(),
        };
        if let Some(FoldedText(folded)) = text.folded {
            recording.add_folded(folded).map_err(de::Error::custom)?;
        }
        let calls = recording.syscalls();
        if let Some((call, _)) = calls.iter().find(|(_, seen)| seen.number_of_runs() == 0) {
            return Err(de::Error::custom(format!("no folded run made {call}")));
        }
        drop(calls);
        Ok(Checked(recording))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a run")]
struct RunText<const N: u64> {
    id: Id,
    started: Timestamp,
    duration_ms: u64,
    tool: String,
    program: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argv: Option<Vec<Bytes>>,
    #[serde(deserialize_with = "fields::unique_keys")]
    labels: BTreeMap<String, String>,
    backend: String,
    #[serde(default, deserialize_with = "fields::since::<2, N, _, _>")]
    aggregated: Option<bool>,
    #[serde(
        default,
        deserialize_with = "fields::since::<3, N, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    counts: Option<CountsText>,
    kernel: String,
    machine: String,
    no_new_privs: bool,
    // A field with a function that reads it must be there, if only as `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    exit: Option<ExitText>,
    #[serde(deserialize_with = "Option::deserialize")]
    tasks: Option<u64>,
    complete: bool,
    incomplete_because: BTreeSet<String>,
    syscalls: Syscalls<TallyText>,
    #[serde(
        default,
        deserialize_with = "fields::since::<3, N, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    io_uring: Option<Operations>,
    #[serde(
        default,
        deserialize_with = "fields::since::<2, N, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    runtime: Option<Syscalls<NonZeroU64>>,
    #[serde(
        default,
        deserialize_with = "fields::since::<2, N, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    not_observed: Option<SyscallSet>,
}

impl<const N: u64> From<&Run> for RunText<N> {
    fn from(run: &Run) -> RunText<N> {
        let argv = run.argv.as_ref();
        RunText {
            id: Id(run.id),
            started: Timestamp(run.started),
            duration_ms: whole_ms(run.duration),
            tool: run.tool.clone(),
            program: Bytes(run.program.clone().into()),
            argv: argv.map(|argv| argv.iter().cloned().map(Bytes).collect()),
            labels: run.labels.clone(),
            backend: run.backend.clone(),
            aggregated: Some(run.aggregated),
            counts: run.lower_bounds.then_some(CountsText::LowerBound),
            kernel: run.kernel.clone(),
            machine: run.machine.clone(),
            no_new_privs: run.no_new_privs,
            exit: run.exit.map(ExitText),
            tasks: run.tasks,
            complete: run.is_complete(),
            incomplete_because: run.incomplete_because.clone(),
            syscalls: Syscalls(convert(
                run.syscalls.iter().map(|(&call, tally)| (call, tally)),
            )),
            io_uring: (!run.io_uring.is_empty()).then(|| Operations(run.io_uring.clone())),
            runtime: (!run.runtime.is_empty()).then(|| {
                let counts = run.runtime.iter();
                let counts =
                    counts.filter_map(|(&call, &count)| Some((call, NonZeroU64::new(count)?)));
                Syscalls(counts.collect())
            }),
            not_observed: (!run.not_observed.is_empty())
                .then(|| SyscallSet(run.not_observed.clone())),
        }
    }
}

impl<const N: u64> TryFrom<RunText<N>> for Run {
    type Error = &'static str;

    fn try_from(text: RunText<N>) -> Result<Run, &'static str> {
        if text.complete != text.incomplete_because.is_empty() {
            return Err("a run is complete when nothing is in `incomplete_because`, and only then");
        }
        if N > 1 && text.aggregated.is_none() {
            return Err("missing field `aggregated`");
        }
        let argv = text.argv;
        let run = Run {
            id: text.id.0,
            started: text.started.0,
            duration: Duration::from_millis(text.duration_ms),
            tool: text.tool,
            program: text.program.0.into(),
            argv: argv.map(|argv| argv.into_iter().map(|argument| argument.0).collect()),
            labels: text.labels,
            backend: text.backend,
            aggregated: text.aggregated.unwrap_or_default(),
            lower_bounds: text.counts.is_some(),
            kernel: text.kernel,
            machine: text.machine,
            no_new_privs: text.no_new_privs,
            exit: text.exit.map(|exit| exit.0),
            tasks: text.tasks,
            // A file that another program wrote can have some.
            incomplete_because: (text.incomplete_because.iter())
                .map(|why| Line(why).to_string())
                .collect(),
            syscalls: convert(text.syscalls.0),
            io_uring: text.io_uring.map(|all| all.0).unwrap_or_default(),
            runtime: convert(text.runtime.map(|calls| calls.0).unwrap_or_default()),
            not_observed: text.not_observed.map(|calls| calls.0).unwrap_or_default(),
        };
        if N == 1 && run.syscalls.values().any(|tally| !tally.args.is_empty()) {
            return Err("schema 1 has no `args`");
        }
        let untimed = run.syscalls.values().any(|tally| tally.first_ms.is_none());
        if N == 1 && (run.tasks.is_none() || untimed) {
            return Err("in schema 1, `tasks` and `first_ms` have a value");
        }
        Ok(run)
    }
}

/// The runs: an array, sorted by id.
struct Runs<const N: u64>(BTreeMap<RunId, Run>);

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

#[cfg(test)]
mod tests;
