//! `sc-record lint`.

use std::path::PathBuf;

use clap::Args;
use sc_record::review::lint::{LintRule, LintTarget, Version};

use super::groups::ReadArgs;
use super::values::{rules, targets};

#[derive(Debug, Args)]
#[command(
    after_help = "`lint --rules` lists the rules; docs/lint-rules.md has them too.\n\
                  Exit status: 0 if clean (notes don't count), 1 for errors or warnings, 2 for trouble."
)]
pub(crate) struct LintArgs {
    /// Profiles to lint; `-` is stdin
    #[arg(value_name = "PROFILE", required_unless_present = "rules", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profiles: Vec<PathBuf>,

    /// What will load the profiles
    #[arg(short, long, value_name = "TARGET", default_value_t = LintTarget::Runc, value_parser = targets())]
    pub(crate) target: LintTarget,

    /// Version of the target's libseccomp [default: this machine's]
    #[arg(long, value_name = "VERSION")]
    pub(crate) libseccomp: Option<Version>,

    /// Recording to compare with, usually the one that the profile was generated from
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recording: Option<PathBuf>,

    /// Disable rules, by their ids or names (comma-separated)
    #[arg(long = "allow", value_name = "RULES", value_delimiter = ',', value_parser = rules(), ignore_case = true, hide_possible_values = true)]
    pub(crate) allowed: Vec<&'static LintRule>,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Print SARIF 2.1.0, for code scanning
    #[arg(long, conflicts_with = "json")]
    pub(crate) sarif: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// List the rules
    #[arg(long, conflicts_with_all = ["profiles", "sarif", "json"])]
    pub(crate) rules: bool,
}
