//! Kubernetes: the kubelet hands a profile of type `Localhost` to the runtime, which reads plain OCI. So the profile is
//! written and read as OCI, with all conditions resolved (containerd would drop them, so that their rules always apply),
//! together with the part of the pod that refers to it.

use super::oci;
use super::row::FormatRow;
use super::writing::Companion;
use super::yaml::scalar;

pub(super) const ROW: FormatRow = FormatRow {
    name: "kubernetes",
    about: "OCI JSON, with the pod's securityContext beside it",
    companion: Some(companion),
    ..oci::ROW
};

/// The folder that the kubelet looks for profiles in, unless it was started with another `--root-dir`.
const ROOT: &str = "/var/lib/kubelet/seccomp";

/// The snippet for the pod.
fn companion(name: &str) -> Companion {
    let file = format!("profiles/{name}.json");
    let path = scalar(&file);
    Companion {
        extension: "pod.yaml",
        text: format!(
            "# For the pod, or for one of its containers. The profile belongs on every node, in\n\
             # {ROOT}/{file}\n\
             securityContext:\n  seccompProfile:\n    type: Localhost\n    localhostProfile: {path}\n"
        ),
    }
}
