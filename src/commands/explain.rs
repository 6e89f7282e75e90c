//! `sc-record explain PROFILE [SYSCALL]`: why each call is in a profile, and how tight the profile is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use itertools::Itertools;
use sc_record::escape::{self, Line};
use sc_record::profile::{Action, Profile};
use sc_record::recording::{MergedName, Recording};
use sc_record::review::reachable::{Possible, Reachable};
use sc_record::review::reasons::{
    Explained, Explanation, NameOrigin, explain as explain_all, explain_one,
};
use sc_record::review::{ByDocker, RiskClass, Tightness, safe_rules, tightness};
use sc_record::syscall::{Arch, Syscall, suggestion};
use serde_json::{Value, json};

use super::input::{self, count, times};
use super::reach::{possible_json, still_possible};
use super::{exit_status, explain_arguments};
use crate::cli::ExplainArgs;
use crate::ui::difference::{answers, answers_json};
use crate::ui::output;

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<u8> {
    let profile = input::profile(&args.profile, &args.read)?.parsed.profile;
    let filter = args.exe.filter();
    let recording = recording(args)?;
    anyhow::ensure!(
        filter.is_empty() || recording.is_some(),
        "--exe and --exclude-exe need a recording: --recording FILE"
    );
    let selected = recording.map(|recording| {
        let file = format!("the recording of {}", recording.name);
        input::by_executables(recording, &filter, &file)
    });
    let recording = selected.transpose()?;
    let recording = recording.as_ref();
    let reachable = input::reachable(&args.code, recording)?;
    let possible = reachable.as_ref().map(Reachable::possible);
    let possible = possible.as_ref();
    if let Some(name) = &args.syscall {
        let known = (Arch::ALL.iter()).any(|&arch| Syscall::from_name(arch, name).is_some());
        let named = (profile.rules().iter()).any(|rule| rule.names().contains(name));
        anyhow::ensure!(
            known || named,
            "no architecture has a system call {name:?}{}",
            suggestion(Arch::ALL, name)
        );
        let one = explain_one(&profile, recording, Arch::NATIVE, name);
        let words = || one_in_words(&one, &profile, args, recording, possible);
        let json = || {
            let mut explained = explanation_json(&one);
            if let Some(recording) = recording {
                explained["arguments"] = explain_arguments::json_of_call(name, recording);
                explained["labels"] = json!(telling_labels(name, recording));
            }
            if let Some(possible) = possible {
                explained["possible"] = possible_json(&only(possible, name)).into();
            }
            explained
        };
        output::result(args.json, json, words)?;
    } else {
        let explained = explain_all(&profile, recording, Arch::NATIVE);
        let tight = tightness(&profile, Arch::NATIVE);
        let denied = reachable.as_ref().map(|all| all.denied(&profile));
        let words = || {
            let still = denied
                .as_ref()
                .map(|calls| still_possible(calls, ", and that the profile denies"));
            all_in_words(&explained, &tight, args, recording, possible) + &still.unwrap_or_default()
        };
        let json = || {
            let mut all = json(&explained, &tight, recording);
            if let Some(denied) = &denied {
                all["possible_but_denied"] = possible_json(denied).into();
            }
            all
        };
        output::result(args.json, json, words)?;
    }
    Ok(exit_status::CLEAN)
}

/// The given recordings, or the one where `record` puts it: recordings/NAME.json for profiles/NAME.json.
fn recording(args: &ExplainArgs) -> anyhow::Result<Option<Recording>> {
    if !args.recordings.is_empty() {
        return input::recordings(&args.recordings, MergedName::Same).map(Some);
    }
    match beside(&args.profile, "profiles", "recordings") {
        Some(path) if path.is_file() => Ok(Some(input::recording(&path)?)),
        _ => Ok(None),
    }
}

/// The file of the same name in the `other` folder beside this one, if this one is in `folder`.
pub(super) fn beside(path: &Path, folder: &str, other: &str) -> Option<PathBuf> {
    let file = path.file_name()?;
    let parent = path.parent()?;
    if parent.file_name()? != folder {
        return None;
    }
    Some(parent.parent()?.join(other).join(file))
}

fn all_in_words(
    explained: &Explained,
    tight: &[Tightness],
    args: &ExplainArgs,
    recording: Option<&Recording>,
    possible: Option<&PossibleCalls<'_>>,
) -> String {
    let mut text = String::new();
    let file = escape::path(&args.profile);
    let by = recording.map(|recording| {
        let runs = count(recording.number_of_runs(), "run");
        format!(", by the recording of {} ({runs})", recording.name)
    });
    let _ = writeln!(text, "{file}{}\n", by.unwrap_or_default());
    let lengths = explained.names.iter().map(|one| one.name.len());
    let width = lengths.max().unwrap_or(0);
    for one in &explained.names {
        let line = line(one, recording.is_some(), possible);
        let _ = writeln!(text, "{:width$}  {line}", one.name);
    }
    if !explained.refused.is_empty() {
        let refused = explained.refused.iter();
        let mut refused = refused.map(|call| format!("{}:{call}", call.arch));
        let _ = writeln!(
            text,
            "\nrecorded, but not allowed: {}\n  the recording is newer than the profile: sc-record generate writes a new one",
            refused.join(", ")
        );
    }
    text.push_str(&recording.map(explain_arguments::all).unwrap_or_default());
    text.push_str(&by_docker_in_words(explained));
    for tight in tight {
        let _ = writeln!(text, "{}", tightness_line(tight));
    }
    if recording.is_none() {
        let _ = writeln!(
            text,
            "\ngive its recording to see why each call is in it: --recording FILE"
        );
    }
    text
}

fn by_docker_in_words(explained: &Explained) -> String {
    let (mut blocked, mut partly) = (Vec::new(), Vec::new());
    for one in explained.names.iter().filter(|one| executes(one)) {
        match one.docker {
            ByDocker::Allowed => {}
            ByDocker::Blocked => blocked.push(one.name.clone()),
            ByDocker::Unless(capability) => {
                blocked.push(format!("{} (without {capability})", one.name));
            }
            ByDocker::Partly(what) => partly.push(format!("{} ({what})", one.name)),
        }
    }
    let mut text = match &blocked[..] {
        [] => "\nDocker's default would block none of them\n".to_owned(),
        some => format!("\nDocker's default would block: {}\n", some.join(", ")),
    };
    if !partly.is_empty() {
        let _ = writeln!(text, "it would allow in part: {}", partly.join(", "));
    }
    text
}

pub(super) fn tightness_line(tight: &Tightness) -> String {
    let Tightness {
        arch,
        allowed,
        allowed_by_both,
        by_docker,
        all,
        values,
        allowed_values,
    } = tight;
    // In tenths of a percent, without floating point.
    let share = |part: usize, of: usize| {
        let tenths = (part * 1000).checked_div(of).unwrap_or(0);
        format!("{}.{} %", tenths / 10, tenths % 10)
    };
    let mut text = format!(
        "{arch}: {allowed} of {all} calls ({}); Docker's default allows {by_docker}, {} of which are allowed here",
        share(*allowed, *all),
        share(*allowed_by_both, *by_docker)
    );
    if allowed > allowed_by_both {
        let _ = write!(text, ", and {} beyond", allowed - allowed_by_both);
    }
    if allowed_values < values {
        let _ = write!(
            text,
            "; {allowed_values} of the {values} values of their arguments that have a name ({})",
            share(*allowed_values, *values)
        );
    }
    text
}

/// Whether the call is executed, with some arguments at least.
pub(super) fn executes(one: &Explanation) -> bool {
    one.answers.keys().any(|action| action.executes())
}

/// A name in one line.
fn line(one: &Explanation, has_recording: bool, possible: Option<&PossibleCalls<'_>>) -> String {
    let mut parts = Vec::new();
    let plain = one.answers.len() == 1
        && (one.answers.get(&Action::Allow)).is_some_and(sc_record::review::reasons::unconditional);
    if !plain {
        parts.push(answers(&one.name, &one.answers));
    }
    parts.extend(origins_in_words(one));
    parts.extend(
        possible
            .into_iter()
            .flat_map(|all| ways_in_words(all, &one.name)),
    );
    if !has_recording && parts.is_empty() {
        parts.push("allowed".to_owned());
    }
    if one.risk.class != RiskClass::Ordinary {
        parts.push(format!("{} ({})", one.risk.class, one.risk.why));
    }
    parts.join("; ")
}

/// Possible calls that were not recorded.
type PossibleCalls<'a> = BTreeMap<Syscall, Possible<'a>>;

/// Those of a name.
fn only<'a>(possible: &PossibleCalls<'a>, name: &str) -> PossibleCalls<'a> {
    let mut of_name = possible.clone();
    of_name.retain(|call, _| call.name().as_deref() == Some(name));
    of_name
}

/// How programs can make a call that was not recorded.
fn ways_in_words(possible: &PossibleCalls<'_>, name: &str) -> Vec<String> {
    let ways = only(possible, name).into_values();
    let ways = ways
        .map(|Possible { program, way }| format!("{} can make it: {way}", escape::path(program)));
    ways.collect()
}

/// Where a name comes from. ABIs on which that differs are named.
pub(super) fn origins_in_words(one: &Explanation) -> Vec<String> {
    let mut origins: Vec<(Vec<&str>, String)> = Vec::new();
    for (arch, origin) in &one.origins {
        let said = origin_in_words(origin);
        match origins.iter_mut().find(|(_, words)| *words == said) {
            Some((arches, _)) => arches.push(arch.name()),
            None => origins.push((vec![arch.name()], said)),
        }
    }
    let several = origins.len() > 1;
    let origins = origins.into_iter().map(|(arches, said)| {
        if several {
            format!("{}: {said}", arches.join(", "))
        } else {
            said
        }
    });
    origins.collect()
}

/// How many executables are shown in one line.
const SHOWN: usize = 3;

pub(super) fn origin_in_words(origin: &NameOrigin) -> String {
    match origin {
        NameOrigin::Recorded {
            count: number,
            exact,
            runs,
            first_ms,
            executables,
        } => {
            let times = times(*number, *exact);
            let mut text = format!("recorded {times} in {}", count(*runs, "run"));
            if let Some(first_ms) = first_ms {
                let _ = write!(text, ", first at {first_ms} ms");
            }
            let mut by = executables.iter().map(|path| escape::path(path));
            if !executables.is_empty() {
                let _ = write!(text, ", by {}", by.by_ref().take(SHOWN).join(", "));
            }
            match by.count() {
                0 => text,
                more => format!("{text} and {more} more"),
            }
        }
        NameOrigin::Added {
            policy,
            why,
            for_recorded,
        } => {
            let mut text = format!("policy {policy} adds it");
            if !for_recorded.is_empty() {
                let _ = write!(text, " for {}", for_recorded.iter().join(", "));
            }
            let _ = write!(text, ": {why}");
            text
        }
        NameOrigin::Container { why } => format!("not recorded, for containers: {why}"),
        NameOrigin::Probe { why } => format!("--enosys-probes: {why}"),
        NameOrigin::OtherArch => "in the profile for another architecture".to_owned(),
        NameOrigin::Unexplained => {
            "not recorded, and no policy adds it: written by hand, or from another recording"
                .to_owned()
        }
    }
}

/// How many values of a label are shown.
const LABELS: usize = 20;

fn one_in_words(
    one: &Explanation,
    profile: &Profile,
    args: &ExplainArgs,
    recording: Option<&Recording>,
    possible: Option<&PossibleCalls<'_>>,
) -> String {
    let mut text = String::new();
    let file = escape::path(&args.profile);
    let _ = if one.answers.is_empty() {
        writeln!(
            text,
            "{}: {file} doesn't name it, so it gets the default action, {}",
            one.name,
            profile.default_action()
        )
    } else {
        writeln!(text, "{}: {}", one.name, answers(&one.name, &one.answers))
    };
    for (arch, origin) in &one.origins {
        let said = match origin {
            NameOrigin::Unexplained if one.answers.is_empty() => {
                "not recorded, and no policy adds it".to_owned()
            }
            NameOrigin::Added { policy, .. } if one.answers.is_empty() => {
                format!("{} (only under policy {policy})", origin_in_words(origin))
            }
            origin => origin_in_words(origin),
        };
        let _ = writeln!(text, "  {arch}: {said}");
        if let NameOrigin::Recorded { executables, .. } = origin
            && executables.len() > SHOWN
        {
            for path in executables {
                let _ = writeln!(text, "    {}", escape::path(path));
            }
        }
    }
    for way in possible
        .into_iter()
        .flat_map(|all| ways_in_words(all, &one.name))
    {
        let _ = writeln!(text, "  {way}");
    }
    for line in recording.iter().flat_map(|recording| {
        explain_arguments::of_call(&one.name, recording, &safe_rules(recording))
    }) {
        let _ = writeln!(text, "  {line}");
    }
    for (key, values) in recording.map_or_else(BTreeMap::new, |all| telling_labels(&one.name, all))
    {
        let shown = values.iter().take(LABELS).map(Line).join(", ");
        let more = match values.len().saturating_sub(LABELS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(text, "  only in runs with {}: {shown}{more}", Line(key));
    }
    if recording.is_none() {
        let _ = writeln!(
            text,
            "  give its recording to see why it is there: --recording FILE"
        );
    }
    let colon = if one.risk.why.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "  risk: {}{colon}{}", one.risk.class, one.risk.why);
    if one.name.starts_with("io_uring_") {
        let runs = recording
            .into_iter()
            .flat_map(|recording| recording.runs.values());
        let submitted: std::collections::BTreeSet<_> = runs
            .flat_map(|run| run.io_uring.keys())
            .map(ToString::to_string)
            .collect();
        let submitted: Vec<_> = submitted.into_iter().collect();
        let carried_out = match &submitted[..] {
            [] => "its operations".to_owned(),
            some => format!("{}, which the workload submitted,", some.join(", ")),
        };
        let _ = writeln!(
            text,
            "  io_uring: {carried_out} go past seccomp; with io_uring_setup denied by ENOSYS, most programs use ordinary calls"
        );
    }
    let _ = writeln!(text, "  Docker's default {}", docker_in_words(one.docker));
    text
}

/// The labels of the runs that made a call, by their keys, where other runs have other values: the tests that need it.
fn telling_labels<'a>(
    name: &str,
    recording: &'a Recording,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut of_call = BTreeMap::<&str, BTreeSet<&str>>::new();
    for run in recording.runs.values() {
        let mut calls = run.syscalls.keys();
        let has_it = calls.any(|call| call.name().as_deref() == Some(name));
        for (key, value) in &run.labels {
            all.entry(key).or_default().insert(value);
            if has_it {
                of_call.entry(key).or_default().insert(value);
            }
        }
    }
    of_call.retain(|key, values| all.get(key).is_some_and(|all| all.len() > values.len()));
    of_call
}

/// The end of the sentence "Docker's default …".
pub(super) fn docker_in_words(docker: ByDocker) -> String {
    match docker {
        ByDocker::Allowed => "allows it".to_owned(),
        ByDocker::Blocked => "blocks it".to_owned(),
        ByDocker::Unless(capability) => format!("blocks it unless the container has {capability}"),
        ByDocker::Partly(what) => format!("allows it in part: {what}"),
    }
}

fn json(explained: &Explained, tight: &[Tightness], recording: Option<&Recording>) -> Value {
    let tight = tight.iter().map(|tight| {
        json!({
            "arch": tight.arch.name(),
            "allowed": tight.allowed,
            "allowed_by_both": tight.allowed_by_both,
            "by_docker_default": tight.by_docker,
            "all": tight.all,
            "values": tight.values,
            "allowed_values": tight.allowed_values,
        })
    });
    let refused = explained.refused.iter();
    let refused = refused.map(|call| json!({"arch": call.arch.name(), "name": call.to_string()}));
    json!({
        "recording": recording.map(|recording| recording.name.as_str()),
        "calls": explained.names.iter().map(explanation_json).collect::<Vec<_>>(),
        "recorded_but_refused": refused.collect::<Vec<_>>(),
        "tightness": tight.collect::<Vec<_>>(),
    })
}

fn explanation_json(one: &Explanation) -> Value {
    let origins: serde_json::Map<String, Value> = (one.origins.iter())
        .map(|(arch, origin)| (arch.name().to_owned(), origin_json(origin)))
        .collect();
    let docker = match one.docker {
        ByDocker::Allowed => json!({"allows": "all"}),
        ByDocker::Partly(what) => json!({"allows": "some", "which": what}),
        ByDocker::Unless(capability) => json!({"allows": "none", "unless": capability}),
        ByDocker::Blocked => json!({"allows": "none"}),
    };
    json!({
        "name": one.name,
        "answers": answers_json(&one.answers),
        "origins": origins,
        "risk": {"class": one.risk.class.name(), "why": one.risk.why},
        "docker_default": docker,
    })
}

fn origin_json(origin: &NameOrigin) -> Value {
    match origin {
        NameOrigin::Recorded {
            count,
            exact,
            runs,
            first_ms,
            executables,
        } => json!({
            "origin": "recorded",
            "count": count,
            "count_exact": exact,
            "runs": runs,
            "first_ms": first_ms,
            "executables": executables.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        }),
        NameOrigin::Added {
            policy,
            why,
            for_recorded,
        } => json!({
            "origin": "added",
            "policy": policy.to_string(),
            "why": why,
            "for": for_recorded,
        }),
        NameOrigin::Container { why } => json!({"origin": "container", "why": why}),
        NameOrigin::Probe { why } => json!({"origin": "enosys-probe", "why": why}),
        NameOrigin::OtherArch => json!({"origin": "other-architecture"}),
        NameOrigin::Unexplained => json!({"origin": "unexplained"}),
    }
}
