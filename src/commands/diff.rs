//! `sc-record diff A B`: compares meanings.

use std::fmt::Write as _;
use std::path::Path;

use console::style;
use itertools::Itertools;
use sc_record::escape;
use sc_record::profile::{Listener, Profile};
use sc_record::recording::{ExecutableFilter, Recording};
use sc_record::review::diff::{Change, Diff, Difference, Direction, diff as compare};
use sc_record::review::reachable::Reachable;
use sc_record::review::{CallDiff, RecordingDiff, Risk, RiskClass};
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, InputFile, as_profile, count, times};
use crate::cli::{DiffArgs, FailOn};
use crate::ui::difference::{about, answers_json, class, what};
use crate::ui::output;

pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<u8> {
    let filter = args.exe.filter();
    let from = of_file(&args.old, args, &filter)?;
    let to = of_file(&args.new, args, &filter)?;
    anyhow::ensure!(
        filter.is_empty()
            || matches!(from, InputFile::Recording(_))
            || matches!(to, InputFile::Recording(_)),
        "--exe and --exclude-exe need a recording: neither file is one"
    );
    let reachable = if let (InputFile::Recording(_), InputFile::Recording(to)) = (&from, &to) {
        input::reachable(&args.code, Some(to))?
    } else {
        anyhow::ensure!(!args.code.reach, "--reach needs two recordings");
        None
    };
    let reachable = reachable.as_ref();
    if let Some(file) = &args.html {
        let InputFile::Recording(to) = &to else {
            anyhow::bail!("--html needs a recording as {}", escape::path(&args.new));
        };
        let against = as_profile(from.clone(), args.policy)?;
        let against = Some((&*args.old, &against));
        let page = super::report::of_recording(to, args.policy, against, reachable)?;
        output::write_to(file, &page)?;
    }
    let (fails, text) = match (from, to) {
        (InputFile::Recording(from), InputFile::Recording(to)) => {
            recordings(args, &from, &to, reachable)
        }
        (from, to) => {
            let (from, to) = (as_profile(from, args.policy)?, as_profile(to, args.policy)?);
            profiles(args, &from, &to)
        }
    };
    if !args.quiet {
        if args.json {
            output::json(&text)?;
        } else {
            // Its parts are escaped; what controls the terminal is its colours.
            output::print(&text)?;
        }
    }
    Ok(exit_status::of_findings(fails))
}

fn of_file(path: &Path, args: &DiffArgs, filter: &ExecutableFilter) -> anyhow::Result<InputFile> {
    Ok(match input::either(path, &args.read)? {
        InputFile::Recording(recording) => {
            let file = escape::path(path).to_string();
            InputFile::Recording(input::by_executables(recording, filter, &file)?)
        }
        profile @ InputFile::Profile(_) => profile,
    })
}

/// Whether a difference is one that `--fail-on` names.
fn fails(args: &DiffArgs, direction: Direction, risk: RiskClass) -> bool {
    let wider = matches!(direction, Direction::Wider | Direction::Mixed);
    args.fail_on.iter().any(|fail_on| match fail_on {
        FailOn::Any => true,
        FailOn::Wider => wider,
        FailOn::Narrower => matches!(direction, Direction::Narrower | Direction::Mixed),
        // The gravest comes first.
        FailOn::Risk(class) => wider && risk <= *class,
    })
}

fn profiles(args: &DiffArgs, from: &Profile, to: &Profile) -> (bool, String) {
    let diff = compare(from, to);
    let fails = (diff.differences.iter())
        .any(|difference| fails(args, difference.direction, class(difference)));
    let (from, to) = (escape::path(&args.old), escape::path(&args.new));
    if args.json {
        let value = json!({
            "a": from.to_string(),
            "b": to.to_string(),
            "same": diff.is_empty(),
            "differences": diff.differences.iter().map(difference_json).collect::<Vec<_>>(),
        });
        return (fails, format!("{value}\n"));
    }
    if diff.is_empty() {
        return (fails, format!("{from} and {to} mean the same\n"));
    }
    let mut counts =
        (diff.count().into_iter()).map(|(direction, count)| format!("{count} {direction}"));
    let head = format!("{from} -> {to}: {}\n", counts.join(", "));
    (fails, head + &table(&diff))
}

fn table(diff: &Diff) -> String {
    let mut text = String::new();
    let what: Vec<_> = (diff.differences.iter())
        .map(|difference| (what(&difference.change), difference))
        .collect();
    // One long rule must not push the other lines to the right.
    let widths = what.iter().map(|(what, _)| what.chars().count());
    let width = widths.filter(|&width| width <= 40).max().unwrap_or(0);
    for (what, difference) in &what {
        let direction = painted(difference.direction);
        let line = format!("  {direction}  {what:width$}  {}", about(difference));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn painted(direction: Direction) -> String {
    let padded = format!("{:8}", direction.name());
    let styled = match direction {
        Direction::Wider => style(padded).red(),
        Direction::Mixed => style(padded).yellow(),
        Direction::Narrower => style(padded).green(),
        Direction::Other => style(padded).dim(),
    };
    styled.to_string()
}

fn difference_json(difference: &Difference) -> Value {
    let (kind, from, to) = match &difference.change {
        Change::Default { from, to } => ("default", json!(from.to_string()), json!(to.to_string())),
        Change::ArchAdded(arch) => ("architecture", Value::Null, json!(arch.name())),
        Change::ArchRemoved(arch) => ("architecture", json!(arch.name()), Value::Null),
        Change::ArchesNamed { from, to } => ("architectures", json!(from), json!(to)),
        Change::FlagAdded(flag) => ("flag", Value::Null, json!(flag.to_string())),
        Change::FlagRemoved(flag) => ("flag", json!(flag.to_string()), Value::Null),
        Change::Listener { from, to } => {
            let [from, to] = [from, to].map(|listener| listener.as_ref().map(Listener::path));
            ("listener", json!(from), json!(to))
        }
        Change::Call { from, to, .. } => ("call", answers_json(from), answers_json(to)),
    };
    let mut value = json!({
        "what": kind,
        "direction": difference.direction.name(),
        "from": from,
        "to": to,
    });
    if let Change::Call { name, .. } = &difference.change {
        value["name"] = json!(name);
    }
    if let Some(risk) = difference.risk {
        value["risk"] = json!({"class": risk.class.name(), "why": risk.why});
    }
    if let Some(note) = difference.note {
        value["note"] = json!(note);
    }
    value
}

fn recordings(
    args: &DiffArgs,
    from: &Recording,
    to: &Recording,
    reachable: Option<&Reachable>,
) -> (bool, String) {
    let diff = from.diff(to);
    let same = diff.same_calls();
    let fails = |direction, calls: &[CallDiff]| {
        (calls.iter()).any(|call| fails(args, direction, risk_of(call).class))
    };
    let fails = fails(Direction::Wider, &diff.new) || fails(Direction::Narrower, &diff.gone);
    if args.json {
        let value = recordings_json(args, &diff, reachable);
        return (fails, format!("{value}\n"));
    }
    let runs = format!(
        "{} added, {} gone",
        count(diff.runs_added.len(), "run"),
        diff.runs_removed.len()
    );
    let (a, b) = (escape::path(&args.old), escape::path(&args.new));
    if same {
        return (fails, format!("{a} and {b} have the same calls ({runs})\n"));
    }
    let mut text = format!(
        "{a} -> {b}: {} new, {} gone ({runs})\n",
        count(diff.new.len(), "call"),
        diff.gone.len()
    );
    for (sign, calls) in [('+', &diff.new), ('-', &diff.gone)] {
        for call in calls {
            let risk = risk_of(call);
            let class = match risk.class {
                RiskClass::Ordinary => String::new(),
                class => format!("; {class}: {}", risk.why),
            };
            let still = match reachable.filter(|_| sign == '-') {
                None => "",
                Some(all) if all.is_possible(call.syscall) => "; still possible",
                Some(all) if all.holds() => "; no longer possible",
                Some(_) => "; no longer possible, as far as the code is known",
            };
            let _ = writeln!(
                text,
                "  {sign} {} {}  {}{class}{still}",
                call.syscall.arch,
                call.syscall,
                seen(call)
            );
        }
    }
    (fails, text)
}

fn risk_of(call: &CallDiff) -> Risk {
    sc_record::review::risk(&call.syscall.to_string())
}

/// `3 times in 2 runs by /usr/bin/app`.
fn seen(call: &CallDiff) -> String {
    let times = times(call.count, call.exact);
    let mut text = format!("{times} in {}", count(call.runs, "run"));
    if !call.executables.is_empty() {
        let mut executables = call.executables.iter().map(|path| escape::path(path));
        let _ = write!(text, " by {}", executables.join(", "));
    }
    text
}

fn recordings_json(args: &DiffArgs, diff: &RecordingDiff, reachable: Option<&Reachable>) -> Value {
    let calls = |calls: &[CallDiff]| -> Value {
        let each = calls.iter().map(|call| {
            let risk = risk_of(call);
            json!({
                "arch": call.syscall.arch.name(),
                "name": call.syscall.to_string(),
                "count": call.count,
                "count_exact": call.exact,
                "runs": call.runs,
                "executables": call.executables.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
                "risk": {"class": risk.class.name(), "why": risk.why},
            })
        });
        each.collect()
    };
    let possible = reachable.map(|all| {
        let gone = diff.gone.iter().map(|call| call.syscall);
        let possible = gone.filter(|call| all.is_possible(*call));
        possible.map(super::reach::name).collect::<Vec<_>>()
    });
    json!({
        "a": args.old.to_string_lossy(),
        "b": args.new.to_string_lossy(),
        "same": diff.same_calls(),
        "gone_but_possible": possible,
        "new": calls(&diff.new),
        "gone": calls(&diff.gone),
        "runs_added": diff.runs_added.iter().map(|run| run.id.to_string()).collect::<Vec<_>>(),
        "runs_removed": diff.runs_removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
