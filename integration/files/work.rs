//! Small files that could cause much work.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::process::Room;
use crate::support::recorder::PROGRAM;
use crate::support::recordings::{allow, profile, recording, run};

/// A program of 2047 instructions: comparisons of arguments, which double the paths, between comparisons of the number and the ABI.
fn slow_program() -> Vec<u8> {
    let mut program = Vec::new();
    let mut instruction = |code: u16, jt: u8, jf: u8, k: u32| program.push((code, jt, jf, k));
    let arches = [
        0xc000_003e_u32,
        0x4000_0003,
        0xc000_00b7,
        0x4000_0028,
        0xc000_00f3,
        0x8000_0016,
    ];
    for number in 0..341_u32 {
        // A different word and value each time: neither side of a branch decides another.
        instruction(0x20, 0, 0, 16 + number % 12 * 4);
        instruction(0x15, 0, 0, number / 12);
        instruction(0x20, 0, 0, 4);
        instruction(0x15, 0, 0, arches[number as usize % arches.len()]);
        instruction(0x20, 0, 0, 0);
        instruction(0x15, 0, 0, number * 3);
    }
    instruction(0x06, 0, 0, 0x7fff_0000);
    bytes_of(&program)
}

/// `struct sock_filter`s.
fn bytes_of(program: &[(u16, u8, u8, u32)]) -> Vec<u8> {
    let bytes = |(code, jt, jf, k): &(u16, u8, u8, u32)| {
        let [k0, k1, k2, k3] = k.to_ne_bytes();
        let [code0, code1] = code.to_ne_bytes();
        [code0, code1, *jt, *jf, k0, k1, k2, k3]
    };
    program.iter().flat_map(bytes).collect()
}

#[apply(test)]
#[needs(program("prlimit"))]
fn no_small_file_takes_long() {
    let room = Room::new();
    let write = |name: &str, bytes: &[u8]| fs::write(room.path().join(name), bytes).unwrap();
    let names: Vec<String> = (0..20_000)
        .map(|number| format!("unknown_{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    profile(&room.path().join("names"), &json!([allow(&names)]));
    let values = (0..20_000).map(|value| json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
    }));
    let values: Vec<_> = values.collect();
    profile(&room.path().join("values"), &json!(values));
    profile(&room.path().join("other"), &json!([allow(&["read"])]));
    recording(&room.path().join("recording"), &[run(1, &["read"])]);
    write("bpf", &slow_program());
    let lines =
        |count, line: &dyn Fn(u32) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let groups = lines(10_000, &|number| format!("SystemCallFilter=@g{number}"));
    let removals = lines(10_000, &|number| format!("SystemCallFilter=~@g{number}"));
    write(
        "unit",
        format!("[Service]\n{groups}\n{removals}\n").as_bytes(),
    );
    let unfinished = lines(40_000, &|number| {
        format!("{} read(0,  <unfinished ...>", number + 100_000)
    });
    write("strace", unfinished.as_bytes());
    let trials = (0..20_000).map(|number| json!({"denied": ["read", format!("call_{number}")]}));
    let trials: Vec<_> = trials.collect();
    let state = json!({"schema": 1, "of": "another search", "trials": trials});
    write("state", state.to_string().as_bytes());
    let command_lines = [
        "lint names",
        "check names recording",
        "check names recording --github --strict",
        "check names recording --update --remove-unused",
        "diff values other",
        "explain values",
        "lint values",
        "run values -- true",
        "inspect bpf",
        "convert bpf -f oci --lossy",
        "diff bpf other",
        "convert unit -f oci --lossy",
        "import strace strace -n app",
        "minimize other --state state -- true",
        "verify values -- true",
    ];
    for line in command_lines {
        let mut command = Command::new("prlimit");
        // Processor time, which others on the machine don't use up; a debug build needs a few seconds.
        command
            .args(["--cpu=40", &format!("--as={}", 256 << 20)])
            .arg(PROGRAM)
            .args(line.split_whitespace());
        let ended = room.run(&mut command);
        let is_killed = ended.code() >= 128 || ended.code() == 101;
        assert!(!is_killed, "{line}: {ended:?}");
        assert!(!ended.stderr.contains("memory"), "{line}: {ended:?}");
    }
}

/// The instructions of a command, which valgrind counts: the same on every machine, whatever else runs. A verb that loads a
/// filter fails there with status 2 or 125, after it has read its files.
fn instructions(room: &Room, line: &str) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no"]);
    command.args(["--cachegrind-out-file=/dev/null", PROGRAM]);
    let ended = room.run(command.args(line.split_whitespace()));
    let counts = ended.stderr.lines().filter_map(|line| {
        let (_, count) = line.split_once("I   refs:")?;
        count.replace(',', "").trim().parse::<u64>().ok()
    });
    let sum: u64 = counts.sum();
    let is_refused = ended.stderr.contains("libseccomp refuses the action");
    assert!(
        sum > 0 && (ended.code() < 2 || is_refused),
        "{line}: {ended:?}"
    );
    sum
}

/// Writes files with as many entries, whose names end in `size`.
fn write_files(room: &Room, size: &str, count: usize) {
    let path = |name: &str| room.path().join(format!("{name}{size}"));
    let lines =
        |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let write = |name: &str, text: String| fs::write(path(name), text + "\n").unwrap();
    let names: Vec<String> = (0..count)
        .map(|number| format!("unknown_{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    profile(&path("names"), &json!([allow(&names)]));
    let values = (0..count).map(|value| json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
    }));
    let values: Vec<_> = values.collect();
    profile(&path("values"), &json!(values));
    let calls: Vec<String> = (0..count)
        .map(|number| format!("x86_64:#{}", 10_000 + number))
        .collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    recording(&path("calls"), &[run(1, &calls)]);
    let runs: Vec<_> = (1..=u32::try_from(count).unwrap())
        .map(|id| run(id, &["read", "write"]))
        .collect();
    recording(&path("runs"), &runs);
    write(
        "strace",
        lines(&|number| format!("{} read(0,  <unfinished ...>", number + 100_000)),
    );
    write(
        "audit",
        lines(&|number| {
            format!(
                "type=SECCOMP msg=audit(1.0:{number}): auid=0 uid=0 gid=0 ses=1 pid={} comm=\"a\" exe=\"/bin/a{number}\" sig=0 \
         arch=c000003e syscall={} compat=0 ip=0x7f code=0x7ffc0000",
                number + 1,
                number % 300
            )
        }),
    );
    let groups = lines(&|number| format!("SystemCallFilter=~@g{number}"));
    write(
        "unit",
        format!("[Service]\nSystemCallFilter=read\n{groups}"),
    );
    // Numbers that repeat: of each number, all paths are followed.
    let mut program = vec![(0x20, 0, 0, 0)];
    for number in 0..count {
        program.push((0x15, 0, 1, u32::try_from(number % 8).unwrap()));
        program.push((0x06, 0, 0, 0x7fff_0000));
    }
    program.push((0x06, 0, 0, 0x0005_0001));
    fs::write(path("bpf"), bytes_of(&program)).unwrap();
}

#[apply(test)]
#[needs(program("valgrind"))]
fn the_work_for_a_file_grows_with_its_size() {
    const SMALL: usize = 200;
    let room = Room::new();
    profile(&room.path().join("other"), &json!([allow(&["read"])]));
    recording(&room.path().join("recording"), &[run(1000, &["read"])]);
    for (size, count) in [("0", 1), ("1", SMALL), ("4", 4 * SMALL)] {
        write_files(&room, size, count);
    }
    // `%` stands for the size.
    let command_lines = [
        "lint names%",
        "lint values%",
        "explain names%",
        "explain values%",
        "check names% recording",
        "check other calls%",
        "diff names% other",
        "diff values% other",
        "diff calls% recording",
        "convert names% -f oci --lossy",
        "convert values% -f oci --lossy",
        "convert unit% -f oci --lossy",
        "convert bpf% -f oci --lossy",
        "inspect bpf%",
        "stats calls%",
        "stats runs%",
        "generate runs% -o -",
        "merge runs% recording -o -",
        "import strace strace% -r none -o none -n app",
        "import audit audit% -r none -o none -n app",
        "run values% -- true",
        "verify values% --no-baseline -- true",
        // The last, since it changes the file.
        "check names% recording --update --remove-unused",
    ];
    for line in command_lines {
        let of_size = |size: &str| instructions(&room, &line.replace('%', size));
        let fixed = of_size("0");
        let [small, large] = ["1", "4"].map(|size| of_size(size).saturating_sub(fixed));
        let counts =
            format!("{line}: {fixed}, and {small} for {SMALL}, {large} for 4 times as many");
        // Each entry was read.
        assert!(small > 1000 * SMALL as u64, "{counts}");
        // Quadratic work would be 16 times as much.
        assert!(large < 8 * small, "{counts}");
    }
}
