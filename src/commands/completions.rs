//! `sc-record completions SHELL`.

use anyhow::Context;
use clap_complete::Shell;

use super::exit_status;
use crate::cli::{Cli, CompletionsArgs};
use crate::ui::output;

/// Replacements in the script for bash that `clap_complete` 4.6.11 generates.
const BASH: &[(&str, &str)] = &[
    // It spells the name's dash in two ways, so that no verb is found.
    ("sc__subcmd__record", "sc__record"),
    // What follows `--` is a command line of its own: a function of bash-completion completes it. Without that, bash
    // completes file names.
    (
        "_sc__record() {\n",
        "_sc__record() {
    local dashes
    for ((dashes = 1; dashes < COMP_CWORD; dashes++)); do
        if [[ ${COMP_WORDS[dashes]} == -- ]]; then
            COMPREPLY=()
            if declare -F _command_offset >/dev/null; then _command_offset $((dashes + 1)); fi
            return
        fi
    done
",
    ),
];

const ZSH: &[(&str, &str)] = &[(
    "_sc-record() {\n",
    "_sc-record() {
    local dashes=${words[(i)--]}
    if (( dashes < CURRENT )); then
        shift $dashes words
        (( CURRENT -= dashes ))
        _normal
        return
    fi
",
)];

const FISH: &[(&str, &str)] = &[
    // The last word may be an option whose value is being completed.
    (
        "2>/dev/null\n    or return\n",
        "2>/dev/null
    or argparse -s (__fish_sc_record_global_optspecs) -- $cmd[1..-2] 2>/dev/null
    or return
",
    ),
    // `sc-record help` was taken for `sc-record help help`, which completes nothing.
    (" help\" -f -a", "\" -f -a"),
    (
        "# Print an optspec",
        r#"complete -c sc-record -n 'contains -- -- (commandline -opc)' -xa '(complete -C (commandline -cp | string replace -r "^.*? -- +" ""))'

# Print an optspec"#,
    ),
];

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    let mut definitions = Cli::without_command();
    clap_complete::generate(args.shell, &mut definitions, "sc-record", &mut script);
    let script = String::from_utf8(script).context("the completion script is not UTF-8")?;
    let replacements = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        _ => &[],
    };
    let script = (replacements.iter()).fold(script, |script, (old, new)| script.replace(old, new));
    output::print(&script)?;
    Ok(exit_status::CLEAN)
}
