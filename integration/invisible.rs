//! A workload inherits the same state from its recorder as without one.

use std::process::Command;

use crate::support::process::Room;
use crate::support::recorder::Files;
use crate::support::{needs, programs};

/// Runs `inherited`, which prints all state that a program inherits, natively and recorded, each started by a wrapper,
/// and compares the outputs.
fn check(wrapper: &[&str]) {
    let room = Room::new();
    let program = programs::workload("inherited");
    let native = room.run(&mut wrapped(wrapper, |command| {
        command.arg(&program);
    }));
    assert_eq!(native.code(), 0, "{}", native.stderr);

    let files = Files::new(&room);
    let recorded = room.run(&mut wrapped(wrapper, |command| {
        command.arg(crate::support::recorder::PROGRAM);
        files.arguments(command, &["-q"]);
        command.arg(&program);
    }));
    assert_eq!(recorded.code(), 0, "{}", recorded.stderr);
    assert_eq!(recorded.stderr, "");
    let mut differences = Vec::new();
    let (native, recorded) = (lines(&native.stdout), lines(&recorded.stdout));
    differences.extend(
        native
            .iter()
            .filter(|line| !recorded.contains(line))
            .map(|line| format!("- {line}")),
    );
    differences.extend(
        recorded
            .iter()
            .filter(|line| !native.contains(line))
            .map(|line| format!("+ {line}")),
    );
    assert!(
        differences.is_empty(),
        "recorded, it inherits other things:\n{}",
        differences.join("\n")
    );
}

/// A recorder without `CAP_SYS_ADMIN` must set `no_new_privs`; the run says so.
fn lines(output: &str) -> Vec<&str> {
    let root = needs::capability(needs::SYS_ADMIN).is_ok();
    output
        .lines()
        .filter(|line| root || !line.starts_with("NoNewPrivs:"))
        .collect()
}

fn wrapped(wrapper: &[&str], add: impl FnOnce(&mut Command)) -> Command {
    // env(1) without arguments: the plain case.
    let (program, arguments) = wrapper.split_first().unwrap_or((&"env", &[]));
    let mut command = Command::new(program);
    command.args(arguments);
    add(&mut command);
    command
}

#[apply(test)]
fn a_workload_inherits_the_same_state() {
    check(&[]);
}

#[apply(test)]
fn ignored_and_blocked_signals_are_inherited() {
    check(&[
        "env",
        "--ignore-signal=PIPE,USR1,TSTP",
        "--block-signal=USR2,TERM,INT",
    ]);
    check(&[
        "env",
        "--ignore-signal=CHLD,INT,TERM,STKFLT",
        "--block-signal=CHLD,STKFLT,RTMIN+3",
    ]);
    check(&["env", "--ignore-signal", "--block-signal"]);
}

#[apply(test)]
fn descriptors_are_inherited_and_none_are_added() {
    check(&["sh", "-c", "exec \"$@\" 7</dev/null 9>>/dev/null", "sh"]);
    check(&["sh", "-c", "exec \"$@\" <&-", "sh"]);
    check(&["sh", "-c", "exec \"$@\" 2>&- 3<&0", "sh"]);
}

#[apply(test)]
fn limits_are_inherited() {
    check(&[
        "sh",
        "-c",
        "umask 027; ulimit -n 200; ulimit -c 0; ulimit -s 4096; exec \"$@\"",
        "sh",
    ]);
    check(&["nice", "-n", "7"]);
    check(&["taskset", "1"]);
}

#[apply(test)]
#[needs(capability(SETPCAP))]
fn capabilities_are_inherited() {
    check(&[
        "setpriv",
        "--bounding-set=-sys_boot,-sys_time",
        "--inh-caps=+net_raw",
    ]);
}

#[apply(test)]
fn the_directory_and_the_environment_are_inherited() {
    check(&["env", "-C", "/usr"]);
    check(&["env", "ODD==x=", "EMPTY="]);
}
