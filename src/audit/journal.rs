//! Journal entries, as `journalctl -o export` and `-o json` write them (systemd.journal-fields(7), the Journal Export Format).

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny};
use serde_json::value::RawValue;

use super::classify::{Classifier, LogLine};
use super::loss::LossNote;
use super::time;
use crate::input::text::digits;

/// The relevant fields of an entry.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct JournalEntry<'a> {
    #[serde(borrow, rename = "_TRANSPORT")]
    transport: Text<'a>,
    #[serde(borrow, rename = "_UID")]
    uid: Text<'a>,
    #[serde(borrow, rename = "SYSLOG_IDENTIFIER")]
    identifier: Text<'a>,
    #[serde(borrow, rename = "MESSAGE")]
    message: Text<'a>,
    #[serde(borrow, rename = "_AUDIT_TYPE")]
    audit_type: Text<'a>,
    #[serde(borrow, rename = "_AUDIT_ID")]
    audit_id: Text<'a>,
    #[serde(borrow, rename = "_SOURCE_REALTIME_TIMESTAMP")]
    source_time: Text<'a>,
    #[serde(borrow, rename = "__REALTIME_TIMESTAMP")]
    time: Text<'a>,
    /// The line that filebeat read. Others have fields of these names, of any type.
    #[serde(borrow, rename = "message")]
    beat_line: Option<&'a RawValue>,
    #[serde(borrow, rename = "log")]
    beat_log: Option<&'a RawValue>,
    #[serde(skip)]
    beat: Option<Beat>,
}

/// A line that filebeat read from a file.
#[derive(Debug)]
struct Beat {
    line: String,
    /// Whether the file is auditd's own.
    is_auditd: bool,
}

impl Beat {
    fn of(line: &RawValue, log: &RawValue) -> Option<Beat> {
        #[derive(serde::Deserialize)]
        struct Log {
            file: File,
        }
        #[derive(serde::Deserialize)]
        struct File {
            path: String,
        }
        let log: Log = serde_json::from_str(log.get()).ok()?;
        Some(Beat {
            line: serde_json::from_str(line.get()).ok()?,
            is_auditd: log.file.path.starts_with("/var/log/audit/"),
        })
    }
}

/// The JSON in a line of `-o json`, `json-seq` or `json-sse`; `None` for other lines.
pub(super) fn json(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"\x1e").unwrap_or(line);
    let line = line.strip_prefix(b"data: ").unwrap_or(line);
    line.starts_with(b"{").then_some(line)
}

impl<'a> JournalEntry<'a> {
    pub(super) fn of_json(json: &'a [u8]) -> serde_json::Result<JournalEntry<'a>> {
        let mut entry: JournalEntry<'_> = serde_json::from_slice(json)?;
        entry.beat =
            (entry.beat_line.zip(entry.beat_log)).and_then(|(line, log)| Beat::of(line, log));
        Ok(entry)
    }

    /// Classifies the entry. Only journald can set the fields that start with `_`.
    pub(super) fn classify(&self, classifier: &Classifier) -> LogLine<'_> {
        if let Some(Beat { line, is_auditd }) = &self.beat {
            return classifier.of_file(line.as_bytes(), *is_auditd);
        }
        let message = self.message.0.as_bytes();
        match &*self.transport.0 {
            "audit" => {
                let serial = self.audit_id.0.parse().ok();
                match message.strip_prefix(b"SECCOMP ") {
                    Some(body) if self.audit_type.0 == "1326" => LogLine::SeccompBody {
                        body,
                        time: self.record_time(),
                        serial,
                    },
                    _ => LogLine::OtherRecord(serial),
                }
            }
            "kernel" => Classifier::of_kernel_message(message),
            "driver" => (message.strip_prefix(b"Missed "))
                .and_then(|rest| digits(rest.strip_suffix(b" kernel messages")?))
                .map_or(LogLine::Unrelated, |count| {
                    LogLine::Loss(LossNote::Journald(count))
                }),
            // A plugin of auditd writes records to syslog.
            _ if self.identifier.0.contains("audi") => {
                classifier.of_daemon(message, self.uid.0 == "0")
            }
            _ => LogLine::Unrelated,
        }
    }

    fn record_time(&self) -> Option<SystemTime> {
        time::of_micros(&self.source_time.0).or_else(|| time::of_micros(&self.time.0))
    }
}

impl JournalEntry<'static> {
    /// Sets a field of `-o export`, if it is a relevant one.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        let field = match name {
            b"_TRANSPORT" => &mut self.transport,
            b"_UID" => &mut self.uid,
            b"SYSLOG_IDENTIFIER" => &mut self.identifier,
            b"MESSAGE" => &mut self.message,
            b"_AUDIT_TYPE" => &mut self.audit_type,
            b"_AUDIT_ID" => &mut self.audit_id,
            b"_SOURCE_REALTIME_TIMESTAMP" => &mut self.source_time,
            b"__REALTIME_TIMESTAMP" => &mut self.time,
            _ => return,
        };
        // The kernel's records are ASCII, so what isn't UTF-8 doesn't matter.
        field.0 = Cow::Owned(std::str::from_utf8(value).unwrap_or_default().to_owned());
    }
}

/// A field's value; empty if it is not text (an array of bytes or of values, or null for a long one).
#[derive(Debug, Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the value of a field")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Text<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
