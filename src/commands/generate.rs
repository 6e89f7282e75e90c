//! `sc-record generate recordings/NAME.json…`: generates the profile of earlier recordings.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use itertools::Itertools;
use sc_record::format::{Document, groups_of_systemd};
use sc_record::profile::baseline::KNOWN;
use sc_record::profile::{Baseline, Policy, Reason, RuntimeCalls};
use sc_record::recording::{MergedName, Recording};
use sc_record::review::dangerous_values;
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use super::input::{self, count};
use super::profile;
use crate::cli::{Destination, GenerateArgs};
use crate::exit_status;
use crate::ui::output;

pub(super) fn generate(args: &GenerateArgs) -> anyhow::Result<u8> {
    // Several workloads can share a profile, but not its default file.
    let name = match args.output {
        Some(_) => MergedName::First,
        None => MergedName::Same,
    };
    let recording = input::recordings(&args.inputs, name)?;
    let file = format!("the recording of {}", recording.name);
    let recording = input::by_executables(recording, &args.exe.filter(), &file)?;
    let output = args.output.clone().unwrap_or_else(|| {
        // Don't overwrite the profile that is enforced.
        let audit = if args.audit { ".audit" } else { "" };
        profile::default_output(&recording.name, audit, args.profile.format)
    });
    anyhow::ensure!(
        !(args.json && output == Destination::Stdout),
        "--json and the profile can't both go to stdout: use -o FILE"
    );
    let runtime = args.runtime.map(|runtime| {
        let known = baselines(Path::new(super::baseline::DIRECTORY));
        let calls = RuntimeCalls::of(&known, runtime, args.no_new_privs, args.exec);
        // Used until the program ends.
        &*Box::leak(Box::new(calls))
    });
    let reachable = match &args.add_reachable[..] {
        [] => None,
        chosen => {
            let calls = reachable(&recording, &args.with, chosen)?;
            // Used until the program ends.
            Some(&*Box::leak(Box::new(calls)))
        }
    };
    let policy = Policy {
        runtime,
        reachable,
        refuse_multiplexers: args.refuse_multiplexers,
        ..args.profile.into()
    };
    let mut document = profile::of_policy(&recording, args.profile, policy)?;
    if args.audit {
        let audit = document.generated.profile.audit();
        document = profile::with_profile(document, audit, args.profile, &recording)?;
    }
    profile::write(&document.written, &output)?;

    if args.json {
        let summary = json(&recording, &document, args, &output);
        output::json(format_args!("{summary}\n"))?;
        return Ok(exit_status::CLEAN);
    }
    if !args.verbosity.quiet {
        for line in text(&recording, &document, args.profile.into(), &output) {
            say!("sc-record: {line}");
        }
    }
    for warning in profile::warnings(&document) {
        say!("sc-record: warning: {warning}");
    }
    for value in dangerous_values(&recording) {
        say!("sc-record: warning: dangerous: {value}");
    }
    Ok(exit_status::CLEAN)
}

/// The possible calls that were not recorded, of those that were chosen: by name, as a group of systemd, or all. Calls of ABIs that no
/// run used are not among them: a profile without such an ABI has no names for it.
fn reachable(
    recording: &Recording,
    with: &[PathBuf],
    chosen: &[String],
) -> anyhow::Result<BTreeSet<Syscall>> {
    let arches: BTreeSet<Arch> = (recording.syscalls().keys())
        .map(|call| call.arch)
        .collect();
    let all = input::programs_of(recording, with)?;
    let possible = all.possible().into_keys();
    let possible: BTreeSet<Syscall> = possible
        .filter(|call| arches.contains(&call.arch))
        .collect();
    let mut calls = BTreeSet::new();
    for one in chosen {
        if one == "all" {
            calls.extend(&possible);
            continue;
        }
        let names = match groups_of_systemd(one) {
            Some(names) => names,
            None if one.starts_with('@') => {
                anyhow::bail!(
                    "{one} is no group of this machine's systemd: see `systemd-analyze syscall-filter`"
                )
            }
            None => vec![one.clone()],
        };
        let is_chosen = |call: &&Syscall| {
            call.name()
                .is_some_and(|name| names.iter().any(|one| *one == name))
        };
        let of_one: Vec<Syscall> = possible.iter().filter(is_chosen).copied().collect();
        anyhow::ensure!(
            !of_one.is_empty(),
            "--add-reachable {one}: no recorded program can make such a call, or each was recorded"
        );
        calls.extend(of_one);
    }
    Ok(calls)
}

/// The built-in baselines, and those measured on this machine.
pub(super) fn baselines(measured: &Path) -> Vec<Baseline> {
    let files = fs::read_dir(measured).into_iter().flatten().flatten();
    let measured = files.filter_map(|file| {
        let text = fs::read(file.path()).ok()?;
        serde_json::from_slice(&text).ok()
    });
    KNOWN.iter().cloned().chain(measured).collect()
}

fn text(
    recording: &Recording,
    document: &Document<'_>,
    policy: Policy,
    output: &Destination,
) -> Vec<String> {
    let names = &document.generated.names;
    let recorded = names.values().filter(|reasons| {
        let mut reasons = reasons.values();
        reasons.any(|reason| matches!(reason, Reason::Recorded(_)))
    });
    let mut arches = document.generated.profile.listed();
    let mut lines = vec![format!(
        "{}: {} recorded ({}) in {}",
        recording.name,
        count(recorded.count(), "system call"),
        arches.join(", "),
        count(recording.number_of_runs(), "run"),
    )];
    lines.extend(profile::additions(document, policy));
    if let Destination::File(path) = output {
        lines.push(format!("profile {}", path.display()));
    }
    lines
}

fn json(
    recording: &Recording,
    document: &Document<'_>,
    args: &GenerateArgs,
    output: &Destination,
) -> Value {
    let generated = &document.generated;
    let added = generated.additions().map(|(name, arch, reason)| {
        let (why, for_recorded) = match reason {
            Reason::Added { why, for_recorded } => (*why, for_recorded.clone()),
            Reason::Container { why } => (*why, BTreeSet::new()),
            Reason::Recorded(_) | Reason::Reachable => ("", BTreeSet::new()),
        };
        json!({"name": name, "arch": arch.name(), "why": why, "for": for_recorded})
    });
    let probes = (generated.probes.iter()).map(|(name, why)| json!({"name": name, "why": why}));
    let unnamed = generated.unnamed.iter().map(|unnamed| {
        json!({
            "arch": unnamed.syscall.arch.name(),
            "number": unnamed.syscall.nr,
            "count": unnamed.seen.count,
            "executables": unnamed.seen.executables.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
            "runs": unnamed.seen.runs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    let incomplete = (generated.incomplete.iter())
        .map(|run| json!({"run": run.run.to_string(), "because": run.because}));
    json!({
        "name": recording.name.as_str(),
        "runs": recording.number_of_runs(),
        "policy": Policy::from(args.profile).extent.to_string(),
        "architectures": generated.profile.listed().map(Arch::name).collect::<Vec<_>>(),
        "syscalls": generated.names.keys().collect::<Vec<_>>(),
        "added": added.collect::<Vec<_>>(),
        "reachable": generated.reachable(),
        "enosys": probes.collect::<Vec<_>>(),
        "unnamed": unnamed.collect::<Vec<_>>(),
        "incomplete": incomplete.collect::<Vec<_>>(),
        "dangerous": dangerous_values(recording).iter().map(ToString::to_string).collect::<Vec<_>>(),
        "profile": match output {
            Destination::File(path) => json!(path.to_string_lossy()),
            Destination::Nowhere | Destination::Stdout => Value::Null,
        },
    })
}
