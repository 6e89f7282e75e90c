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
    let mut instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        program.extend(code.to_ne_bytes());
        program.extend([jt, jf]);
        program.extend(k.to_ne_bytes());
    };
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
    program
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

/// The instructions of a command, which valgrind counts: the same on every machine, whatever else runs.
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
    assert!(sum > 0 && ended.code() < 2, "{line}: {ended:?}");
    sum
}

#[apply(test)]
#[needs(program("valgrind"))]
fn the_work_for_a_file_grows_with_its_size() {
    const SMALL: usize = 200;
    let room = Room::new();
    let write = |name: &str, text: String| fs::write(room.path().join(name), text).unwrap();
    let lines =
        |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    profile(&room.path().join("other"), &json!([allow(&["read"])]));
    recording(&room.path().join("recording"), &[run(1, &["read"])]);
    for (size, count) in [("0", 1), ("1", SMALL), ("4", 4 * SMALL)] {
        let names: Vec<String> = (0..count)
            .map(|number| format!("unknown_{number}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        profile(
            &room.path().join(format!("names{size}")),
            &json!([allow(&names)]),
        );
        let values = (0..count).map(|value| json!({
            "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
        }));
        let values: Vec<_> = values.collect();
        profile(&room.path().join(format!("values{size}")), &json!(values));
        let calls: Vec<String> = (0..count)
            .map(|number| format!("x86_64:#{}", 10_000 + number))
            .collect();
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        recording(&room.path().join(format!("calls{size}")), &[run(1, &calls)]);
        let unfinished = lines(count, &|number| {
            format!("{} read(0,  <unfinished ...>\n", number + 100_000)
        });
        write(&format!("strace{size}"), unfinished);
        let groups = lines(count, &|number| format!("SystemCallFilter=~@g{number}\n"));
        write(
            &format!("unit{size}"),
            format!("[Service]\nSystemCallFilter=read\n{groups}"),
        );
    }
    let command_lines = [
        "lint names",
        "lint values",
        "explain names",
        "explain values",
        "check names recording",
        "check other calls",
        "diff names other",
        "diff values other",
        "diff calls recording",
        "convert names -f oci --lossy",
        "convert values -f oci --lossy",
        "convert unit -f oci --lossy",
        "stats calls",
        "import strace strace -r none -o none -n app",
        // The last, since it changes the file.
        "check names recording --update --remove-unused",
    ];
    for line in command_lines {
        // The first word that ends in a file of this test gets its size.
        let of_size = |size: &str| {
            let sized = |word: &str| match word {
                "names" | "values" | "calls" | "unit" => format!("{word}{size}"),
                word => word.to_owned(),
            };
            let words: Vec<String> = line.split(' ').map(sized).collect();
            let line = words.join(" ");
            instructions(
                &room,
                &line.replacen("strace strace", &format!("strace strace{size}"), 1),
            )
        };
        let fixed = of_size("0");
        let [small, large] = ["1", "4"].map(|size| of_size(size).saturating_sub(fixed));
        // Quadratic work would be 16 times as much.
        assert!(
            large < 8 * small,
            "{line}: {fixed}, and {small} for {SMALL}, {large} for 4 times as many"
        );
    }
}
