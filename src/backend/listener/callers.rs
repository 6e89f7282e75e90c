//! The tasks whose calls are notified: each notification becomes events.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::LazyLock;

use nix::unistd::Pid;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::backend::{Interest, memory, proc};
use crate::event::{Event, Task};
use crate::sys::notify::{self, Notification};
use crate::syscall::{Arch, Syscall};

/// The number of tasks at which dead ones are removed: a killed task makes no exit(2).
const FEW_TASKS: usize = 1024;

/// Receives the events.
pub(in crate::backend) type EventTaker<'a> = &'a mut dyn FnMut(Event);

/// The calls that create or end programs and tasks, or change what the listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum TrackedCall {
    Exec,
    Exit,
    ExitGroup,
    Prctl,
    Seccomp,
    Sigaction,
}

static SPECIAL: LazyLock<FxHashMap<Syscall, TrackedCall>> = LazyLock::new(|| {
    const NAMES: [(&str, TrackedCall); 9] = [
        ("execve", TrackedCall::Exec),
        ("execveat", TrackedCall::Exec),
        ("exit", TrackedCall::Exit),
        ("exit_group", TrackedCall::ExitGroup),
        ("prctl", TrackedCall::Prctl),
        ("seccomp", TrackedCall::Seccomp),
        ("rt_sigaction", TrackedCall::Sigaction),
        ("sigaction", TrackedCall::Sigaction),
        ("signal", TrackedCall::Sigaction),
    ];
    let on = |arch| {
        NAMES
            .iter()
            .filter_map(move |&(name, special)| Some((Syscall::from_name(arch, name)?, special)))
    };
    Arch::ALL.iter().copied().flat_map(on).collect()
});

/// Whether a call needs more than counting.
pub(in crate::backend) fn special(syscall: Syscall) -> Option<TrackedCall> {
    SPECIAL.get(&syscall).copied()
}

/// A notified call.
#[derive(Clone, Copy)]
pub(in crate::backend) struct NotifiedCall<'a> {
    pub(in crate::backend) listener: BorrowedFd<'a>,
    pub(in crate::backend) notification: Notification,
    pub(in crate::backend) task: Task,
    pub(in crate::backend) syscall: Syscall,
    pub(in crate::backend) special: Option<TrackedCall>,
}

impl<'a> NotifiedCall<'a> {
    /// Reports a call of an unknown ABI as lost.
    pub(in crate::backend) fn of(
        listener: BorrowedFd<'a>,
        notification: Notification,
        sink: EventTaker<'_>,
    ) -> Option<NotifiedCall<'a>> {
        let Notification { arch, nr, .. } = notification;
        let syscall = Syscall::from_audit(arch, nr);
        if syscall.is_none() {
            sink(Event::Lost {
                count: Some(1),
                why: format!("calls of an unknown ABI ({arch:#x}) were made"),
            });
        }
        let syscall = syscall?;
        Some(NotifiedCall {
            listener,
            notification,
            task: Task(notification.thread),
            syscall,
            special: special(syscall),
        })
    }
}

/// The notifications that were taken of those that the kernel made.
#[derive(Default)]
struct Taken {
    first: Option<u64>,
    /// The lowest and the highest number, counted from the first that was taken.
    lowest: i64,
    highest: i64,
    count: i64,
}

impl Taken {
    fn add(&mut self, notification: Notification) {
        let first = *self.first.get_or_insert(notification.id);
        let number = notification.id.wrapping_sub(first).cast_signed();
        self.lowest = self.lowest.min(number);
        self.highest = self.highest.max(number);
        self.count += 1;
    }

    /// How many nobody took: a signal interrupted these calls before.
    fn missing(&self) -> u64 {
        let made = self.first.map_or(0, |_| self.highest - self.lowest + 1);
        (made - self.count).try_into().unwrap_or(0)
    }
}

/// The tasks of one workload.
#[derive(Default)]
pub(in crate::backend) struct Callers {
    /// The living tasks that made a call, with their processes.
    tasks: HashMap<Task, Task, FxBuildHasher>,
    /// The number of tasks at which dead ones are removed next.
    limit: usize,
    /// Tasks whose latest call was execve(2), and the leaders of their processes.
    executing: FxHashSet<Task>,
    /// A task runs with `no_new_privs`.
    pub(in crate::backend) no_new_privs: bool,
    privileges_lost: bool,
    interest: Interest,
    taken: Taken,
    /// A task may have a handler of signals after which calls fail with EINTR.
    can_interrupt: bool,
}

impl Callers {
    pub(in crate::backend) fn new(interest: Interest) -> Callers {
        Callers {
            interest,
            ..Callers::default()
        }
    }

    /// With the task that executes a command. `privileges_lost`: set-user-ID programs don't get their privileges.
    pub(in crate::backend) fn of_command(
        task: Task,
        privileges_lost: bool,
        interest: Interest,
    ) -> Callers {
        let mut callers = Callers {
            privileges_lost,
            ..Callers::new(interest)
        };
        callers.expect(task);
        callers
    }

    /// The task exists, and what it executes is known.
    pub(in crate::backend) fn expect(&mut self, task: Task) {
        self.tasks.insert(task, task);
    }

    /// The process of a task that has made a call, and not ended since.
    pub(in crate::backend) fn process_of(&self, task: Task) -> Option<Task> {
        self.tasks.get(&task).copied()
    }

    /// The task has executed a program.
    pub(in crate::backend) fn executed(&mut self, task: Task) {
        self.executing.insert(task);
    }

    /// A notification was taken.
    pub(in crate::backend) fn taken(&mut self, notification: Notification) {
        self.taken.add(notification);
    }

    /// The loss, if signals interrupted calls that did not restart. The call of a killed task was not executed.
    pub(in crate::backend) fn interrupted(&self) -> Option<Event> {
        let missing = self.taken.missing();
        (missing > 0 && self.can_interrupt).then(|| Event::Lost {
            count: Some(missing),
            why: INTERRUPTED.to_owned(),
        })
    }

    /// A task enters a call, and waits for the answer.
    pub(in crate::backend) fn entered(&mut self, call: &NotifiedCall<'_>, sink: EventTaker<'_>) {
        let (task, syscall) = (call.task, call.syscall);
        let is_new = !self.tasks.contains_key(&task);
        let looks = is_new || (!self.executing.is_empty() && self.executing.remove(&task));
        let mut is_gone = false;
        if looks {
            let process = proc::process_of(task).unwrap_or(task);
            let no_new_privs = proc::has_no_new_privs(task) == Some(true);
            let executable = proc::executable_of(task);
            let lost = self.privileges_lost && proc::runs_privileged_file(task);
            // Else another task may have the id by now.
            is_gone = !notify::is_valid(call.listener, call.notification);
            if !is_gone {
                if is_new {
                    self.forget_the_dead(sink);
                    self.tasks.insert(task, process);
                }
                self.no_new_privs |= no_new_privs;
                if lost {
                    let why = format!(
                        "{} ran without the privileges that its file gives: record as root",
                        executable.display()
                    );
                    sink(Event::Lost { count: None, why });
                }
                sink(Event::Exec { task, executable });
            }
        }
        let site = None;
        sink(Event::Syscall {
            task,
            syscall,
            site,
        });
        if self.interest.wants_arguments(syscall)
            && let Some(args) = arguments(call)
        {
            sink(Event::Arguments { syscall, args });
        }
        match call.special {
            _ if is_gone => sink(Event::Exit { task }),
            None => {}
            Some(TrackedCall::Exec) => {
                let process = self.tasks.get(&task).copied();
                self.executing
                    .extend([Some(task), process].into_iter().flatten());
            }
            Some(TrackedCall::Exit) => {
                self.tasks.remove(&task);
                sink(Event::Exit { task });
            }
            Some(TrackedCall::ExitGroup) => {
                let process = self.tasks.get(&task).copied().unwrap_or(task);
                self.forget(sink, |_, of| of == process);
            }
            Some(TrackedCall::Sigaction) => self.can_interrupt |= can_interrupt(call),
            Some(TrackedCall::Prctl | TrackedCall::Seccomp) => {
                if let Some(why) = hidden_by(call) {
                    let why = why.to_owned();
                    sink(Event::Lost { count: None, why });
                }
            }
        }
    }

    fn forget(&mut self, sink: EventTaker<'_>, is_gone: impl Fn(Task, Task) -> bool) {
        let executing = &mut self.executing;
        self.tasks.retain(|&task, &mut process| {
            let gone = is_gone(task, process);
            if gone {
                executing.remove(&task);
                sink(Event::Exit { task });
            }
            !gone
        });
    }

    fn forget_the_dead(&mut self, sink: EventTaker<'_>) {
        if self.tasks.len() >= self.limit.max(FEW_TASKS) {
            self.forget(sink, |task, _| proc::is_gone(task));
            self.limit = 2 * self.tasks.len();
        }
    }
}

const INTERRUPTED: &str = "signals interrupted calls before their notifications were taken, and handlers without SA_RESTART \
     let these fail with EINTR: --backend ebpf and --backend ptrace see them";
const OWN_FILTER: &str = "the workload loaded a seccomp filter of its own: calls that it refuses are not notified, and a tracer \
     does not get those that it should";
const OWN_LISTENER: &str = "the workload asked for a seccomp listener of its own and got EBUSY, since a task can have only one: \
     --backend ebpf and --backend ptrace leave it to the workload";
const STRICT: &str = "the workload asked for strict mode and got EINVAL, since the recording loads a filter: \
     --backend ebpf and --backend ptrace leave it to the workload";

/// Whether a call installs a handler without `SA_RESTART`, or one that can't be read.
fn can_interrupt(call: &NotifiedCall<'_>) -> bool {
    const SA_RESTART: u64 = libc::SA_RESTART as u64;
    let [_, action, ..] = call.notification.args;
    let name = call.syscall.name();
    // The handlers 0 and 1 are SIG_DFL and SIG_IGN.
    if name.as_deref() == Some("signal") {
        return action > 1;
    }
    let is_wide = matches!(call.syscall.arch, Arch::X86_64 | Arch::Aarch64);
    let word = if is_wide { 8 } else { 4 };
    // `struct old_sigaction` has the mask before the flags.
    let flags = if name.as_deref() == Some("sigaction") {
        2
    } else {
        1
    };
    if action == 0 {
        return false;
    }
    let mut read = [0; 16];
    let bytes = &mut read[..word * (flags + 1)];
    if !reads(call.task, action, bytes) {
        return true;
    }
    let mut words = bytes.chunks(word).map(memory::little_endian);
    words.next().is_none_or(|handler| handler > 1)
        && words
            .nth(flags - 1)
            .is_none_or(|flags| flags & SA_RESTART == 0)
}

/// The arguments of a call. The flags of clone3(2) are the first word of memory at its first argument: they are unknown if
/// that can't be read.
fn arguments(call: &NotifiedCall<'_>) -> Option<[u64; 6]> {
    let mut args = call.notification.args;
    if call.syscall.name().as_deref() == Some("clone3") {
        let mut flags = [0; 8];
        let is_read = reads(call.task, args[0], &mut flags)
            && notify::is_valid(call.listener, call.notification);
        args[0] = is_read.then(|| u64::from_le_bytes(flags))?;
    }
    Some(args)
}

/// Reads the memory of a task.
fn reads(task: Task, address: u64, bytes: &mut [u8]) -> bool {
    memory::read(Pid::from_raw(task.0), address, bytes).is_ok()
}

/// What a call hides from the listener, or the listener from the workload.
fn hidden_by(call: &NotifiedCall<'_>) -> Option<&'static str> {
    const SET_MODE_STRICT: u64 = libc::SECCOMP_SET_MODE_STRICT as u64;
    const SET_MODE_FILTER: u64 = libc::SECCOMP_SET_MODE_FILTER as u64;
    const MODE_STRICT: u64 = libc::SECCOMP_MODE_STRICT as u64;
    const MODE_FILTER: u64 = libc::SECCOMP_MODE_FILTER as u64;
    const PR_SET_SECCOMP: u64 = libc::PR_SET_SECCOMP as u64;
    let [first, second, third, ..] = call.notification.args;
    // The kernel looks at no more of these than an int.
    let int = |argument: u64| argument & u64::from(u32::MAX);
    match (call.special, int(first), int(second)) {
        // Libraries ask what the kernel knows by a call without a program.
        (Some(TrackedCall::Seccomp), SET_MODE_FILTER, _) if third == 0 => None,
        (Some(TrackedCall::Seccomp), SET_MODE_FILTER, flags)
            if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 =>
        {
            Some(OWN_LISTENER)
        }
        (Some(TrackedCall::Seccomp), SET_MODE_FILTER, _)
        | (Some(TrackedCall::Prctl), PR_SET_SECCOMP, MODE_FILTER) => Some(OWN_FILTER),
        (Some(TrackedCall::Seccomp), SET_MODE_STRICT, 0)
        | (Some(TrackedCall::Prctl), PR_SET_SECCOMP, MODE_STRICT) => Some(STRICT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(ids: &[u64]) -> u64 {
        let mut taken = Taken::default();
        for &id in ids {
            taken.add(Notification {
                id,
                thread: 1,
                arch: 0,
                nr: 0,
                args: [0; 6],
            });
        }
        taken.missing()
    }

    #[test]
    fn numbers_that_nobody_took_are_missing() {
        assert_eq!(missing(&[]), 0);
        // In any order, and past the highest number.
        assert_eq!(missing(&[u64::MAX, 1, 0, u64::MAX - 1]), 0);
        assert_eq!(missing(&[7, 9, 5]), 2);
    }
}
