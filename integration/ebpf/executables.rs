//! More executables, or calls, than the kernel has room for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{OPTIONS, count, start};
use crate::support::machine;
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, Run};

/// More than `images` and `paths` have room for (`record/shared.h`).
const MANY: u64 = (1 << 14) + 500;

/// Makes this many copies of the program without libc, and executes each as `program`, and the last as `last`, once a file is there.
fn executes_copies(directory: &Path, go: &Path) -> Command {
    let script = "import os, shutil, sys, time\n\
        nolibc, directory, go, many = sys.argv[1:]\n\
        copies = [f'{directory}/{n}' for n in range(int(many))]\n\
        for copy in copies: shutil.copy(nolibc, copy)\n\
        print('ready', flush=True)\n\
        while not os.path.exists(go): time.sleep(0.02)\n\
        silent = [(os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0)]\n\
        for copy in copies:\n    \
            program = f'{directory}/' + ('last' if copy == copies[-1] else 'program')\n    \
            os.link(copy, program)\n    \
            os.waitpid(os.posix_spawn(program, [program], {}, file_actions=silent), 0)\n    \
            os.unlink(program)\n\
        print('done', flush=True)\n\
        while os.path.exists(go): time.sleep(0.02)\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]);
    command.arg(programs::workload("nolibc"));
    command.arg(directory).arg(go).arg(MANY.to_string());
    command
}

fn until_it_says(running: &mut Running, what: &str) {
    until(what, || {
        running.has_ended() || running.stdout().ends_with(what)
    });
    assert!(!running.has_ended(), "{}", running.stderr());
}

/// Records that, with a recorder that can read the counts meanwhile or can't, and returns the names of the executables as well.
fn recorded(is_read: bool) -> (Run, BTreeSet<String>) {
    let room = Room::new();
    let (directory, go) = (room.directory(), room.fresh("go"));
    let mut running = room.spawn(&mut executes_copies(&directory, &go));
    until_it_says(&mut running, "ready\n");
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["-p", &running.pid().to_string()]);
    if !is_read {
        recorder.signal(Signal::SIGSTOP);
    }
    std::fs::write(&go, "").unwrap();
    until_it_says(&mut running, "done\n");
    recorder.signal(Signal::SIGCONT);
    std::fs::remove_file(&go).unwrap();
    assert_eq!(running.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(count(&run, "execve"), MANY, "{}", ended.stderr);
    // Nothing else calls exit(2).
    assert_eq!(count(&run, "exit"), MANY, "{}", ended.stderr);
    let executables = &run.0["syscalls"][machine::NATIVE]["exit"]["executables"];
    let executables = executables.as_array().unwrap().iter();
    let prefix = format!("{}/", directory.display());
    let names = executables.map(|path| path.as_str().unwrap().replace(&prefix, ""));
    let names = names.collect();
    (run, names)
}

#[apply(test)]
#[needs(ebpf(), program("python3"))]
fn executables_that_have_ended_make_room_for_others() {
    let (run, executables) = recorded(true);
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(executables, ["last", "program"].map(str::to_owned).into());
}

#[apply(test)]
#[needs(ebpf(), program("python3"))]
fn more_executables_than_there_is_room_for_are_a_loss() {
    let (run, executables) = recorded(false);
    assert_eq!(executables, ["program"].map(str::to_owned).into());
    let losses = run.incomplete_because();
    let said = "the kernel had no memory for the paths of executables";
    assert!(
        losses.iter().any(|loss| loss.starts_with(said)),
        "{losses:?}"
    );
}

#[apply(test)]
#[needs(ebpf())]
fn calls_without_memory_for_an_entry_are_counted() {
    machine::load_libraries_at_the_same_addresses();
    let room = Room::new();
    let recorded = |entries: &str| {
        let files = Files::new(&room);
        let mut command = files.command(OPTIONS);
        command.env("SC_RECORD_TEST_COUNTS", entries);
        let script = "for i in 1 2 3 4 5 6 7 8; do nice true; chroot / true; done";
        let ended = room.run(command.args(["/bin/sh", "-c", script]));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let run = files.run();
        assert_eq!(run.incomplete_because(), [""; 0]);
        (run.calls(), run.callers())
    };
    assert_eq!(recorded("4"), recorded("4096"));
}
