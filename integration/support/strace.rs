//! The witness: `strace -f -n`, with a parser that shares no code with the program's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};

use super::Calls;
use super::process::{Ended, Room};

/// Runs a command under strace.
pub(crate) fn run(room: &Room, arguments: &[PathBuf]) -> (Ended, Calls) {
    let log = room.fresh("s");
    let mut command = Command::new("strace");
    self::arguments(&mut command, &log);
    command.args(arguments);
    let ended = room.run(&mut command);
    let text = std::fs::read(&log).unwrap_or_else(|error| {
        panic!("strace wrote nothing ({error}): is it there? apt-get install strace")
    });
    (ended, calls(&String::from_utf8_lossy(&text)))
}

/// The arguments of strace for a log that [`calls`] can read, before the command.
pub(crate) fn arguments(command: &mut Command, log: &Path) {
    command.args(["-f", "-n", "-s", "0", "-o"]).arg(log);
    command.args(["-e", "trace=all", "--"]);
}

/// Counts the calls of a log of `strace -f -n -o`.
///
/// strace doesn't write the ABI into a log file. With -n, each line has the number and the name of the call, which
/// usually determine the ABI. Otherwise (numbers without a name, and those above 423, which all ABIs share), the ABI is
/// that of the task's previous call, or else of the next one.
pub(crate) fn calls(log: &str) -> Calls {
    let mut calls = Calls::new();
    let mut known: HashMap<&str, Arch> = HashMap::new();
    let mut open: HashMap<&str, Vec<i32>> = HashMap::new();
    for line in log.lines() {
        let Some((task, nr, name)) = entry(line) else {
            continue;
        };
        let arch = match archs(nr, name)[..] {
            [arch] => Some(arch),
            _ => known.get(task).copied(),
        };
        let Some(arch) = arch else {
            open.entry(task).or_default().push(nr);
            continue;
        };
        for nr in open.remove(task).unwrap_or_default() {
            add(&mut calls, arch, nr);
        }
        add(&mut calls, arch, nr);
        // A new program may have another ABI.
        if name.starts_with("execve") {
            known.remove(task);
        } else if arch != Arch::X32 {
            known.insert(task, arch);
        }
    }
    for nr in open.into_values().flatten() {
        add(&mut calls, Arch::NATIVE, nr);
    }
    calls
}

fn add(calls: &mut Calls, arch: Arch, nr: i32) {
    // strace prints x32 numbers with their bit, like the kernel.
    let syscall = Syscall::from_audit(arch.audit(), nr).unwrap();
    *calls.entry(syscall).or_default() += 1;
}

/// The task, the number and the name of a line that shows the entry of a call.
fn entry(line: &str) -> Option<(&str, i32, &str)> {
    let (task, rest) = line.split_once(' ')?;
    task.parse::<i32>().ok()?;
    let (number, rest) = rest.trim_start().strip_prefix('[')?.split_once("] ")?;
    // Signals, ends of tasks, and the returns of unfinished calls.
    if rest.starts_with("---") || rest.starts_with("+++") || rest.starts_with('<') {
        return None;
    }
    let (name, arguments) = rest.split_once('(')?;
    // The task died before strace could read its call. strace sometimes shows an arbitrary number then.
    let died = arguments.ends_with("<unfinished ...>") || arguments.ends_with("= ?");
    if name == "???" || name.starts_with("syscall_") && died {
        return None;
    }
    let nr = match number.trim() {
        // strace uses -1 for "no number".
        "???" => -1,
        // strace prints negative numbers as unsigned 64-bit numbers.
        number => {
            let number: u64 = number.parse().ok()?;
            i32::from_ne_bytes(u32::try_from(number & 0xffff_ffff).ok()?.to_ne_bytes())
        }
    };
    Some((task, nr, name))
}

/// The ABIs in which this number has this name.
fn archs(nr: i32, name: &str) -> Vec<Arch> {
    let audit_nr = |syscall: Syscall| syscall.audit_nr();
    let of_machine = match Arch::NATIVE {
        Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm][..],
        _ => &[Arch::X86_64, Arch::X86, Arch::X32],
    };
    (of_machine.iter().copied())
        .filter(|&arch| Syscall::from_name(arch, name).map(audit_nr) == Some(nr))
        .collect()
}

mod tests {
    use super::calls;

    /// A log, and its calls as `arch/name*count`.
    fn check(log: &str, expect: &str) {
        let mut found: Vec<_> = calls(log)
            .into_iter()
            .map(|(syscall, count)| format!("{}/{syscall}*{count}", syscall.arch))
            .collect();
        found.sort();
        assert_eq!(found.join(" "), expect, "{log}");
    }

    #[apply(test)]
    #[needs(architecture("x86_64"))]
    fn unfinished_calls_count_once_and_other_lines_do_not_count() {
        check(
            "7 [   0] read(0,  <unfinished ...>\n\
             8 [  39] getpid()                   = 8\n\
             7 [   0] <... read resumed>\"\", 1) = 0\n\
             7 [   0] --- SIGCHLD {si_signo=SIGCHLD} ---\n\
             8 [ 110] ???( <unfinished ...>\n\
             8 [ 110] <... ??? resumed>)         = ?\n\
             9 [29680] syscall_0x73f0(0x1 <unfinished ...>\n\
             9 [28862] syscall_0x70be(0x1, 0, 0, 0, 0, 0) = ?\n\
             7 [ 231] +++ exited with 0 +++\n",
            "x86_64/getpid*1 x86_64/read*1",
        );
    }

    #[apply(test)]
    #[needs(architecture("x86_64"))]
    fn number_and_name_determine_the_abi() {
        check(
            "7 [  59] execve(\"./m\", [\"./m\"], 0x7ff /* 9 vars */) = 0\n\
             7 [ 435] clone3({flags=0}, 88) = 8\n\
             7 [  20] getpid()                   = 7\n\
             7 [9999] syscall_0x270f(0, 0)       = -1 ENOSYS\n\
             7 [  11] execve(\"./n\", [\"./n\"], 0x7ff /* 9 vars */) = 0\n\
             7 [ 435] clone3({flags=0}, 88) = 8\n\
             7 [  39] getpid()                   = 7\n",
            "x86/#9999*1 x86/clone3*1 x86/execve*1 x86/getpid*1 x86_64/clone3*1 x86_64/execve*1 x86_64/getpid*1",
        );
    }

    #[apply(test)]
    #[needs(architecture("x86_64"))]
    fn numbers_without_a_name_are_kept() {
        check(
            "7 [  39] getpid()                   = 7\n\
             7 [1073741863] getpid()             = -1 ENOSYS\n\
             7 [18446744073709551611] syscall_0xfffffffffffffffb(0x47) = -1 ENOSYS\n\
             7 [???] syscall_0xffffffffffffffff(0x4) = -1 ENOSYS\n",
            "x32/getpid*1 x86_64/#-1*1 x86_64/#-5*1 x86_64/getpid*1",
        );
    }
}
