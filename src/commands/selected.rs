//! Containers that are selected by what their engine knows.

use std::time::Duration;

use sc_record::engines::Selected;

use crate::cli::ContainersArg;

/// After how long to say that none has run.
const LONG: Duration = Duration::from_secs(10);

/// Follows the selected containers, if the argument is a selector.
pub(super) fn selected(
    containers: Option<&ContainersArg>,
    quiet: bool,
) -> anyhow::Result<Option<Selected>> {
    let Some(ContainersArg::Selected(selector)) = containers else {
        return Ok(None);
    };
    let selected = Selected::begin(selector.clone())?;
    if !quiet {
        let selector = selector.clone();
        let warn = move || say!("sc-record: no container with {selector} has run so far");
        selected.warn_if_none(LONG, warn)?;
    }
    Ok(Some(selected))
}
