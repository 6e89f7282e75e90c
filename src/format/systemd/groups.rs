//! The groups of calls of this machine's systemd.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The calls of a group in this machine's systemd; `None` without systemd or such a group.
#[must_use]
pub fn groups_of_systemd(group: &str) -> Option<Vec<String>> {
    /// One process lists all: a file can name thousands of groups.
    static ALL: OnceLock<BTreeMap<String, Vec<String>>> = OnceLock::new();
    let all = ALL.get_or_init(|| groups(&listed_groups().unwrap_or_default()));
    let (mut calls, mut open) = (BTreeSet::new(), vec![group]);
    let mut seen = BTreeSet::new();
    while let Some(group) = open.pop() {
        for member in all.get(group)? {
            if !member.starts_with('@') {
                calls.insert(member.clone());
            } else if seen.insert(member) {
                open.push(member);
            }
        }
    }
    Some(calls.into_iter().collect())
}

/// What systemd-analyze(1) prints about all groups.
fn listed_groups() -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    command.args(["--no-pager", "syscall-filter"]);
    let output = (command.stdin(Stdio::null()).stderr(Stdio::null()))
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The members of each group: calls, and other groups.
fn groups(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let word = line.trim();
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        if line.starts_with('@') {
            current = Some(groups.entry(word.to_owned()).or_default());
        } else if let Some(members) = &mut current {
            members.push(word.to_owned());
        }
    }
    groups
}
