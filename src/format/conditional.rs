//! Locates the parts of Docker's dialect that plain OCI lacks. Readers of plain OCI drop them.

use serde_json::Value;

use super::error::Position;
use super::json::{Index, JsonPath};

/// A part of a file that plain OCI doesn't have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditional {
    /// Its path: `syscalls[3].includes`.
    pub path: String,
    /// Where it is.
    pub position: Option<Position>,
}

/// The conditions of a profile in Docker's dialect, and its `archMap`; none for a file that isn't JSON.
#[must_use]
pub fn conditionals(bytes: &[u8]) -> Vec<Conditional> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Vec::new();
    };
    let Ok(file) = serde_json::from_str::<Value>(text) else {
        return Vec::new();
    };
    let has_any = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    let is_condition = |value: &Value| {
        has_any(&value["caps"]) || has_any(&value["arches"]) || !value["minKernel"].is_null()
    };
    let root = JsonPath::default();
    let mut paths = Vec::new();
    if has_any(&file["archMap"]) {
        paths.push(root.field("archMap"));
    }
    let syscalls = file["syscalls"].as_array();
    for (index, syscall) in syscalls.into_iter().flatten().enumerate() {
        let path = root.field("syscalls").index(index);
        for field in ["includes", "excludes"] {
            if is_condition(&syscall[field]) {
                paths.push(path.field(field));
            }
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
        let position = |found: &Conditional| found.position.unwrap().to_string();
        let found = found
            .iter()
            .map(|found| format!("{} {}", found.path, position(found)));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                "archMap line 1, column 13",
                "syscalls[1].includes line 4, column 32",
                "syscalls[2].excludes line 5, column 32",
            ]
        );
        assert_eq!(conditionals(b"{\"syscalls\": [{\"names\": [\"a\"]}]}"), []);
        assert_eq!(conditionals(b"\xff"), []);
    }
}
