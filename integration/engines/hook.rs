//! The hook records containers of real engines.

use std::fs;
use std::process::Command;
use std::sync::PoisonError;

use super::{ADMIN, ALONE, NO_NEW_PRIVILEGES, Place, WAITS, allowed, init_of, let_go, seen};
use crate::containers::WORK;
use crate::support::engines::{Engine, running};
use crate::support::process::{Room, until};
use crate::support::recorder::PROGRAM;

fn hook(engine: Engine) {
    let room = Room::new();
    let place = Place::new(&room);
    let config = Engine::hooks().join("sc-record.json");
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut print = Command::new(PROGRAM);
    print.args(["hook", "--print-config", "--policy", "exact", "-o"]);
    assert_eq!(room.run(print.arg(&config)).code(), 0);

    let profiles = place.directory.join("profiles");
    fs::create_dir(&profiles).unwrap();
    let profile = profiles.join("app.json");
    let base = profiles.join("base.json");
    let annotation = |what: &str| format!("--annotation=io.containers.trace-syscall={what}");
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

    fs::remove_file(config).unwrap();
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
