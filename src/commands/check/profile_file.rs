//! The profile that is checked, with its file.

use std::path::PathBuf;

use sc_record::format::{Parsed, Positions};
use sc_record::profile::Profile;
use sc_record::review::check::Answers;

use crate::cli::CheckArgs;
use crate::commands::load::{self, Loaded};

/// The profile as its file has it.
pub(super) struct ProfileFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) parsed: Parsed,
    pub(super) answers: Answers,
}

impl ProfileFile {
    pub(super) fn read(args: &CheckArgs) -> anyhow::Result<ProfileFile> {
        let path = &args.profile;
        let shown = path.display();
        let Loaded { parsed, bytes } = load::load(path, &args.read, None, false)?;
        let answers = Answers::of(&parsed.profile).map_err(|error| {
            let at = parsed.positions(&bytes).of(error.place);
            let at = at.map_or_else(String::new, |position| format!("{position}: "));
            anyhow::Error::new(error).context(format!("{shown}: {at}the profile can't be compiled"))
        })?;
        Ok(ProfileFile {
            path: path.clone(),
            bytes,
            parsed,
            answers,
        })
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.parsed.profile
    }

    /// Where the parts of the profile are.
    pub(super) fn positions(&self) -> Positions<'_> {
        self.parsed.positions(&self.bytes)
    }
}
