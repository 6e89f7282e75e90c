//! Finds the format of a file by its content.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::name::Format;

/// The outline of a JSON text: the fields of the outermost object, and of the objects in `syscalls`.
pub(super) struct Outline<'a> {
    pub(super) fields: Fields<'a>,
    pub(super) rules: Vec<Fields<'a>>,
}

pub(super) type Fields<'a> = HashMap<String, &'a RawValue>;

impl Outline<'_> {
    pub(super) fn of(text: &str) -> Option<Outline<'_>> {
        let fields: Fields = serde_json::from_str(text).ok()?;
        let rules = (fields.get("syscalls"))
            .and_then(|rules| serde_json::from_str(rules.get()).ok())
            .unwrap_or_default();
        Some(Outline { fields, rules })
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(super) fn a_rule_has(&self, field: &str) -> bool {
        self.rules.iter().any(|rule| rule.contains_key(field))
    }
}

/// The format of a file by its content. For a file in no known format, it is one whose reader reports the problem.
#[must_use]
pub fn detect(bytes: &[u8]) -> Format {
    let formats = || Format::ALL.iter().copied();
    // Text has no NUL; the first instruction of a filter has some.
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|_| !bytes.iter().take(8).any(|&byte| byte == 0));
    let Some(text) = text else {
        return formats().find(|f| !f.is_text()).unwrap_or(Format::Oci);
    };
    let found = if text.trim_start().starts_with('{') {
        // The dialects of OCI's JSON come after it.
        let outline = Outline::of(text);
        outline.and_then(|outline| formats().rev().find(|f| (f.row().json)(&outline)))
    } else {
        let mut lines = text.lines().map(str::trim);
        lines.find_map(|line| formats().find(|f| (f.row().line)(line)))
    };
    found.unwrap_or(Format::Oci)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_their_content() {
        let check = |text: &str, format| assert_eq!(detect(text.as_bytes()), format, "{text}");
        check(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, Format::Oci);
        check(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[]}"#,
            Format::Docker,
        );
        check(r#"{"syscalls":[{"name":"a"}]}"#, Format::Docker);
        check(r#"{"defaultErrno":"EPERM"}"#, Format::Podman);
        check(r#"{"syscalls":[{"errno":"EPERM"}]}"#, Format::Podman);
        check(r#"{"apiVersion":"x/v1"}"#, Format::Spo);
        check(r#"{"main":{"filter":[]}}"#, Format::Seccompiler);
        check("---\napiVersion: x/v1\n", Format::Spo);
        check("# x\n[Service]\nSystemCallFilter=read\n", Format::Systemd);
        check("# x\nread: 1\n", Format::Minijail);
        check("@default kill-process\n", Format::Minijail);
        check("- list: a\n  items: [read]\n", Format::Falco);
        check("hello", Format::Oci);
        assert_eq!(detect(&[0x20, 0, 0, 0, 4, 0, 0, 0]), Format::Bpf);
    }
}
