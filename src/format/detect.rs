//! Which format a file is in, by its content.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Format;

/// The format that a file is in, as far as its content tells. A file that is in none of them gets the one whose reader has
/// the best to say about it.
#[must_use]
pub fn detect(bytes: &[u8]) -> Format {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Format::Bpf;
    };
    // No text has a NUL in it; the first instruction of a filter has some.
    if bytes.iter().take(8).any(|&byte| byte == 0) {
        return Format::Bpf;
    }
    if text.trim_start().starts_with('{') {
        return of_json(text);
    }
    let mut lines = text.lines().map(str::trim);
    if text.contains(super::libseccomp::MARK) {
        return Format::Libseccomp;
    }
    let found = lines.find_map(|line| {
        if line.starts_with("apiVersion:") || line.starts_with("kind:") {
            Some(Format::Spo)
        } else if line == "[Service]" || line.starts_with("SystemCall") {
            Some(Format::Systemd)
        } else if ["- rule:", "- list:", "- macro:"]
            .iter()
            .any(|start| line.starts_with(start))
        {
            Some(Format::Falco)
        } else if is_minijail(line) {
            Some(Format::Minijail)
        } else {
            None
        }
    });
    found.unwrap_or(Format::Oci)
}

/// `read: 1`, `{ read, write }: allow`, `@include …`.
fn is_minijail(line: &str) -> bool {
    let statement = ["@include ", "@default ", "@frequency ", "@denylist"];
    statement.iter().any(|start| line.starts_with(start))
        || line.split_once(':').is_some_and(|(names, filter)| {
            let name = |byte: u8| byte.is_ascii_alphanumeric() || b"_, {}[]=;@".contains(&byte);
            let first = filter.trim_start();
            !names.is_empty()
                && names.bytes().all(name)
                && [
                    "1",
                    "arg",
                    "return",
                    "allow",
                    "kill",
                    "trap",
                    "log",
                    "trace",
                    "user-notify",
                    "{",
                ]
                .iter()
                .any(|start| first.starts_with(start))
        })
}

fn of_json(text: &str) -> Format {
    type Fields<'a> = HashMap<String, &'a RawValue>;
    let Ok(fields) = serde_json::from_str::<Fields>(text) else {
        return Format::Oci;
    };
    if fields.contains_key("apiVersion") {
        return Format::Spo;
    }
    if fields.contains_key("defaultErrno") {
        return Format::Podman;
    }
    let syscalls: Vec<Fields> = (fields.get("syscalls"))
        .and_then(|syscalls| serde_json::from_str(syscalls.get()).ok())
        .unwrap_or_default();
    let any = |name: &str| syscalls.iter().any(|rule| rule.contains_key(name));
    if any("errno") {
        return Format::Podman;
    }
    let dialect = ["name", "comment", "includes", "excludes"];
    if fields.contains_key("archMap") || dialect.into_iter().any(any) {
        return Format::Docker;
    }
    let is_filter = |value: &RawValue| {
        serde_json::from_str::<Fields>(value.get())
            .is_ok_and(|fields| fields.contains_key("filter"))
    };
    if !fields.contains_key("defaultAction") && fields.values().any(|value| is_filter(value)) {
        return Format::Seccompiler;
    }
    Format::Oci
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_content() {
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
