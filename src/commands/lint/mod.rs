//! `sc-record lint PROFILE --target TARGET`: finds likely problems of a profile.

mod sarif;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use console::style;
use itertools::Itertools;
use sc_record::escape::{self, Line};
use sc_record::format::{self, Position};
use sc_record::recording::Recording;
use sc_record::review::lint::{Context, LintFinding, RULES, Severity, Version, lint as check};
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, count};
use super::load::Loaded;
use crate::cli::LintArgs;
use crate::ui::output;

/// A finding, and where it is in its file.
struct Located {
    file: PathBuf,
    finding: LintFinding,
    /// Every part that it is about; the whole file counts as its start.
    parts: Vec<Part>,
}

/// A part of a profile that a finding is about.
struct Part {
    /// As a path in the format; `None` for the whole file.
    path: Option<String>,
    position: Position,
}

impl Located {
    fn position(&self) -> Position {
        self.parts.first().map_or(START, |part| part.position)
    }
}

const START: Position = Position { line: 1, column: 1 };

/// How many positions of a finding are shown as text.
const SHOWN: usize = 8;

pub(super) fn lint(args: &LintArgs) -> anyhow::Result<u8> {
    if args.rules {
        output::report(&rules())?;
        return Ok(exit_status::CLEAN);
    }
    let version = args.libseccomp.or_else(Version::current);
    let version = version
        .context("the version of this machine's libseccomp is unknown: give --libseccomp")?;
    let recording = (args.recording.as_deref())
        .map(input::recording)
        .transpose()?;
    let mut all = Vec::new();
    for path in &args.profiles {
        all.extend(of_file(path, args, version, recording.as_ref())?);
    }
    all.sort_by_key(|located| (located.position(), located.finding.rule.id));
    all.sort_by(|one, other| one.file.cmp(&other.file));
    let text = if args.sarif {
        format!("{:#}\n", sarif::log(&all))
    } else if args.json {
        format!("{}\n", json(&all, args, version))
    } else {
        text(&all, args, version)
    };
    if args.sarif || args.json {
        output::json(&text)?;
    } else {
        // Its parts are escaped; what controls the terminal is its colours.
        output::print(&text)?;
    }
    let mut findings = all.iter().map(|located| &located.finding);
    Ok(exit_status::of_findings(
        findings.any(|finding| finding.rule.severity < Severity::Note),
    ))
}

fn of_file(
    path: &Path,
    args: &LintArgs,
    version: Version,
    recording: Option<&Recording>,
) -> anyhow::Result<Vec<Located>> {
    let Loaded { parsed, bytes } = input::profile(path, &args.read)?;
    let conditionals = format::conditionals(&bytes);
    let paths: Vec<String> = conditionals.iter().map(|one| one.path.clone()).collect();
    let context = Context {
        profile: &parsed.profile,
        target: args.target,
        libseccomp: version,
        recording,
        conditional: &paths,
    };
    let positions = parsed.positions(&bytes);
    let findings = check(&context).into_iter();
    let findings = findings.filter(|finding| {
        let mut allowed = args.allowed.iter();
        !allowed.any(|rule| rule.id == finding.rule.id)
    });
    Ok(findings
        .map(|finding| {
            let places = finding.places.iter().map(|&place| Part {
                path: Some(place.to_string()),
                position: positions.of(place).unwrap_or(START),
            });
            let paths = finding.paths.iter().map(|path| {
                let one = conditionals.iter().find(|one| one.path == *path);
                Part {
                    path: Some(path.clone()),
                    position: one.and_then(|one| one.position).unwrap_or(START),
                }
            });
            let mut parts: Vec<Part> = places.chain(paths).collect();
            if parts.is_empty() {
                parts.push(Part {
                    path: None,
                    position: START,
                });
            }
            parts.sort_by_key(|part| part.position);
            Located {
                file: path.to_owned(),
                finding,
                parts,
            }
        })
        .collect())
}

fn text(all: &[Located], args: &LintArgs, version: Version) -> String {
    let mut text = String::new();
    for located in all {
        let Located { file, finding, .. } = located;
        let rule = finding.rule;
        let severity = match rule.severity {
            Severity::Error => style(rule.severity).red().bold(),
            Severity::Warning => style(rule.severity).yellow().bold(),
            Severity::Note => style(rule.severity).cyan(),
        };
        let Position { line, column } = located.position();
        let _ = writeln!(
            text,
            "{}:{line}:{column}: {severity}: {} [{} {}]",
            escape::path(file),
            Line(&finding.message),
            rule.id,
            rule.name,
        );
        text.push_str(&also_at(located));
        let _ = writeln!(text, "  fix: {}", rule.fix);
    }
    let number = |severity| {
        let findings = all.iter().map(|located| &located.finding);
        findings
            .filter(|finding| finding.rule.severity == severity)
            .count()
    };
    let files = count(args.profiles.len(), "profile");
    let _ = writeln!(
        text,
        "{files} for {} with libseccomp {version}: {}, {}, {}",
        args.target,
        count(number(Severity::Error), "error"),
        count(number(Severity::Warning), "warning"),
        count(number(Severity::Note), "note"),
    );
    text
}

/// The line with the further positions of a finding; empty if there are none.
fn also_at(located: &Located) -> String {
    let mut others: Vec<Position> = located.parts.iter().map(|part| part.position).collect();
    others.dedup();
    let others = others.get(1..).unwrap_or_default();
    if others.is_empty() {
        return String::new();
    }
    let shown = others.iter().take(SHOWN);
    let mut shown = shown.map(|at| format!("{}:{}", at.line, at.column));
    let more = match others.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("  also at {}{more}\n", shown.join(", "))
}

fn json(all: &[Located], args: &LintArgs, version: Version) -> Value {
    let findings = all.iter().map(|located| {
        let finding = &located.finding;
        let parts = located.parts.iter().filter(|part| part.path.is_some());
        let parts = parts.map(|part| {
            let Position { line, column } = part.position;
            json!({"place": part.path, "line": line, "column": column})
        });
        json!({
            "file": located.file.to_string_lossy(),
            "line": located.position().line,
            "column": located.position().column,
            "places": parts.collect::<Vec<_>>(),
            "rule": finding.rule.id,
            "name": finding.rule.name,
            "severity": finding.rule.severity.name(),
            "message": finding.message,
            "text": finding.rule.text,
            "fix": finding.rule.fix,
        })
    });
    json!({
        "target": args.target.name(),
        "libseccomp": version.to_string(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

/// The table of rules, as in docs/lint-rules.md.
fn rules() -> String {
    let mut text =
        "| id | rule | severity | finds | fix |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for rule in RULES {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            rule.id, rule.name, rule.severity, rule.text, rule.fix
        );
    }
    text
}
