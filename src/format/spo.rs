//! `SeccompProfile` of the Security Profiles Operator, as YAML (or JSON, which is YAML): OCI's profile in a resource of
//! Kubernetes. It differs in what it can say: no errno for the default action, no values above 2^63-1, at most 6
//! comparisons in a rule, no repetitions in lists, some ABIs less.
//!
//! Fields that the API server adds to a resource (`status`, `uid`, …) are skipped. The other parts of the resource are in
//! [`SpoProfile`]. With a base profile, or if it is disabled, the resource means something else than its profile.

mod model;
mod read;
mod write;

use self::model::SpoProfile;
use super::row::{FormatReader, FormatRow, Writer};

pub(super) const ROW: FormatRow = FormatRow {
    name: "spo",
    extension: "yaml",
    about: "`SeccompProfile` of the Security Profiles Operator",
    is_oci: false,
    json: |outline| outline.has("apiVersion"),
    line: |line| line.starts_with("apiVersion:") || line.starts_with("kind:"),
    read: FormatReader::Text(read::parse),
    write: Writer::Text(|profile, out| {
        write::render(&SpoProfile::new(profile, out.writing.name), out)
    }),
    companion: None,
    edit: None,
};
