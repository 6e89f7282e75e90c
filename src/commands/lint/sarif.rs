//! Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"): the input of code scanning on forges.

use std::fmt::Write as _;
use std::path::{Component, Path};

use sc_record::review::lint::{LintRule, RULES};
use serde_json::{Value, json};

use super::Located;

/// A log of one run of the tool.
pub(super) fn log(all: &[Located]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sc-record",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": RULES.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": all.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(rule: &LintRule) -> Value {
    json!({
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.text},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": rule.severity.name()},
    })
}

fn result(located: &Located) -> Value {
    let finding = &located.finding;
    let mut positions: Vec<_> = located.parts.iter().map(|part| part.position).collect();
    positions.dedup();
    json!({
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.rule.id),
        "level": finding.rule.severity.name(),
        "message": {"text": format!("{}. {}", finding.message, finding.rule.fix)},
        // A fix changes all of them.
        "locations": positions.iter().map(|at| json!({"physicalLocation": {
            "artifactLocation": {"uri": uri(&located.file)},
            "region": {"startLine": at.line, "startColumn": at.column.max(1)},
        }})).collect::<Vec<_>>(),
    })
}

/// A path as a URI reference (RFC 3986): relative where it is.
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    for component in path.components() {
        match component {
            Component::RootDir => uri.push_str("file:///"),
            Component::CurDir => {}
            component => {
                if !uri.is_empty() && !uri.ends_with('/') {
                    uri.push('/');
                }
                for byte in component.as_os_str().as_encoded_bytes() {
                    match byte {
                        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                            uri.push(char::from(*byte));
                        }
                        byte => {
                            // Writing to a string can't fail.
                            let _ = write!(uri, "%{byte:02X}");
                        }
                    }
                }
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri(Path::new("./profiles/a b.json")), "profiles/a%20b.json");
        assert_eq!(uri(Path::new("/etc/x%.json")), "file:///etc/x%25.json");
        assert_eq!(uri(Path::new("../a")), "../a");
    }
}
