//! `push` and `pull`, with a real registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::{Ended, Room, Running, until};
use crate::support::recorder::PROGRAM;

/// A registry on loopback. It is killed with the room.
struct Registry<'a> {
    room: &'a Room,
    address: String,
    /// The variables of its clients.
    environment: Vec<(&'static str, PathBuf)>,
    _running: Running,
}

impl<'a> Registry<'a> {
    /// Starts one, with more settings under `http` and `auth`.
    fn start(room: &'a Room, tls: &Value, auth: &Value) -> Registry<'a> {
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": room.directory()}},
            "http": {"addr": "127.0.0.1:0", "tls": tls},
            "auth": auth,
        });
        let file = room.fresh("c");
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).unwrap();
        let running = room.spawn(Command::new("docker-registry").arg("serve").arg(file));
        let mut address = None;
        until("the registry to listen", || {
            let log = running.stderr();
            let rest = log.split_once("listening on ").map(|(_, rest)| rest);
            let text: Option<String> = rest.map(|rest| {
                let end = |c: char| !c.is_ascii_digit() && c != '.' && c != ':';
                rest.split(end).next().unwrap_or_default().to_owned()
            });
            address = text;
            address.is_some()
        });
        Registry {
            room,
            address: address.unwrap(),
            environment: Vec::new(),
            _running: running,
        }
    }

    fn plain(room: &'a Room) -> Registry<'a> {
        Registry::start(room, &json!({}), &json!({}))
    }

    fn client(&self, verb: &str, more: &[&str]) -> Ended {
        let mut command = Command::new(PROGRAM);
        command.arg(verb).args(more);
        // The environment is set when the command is spawned.
        let mut with = Command::new("env");
        with.args(
            (self.environment.iter()).map(|(name, path)| format!("{name}={}", path.display())),
        );
        with.arg(command.get_program()).args(command.get_args());
        self.room.spawn(&mut with).wait(self.room)
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// What the registry has, as any other client sees it.
    fn get(&self, path: &str) -> String {
        let url = format!("http://{}/v2/{path}", self.address);
        let mut curl = Command::new("curl");
        let manifest = "Accept: application/vnd.oci.image.manifest.v1+json";
        curl.args(["-sSf", "-H", manifest, &url]);
        let ended = self.room.spawn(&mut curl).wait(self.room);
        assert_eq!(ended.code(), 0, "{url}: {}", ended.stderr);
        ended.stdout
    }

    /// Stores a manifest with these fields, and this layer.
    fn put(&self, name: &str, config: &str, kind: Option<&str>, layers: &[&str]) {
        let script = r#"
            set -e
            blob() {
                at=$(curl -sSf -o /dev/null -D - -X POST "$base/blobs/uploads/" | tr -d '\r' | sed -n 's/^Location: //p')
                curl -sSf -o /dev/null -X PUT --data-binary @"$1" \
                    -H 'Content-Type: application/octet-stream' "$at&digest=sha256:$(sha256sum <"$1" | cut -d' ' -f1)"
            }
            base=$1 manifest=$2
            shift 2
            for file; do blob "$file"; done
            curl -sSf -o /dev/null -X PUT --data-binary "$manifest" \
                -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' "$base/manifests/v1"
        "#;
        let blob = |kind: &str, text: &str| json!({"mediaType": kind, "digest": self.digest(text), "size": text.len()});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(config, "{}"),
            "layers": layers.iter().map(|text| blob("text/plain", text)).collect::<Vec<_>>(),
        });
        if let Some(kind) = kind {
            manifest["artifactType"] = kind.into();
        }
        let mut put = Command::new("sh");
        put.args(["-c", script, "sh"]);
        put.arg(format!("http://{}/v2/{name}", self.address));
        put.arg(manifest.to_string()).arg(self.file("{}"));
        put.args(layers.iter().map(|text| self.file(text)));
        let ended = self.room.spawn(&mut put).wait(self.room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }

    fn file(&self, text: &str) -> PathBuf {
        let file = self.room.fresh("t");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn digest(&self, text: &str) -> String {
        let mut sum = Command::new("sha256sum");
        let sum = self.room.spawn(sum.arg(self.file(text))).wait(self.room);
        format!("sha256:{}", sum.stdout.split(' ').next().unwrap())
    }
}

const KIND: &str = "application/vnd.cncf.seccomp-profile.config.v1+json";

const PROFILE: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO",
  "architectures": ["SCMP_ARCH_X86_64"],
  "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]
}
"#;

fn profile(room: &Room, text: &str) -> String {
    let file = room.fresh("p");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[apply(test)]
#[needs(program("docker-registry"), program("curl"))]
fn a_profile_that_was_pushed_is_an_artifact_and_is_pulled_again() {
    let room = Room::new();
    let registry = Registry::plain(&room);
    let file = profile(&room, PROFILE);
    let reference = registry.reference("profiles/app:v1");
    let pushed = registry.client("push", &["--plain-http", &file, &reference]);
    assert_eq!(pushed.code(), 0, "{}", pushed.stderr);

    let manifest: Value = serde_json::from_str(&registry.get("profiles/app/manifests/v1")).unwrap();
    assert_eq!(manifest["artifactType"], KIND);
    assert_eq!(manifest["config"]["mediaType"], KIND);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{manifest}");
    let digest = layers[0]["digest"].as_str().unwrap();
    let layer: Value =
        serde_json::from_str(&registry.get(&format!("profiles/app/blobs/{digest}"))).unwrap();
    assert_eq!(layer["defaultAction"], "SCMP_ACT_ERRNO");

    // By tag, and by the digest that push printed.
    let pinned = pushed.stdout.trim_end();
    assert!(
        pinned.starts_with(&registry.reference("profiles/app@sha256:")),
        "{pinned}"
    );
    for from in [reference.as_str(), pinned] {
        let to = room.fresh("q");
        let to_text = to.display().to_string();
        let pulled = registry.client("pull", &["--plain-http", from, "-o", &to_text]);
        assert_eq!(pulled.code(), 0, "{}", pulled.stderr);
        assert!(pulled.stderr.contains(pinned), "{}", pulled.stderr);
        assert_eq!(parsed(&to), layer);
    }
}

#[apply(test)]
#[needs(program("docker-registry"), program("curl"))]
fn what_no_runtime_would_accept_is_neither_pushed_nor_pulled() {
    let room = Room::new();
    let registry = Registry::plain(&room);
    let notify = PROFILE.replace("SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY");
    let file = profile(&room, &notify);
    let reference = registry.reference("notify:v1");
    let pushed = registry.client("push", &["--plain-http", &file, &reference]);
    assert_eq!(pushed.code(), 2, "{}", pushed.stderr);
    assert!(
        pushed.stderr.contains("SCMP_ACT_NOTIFY"),
        "{}",
        pushed.stderr
    );
    let pulled = registry.client("pull", &["--plain-http", &reference]);
    assert_eq!(pulled.code(), 2, "nothing was stored");

    let large = format!("{PROFILE}{}", " ".repeat(1 << 20));
    let empty = "application/vnd.oci.empty.v1+json";
    let check = |name: &str, config: &str, kind: Option<&str>, layers: &[&str], expected: &str| {
        registry.put(name, config, kind, layers);
        let reference = registry.reference(&format!("{name}:v1"));
        let pulled = registry.client("pull", &["--plain-http", &reference]);
        let is_accepted = expected.is_empty();
        assert_eq!(
            pulled.code(),
            if is_accepted { 0 } else { 2 },
            "{name}: {}",
            pulled.stderr
        );
        assert!(
            pulled.stderr.contains(expected),
            "{name}: {}",
            pulled.stderr
        );
        assert_eq!(pulled.stdout, if is_accepted { PROFILE } else { "" });
    };
    check("typed", KIND, None, &[PROFILE], "");
    check("empty", empty, Some(KIND), &[PROFILE], "");
    check("untyped", empty, None, &[PROFILE], "no seccomp profile");
    check(
        "image",
        "application/vnd.oci.image.config.v1+json",
        Some(KIND),
        &[PROFILE],
        "no seccomp profile",
    );
    check("none", KIND, None, &[], "0 layers");
    check("two", KIND, None, &[PROFILE, "{}"], "2 layers");
    check("listening", KIND, None, &[&notify], "SCMP_ACT_NOTIFY");
    check("large", KIND, None, &[&large], "1048576");
    check("text", KIND, None, &["hello"], "can't be read");
}

#[apply(test)]
#[needs(program("docker-registry"), program("openssl"))]
fn a_registry_with_tls_and_a_password_is_used_with_the_credentials_of_docker() {
    let room = Room::new();
    let directory = room.directory();
    let at = |name: &str| directory.join(name);
    let script = "cd \"$1\"; new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'; \
        openssl req -x509 $new -subj /CN=ca -keyout ca.key -out ca.pem && \
        openssl req -x509 $new -CA ca.pem -CAkey ca.key -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 \
        -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
    let mut openssl = Command::new("sh");
    let made = room.run(openssl.args(["-c", script, "sh"]).arg(&directory));
    assert_eq!(made.code(), 0, "{}", made.stderr);
    // user, secret
    let password = "user:$2b$05$GuTN/eooXRm/T/04kZUA1OsdAqYSw5.LcJYP1RrwsnRIJ6ECGsFPm\n";
    std::fs::write(at("htpasswd"), password).unwrap();
    let tls = json!({"certificate": at("cert.pem"), "key": at("key.pem")});
    let auth = json!({"htpasswd": {"realm": "tests", "path": at("htpasswd")}});
    let mut registry = Registry::start(&room, &tls, &auth);
    let file = profile(&room, PROFILE);
    let reference = registry.reference("app:v1");

    let untrusted = registry.client("push", &[&file, &reference]);
    assert_eq!(untrusted.code(), 2, "{}", untrusted.stderr);
    assert!(
        untrusted.stderr.contains("certificate"),
        "{}",
        untrusted.stderr
    );

    registry.environment.push(("SSL_CERT_FILE", at("ca.pem")));
    let anonymous = registry.client("push", &[&file, &reference]);
    assert_eq!(anonymous.code(), 2, "{}", anonymous.stderr);
    assert!(
        anonymous.stderr.to_lowercase().contains("authori"),
        "{}",
        anonymous.stderr
    );

    // base64 of user:secret
    let stored = json!({"auths": {&registry.address: {"auth": "dXNlcjpzZWNyZXQ="}}});
    std::fs::write(at("config.json"), stored.to_string()).unwrap();
    registry
        .environment
        .push(("DOCKER_CONFIG", directory.clone()));
    let pushed = registry.client("push", &[&file, &reference]);
    assert_eq!(pushed.code(), 0, "{}", pushed.stderr);
    let pulled = registry.client("pull", &[pushed.stdout.trim_end()]);
    assert_eq!(pulled.code(), 0, "{}", pulled.stderr);
    assert!(
        pulled.stdout.contains("SCMP_ACT_ERRNO"),
        "{}",
        pulled.stdout
    );
}
