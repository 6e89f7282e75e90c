//! Paths into a JSON text and their positions, for every format that is JSON.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::LineStarts;
use super::error::Position;

/// A step from a JSON value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStep {
    /// A field of an object.
    Field(&'static str),
    /// A field of an object, whose name a file chose.
    Member(String),
    /// An element of an array, from 0.
    Index(usize),
}

impl PathStep {
    /// The name of a field.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            PathStep::Field(name) => Some(name),
            PathStep::Member(name) => Some(name),
            PathStep::Index(_) => None,
        }
    }
}

/// The way from the whole text to a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<PathStep>);

impl JsonPath {
    /// The path of a field.
    pub(super) fn field(&self, name: &'static str) -> JsonPath {
        self.join(PathStep::Field(name))
    }

    /// The path of a field whose name a file chose.
    pub(super) fn member(&self, name: &str) -> JsonPath {
        self.join(PathStep::Member(name.to_owned()))
    }

    /// The path of an element.
    pub(super) fn index(&self, index: usize) -> JsonPath {
        self.join(PathStep::Index(index))
    }

    fn join(&self, step: PathStep) -> JsonPath {
        JsonPath(self.0.iter().cloned().chain([step]).collect())
    }

    /// Where the part begins in a text; `None` if the text isn't JSON.
    pub(super) fn locate(&self, text: &str) -> Option<Position> {
        Index::of(text).locate(self)
    }
}

impl fmt::Display for JsonPath {
    /// `syscalls[3].names[0]`; nothing for the whole text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Index(index) => write!(f, "[{index}]")?,
                PathStep::Field(_) | PathStep::Member(_) => {
                    let dot = if number == 0 { "" } else { "." };
                    write!(f, "{dot}{}", step.name().unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }
}

/// The parts of a JSON text and where they are. Each level is read once, when a path first leads there.
pub(super) struct Index<'a> {
    text: &'a str,
    root: Option<JsonPart<'a>>,
    lines: OnceCell<LineStarts>,
}

struct JsonPart<'a> {
    text: &'a str,
    parts: OnceCell<Parts<'a>>,
}

enum Parts<'a> {
    List(Vec<JsonPart<'a>>),
    Fields(HashMap<Cow<'a, str>, JsonPart<'a>>),
    None,
}

impl<'a> Index<'a> {
    pub(super) fn of(text: &'a str) -> Index<'a> {
        let root = serde_json::from_str(text).ok().map(JsonPart::of);
        Index {
            text,
            root,
            lines: OnceCell::new(),
        }
    }

    /// Where a part begins; `None` if the text isn't JSON. A missing part is at the part that should hold it.
    pub(super) fn locate(&self, path: &JsonPath) -> Option<Position> {
        let mut part = self.root.as_ref()?;
        for step in &path.0 {
            let Some(next) = part.step(step) else { break };
            part = next;
        }
        // A raw value is a slice of what it was read from.
        let offset = (part.text.as_ptr().addr()).checked_sub(self.text.as_ptr().addr())?;
        let lines = self
            .lines
            .get_or_init(|| LineStarts::of(self.text.as_bytes()));
        lines.position(offset)
    }
}

impl<'a> JsonPart<'a> {
    fn of(raw: &'a RawValue) -> JsonPart<'a> {
        JsonPart {
            text: raw.get(),
            parts: OnceCell::new(),
        }
    }

    fn step(&self, step: &PathStep) -> Option<&JsonPart<'a>> {
        match (self.parts.get_or_init(|| self.read()), step) {
            (Parts::List(parts), PathStep::Index(index)) => parts.get(*index),
            (Parts::Fields(parts), step) => parts.get(step.name()?),
            _ => None,
        }
    }

    fn read(&self) -> Parts<'a> {
        if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(self.text) {
            Parts::List(list.into_iter().map(JsonPart::of).collect())
        } else if let Ok(fields) = serde_json::from_str::<HashMap<Cow<str>, &RawValue>>(self.text) {
            let fields = fields.into_iter();
            Parts::Fields(
                fields
                    .map(|(name, raw)| (name, JsonPart::of(raw)))
                    .collect(),
            )
        } else {
            Parts::None
        }
    }
}

/// A structure that is read only from an object. Serde would also read it from an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// The message of an error without its position, and the position.
pub(super) fn split(error: &serde_json::Error) -> (String, Position) {
    let position = Position {
        line: error.line(),
        column: error.column(),
    };
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&suffix).unwrap_or(&message).to_owned();
    (message, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_line_and_column_of_a_part() {
        let text = "\n {\"a\": [1,\n  {\"b\\u0063\": \"x\"}\n]}";
        let at = |path: &JsonPath| path.locate(text).map(|p| (p.line, p.column));
        let root = JsonPath::default();
        assert_eq!(at(&root), Some((2, 2)));
        assert_eq!(at(&root.field("a")), Some((2, 8)));
        assert_eq!(at(&root.field("a").index(1)), Some((3, 3)));
        assert_eq!(at(&root.field("a").index(1).field("bc")), Some((3, 15)));
        // A missing part is at the part that should hold it.
        assert_eq!(at(&root.field("a").index(1).field("z")), Some((3, 3)));
        assert_eq!(at(&root.field("z").index(4)), Some((2, 2)));
        assert_eq!(root.field("a").locate("{"), None);
    }

    #[test]
    fn a_path_reads_as_in_messages() {
        let path = JsonPath::default()
            .field("syscalls")
            .index(3)
            .field("names");
        assert_eq!(path.index(0).to_string(), "syscalls[3].names[0]");
    }
}
