//! What each action, comparison and ABI of a rule means in the kernel.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use super::{MARK, SUBJECT, Under, allow_all, number, said};
use crate::support::process::Ended;

/// The outcome of the subject call under a rule with this action.
fn subject_under(action: &str, errno: Option<u16>) -> Ended {
    let mut rule = json!({"names": [SUBJECT], "action": action});
    if let Some(errno) = errno {
        rule["errnoRet"] = json!(errno);
    }
    Under::new(&allow_all(&json!([rule]))).calls(&[&number(SUBJECT)])
}

#[apply(test)]
fn the_errno_is_that_of_the_rule() {
    assert_eq!(said(&subject_under("SCMP_ACT_ERRNO", None)), "errno 1\n");
    for errno in [1, 38, 77, 4094] {
        let ended = subject_under("SCMP_ACT_ERRNO", Some(errno));
        assert_eq!(said(&ended), format!("errno {errno}\n"));
    }
    // The call seems to succeed.
    assert_eq!(said(&subject_under("SCMP_ACT_ERRNO", Some(0))), "done\n");
}

#[apply(test)]
fn kill_ends_the_process_by_sigsys() {
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
    ] {
        let ended = subject_under(action, None);
        let signal = ended.status.signal();
        assert_eq!(signal, Some(Signal::SIGSYS as i32), "{action}");
        assert_eq!(ended.stdout, "");
    }
}

#[apply(test)]
fn kill_process_ends_all_threads_and_kill_thread_does_not() {
    let under = |action: &str| {
        let rules = json!([{"names": [SUBJECT], "action": action}]);
        Under::new(&allow_all(&rules)).calls(&["thread", &number(SUBJECT)])
    };
    let ended = under("SCMP_ACT_KILL_PROCESS");
    assert_eq!(ended.status.signal(), Some(Signal::SIGSYS as i32));
    let ended = under("SCMP_ACT_KILL_THREAD");
    assert_eq!(ended.stdout, "the first thread lives\n");
}

#[apply(test)]
fn trap_is_handled_by_the_workload() {
    let rules = json!([{"names": [SUBJECT], "action": "SCMP_ACT_TRAP"}]);
    let ended = Under::new(&allow_all(&rules)).calls(&["handle", &number(SUBJECT)]);
    assert_eq!(said(&ended), format!("trapped {}\n", number(SUBJECT)));
}

#[apply(test)]
fn trace_without_a_tracer_is_enosys_and_log_and_allow_execute() {
    assert_eq!(
        said(&subject_under("SCMP_ACT_TRACE", Some(5))),
        "errno 38\n"
    );
    assert_eq!(said(&subject_under("SCMP_ACT_LOG", None)), "done\n");
    assert_eq!(said(&subject_under("SCMP_ACT_ALLOW", None)), "done\n");
}

#[apply(test)]
fn comparisons_hold_in_the_kernel_as_they_read() {
    let value: u64 = 0x1_0000_0005;
    // An op, arguments for which it holds, and arguments for which it doesn't.
    let table: [(&str, &[u64], &[u64]); 7] = [
        ("EQ", &[value], &[5, 6, value + 1, 0x2_0000_0005]),
        ("NE", &[5, value + 1, 0], &[value]),
        (
            "LT",
            &[0, 5, 0xffff_ffff, value - 1],
            &[value, value + 1, u64::MAX],
        ),
        (
            "LE",
            &[0, value - 1, value],
            &[value + 1, 0x2_0000_0000, u64::MAX],
        ),
        ("GE", &[value, value + 1, 0x2_0000_0000], &[0, 6, value - 1]),
        ("GT", &[value + 1, u64::MAX], &[value, 0xffff_ffff, 0]),
        ("MASKED_EQ", &[value, u64::MAX], &[0, 5, 0x1_0000_0000]),
    ];
    for (op, good, bad) in table {
        let args = json!([{"index": 5, "value": value, "valueTwo": value, "op": format!("SCMP_CMP_{op}")}]);
        let rule =
            json!({"names": [SUBJECT], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK, "args": args});
        let of = |args: &[u64]| -> Vec<String> {
            let nr = number(SUBJECT);
            args.iter()
                .map(|arg| format!("{nr},0,0,0,0,0,{arg:#x}"))
                .collect()
        };
        let calls = [of(good), of(bad)].concat();
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        let ended = Under::new(&allow_all(&json!([rule]))).calls(&calls);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        for (line, call) in ended.stdout.lines().zip(&calls) {
            let held = line.ends_with(&format!("errno {MARK}"));
            let position = calls.iter().position(|other| other == call).unwrap();
            assert_eq!(held, position < good.len(), "{op}: {line}");
        }
        assert_eq!(ended.stdout.lines().count(), calls.len());
    }
}

#[apply(test)]
fn different_arguments_are_joined_by_and_and_the_same_by_or() {
    let compare = |args: &Value, calls: [&str; 4]| {
        let rule =
            json!({"names": [SUBJECT], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK, "args": args});
        let calls = calls.map(|args| format!("{},{args}", number(SUBJECT)));
        let calls: Vec<_> = calls.iter().map(String::as_str).collect();
        let ended = Under::new(&allow_all(&json!([rule]))).calls(&calls);
        let lines = ended.stdout.lines();
        let held = lines.map(|line| line.ends_with(&format!("errno {MARK}")));
        held.collect::<Vec<_>>()
    };
    let eq = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    assert_eq!(
        compare(
            &json!([eq(1, 3), eq(2, 4)]),
            ["0,3,4", "0,3,0", "0,0,4", "0,0,0"]
        ),
        [true, false, false, false]
    );
    assert_eq!(
        compare(&json!([eq(1, 3), eq(1, 4)]), ["0,3", "0,4", "0,5", "0,0"]),
        [true, true, false, false]
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn rules_hold_for_each_listed_abi_in_its_own_numbers() {
    let rules = json!([{"names": [SUBJECT], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK}]);
    let profile = |arches: &[&str]| {
        let mut profile = allow_all(&rules);
        profile["architectures"] = json!(arches);
        Under::new(&profile)
    };
    let native = number(SUBJECT);
    let i386 = Syscall::from_name(Arch::X86, SUBJECT).unwrap().nr;
    // The native number is another call of i386 (setpgid, 57 and such): it is allowed.
    let calls = [native.as_str(), &format!("int80:{i386}"), "int80:20"];
    let ended = profile(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]).calls(&calls);
    assert_eq!(
        ended.stdout,
        format!("{native} errno {MARK}\nint80:{i386} errno {MARK}\nint80:20 done\n")
    );
    // A call of an unlisted ABI kills the process.
    let ended = profile(&["SCMP_ARCH_X86_64"]).calls(&calls);
    assert_eq!(ended.status.signal(), Some(Signal::SIGSYS as i32));
    assert_eq!(ended.stdout, format!("{native} errno {MARK}\n"));
    // The native ABI is filtered although it is not listed.
    let ended = profile(&["SCMP_ARCH_X86"]).calls(&calls);
    assert_eq!(ended.stdout.lines().count(), 3);
    assert!(
        ended.stderr.contains("does not list x86_64"),
        "{}",
        ended.stderr
    );
}
