//! The hook records containers of real engines.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ADMIN, NO_NEW_PRIVILEGES, Place, WAITS, allowed, init_of, let_go, seen};
use crate::containers::WORK;
use crate::support::engines::{Engine, running};
use crate::support::process::{Room, until};
use crate::support::recorder::PROGRAM;

/// The hook is configured until this is dropped. With two configurations, two recorders would start.
pub(super) struct Configured {
    file: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Configured {
    pub(super) fn new(room: &Room) -> Configured {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let file = Engine::hooks().join("sc-record.json");
        let mut print = Command::new(PROGRAM);
        print.args([
            "hook",
            "--print-config",
            "--podman",
            "--policy",
            "exact",
            "-o",
        ]);
        assert_eq!(room.run(print.arg(&file)).code(), 0);
        Configured {
            file,
            _alone: alone,
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// The option with which the hook records a container.
pub(super) fn annotation(what: &str) -> String {
    format!("--annotation=io.containers.trace-syscall={what}")
}

fn hook(engine: Engine) {
    let room = Room::new();
    let place = Place::new(&room);
    let _configured = Configured::new(&room);

    let profiles = place.directory.join("profiles");
    fs::create_dir(&profiles).unwrap();
    let profile = profiles.join("app.json");
    let base = profiles.join("base.json");
    let of = annotation(&format!("of:{}", profile.display()));
    let run = |options: &[&str], line: &str| {
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(engine.arguments(options, &place.name, line));
        engine.run(&room, &arguments)
    };
    let seen = seen(&room, engine);
    for privileges in [&[][..], &[NO_NEW_PRIVILEGES]] {
        let ended = run(&[&[of.as_str()], privileges].concat(), WORK);
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (7, "hello\na\n"),
            "{}",
            ended.stderr
        );
        // It is there when the client ends.
        let names = allowed(&profile);
        assert!(names.is_superset(&seen), "{names:?}");
        assert!(!names.contains("pivot_root"), "{names:?}");
        // The threads of runc make varying calls, so the calls of another run are added.
        let works = (0..6).any(|_| {
            let options = [privileges, &[ADMIN]].concat();
            let ended = place.run_under_profile(engine, &options, WORK);
            fs::copy(&profile, &base).unwrap();
            let both = format!("of:{};if:{}", profile.display(), base.display());
            run(&[&[annotation(&both).as_str()], privileges].concat(), WORK);
            ended.code() == 7 && ended.stdout == "hello\na\n"
        });
        assert!(works);
        let is_refused = (0..6).any(|_| {
            let options = [privileges, &[ADMIN]].concat();
            let line = "unshare -m true && exit 7";
            let ended = place.run_under_profile(engine, &options, line);
            (ended.stderr).contains("unshare(0x20000): Operation not permitted")
        });
        assert!(is_refused);
    }

    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ALLOW"}]}"#;
    fs::write(&base, text).unwrap();
    let both = format!("of:{};if:{}", profile.display(), base.display());
    assert_eq!(run(&[&annotation(&both)], "exit 3").code(), 3);
    assert!(allowed(&profile).contains("swapon"));

    let ended = run(&[&annotation("of:relative")], "true");
    assert_ne!(ended.code(), 0);
    // crun shows no more of it.
    let said = match engine {
        Engine::PodmanCrun => "error executing hook",
        _ => "not an absolute path",
    };
    assert!(ended.stderr.contains(said), "{}", ended.stderr);

    // Programs executed later are recorded too.
    let detached = [of.as_str(), "--detach"];
    assert_eq!(run(&detached, WAITS).code(), 0);
    let id = running(engine, &room, &place.name);
    let executed = engine.run(&room, &["exec", &id, "sync"]);
    assert_eq!(executed.code(), 0, "{}", executed.stderr);
    let_go(init_of(engine, &room, &id));
    until("the profile to be written", || {
        allowed(&profile).contains("sync")
    });
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("runc"))]
fn the_hook_records_containers_of_podman_with_runc() {
    hook(Engine::PodmanRunc);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("crun"))]
fn the_hook_records_containers_of_podman_with_crun() {
    hook(Engine::PodmanCrun);
}
