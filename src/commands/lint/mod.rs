//! `sc-record lint PROFILE --target TARGET`: finds likely problems of a profile.

mod sarif;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use console::style;
use sc_record::format::{self, Position};
use sc_record::recording::Recording;
use sc_record::review::lint::{Context, Finding, RULES, Severity, Version, lint as check};
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, count};
use super::load::Loaded;
use crate::cli::LintArgs;

/// A finding, and where it is in its file.
struct Located {
    file: PathBuf,
    finding: Finding,
    position: Position,
}

pub(super) fn lint(args: &LintArgs) -> anyhow::Result<u8> {
    if args.rules {
        io::stdout().write_all(rules().as_bytes())?;
        return Ok(exit_status::CLEAN);
    }
    let version = args.libseccomp.or_else(Version::current);
    let version =
        version.context("this machine's libseccomp doesn't tell its version: give --libseccomp")?;
    let recording = args
        .recording
        .as_deref()
        .map(input::recording)
        .transpose()?;
    let mut all = Vec::new();
    for path in &args.profiles {
        all.extend(of_file(path, args, version, recording.as_ref())?);
    }
    all.sort_by_key(|located| (located.position, located.finding.rule.id));
    all.sort_by(|one, other| one.file.cmp(&other.file));
    let text = if args.sarif {
        format!("{:#}\n", sarif::log(&all))
    } else if args.json {
        format!("{}\n", json(&all, args, version))
    } else {
        text(&all, args, version)
    };
    io::stdout().write_all(text.as_bytes())?;
    let grave = all
        .iter()
        .any(|located| located.finding.rule.severity < Severity::Note);
    Ok(if grave {
        exit_status::FINDINGS
    } else {
        exit_status::CLEAN
    })
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
    let start = Position { line: 1, column: 1 };
    let positions = parsed.positions(&bytes);
    let findings = check(&context).into_iter();
    let findings = findings.filter(|finding| {
        let mut allowed = args.allowed.iter();
        !allowed.any(|rule| rule.id == finding.rule.id)
    });
    Ok(findings
        .map(|finding| {
            let of_path = conditionals
                .iter()
                .find(|one| Some(&one.path) == finding.path.as_ref())
                .and_then(|one| one.position);
            let of_place = || positions.of(finding.place?);
            Located {
                file: path.to_owned(),
                position: of_path.or_else(of_place).unwrap_or(start),
                finding,
            }
        })
        .collect())
}

fn text(all: &[Located], args: &LintArgs, version: Version) -> String {
    let mut text = String::new();
    for Located {
        file,
        finding,
        position,
    } in all
    {
        let rule = finding.rule;
        let severity = match rule.severity {
            Severity::Error => style(rule.severity).red().bold(),
            Severity::Warning => style(rule.severity).yellow().bold(),
            Severity::Note => style(rule.severity).cyan(),
        };
        let Position { line, column } = position;
        let _ = writeln!(
            text,
            "{}:{line}:{column}: {severity}: {} [{} {}]\n  fix: {}",
            file.display(),
            finding.message,
            rule.id,
            rule.name,
            rule.fix
        );
    }
    let number = |severity| {
        let of_severity = all
            .iter()
            .filter(|one| one.finding.rule.severity == severity);
        of_severity.count()
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

fn json(all: &[Located], args: &LintArgs, version: Version) -> Value {
    let findings = all.iter().map(|located| {
        let finding = &located.finding;
        json!({
            "file": located.file.to_string_lossy(),
            "line": located.position.line,
            "column": located.position.column,
            "place": finding.path.clone().or_else(|| finding.place.map(|place| place.to_string())),
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
