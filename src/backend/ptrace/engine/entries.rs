//! The entries of calls: counted, and those that are special or wait for other tracees handled.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::ptrace as requests;
use nix::unistd::Pid;

use super::{Delayed, DueCheck, Engine, Held};
use crate::backend::proc;
use crate::backend::ptrace::arch::{CallEntry, MACHINE};
use crate::backend::ptrace::special_calls;
use crate::backend::ptrace::special_table::{Limit, Sleep, SpecialCall};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::{OnExit, Seccomp, Sleeping, Stops};
use crate::event::{CallOutcome, Event, Task};
use crate::sys::ptrace::{SyscallInfo, SyscallOp};
use crate::syscall::Syscall;

impl Engine<'_> {
    /// The entry of a call, by a filter: by ours, unless the workload has one that asks for a tracer too.
    pub(super) fn at_filter(&mut self, stopped: Stopped) -> Result<(), Died> {
        let message = stopped.message()?;
        let filter = self.tracees.filter;
        let tracee = self.tracee(stopped.task());
        let counted = std::mem::take(&mut tracee.counted);
        let only_ours = filter.is_some() && tracee.seccomp != Seccomp::Filter;
        if let Some(filter) = filter
            && only_ours
            && let Some(syscall) = filter.decode(message)
        {
            return if counted {
                self.resume(stopped, 0)
            } else {
                self.entered(stopped, syscall, None)
            };
        }
        let info = stopped.syscall_info()?;
        special_calls::refuse_negative_number(&stopped, info)?;
        let ours = match (info.op, filter) {
            _ if only_ours => true,
            (SyscallOp::Entry { nr, .. }, Some(filter)) => Syscall::from_audit(info.arch, nr)
                .is_none_or(|syscall| filter.gave(message, syscall)),
            _ => false,
        };
        if !ours {
            special_calls::refuse_without_tracer(&stopped)?;
        }
        if counted {
            self.resume(stopped, 0)
        } else {
            self.entered_by(stopped, info)
        }
    }

    /// A syscall-enter-stop or a syscall-exit-stop.
    pub(super) fn at_syscall(&mut self, stopped: Stopped) -> Result<(), Died> {
        let info = stopped.syscall_info()?;
        if let SyscallOp::Entry { .. } = info.op {
            self.send_deferred(stopped.task());
        }
        let tracee = self.tracee(stopped.task());
        match info.op {
            // The filter stops it again, in a moment.
            SyscallOp::Entry { .. } if tracee.stops == Stops::Filter => self.resume(stopped, 0),
            SyscallOp::Entry { .. } => {
                tracee.counted = true;
                self.entered_by(stopped, info)
            }
            SyscallOp::Exit { value } => {
                tracee.counted = false;
                if value == -i64::from(libc::EINTR)
                    && matches!(tracee.on_exit, Some(OnExit::Sleep))
                    && !tracee.disturbed
                {
                    tracee.on_exit = None;
                    self.woken(stopped);
                    return Ok(());
                }
                self.report_outcome(stopped.task(), value);
                let on_exit = self.tracee(stopped.task()).on_exit.take();
                if let Some(OnExit::FastPath(at_exit)) = on_exit {
                    return self.fast_path_exited(stopped, at_exit, value);
                }
                if let Some(on_exit) = on_exit {
                    let tracees = &mut self.tracees;
                    let loss = special_calls::at_exit(tracees, &stopped, on_exit, value)?;
                    if let Some(why) = loss {
                        self.lost(why.to_owned());
                    }
                }
                self.resume(stopped, 0)
            }
            SyscallOp::None => self.resume(stopped, 0),
        }
    }

    pub(super) fn entered_by(&mut self, stopped: Stopped, info: SyscallInfo) -> Result<(), Died> {
        let SyscallOp::Entry { nr, .. } = info.op else {
            return self.resume(stopped, 0);
        };
        if let Some(syscall) = Syscall::from_audit(info.arch, nr) {
            if !MACHINE.abis.contains(&syscall.arch) {
                self.lost(format!(
                    "calls of {} can't be handled specially on this machine",
                    syscall.arch
                ));
            }
            return self.entered(stopped, syscall, Some(info));
        }
        self.lost(format!(
            "call {nr} of the unknown architecture {:#x} can't be named",
            info.arch
        ));
        self.resume(stopped, 0)
    }

    /// Counts a call at its entry and handles special calls.
    pub(super) fn entered(
        &mut self,
        stopped: Stopped,
        syscall: Syscall,
        info: Option<SyscallInfo>,
    ) -> Result<(), Died> {
        let task = stopped.task();
        if !self.command.executed && self.is_command(task) {
            self.command.launching = Some(syscall);
            return self.resume(stopped, 0);
        }
        let tracee = self.tracee(task);
        let again = tracee.again.take().map(|again| (again.syscall, again.ip));
        let again = again.or(tracee.replayed.take());
        let info = match again {
            Some(_) if info.is_none() => Some(stopped.syscall_info()?),
            _ => info,
        };
        let is_again = again
            .is_some_and(|(call, ip)| call == syscall && info.is_some_and(|info| info.ip == ip));
        if !is_again {
            self.count(&stopped, syscall, info)?;
        }
        if let Some(SyscallOp::Entry { args, .. }) = info.map(|info| info.op) {
            self.report_unseen(|vsyscall| vsyscall.called(task, syscall, args));
        }
        if self.tracee(task).seccomp == Seccomp::Strict
            && !special_calls::enforce_strict_mode(&stopped, syscall)?
        {
            return self.resume(stopped, 0);
        }
        let stopped = if is_again {
            stopped
        } else {
            match self.fast_path_entered(stopped, syscall)? {
                Some(stopped) => stopped,
                None => return Ok(()),
            }
        };
        let special = match self.specials.get(syscall) {
            // Its end matters, and not its arguments.
            None | Some(SpecialCall::Final) => return self.resume(stopped, 0),
            Some(SpecialCall::Sleep(sleep)) if !MACHINE.result_replaces_argument => {
                return self.entered_sleep(stopped, sleep, None);
            }
            Some(special) => special,
        };
        if special == SpecialCall::Prctl
            && let Some(sites) = &mut self.sites
        {
            sites.renamed(task);
        }
        let info = match info {
            Some(info) => info,
            None => stopped.syscall_info()?,
        };
        let SyscallOp::Entry { args, .. } = info.op else {
            return self.resume(stopped, 0);
        };
        if let SpecialCall::Sleep(sleep) = special {
            let entry = CallEntry {
                argument: args[0],
                ip: info.ip,
            };
            return self.entered_sleep(stopped, sleep, Some(entry));
        }
        self.entered_special(stopped, special, syscall, args)
    }

    /// A call that wasn't entered before.
    pub(super) fn count(
        &mut self,
        stopped: &Stopped,
        syscall: Syscall,
        info: Option<SyscallInfo>,
    ) -> Result<(), Died> {
        let task = stopped.task();
        let wants_arguments = self.interest.wants_arguments(syscall);
        let info = match info {
            None if wants_arguments => Some(stopped.syscall_info()?),
            known => known,
        };
        let site = match &mut self.sites {
            None => None,
            Some(sites) => sites.of_call(stopped, syscall, info)?,
        };
        #[cfg(debug_assertions)]
        crate::panic::on_request(&syscall.to_string());
        let tracee = self.tracee(task);
        tracee.reports_outcome = site.is_some();
        (tracee.sleeping, tracee.until, tracee.disturbed) = (None, None, false);
        self.sink.event(Event::Syscall {
            task,
            syscall,
            site,
        });
        if let Some(SyscallOp::Entry { mut args, .. }) = info.map(|info| info.op)
            && wants_arguments
        {
            if self.specials.get(syscall) == Some(SpecialCall::Clone3) {
                // `struct clone_args` begins with them.
                let Some(flags) = stopped.read_word(args[0]) else {
                    return Ok(());
                };
                args[0] = flags;
            }
            self.sink.event(Event::Arguments { syscall, args });
        }
        Ok(())
    }

    pub(super) fn entered_sleep(
        &mut self,
        stopped: Stopped,
        sleep: Sleep,
        entry: Option<CallEntry>,
    ) -> Result<(), Died> {
        let can_end_early = match sleep.limit {
            Limit::Receive | Limit::Send => self.tracees.sockets_have_limits,
            _ => true,
        };
        let tracee = self.tracee(stopped.task());
        // The time of a call that is entered again counts from its first entry.
        let since = (tracee.sleeping).map_or_else(Instant::now, |sleeping| sleeping.since);
        tracee.sleeping = Some(Sleeping { since, entry });
        if tracee.has_threads && can_end_early {
            tracee.on_exit = Some(OnExit::Sleep);
        }
        self.resume(stopped, 0)
    }

    /// A call of a process with threads ended with EINTR. The signal that woke the task can be gone: another thread took it.
    /// That is about to be reported, if it isn't yet.
    pub(super) fn woken(&mut self, stopped: Stopped) {
        let decided = Instant::now() + Duration::from_millis(1);
        self.woken.push((decided, stopped));
        self.alarms.push(Reverse((decided, DueCheck::Woken)));
    }

    /// A call that was interrupted by a signal that its process handles ends, whichever thread handles it. If there was none,
    /// the call goes on, as it would without a recorder.
    pub(super) fn decide_woken(&mut self, is_due: impl Fn(Instant) -> bool) {
        let due = self.woken.extract_if(.., |(decided, _)| is_due(*decided));
        for (_, stopped) in due.collect::<Vec<_>>() {
            if stopped.returns().is_some() {
                let _: Result<(), Died> = self.end_or_enter_again(stopped);
            }
        }
    }

    fn end_or_enter_again(&mut self, stopped: Stopped) -> Result<(), Died> {
        let task = stopped.task();
        let handled =
            proc::process_of(task).and_then(|process| self.handled.get(&process).copied());
        let tracee = self.tracee(task);
        let since = tracee.sleeping.map(|sleeping| sleeping.since);
        if handled > since {
            tracee.disturbed = true;
        } else {
            self.go_on(&stopped)?;
        }
        if self.tracee(task).again.is_none()
            && let Some(value) = stopped.returns()
        {
            self.report_outcome(task, value);
        }
        self.resume(stopped, 0)
    }

    fn report_outcome(&mut self, task: Task, value: i64) {
        if std::mem::take(&mut self.tracee(task).reports_outcome) {
            let outcome = CallOutcome::Returned(value);
            self.sink.event(Event::Outcome { task, outcome });
        }
    }

    pub(super) fn entered_special(
        &mut self,
        stopped: Stopped,
        special: SpecialCall,
        syscall: Syscall,
        args: [u64; 6],
    ) -> Result<(), Died> {
        let task = stopped.task();
        self.fast_path_special(&stopped, special, args)?;
        if special == SpecialCall::Clone3
            && let Some(room) = self.tracees.room_of(&stopped)
            && self.tracees.copies.are_full(room)
        {
            self.delayed.push(Delayed {
                caller: stopped,
                syscall,
                args,
            });
            return Ok(());
        }
        let on_exit = special_calls::at_entry(&mut self.tracees, &stopped, special, syscall, args)?;
        if let (true, Some(fast_path)) = (self.tracees.sockets_have_limits, &mut self.fast_path) {
            fast_path.end();
        }
        let for_all_threads = matches!(on_exit, Some(OnExit::OwnFilter { all_threads: true }));
        self.tracee(task).on_exit = on_exit;
        if for_all_threads {
            let waiting_for = self.see_all_calls_of_siblings(task);
            if !waiting_for.is_empty() {
                self.held.push(Held {
                    caller: stopped,
                    waiting_for,
                });
                self.release_from_sleepers();
                return Ok(());
            }
        }
        self.resume(stopped, 0)
    }

    /// A place for the arguments of clone3(2) may have become free.
    pub(super) fn release_delayed(&mut self) {
        for delayed in std::mem::take(&mut self.delayed) {
            let (caller, syscall, args) = (delayed.caller, delayed.syscall, delayed.args);
            if caller.enters_call() {
                let _: Result<(), Died> =
                    self.entered_special(caller, SpecialCall::Clone3, syscall, args);
            }
        }
    }

    /// Puts the other threads of a task's process to `PTRACE_SYSCALL`, and says which of them must stop once for that.
    pub(super) fn see_all_calls_of_siblings(&mut self, task: Task) -> HashSet<Task> {
        let siblings = self.tracees.siblings(task);
        let siblings = siblings.map(|(sibling, _)| sibling).collect();
        self.see_all_calls_of(siblings)
    }

    /// The same of these tasks.
    pub(super) fn see_all_calls_of(&mut self, tasks: Vec<Task>) -> HashSet<Task> {
        let mut waiting_for = HashSet::new();
        for other in tasks {
            let tracee = self.tracee(other);
            if tracee.stops == Stops::Filter {
                tracee.stops = Stops::Syscalls;
                tracee.interrupt();
                if requests::interrupt(Pid::from_raw(other.0)).is_ok() {
                    waiting_for.insert(other);
                }
            }
        }
        waiting_for
    }

    /// A task that sleeps in the kernel stops before it runs an instruction of its own. Nobody needs to wait for it, and
    /// must not where it sleeps until its child of vfork(2) goes on, which may wait for the one that is held.
    pub(super) fn release_from_sleepers(&mut self) {
        let waited_for: HashSet<Task> = (self.held.iter())
            .flat_map(|held| held.waiting_for.iter().copied())
            .collect();
        for task in waited_for {
            if proc::is_in_kernel(task) {
                self.release_held(task);
            }
        }
        if !self.held.is_empty() {
            let soon = Instant::now() + Duration::from_millis(2);
            self.alarms.push(Reverse((soon, DueCheck::Held)));
        }
    }

    /// This task stopped and was resumed, or is gone. The tracees held for it have one task fewer to wait for.
    pub(super) fn release_held(&mut self, task: Task) {
        if self.held.is_empty() {
            return;
        }
        for mut held in std::mem::take(&mut self.held) {
            held.waiting_for.remove(&task);
            if held.waiting_for.is_empty() {
                if held.caller.is_at_call() {
                    let _: Result<(), Died> = self.resume(held.caller, 0);
                }
            } else {
                self.held.push(held);
            }
        }
    }
}
