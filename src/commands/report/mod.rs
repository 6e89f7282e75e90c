//! `sc-record report RECORDING [PROFILE]`: a report for reviewers, as one HTML page or as the text of a comment.

mod calls;
mod curve;
mod html;
mod markdown;
mod recorded;
mod verdict;
mod view;

use std::path::Path;

use anyhow::Context as _;
use sc_record::profile::{Policy, Profile};
use sc_record::recording::Recording;
use sc_record::review::Stats;
use sc_record::review::check::{self, Answers, Delta, Evidence, Terms};
use sc_record::review::diff::diff;
use sc_record::review::lint::{self, Version, lint};
use sc_record::review::reachable::Reachable;
use sc_record::review::reasons::{Explained, explain};
use sc_record::review::risk;
use sc_record::syscall::Arch;

use self::view::{
    DifferenceRow, DifferenceSection, LintRow, LintSection, PossibleRow, PossibleSection,
    ReportView, Tone,
};
use super::explain::beside;
use super::input::{self, as_profile, count};
use crate::cli::{PolicyArg, ReportArgs};
use crate::exit_status;
use crate::ui::difference::{about, class, what};
use crate::ui::output;

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<u8> {
    let recording = input::recording(&args.recording)?;
    anyhow::ensure!(
        recording.number_of_runs() > 0,
        "the recording of {} has no runs",
        recording.name
    );
    let view = view(args, &recording)?;
    let text = if args.markdown {
        markdown::render(&view)
    } else {
        html::render(&view)?
    };
    output::write_to(&args.output, &text)?;
    Ok(exit_status::CLEAN)
}

/// What is known about the recording and the profile.
struct Facts<'a> {
    recording: &'a Recording,
    profile: &'a Profile,
    /// The profile, as people call it.
    shown: String,
    stats: Stats,
    explained: Explained,
    delta: Delta,
}

impl<'a> Facts<'a> {
    fn new(
        recording: &'a Recording,
        profile: &'a Profile,
        shown: String,
        policy: Policy,
    ) -> anyhow::Result<Facts<'a>> {
        let answers = Answers::of(profile).with_context(|| shown.clone())?;
        let evidence = Evidence::of_recording(recording);
        let terms = Terms {
            policy,
            ..Terms::default()
        };
        let delta = check::check(profile, &answers, &evidence, &terms);
        Ok(Facts::of_delta(recording, profile, shown, delta))
    }

    fn of_delta(
        recording: &'a Recording,
        profile: &'a Profile,
        shown: String,
        delta: Delta,
    ) -> Facts<'a> {
        Facts {
            recording,
            stats: Stats::of(recording),
            explained: explain(profile, Some(recording), Arch::NATIVE),
            delta,
            profile,
            shown,
        }
    }
}

fn view(args: &ReportArgs, recording: &Recording) -> anyhow::Result<ReportView> {
    let policy = Policy {
        extent: args.policy.into(),
        ..Policy::default()
    };
    let (profile, shown) = profile(args, recording, policy)?;
    let facts = Facts::new(recording, &profile, shown, policy)?;
    let difference = (args.against.as_deref())
        .map(|path| {
            let against = as_profile(input::either(path, &args.read)?, args.policy)?;
            anyhow::Ok(difference(path.display().to_string(), &against, &facts))
        })
        .transpose()?;
    let reachable = input::reachable(&args.code, Some(recording))?;
    let possible = reachable.map(|all| possible(&all, &profile));
    let lint = args.libseccomp.or_else(Version::current).map(|libseccomp| {
        let context = lint::Context {
            profile: &profile,
            target: args.target,
            libseccomp,
            recording: Some(recording),
            conditional: &[],
        };
        linted(&context)
    });
    Ok(assemble(&facts, difference, possible, lint))
}

/// The page about a check of a profile, with the callers that were seen.
pub(super) fn of_check(
    recording: &Recording,
    profile: &Profile,
    shown: &str,
    delta: &Delta,
    reachable: Option<&Reachable>,
) -> anyhow::Result<String> {
    let possible = reachable.map(|all| possible(all, profile));
    let facts = Facts::of_delta(recording, profile, shown.to_owned(), delta.clone());
    html::render(&assemble(&facts, None, possible, None))
}

/// The page about a recording and the profile that `generate` writes for it, with what changes from an earlier profile.
pub(super) fn of_recording(
    recording: &Recording,
    policy: PolicyArg,
    against: Option<(&Path, &Profile)>,
    reachable: Option<&Reachable>,
) -> anyhow::Result<String> {
    let policy = Policy {
        extent: policy.into(),
        ..Policy::default()
    };
    let (profile, shown) = generated(recording, policy)?;
    let facts = Facts::new(recording, &profile, shown, policy)?;
    let difference =
        against.map(|(path, against)| difference(path.display().to_string(), against, &facts));
    let possible = reachable.map(|all| possible(all, &profile));
    html::render(&assemble(&facts, difference, possible, None))
}

fn assemble(
    facts: &Facts<'_>,
    difference: Option<DifferenceSection>,
    possible: Option<PossibleSection>,
    lint: Option<LintSection>,
) -> ReportView {
    let recording = facts.recording;
    let runs = recorded::Runs::of(recording, &facts.stats);
    ReportView {
        name: recording.name.to_string(),
        profile: facts.shown.clone(),
        number_of_runs: count(recording.number_of_runs(), "run"),
        verdict: verdict::judgements(facts, difference.as_ref(), lint.as_ref()),
        calls: calls::rows(facts, &runs),
        possible,
        estimates: verdict::estimates(&facts.stats, &runs),
        curve: curve::Curve::of(&facts.stats),
        recorded_by: recorded::summary(recording),
        executables: runs
            .executables
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        labels: runs.labels.clone(),
        runs: runs.rows,
        difference,
        lint,
    }
}

/// The profile to review: the given one, the one beside the recording, or the one that `generate` writes.
fn profile(
    args: &ReportArgs,
    recording: &Recording,
    policy: Policy,
) -> anyhow::Result<(Profile, String)> {
    let beside = beside(&args.recording, "recordings", "profiles").filter(|path| path.is_file());
    if let Some(path) = args.profile.clone().or(beside) {
        let profile = input::profile(&path, &args.read)?.parsed.profile;
        return Ok((profile, path.display().to_string()));
    }
    generated(recording, policy)
}

fn generated(recording: &Recording, policy: Policy) -> anyhow::Result<(Profile, String)> {
    let profile = input::generated(recording, policy)?;
    let shown = format!(
        "the profile that generate --policy {} writes",
        policy.extent
    );
    Ok((profile, shown))
}

fn difference(from: String, against: &Profile, facts: &Facts<'_>) -> DifferenceSection {
    let rows = diff(against, facts.profile).differences.into_iter();
    let rows = rows.map(|difference| DifferenceRow {
        what: what(&difference.change),
        about: about(&difference),
        direction: difference.direction,
        risk: class(&difference),
    });
    DifferenceSection {
        from,
        to: facts.shown.clone(),
        rows: rows.collect(),
    }
}

fn possible(reachable: &Reachable, profile: &Profile) -> PossibleSection {
    let rows = reachable.possible().into_iter().map(|(call, possible)| {
        let name = call.name().unwrap_or_default();
        PossibleRow {
            call: super::reach::name(call),
            answer: if profile.may_execute(&name) {
                "allowed"
            } else {
                "denied"
            },
            risk: risk(&name),
            program: possible.program.display().to_string(),
            way: possible.way.to_string(),
        }
    });
    PossibleSection {
        bound: if reachable.holds() {
            "These programs can't make any other call, unless they load further libraries or make code at run time."
        } else {
            "Not all is known, so other calls are possible too: `sc-record reach` says where."
        },
        rows: rows.collect(),
    }
}

fn linted(context: &lint::Context<'_>) -> LintSection {
    /// How many places of a finding are shown.
    const SHOWN: usize = 8;
    let findings = lint(context).into_iter().map(|finding| {
        let places = finding.places.iter().map(ToString::to_string);
        LintRow {
            severity: finding.rule.severity,
            rule: format!("{} {}", finding.rule.id, finding.rule.name),
            fix: finding.rule.fix,
            places: view::some(places.chain(finding.paths), SHOWN),
            message: finding.message,
        }
    });
    LintSection {
        target: context.target.name(),
        libseccomp: context.libseccomp.to_string(),
        findings: findings.collect(),
    }
}

impl Tone {
    /// How bad a finding of lint is.
    fn of_severity(severity: lint::Severity) -> Tone {
        match severity {
            lint::Severity::Error => Tone::Bad,
            lint::Severity::Warning => Tone::Look,
            lint::Severity::Note => Tone::Plain,
        }
    }
}
