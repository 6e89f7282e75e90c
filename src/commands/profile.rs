//! Writes the profile of a recording, for every verb that writes one.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use sc_record::atomic_file::FilePlace;
use sc_record::backend::Interest;
use sc_record::enforce::compile_known;
use sc_record::format::{
    self, Document, DocumentError, Format, OnUnnamed, Reading, Writing, Written, document,
};
use sc_record::profile::{Action, ArgumentRules, Extent, Generated, Policy, Profile};
use sc_record::recording::{Name, Recording};

use super::load;
use crate::cli::{self, Destination, ProfileArgs};

impl From<cli::PolicyArg> for Extent {
    fn from(policy: cli::PolicyArg) -> Extent {
        match policy {
            cli::PolicyArg::Exact => Extent::Exact,
            cli::PolicyArg::Safe => Extent::Safe,
            cli::PolicyArg::Portable => Extent::Portable,
        }
    }
}

impl From<ProfileArgs> for Policy {
    fn from(args: ProfileArgs) -> Policy {
        Policy {
            extent: args.policy.into(),
            enosys_probes: args.enosys_probes,
            arguments: match args.args {
                cli::ArgRules::Off => ArgumentRules::Off,
                cli::ArgRules::Safe => ArgumentRules::Safe,
                cli::ArgRules::Exact => ArgumentRules::Exact,
            },
            ..Policy::default()
        }
    }
}

/// The calls whose arguments are recorded.
pub(super) fn interest(args: ProfileArgs) -> Interest {
    match args.args {
        cli::ArgRules::Off => Interest::default(),
        cli::ArgRules::Safe | cli::ArgRules::Exact => Interest::in_arguments(false),
    }
}

/// Fails where arguments can't be recorded.
pub(super) fn without_arguments(args: ProfileArgs, why: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.args == cli::ArgRules::Off,
        "{why}, so --args can't be used"
    );
    Ok(())
}

/// How every verb writes profiles, unless options say otherwise.
pub(super) const WRITING: Writing<'_> = Writing {
    name: "workload",
    executables: None,
    lossy: false,
    compile: Some(compile_known),
    arch_map: true,
};

/// The profile of a recording, with the options of the command line.
pub(super) fn of(recording: &Recording, args: ProfileArgs) -> Result<Document<'_>, DocumentError> {
    of_policy(recording, args, args.into())
}

/// The profile of a recording, with a policy that the options alone don't determine.
pub(super) fn of_policy(
    recording: &Recording,
    args: ProfileArgs,
    policy: Policy,
) -> Result<Document<'_>, DocumentError> {
    let on_unnamed = if args.skip_unnamed {
        OnUnnamed::Skip
    } else {
        OnUnnamed::Fail
    };
    let format = args.format;
    let writing = Writing {
        lossy: args.lossy,
        ..WRITING
    };
    document(recording, policy, format, on_unnamed, &writing)
}

/// The profile of `--assume`.
pub(super) fn assumed(path: &Path) -> anyhow::Result<Profile> {
    let file = path.display();
    let bytes = load::read(path)?;
    let reading = Reading {
        groups: Some(format::groups_of_systemd),
        compile: Some(compile_known),
        ..Reading::default()
    };
    let profile = load::read_as(path, &bytes, None, &reading)?.profile;
    anyhow::ensure!(
        profile.default_action() != Action::Allow,
        "{file} allows every call that it doesn't name, so there is nothing to record",
    );
    Ok(profile)
}

/// The same document with another profile.
pub(super) fn with_profile<'a>(
    document: Document<'a>,
    profile: Profile,
    args: ProfileArgs,
    recording: &Recording,
) -> Result<Document<'a>, DocumentError> {
    let executables = recording.executables();
    let writing = Writing {
        name: recording.name.as_str(),
        executables: Some(&executables),
        lossy: args.lossy,
        ..WRITING
    };
    let written = format::write(args.format, &profile, &writing)?;
    let generated = Generated {
        profile,
        ..document.generated
    };
    Ok(Document { generated, written })
}

/// Writes a profile, and creates the folder of its file. Its companion is written beside the file.
pub(super) fn write(written: &Written, output: &Destination) -> anyhow::Result<()> {
    match output {
        Destination::Nowhere => {}
        Destination::Stdout => io::stdout()
            .write_all(&written.bytes)
            .context("can't write the profile to stdout")?,
        Destination::File(path) => write_at(written, &FilePlace::find(path)?)?,
    }
    Ok(())
}

/// Writes a profile to a file, and what goes with it beside the file.
pub(super) fn write_at(written: &Written, place: &FilePlace) -> anyhow::Result<()> {
    place.write(&written.bytes)?;
    if let Some(companion) = &written.companion {
        let beside = place.with_extension(companion.extension)?;
        beside.write(companion.text.as_bytes())?;
    }
    Ok(())
}

/// The default file of a profile. `kind` comes after the name.
pub(super) fn default_output(name: &Name, kind: &str, format: Format) -> Destination {
    let extension = format.extension();
    Destination::File(format!("profiles/{name}{kind}.{extension}").into())
}

/// One line about the names that the policy added; `None` if it added none.
pub(super) fn additions(document: &Document<'_>, policy: Policy) -> Option<String> {
    let generated = &document.generated;
    let added: std::collections::BTreeSet<_> =
        generated.additions().map(|(name, ..)| name).collect();
    let mut parts = Vec::new();
    if !added.is_empty() {
        let names: Vec<_> = added.iter().copied().collect();
        parts.push(format!(
            "policy {} adds {}: {}",
            policy.extent,
            names.len(),
            names.join(", ")
        ));
    }
    let for_containers: Vec<_> = generated.for_containers().into_iter().collect();
    if !for_containers.is_empty() {
        parts.push(format!(
            "for containers {}: {}",
            for_containers.len(),
            for_containers.join(", ")
        ));
    }
    let reachable: Vec<_> = generated.reachable().into_iter().collect();
    if !reachable.is_empty() {
        parts.push(format!(
            "--add-reachable adds {}: {}",
            reachable.len(),
            reachable.join(", ")
        ));
    }
    if !generated.probes.is_empty() {
        parts.push(format!("{} answer ENOSYS", generated.probes.len()));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Warnings about a profile: calls that it can't allow, and calls that may be missing.
pub(super) fn warnings(document: &Document<'_>) -> Vec<String> {
    let unnamed = document.generated.unnamed.iter();
    let unnamed = unnamed.map(|call| format!("the profile can't allow {call}"));
    let incomplete = document.generated.incomplete.iter();
    let incomplete = incomplete.map(|run| format!("calls may be missing: {run}"));
    let lost = document.written.lost.iter();
    let lost = lost.map(|lost| format!("the profile leaves out {lost}"));
    unnamed.chain(incomplete).chain(lost).collect()
}
