//! Tasks that begin, execute a program or end.

use super::Engine;
use crate::backend::proc;
use crate::backend::ptrace::special_calls;
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::{OnExit, Seccomp, Stops, Undo};
use crate::event::Exit;
use crate::event::{CallOutcome, Event, Task};

impl Engine<'_> {
    pub(super) fn new_task(&mut self, stopped: Stopped, by_clone: bool) -> Result<(), Died> {
        let parent = stopped.task();
        let Ok(child) = i32::try_from(stopped.message()?).map(Task) else {
            return self.resume(stopped, 0);
        };
        let tracee = self.tracee(parent);
        tracee.has_threads |= by_clone;
        let (stops, seccomp, room) = (tracee.stops, tracee.seccomp, tracee.room);
        let no_new_privs = tracee.no_new_privs;
        let undo = tracee.on_exit.as_ref().and_then(OnExit::undo).cloned();
        let is_dead = self.unborn_dead.contains(&child);
        if let (false, Some(fast_path)) = (is_dead, &mut self.fast_path) {
            fast_path.forked(&stopped, child);
        }
        if let Some(undo) = &undo {
            undo.apply(&stopped);
        }
        if let Some(OnExit::Clone3 { .. } | OnExit::Undo(_)) = self.tracee(parent).on_exit {
            self.tracee(parent).on_exit = None;
        }
        if !self.unborn_dead.remove(&child) {
            self.born(child, stops, seccomp);
            let child = self.tracee(child);
            child.room = room;
            child.no_new_privs |= no_new_privs;
            child.has_threads = by_clone || (child.has_threads && !child.early);
            if !std::mem::take(&mut child.early) || matches!(undo, Some(Undo::Memory { .. })) {
                child.undo = undo;
            }
        }
        if let Some(sites) = &mut self.sites {
            sites.forked(parent, child);
        }
        self.sink.event(Event::Fork { parent, child });
        self.resume(stopped, 0)
    }

    /// A task's maker, which is in this state, reports it.
    pub(super) fn born(&mut self, task: Task, stops: Stops, seccomp: Seccomp) {
        let early = self.tracee(task).early;
        let inherited = match stops {
            Stops::Syscalls if !early => self.tracees.inherited_own_filter(task),
            _ => None,
        };
        let tracee = self.tracee(task);
        if !early {
            tracee.stops = stops;
            tracee.seccomp = match inherited {
                Some(true) => Seccomp::Filter,
                Some(false) => Seccomp::Disabled,
                None => seccomp,
            };
        } else if tracee.seccomp == Seccomp::Disabled && !self.tracees.load_for_all_threads() {
            // It has made calls since, but loaded no filter.
            self.tracee(task).stops = stops;
        }
    }

    pub(super) fn executed(&mut self, stopped: Stopped) -> Result<(), Died> {
        let task = stopped.task();
        if let Ok(former) = i32::try_from(stopped.message()?).map(Task)
            && former != task
        {
            // Another thread than the leader called: it has the leader's id now, and the leader is gone.
            self.forget_stops(task);
            if let Some(tracee) = self.tracees.known.remove(&former)
                && let Some(leader) = self.tracees.known.insert(task, tracee)
            {
                self.died_in(leader.on_exit.as_ref());
            }
            if let Some(sites) = &mut self.sites {
                sites.gone(former);
            }
            self.fast_path_gone(former);
            self.sink.event(Event::Exit { task: former });
        }
        let tracee = self.tracee(task);
        (tracee.room, tracee.has_threads) = (None, false);
        let executable = proc::executable_of(task);
        self.fast_path_executed(&stopped, &executable);
        if let Some(sites) = &mut self.sites {
            sites.executed(task);
        }
        if self.is_command(task) && !self.command.executed {
            self.command.executed = true;
            if let Some(syscall) = self.command.launching {
                self.sink.event(Event::Syscall {
                    task,
                    syscall,
                    site: None,
                });
            }
        }
        if self.privileges_lost && proc::runs_privileged_file(task) {
            self.lost(format!(
                "{} ran without the privileges that its file gives: record as root",
                executable.display()
            ));
        }
        self.sink.event(Event::Exec { task, executable });
        self.report_unseen(|vsyscall| vsyscall.executes(task));
        self.resume(stopped, 0)
    }

    pub(super) fn gone(&mut self, task: Task, exit: Exit) {
        self.handled.remove(&task);
        self.fast_path_gone(task);
        if let Some(tracee) = self.tracees.known.remove(&task) {
            if tracee.early {
                self.unborn_dead.insert(task);
            }
            self.died_in(tracee.on_exit.as_ref());
        }
        if self.is_command(task) {
            self.command.exit = Some(exit);
            if let Some(job) = self.job {
                job.exited(exit);
            }
        }
        if let Some(sites) = &mut self.sites {
            sites.gone(task);
            let outcome = CallOutcome::Died(exit);
            self.sink.event(Event::Outcome { task, outcome });
        }
        self.sink.event(Event::Exit { task });
    }

    /// A task ended in a call. If that made another one, its first stop may be yet to come.
    pub(super) fn died_in(&mut self, call: Option<&OnExit>) {
        /// The first stop of a task comes soon.
        const KEPT: usize = 64;
        if let Some(OnExit::Clone3 { copy: None, undo }) = call
            && !matches!(undo, Some(Undo::Arguments { .. }))
        {
            self.lost(special_calls::ESCAPED.to_owned());
        }
        if let Some(undo) = call.and_then(OnExit::undo) {
            self.undos_of_the_dead.truncate(KEPT - 1);
            self.undos_of_the_dead.push_front(undo.clone());
        }
    }
}
