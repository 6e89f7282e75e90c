//! The dialects of Docker (moby, `profiles/seccomp`) and Podman (containers/common, `pkg/seccomp`): OCI's JSON, and rules
//! that hold under conditions (`includes`, `excludes`), ABIs by machine (`archMap`), comments, a legacy field for a single
//! name. Podman also gives errnos by name, and has no `minKernel` and no listener.
//!
//! A [`DockerProfile`] holds all of it. Engines resolve it for the container, here a [`Machine`](super::Machine), before they
//! give it to the runtime.
//!
//! Empty comments, conditions and lists of arguments are not kept.

mod model;
mod read;
mod write;

use self::model::DockerProfile;
pub(super) use self::model::errno_of_name;
use super::oci;
use super::row::{FormatReader, FormatRow, Writer};

pub(super) const DOCKER: FormatRow = FormatRow {
    name: "docker",
    about: "Docker's dialect: rules with conditions",
    json: |outline| {
        let of_rules = ["name", "comment", "includes", "excludes"];
        outline.has("archMap") || of_rules.into_iter().any(|field| outline.a_rule_has(field))
    },
    read: FormatReader::Text(read::parse),
    write: Writer::Text(|profile, out| {
        let mut profile = DockerProfile::from(profile);
        if out.writing.arch_map {
            profile.arches = profile.arches.by_machine();
        }
        write::render(&profile, out)
    }),
    edit: None,
    ..oci::ROW
};

pub(super) const PODMAN: FormatRow = FormatRow {
    name: "podman",
    about: "Podman's dialect",
    json: |outline| outline.has("defaultErrno") || outline.a_rule_has("errno"),
    ..DOCKER
};
