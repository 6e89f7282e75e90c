//! Profiles as OCI artifacts in registries, as Kubernetes and its runtimes read them (KEP-6061): one layer, the profile as
//! raw JSON of the OCI runtime specification.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use crate::format::{Format, ParseError, RenderError, parse, render};
use crate::profile::{Action, Profile, Rule};

/// The type of the artifact and of its config: it says that the layer is a seccomp profile.
const PROFILE_TYPE: &str = "application/vnd.cncf.seccomp-profile.config.v1+json";

/// The type of a config without content; the manifest's `artifactType` then says what the layer is.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Runtimes refuse larger profiles.
const MAX_BYTES: usize = 1 << 20;

/// Runtimes refuse profiles with more rules for one call.
const MAX_RULES: usize = 128;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a profile can't be pushed or pulled.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference isn't `REGISTRY/REPOSITORY:TAG` or `REGISTRY/REPOSITORY@DIGEST`.
    #[error("{reference} is no reference of an artifact")]
    Reference {
        /// The text.
        reference: String,
        /// What is wrong.
        source: oci_client::ParseError,
    },
    /// A digest follows from the content.
    #[error("{0} has a digest: push to a tag")]
    PushToDigest(String),
    /// The credentials that are stored for the registry can't be read.
    #[error("the credentials for {registry} can't be read")]
    Credentials {
        /// The registry.
        registry: String,
        /// Why.
        source: CredentialRetrievalError,
    },
    /// The registry refuses, or can't be reached.
    #[error("can't {verb} {reference}")]
    Registry {
        /// `push` or `pull`.
        verb: &'static str,
        /// What of.
        reference: String,
        /// Why.
        source: Box<OciDistributionError>,
    },
    /// The client can't be started.
    #[error("can't start the client of the registry")]
    Client(#[source] io::Error),
    /// The artifact is something else than a profile.
    #[error("{reference} is no seccomp profile: {why}")]
    NotAProfile {
        /// The artifact.
        reference: String,
        /// How this shows.
        why: String,
    },
    /// The profile that was pulled can't be read.
    #[error("the profile of {reference} can't be read")]
    Parse {
        /// The artifact.
        reference: String,
        /// Why.
        source: Box<ParseError>,
    },
    /// The profile can't be written as JSON of the OCI runtime specification.
    #[error("the profile can't be written as an artifact")]
    Render(#[from] RenderError),
    /// Runtimes would refuse the profile.
    #[error("runtimes refuse this profile as an artifact: {0}")]
    Refused(String),
}

/// A profile in a registry.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The content of the layer.
    pub bytes: Vec<u8>,
    /// The reference by digest, which always names this content.
    pub pinned: String,
}

/// A registry's client for one artifact.
pub struct Registry {
    client: Client,
    runtime: tokio::runtime::Runtime,
    reference: Reference,
    auth: RegistryAuth,
}

impl Registry {
    /// A client with the credentials that `docker login` stored. `plain_http` connects without TLS.
    pub fn new(reference: &str, plain_http: bool) -> Result<Registry, RegistryError> {
        let parsed: Result<Reference, _> = reference.parse();
        let parsed = parsed.map_err(|source| RegistryError::Reference {
            reference: reference.to_owned(),
            source,
        })?;
        // An earlier one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ClientConfig {
            protocol: if plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            ..ClientConfig::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Registry {
            client: Client::try_from(config).map_err(|source| failed("reach", &parsed, source))?,
            runtime: runtime.map_err(RegistryError::Client)?,
            auth: auth(parsed.registry())?,
            reference: parsed,
        })
    }

    /// Pushes a profile.
    pub fn push(&self, profile: &Profile) -> Result<Artifact, RegistryError> {
        if self.reference.digest().is_some() {
            return Err(RegistryError::PushToDigest(self.reference.whole()));
        }
        check(profile)?;
        let text = render(Format::Oci, profile)?;
        check_size(text.len())?;
        let title = ("org.opencontainers.image.title", "profile.json");
        let title = BTreeMap::from([(title.0.to_owned(), title.1.to_owned())]);
        let json = "application/json".to_owned();
        let layers = [ImageLayer::new(text.clone(), json, Some(title))];
        let config = Config::new("{}", PROFILE_TYPE.to_owned(), None);
        let mut manifest = OciImageManifest::build(&layers, &config, None);
        manifest.artifact_type = Some(PROFILE_TYPE.to_owned());
        let digest = self.runtime.block_on(async {
            let (client, to) = (&self.client, &self.reference);
            client
                .push(to, &layers, config, &self.auth, Some(manifest))
                .await?;
            // The client compares the digest with the content.
            let (_, digest) = client.pull_manifest(to, &self.auth).await?;
            Ok(digest)
        });
        let digest = digest.map_err(|source| failed("push", &self.reference, source))?;
        Ok(Artifact {
            bytes: text.into_bytes(),
            pinned: self.pinned(&digest),
        })
    }

    /// Pulls a profile that runtimes would accept.
    pub fn pull(&self) -> Result<Artifact, RegistryError> {
        let from = &self.reference;
        let failed = |source| failed("pull", from, source);
        let manifest = self.client.pull_manifest(from, &self.auth);
        let (manifest, digest) = self.runtime.block_on(manifest).map_err(failed)?;
        let not_a_profile = |why: String| RegistryError::NotAProfile {
            reference: from.whole(),
            why,
        };
        let OciManifest::Image(manifest) = manifest else {
            return Err(not_a_profile("it is an index of several".to_owned()));
        };
        let kind = match manifest.config.media_type.as_str() {
            EMPTY_TYPE => manifest.artifact_type.as_deref().unwrap_or_default(),
            other => other,
        };
        if kind != PROFILE_TYPE {
            return Err(not_a_profile(format!("its type is {kind:?}")));
        }
        let [layer] = &manifest.layers[..] else {
            let layers = manifest.layers.len();
            return Err(not_a_profile(format!("it has {layers} layers, not one")));
        };
        check_size(usize::try_from(layer.size).unwrap_or(usize::MAX))?;
        // A cursor takes no more than there is room for.
        let mut bytes = vec![0; usize::try_from(layer.size).unwrap_or_default()];
        let blob = (self.client).pull_blob(from, layer, Cursor::new(&mut bytes[..]));
        self.runtime.block_on(blob).map_err(failed)?;
        let profile = parse(Format::Oci, &bytes).map_err(|source| RegistryError::Parse {
            reference: from.whole(),
            source: Box::new(source),
        })?;
        check(&profile)?;
        Ok(Artifact {
            bytes,
            pinned: self.pinned(&digest),
        })
    }

    fn pinned(&self, digest: &str) -> String {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        format!("{registry}/{repository}@{digest}")
    }
}

fn failed(
    verb: &'static str,
    reference: &Reference,
    source: OciDistributionError,
) -> RegistryError {
    RegistryError::Registry {
        verb,
        reference: reference.whole(),
        source: Box::new(source),
    }
}

/// The stored credentials for a registry. Without any, registries are asked as anybody.
fn auth(registry: &str) -> Result<RegistryAuth, RegistryError> {
    // The key under which Docker keeps those of its own registry.
    let key = match registry {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    match docker_credential::get_credential(key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(RegistryAuth::Anonymous),
        Err(source) => Err(RegistryError::Credentials {
            registry: registry.to_owned(),
            source,
        }),
    }
}

fn check_size(bytes: usize) -> Result<(), RegistryError> {
    if bytes > MAX_BYTES {
        let why = format!("it has {bytes} bytes, and at most {MAX_BYTES} are allowed");
        return Err(RegistryError::Refused(why));
    }
    Ok(())
}

/// Whether runtimes accept a profile as an artifact: a listener would be a path on a node that the author doesn't know.
fn check(profile: &Profile) -> Result<(), RegistryError> {
    let refused = |why: String| Err(RegistryError::Refused(why));
    if profile.listener().is_some() {
        return refused("it has a listener".to_owned());
    }
    let actions = profile.rules().iter().map(Rule::action);
    if (actions.chain([profile.default_action()])).any(|action| action == Action::Notify) {
        return refused(format!("it has the action {}", Action::Notify));
    }
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for name in profile.rules().iter().flat_map(Rule::names) {
        *rules.entry(name).or_default() += 1;
    }
    match rules.into_iter().find(|(_, rules)| *rules > MAX_RULES) {
        Some((name, rules)) => refused(format!(
            "it has {rules} rules for {name}, and at most {MAX_RULES} are allowed"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ArgCmp, ErrnoRet, Listener, Op};

    fn why(profile: &Profile) -> String {
        check(profile).unwrap_err().to_string()
    }

    fn rules(number: u64) -> Vec<Rule> {
        let rule = |value| {
            let equal = ArgCmp::new(0, Op::Eq, value, None).unwrap();
            Rule::new(vec!["ioctl".to_owned()], Action::Allow, vec![equal]).unwrap()
        };
        (0..number).map(rule).collect()
    }

    #[test]
    fn what_runtimes_refuse_is_refused() {
        let profile = Profile::new(Action::Errno(ErrnoRet::EPERM));
        assert!(check(&profile.clone().with_rules(rules(128))).is_ok());
        let many = why(&profile.clone().with_rules(rules(129)));
        assert!(many.contains("129 rules for ioctl"), "{many}");
        let listener = Listener::new("/run/l".to_owned(), None);
        assert!(why(&profile.clone().with_listener(listener)).contains("listener"));
        assert!(why(&Profile::new(Action::Notify)).contains("SCMP_ACT_NOTIFY"));
        let notify = Rule::new(vec!["mount".to_owned()], Action::Notify, Vec::new()).unwrap();
        assert!(why(&profile.with_rules([notify])).contains("SCMP_ACT_NOTIFY"));
        assert!(check_size(MAX_BYTES).is_ok());
        assert!(check_size(MAX_BYTES + 1).is_err());
    }
}
