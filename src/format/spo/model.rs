//! The resource.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
    LinuxSeccompOperator as OciOp,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use crate::profile::Profile;

pub(super) const GROUP: &str = "security-profiles-operator.x-k8s.io/";
pub(super) const VERSION: &str = "security-profiles-operator.x-k8s.io/v1";
pub(super) const KIND: &str = "SeccompProfile";

/// A `SeccompProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpoProfile {
    pub(super) name: String,
    /// In versions of the operator in which profiles have one.
    pub(super) namespace: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// The profile whose rules hold too.
    pub(super) base: Option<String>,
    /// Whether the operator must leave it alone.
    pub(super) disabled: bool,
    pub(super) profile: Profile,
}

impl SpoProfile {
    /// A resource for a profile. Characters that a name of Kubernetes can't have become `-`.
    pub(super) fn new(profile: &Profile, name: &str) -> SpoProfile {
        let name = name.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let name = name.replace(|c| !allowed(c), "-");
        let name = name.trim_matches(['-', '.']);
        let name = if name.is_empty() { "profile" } else { name };
        SpoProfile {
            name: name.to_owned(),
            namespace: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            base: None,
            disabled: false,
            profile: profile.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Resource {
    pub(super) api_version: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Spanned<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "creationTimestamp")]
    _created: Option<IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed: Option<IgnoredAny>,
    #[serde(rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(rename = "ownerReferences")]
    _owners: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) base_profile_name: Option<Spanned<String>>,
    pub(super) state: Option<Spanned<State>>,
    /// Before `state` (v1beta1).
    pub(super) disabled: Option<Spanned<bool>>,
    /// The workload's name in the first versions (v1alpha1), which only decided on the profile's path.
    #[serde(rename = "targetWorkload")]
    _target: Option<IgnoredAny>,
    pub(super) default_action: Spanned<OciAction>,
    pub(super) architectures: Option<Vec<Spanned<OciArch>>>,
    pub(super) flags: Option<Vec<OciFlag>>,
    pub(super) listener_path: Option<Spanned<String>>,
    pub(super) listener_metadata: Option<Spanned<String>>,
    pub(super) syscalls: Option<Vec<Spanned<SyscallEntry>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
pub(super) enum State {
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SyscallEntry {
    pub(super) names: Spanned<Vec<Spanned<String>>>,
    pub(super) action: OciAction,
    pub(super) errno_ret: Option<Spanned<Number>>,
    pub(super) args: Option<Vec<Spanned<Arg>>>,
}

/// An errno. The types of the operator's older versions had a string.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(u32),
    Text(String),
}

impl Number {
    pub(super) fn get(&self) -> Option<u32> {
        match self {
            Number::Number(number) => Some(*number),
            Number::Text(text) => text.parse().ok(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Arg {
    pub(super) index: Spanned<u64>,
    pub(super) value: Option<i64>,
    pub(super) value_two: Option<i64>,
    pub(super) op: OciOp,
}
