//! `sc-record merge A B … -o C`: merges recordings.

use std::io::{self, Write};
use std::path::Path;

use sc_record::atomic_file::{LockedFile, write_atomically};
use sc_record::recording::MergedName;
use serde_json::json;

use super::{exit_status, input};
use crate::cli::{Destination, MergeArgs};

pub(super) fn merge(args: &MergeArgs) -> anyhow::Result<u8> {
    anyhow::ensure!(
        !(args.json && args.output == Destination::Stdout),
        "--json and the recording can't both go to stdout: use -o FILE"
    );
    // Before the inputs are read: the output may be one of them, and a recorder may be about to add a run to it.
    let lock = match &args.output {
        Destination::File(path) if may_be_locked(path) => Some(LockedFile::lock(path)?),
        _ => None,
    };
    let name = args
        .name
        .as_ref()
        .map_or(MergedName::Same, MergedName::Given);
    let mut merged = input::recordings(&args.inputs, name)?;
    if args.compact {
        merged.compact();
    }
    match (&args.output, lock) {
        (Destination::Nowhere, _) => {}
        (Destination::Stdout, _) => {
            io::stdout().write_all(&merged.content(Path::new("stdout"))?)?;
        }
        (Destination::File(path), Some(lock)) => lock.replace(&merged.content(path)?)?,
        (Destination::File(path), None) => write_atomically(path, &merged.content(path)?)?,
    }

    let (name, runs, inputs) = (&merged.name, merged.number_of_runs(), args.inputs.len());
    let (folded, incomplete) = (merged.folded.len(), merged.incomplete_runs());
    if args.json {
        let summary = json!({
            "name": name.as_str(),
            "inputs": inputs,
            "runs": runs,
            "folded": folded,
            "incomplete": incomplete,
        });
        writeln!(io::stdout(), "{summary}")?;
    } else if !args.verbosity.quiet {
        let folded = match folded {
            0 => String::new(),
            some => format!(" ({some} folded)"),
        };
        say!("sc-record: {name}: {runs} runs{folded} from {inputs} files, {incomplete} incomplete");
    }
    Ok(exit_status::CLEAN)
}

/// Whether a path is that of a file, or of nothing yet. A device or a pipe can't be locked, and need not be.
fn may_be_locked(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}
