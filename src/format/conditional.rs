//! Locates the parts of Docker's dialect that plain OCI lacks. Readers of plain OCI drop them.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Position;
use super::json::{Index, Path};

/// A part of a file that plain OCI doesn't have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditional {
    /// Its path: `syscalls[3].includes`.
    pub path: String,
    /// Where it is.
    pub position: Option<Position>,
}

/// The conditions of a profile in Docker's dialect, and its `archMap`; nothing for what isn't JSON.
#[must_use]
pub fn conditionals(bytes: &[u8]) -> Vec<Conditional> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct File {
        arch_map: Option<Vec<IgnoredAny>>,
        syscalls: Option<Vec<Syscall>>,
    }
    #[derive(Deserialize)]
    struct Syscall {
        includes: Option<Condition>,
        excludes: Option<Condition>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Condition {
        caps: Option<Vec<IgnoredAny>>,
        arches: Option<Vec<IgnoredAny>>,
        min_kernel: Option<IgnoredAny>,
    }
    let says = |condition: Option<&Condition>| {
        condition.is_some_and(|condition| {
            let some =
                |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|list| !list.is_empty());
            some(&condition.caps) || some(&condition.arches) || condition.min_kernel.is_some()
        })
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Vec::new();
    };
    let Ok(file) = serde_json::from_str::<File>(text) else {
        return Vec::new();
    };
    let root = Path::default();
    let mut paths = Vec::new();
    if file.arch_map.is_some_and(|map| !map.is_empty()) {
        paths.push(root.field("archMap"));
    }
    for (index, syscall) in file.syscalls.iter().flatten().enumerate() {
        let path = root.field("syscalls").index(index);
        if says(syscall.includes.as_ref()) {
            paths.push(path.field("includes"));
        }
        if says(syscall.excludes.as_ref()) {
            paths.push(path.field("excludes"));
        }
    }
    let index = Index::of(text);
    (paths.into_iter())
        .map(|path| Conditional {
            path: path.to_string(),
            position: index.locate(&path),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_found_where_they_are() {
        let text = r#"{"archMap": [{}],
 "syscalls": [
  {"names": ["a"], "includes": {}, "excludes": {"caps": []}},
  {"names": ["b"], "includes": {"caps": ["CAP_BPF"]}},
  {"names": ["c"], "excludes": {"minKernel": "4.8"}}
 ]}"#;
        let found = conditionals(text.as_bytes());
        let found: Vec<_> = (found.iter())
            .map(|found| {
                (
                    found.path.as_str(),
                    found.position.map(|at| (at.line, at.column)),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("archMap", Some((1, 13))),
                ("syscalls[1].includes", Some((4, 32))),
                ("syscalls[2].excludes", Some((5, 32))),
            ]
        );
        assert_eq!(conditionals(b"{\"syscalls\": [{\"names\": [\"a\"]}]}"), []);
        assert_eq!(conditionals(b"\xff"), []);
    }
}
