//! The formats of profiles, as values of options.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use sc_record::format::Format;

/// Reads the name of a format.
pub(crate) fn formats() -> impl TypedValueParser<Value = Format> {
    let values = Format::ALL
        .iter()
        .map(|&format| PossibleValue::new(format.name()).help(about(format)));
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}

fn about(format: Format) -> &'static str {
    match format {
        Format::Oci => "OCI runtime JSON: Docker, Podman, containerd, CRI-O, Kubernetes",
        Format::Docker => "Docker's dialect: rules with conditions",
        Format::Podman => "Podman's dialect",
        Format::Kubernetes => "OCI JSON, and beside it the securityContext of the pod",
        Format::Spo => "`SeccompProfile` of the Security Profiles Operator",
        Format::Systemd => "Drop-in for a unit of systemd",
        Format::Seccompiler => "JSON of seccompiler (Firecracker)",
        Format::Minijail => "Policy of minijail",
        Format::Libseccomp => "C source that loads the profile with libseccomp",
        Format::Falco => "Rule of Falco that reports what the profile doesn't allow",
        Format::Bpf => "Compiled filter, as bubblewrap takes it",
    }
}
