//! From a recording to the file of its profile: the same for every verb that writes one.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::format::{self, Document, DocumentError, Format, OnUnnamed, document};
use sc_record::profile::{Action, Extent, Generated, Policy, Profile};
use sc_record::recording::Recording;

use crate::cli::{self, Destination, ProfileArgs};

impl From<cli::Policy> for Extent {
    fn from(policy: cli::Policy) -> Extent {
        match policy {
            cli::Policy::Exact => Extent::Exact,
            cli::Policy::Safe => Extent::Safe,
            cli::Policy::Portable => Extent::Portable,
        }
    }
}

impl From<ProfileArgs> for Policy {
    fn from(args: ProfileArgs) -> Policy {
        Policy {
            extent: args.policy.into(),
            enosys_probes: args.enosys_probes,
        }
    }
}

impl From<cli::Format> for Format {
    fn from(format: cli::Format) -> Format {
        match format {
            cli::Format::Oci => Format::Oci,
        }
    }
}

/// The profile of a recording, as the command line wants it.
pub(super) fn of(recording: &Recording, args: ProfileArgs) -> Result<Document<'_>, DocumentError> {
    let on_unnamed = if args.skip_unnamed {
        OnUnnamed::Skip
    } else {
        OnUnnamed::Fail
    };
    document(recording, args.into(), args.format.into(), on_unnamed)
}

/// A profile that is assumed to be right as far as it goes.
pub(super) fn assumed(path: &Path) -> anyhow::Result<Profile> {
    let file = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {file}"))?;
    let profile = format::parse(Format::Oci, &bytes).with_context(|| format!("{file}"))?;
    anyhow::ensure!(
        profile.default_action != Action::Allow,
        "{file} allows whatever it doesn't name, so nothing is left to be recorded",
    );
    Ok(profile)
}

/// The same document with another profile.
pub(super) fn with_profile(
    document: Document<'_>,
    profile: Profile,
    args: ProfileArgs,
) -> Result<Document<'_>, DocumentError> {
    let text = format::render(args.format.into(), &profile)?;
    let generated = Generated {
        profile,
        ..document.generated
    };
    Ok(Document { generated, text })
}

/// Writes the text of a profile, and the folder of its file if that is missing.
pub(super) fn write(text: &str, output: &Destination) -> anyhow::Result<()> {
    match output {
        Destination::Nowhere => {}
        Destination::Stdout => io::stdout()
            .write_all(text.as_bytes())
            .context("can't write the profile to stdout")?,
        Destination::File(path) => write_atomically(path, text.as_bytes())?,
    }
    Ok(())
}

/// One line on what the policy added to what was recorded; `None` if it added nothing.
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
    if !generated.probes.is_empty() {
        parts.push(format!("{} answer ENOSYS", generated.probes.len()));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What the user must know about a profile: what it can't allow, and what it may lack.
pub(super) fn warnings(document: &Document<'_>) -> Vec<String> {
    let unnamed = document.generated.unnamed.iter();
    let unnamed = unnamed.map(|call| format!("the profile can't allow {call}"));
    let incomplete = document.generated.incomplete.iter();
    let incomplete = incomplete.map(|run| format!("calls may be missing: {run}"));
    unnamed.chain(incomplete).collect()
}
