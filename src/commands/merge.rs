//! `sc-record merge A B … -o C`: merges recordings.

use std::path::Path;

use sc_record::atomic_file::{FilePlace, LockedFile};
use sc_record::recording::MergedName;
use serde_json::json;

use super::exit_status;
use super::input::{self, count};
use crate::cli::{Destination, MergeArgs};
use crate::ui::output;

pub(super) fn merge(args: &MergeArgs) -> anyhow::Result<u8> {
    anyhow::ensure!(
        !(args.json && args.output == Destination::Stdout),
        "--json and the recording can't both go to stdout: use -o FILE"
    );
    // Before the inputs are read: the output may be one of them, and a recorder may be about to add a run to it.
    let place = match &args.output {
        Destination::File(path) => Some(FilePlace::find(path)?),
        _ => None,
    };
    // A device or a pipe can't be locked, and need not be.
    let regular = place.as_ref().filter(|place| !place.is_special());
    let lock = regular.map(LockedFile::lock).transpose()?;
    let name = args
        .name
        .as_ref()
        .map_or(MergedName::Same, MergedName::Given);
    let mut merged = input::recordings(&args.inputs, name)?;
    if args.compact {
        merged.compact();
    }
    match (&args.output, &place, lock) {
        (Destination::Stdout, ..) => {
            let content = merged.content(Path::new("stdout"))?;
            output::json(String::from_utf8_lossy(&content))?;
        }
        (_, Some(place), Some(lock)) => lock.replace(&merged.content(place.path())?)?,
        (_, Some(place), None) => place.write(&merged.content(place.path())?)?,
        (_, None, _) => {}
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
        output::json(format_args!("{summary}\n"))?;
    } else if !args.verbosity.quiet {
        let folded = match folded {
            0 => String::new(),
            some => format!(" ({some} folded)"),
        };
        let (runs, inputs) = (count(runs, "run"), count(inputs, "file"));
        say!("sc-record: {name}: {runs}{folded} from {inputs}, {incomplete} incomplete");
    }
    Ok(exit_status::CLEAN)
}
