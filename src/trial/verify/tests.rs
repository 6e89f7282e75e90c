use itertools::Itertools;

use super::*;
use crate::enforce::{OnUnknown, compile};
use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
use crate::syscall::Arch;

/// A profile with rules of every kind.
fn profile() -> Profile {
    Profile::new(EPERM).with_rules([
        allow("execve read"),
        rule("clone3", ENOSYS, ""),
        rule("mount", Action::KillProcess, ""),
        rule("unshare", Action::Trap, ""),
        rule("setns", Action::Log, ""),
    ])
}

const LAUNCHER: Task = Task(10);

/// Events in order.
struct Scene(Vec<Event>);

impl Scene {
    /// The events until the launcher has executed the command.
    fn new() -> Scene {
        let mut scene = Scene(Vec::new());
        scene.call(LAUNCHER, "execve");
        scene.exec(LAUNCHER, "/usr/bin/sc-record");
        scene.call(LAUNCHER, "mount");
        scene.returned(LAUNCHER, -1);
        scene.call(LAUNCHER, "execve");
        scene.exec(LAUNCHER, "/bin/app");
        scene.returned(LAUNCHER, 0);
        scene
    }

    fn call(&mut self, task: Task, name: &str) {
        let syscall = Syscall::from_name(Arch::NATIVE, name).unwrap();
        let site = CallSite {
            args: Some([1, 2, 3, 4, 5, 6]),
            ip: Some(0x1000),
            code: Arc::new(Code::File {
                path: "/lib/libc.so.6".into(),
                offset: 0x10,
                deleted: false,
            }),
            executable: None,
            process: Some(Task(7)),
            thread: Some(Arc::from(&b"worker"[..])),
        };
        self.0.push(Event::Syscall {
            task,
            syscall,
            site: Some(Box::new(site)),
        });
    }

    fn exec(&mut self, task: Task, path: &str) {
        self.0.push(Event::Exec {
            task,
            executable: path.into(),
        });
    }

    fn outcome(&mut self, task: Task, outcome: CallOutcome) {
        self.0.push(Event::Outcome { task, outcome });
    }

    fn returned(&mut self, task: Task, value: i64) {
        self.outcome(task, CallOutcome::Returned(value));
    }

    /// `NAME ACTION by PROGRAM: RESULT…` of each denial, with a mark in front of findings.
    fn verify(self) -> Vec<String> {
        let profile = profile();
        let filter = compile(&profile, OnUnknown::Fail).unwrap();
        let mut verifier = Verifier::new(&profile, &filter);
        for event in self.0 {
            verifier.event(event);
        }
        let outcome = verifier.finish();
        assert!(outcome.started);
        let line = |denial: &Denial| {
            let got = denial.got.iter();
            let got = got.map(|(got, times)| format!("{got} x{times}")).join(", ");
            let mark = if denial.is_finding() { "!" } else { "" };
            let (syscall, action) = (denial.syscall, denial.action);
            let executable = denial.executable.display();
            format!("{mark}{syscall} {action} by {executable}: {got}")
        };
        outcome.denials.iter().map(line).collect()
    }
}

#[test]
fn the_launcher_s_calls_don_t_count() {
    assert_eq!(Scene::new().verify(), Vec::<String>::new());
}

#[test]
fn denials_have_the_results_of_their_calls() {
    let mut scene = Scene::new();
    let (task, child) = (LAUNCHER, Task(11));
    let made = [
        ("uname", -1),
        ("uname", -1),
        ("read", -9),
        ("clone3", -38),
        ("setns", -9),
    ];
    for (name, result) in made {
        scene.call(task, name);
        scene.returned(task, result);
    }
    scene.0.push(Event::Fork {
        parent: task,
        child,
    });
    scene.call(child, "unshare");
    scene.returned(child, 272);
    scene.outcome(child, CallOutcome::Trapped);
    scene.exec(child, "/bin/other");
    scene.call(child, "uname");
    scene.returned(child, -1);
    scene.call(child, "mount");
    scene.returned(child, 165);
    scene.outcome(child, CallOutcome::Died(Exit::Signal(libc::SIGSYS)));
    scene.0.push(Event::Exit { task: child });
    assert_eq!(
        scene.verify(),
        [
            "!uname SCMP_ACT_ERRNO(EPERM) by /bin/app: EPERM x2",
            "clone3 SCMP_ACT_ERRNO(ENOSYS) by /bin/app: ENOSYS x1",
            "setns SCMP_ACT_LOG by /bin/app: EBADF x1",
            "!unshare SCMP_ACT_TRAP by /bin/app: SIGSYS x1",
            "!uname SCMP_ACT_ERRNO(EPERM) by /bin/other: EPERM x1",
            "!mount SCMP_ACT_KILL_PROCESS by /bin/other: killed by SIGSYS x1",
        ]
    );
}

#[test]
fn the_result_of_a_call_in_which_the_task_ends_is_unknown() {
    let mut scene = Scene::new();
    scene.call(LAUNCHER, "uname");
    let denial = "!uname SCMP_ACT_ERRNO(EPERM) by /bin/app: unknown x1";
    assert_eq!(scene.verify(), [denial]);
}
