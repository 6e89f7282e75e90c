//! Follows the workload, and delivers what the kernel counted.

use std::io::Write;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroups;
use super::kernel::{Begin, Inside, Kernel, namespace_of};
use super::{Ebpf, NAME};
use crate::backend::launch::{Launched, launch, wait_for};
use crate::backend::{
    Backend, Collector, Command, Detail, Error, Notice, OneRun, Promise, RunEnd, Scope, Stop,
    Target, Unavailable, Until, proc,
};
use crate::event::{Event, Sink, Task};
use crate::recording::Exit;
use crate::sys::wait;

/// How often the counts are read while the workload runs, in milliseconds.
const READ_EVERY: u16 = 500;

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        // No process has this id.
        Kernel::load(&Begin::of(target, Task(i32::MAX))?)?;
        Ok(Promise {
            detail: Detail::Aggregate,
            call_sites: false,
            how: "counting in the kernel with eBPF".to_owned(),
        })
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        if let Target::Command(command) = target {
            let launched = launch(command, None)?;
            let kernel = Begin::of(target, launched.task()).and_then(|begin| Kernel::load(&begin));
            return match kernel {
                Ok(kernel) => record_command(command, launched, kernel, target, collector, stop),
                Err(why) => {
                    abandon(launched);
                    Err(unavailable(why))
                }
            };
        }
        let kernel = Begin::of(target, proc::myself()).and_then(|begin| Kernel::load(&begin));
        let mut kernel = kernel.map_err(unavailable)?;
        let living = kernel.living().map_err(unavailable)?;
        if let (&Target::Process(process), 0) = (target, living) {
            return Err(Error::NoProcess(process));
        }
        let mut run = OneRun::begin(collector, target);
        run.notice(Notice::Progress(format!(
            "counting the calls of {} until the last has exited",
            match living {
                1 => "1 task".to_owned(),
                tasks => format!("{tasks} tasks"),
            }
        )));
        follow(&mut kernel, &mut run, stop, None, Until::All)?;
        finish(&kernel, run, stop, None)
    }
}

impl Begin {
    /// The begin of a target. `child` will be the command.
    fn of(target: &Target, child: Task) -> Result<Begin, Unavailable> {
        let (scope, will_start) = match target {
            Target::Process(process) => return Ok(Begin::Running(*process)),
            Target::Command(command) => match &command.starts {
                Some(scope) => (scope, true),
                None => return Ok(Begin::Waiting(child)),
            },
            Target::Scope(scope) => (scope, false),
        };
        let cgroups = cgroups::in_scope(scope).map_err(Unavailable::failed)?;
        let mut inside = Inside {
            cgroups,
            ..Inside::default()
        };
        let missing = match scope {
            Scope::Cgroup(path) => format!("there is no cgroup {}", path.display()),
            Scope::Everything => "there is no cgroup /".to_owned(),
            Scope::Container(part) => {
                inside.named = Some(part.clone());
                format!("there is no cgroup *{part}*")
            }
            Scope::ContainerOf { process, has_begun } => {
                inside.enters = !has_begun;
                let of = |process| namespace_of(process, "pid");
                inside.pid_namespace = of(*process).filter(|_| of(*process) != of(proc::myself()));
                format!("process {process} is in no container")
            }
        };
        inside.enters |= will_start;
        let waits = will_start && inside.named.is_some();
        if inside.cgroups.is_empty() && inside.pid_namespace.is_none() && !waits {
            return Err(Unavailable::Forbidden(missing));
        }
        Ok(Begin::Inside(inside))
    }
}

fn unavailable(source: Unavailable) -> Error {
    Error::Unavailable {
        backend: NAME,
        source,
    }
}

/// Ends a child that was never released.
fn abandon(launched: Launched) {
    let task = launched.task();
    drop(launched);
    while let Err(Errno::EINTR) = wait::wait_child(task) {}
}

fn record_command(
    command: &Command,
    mut launched: Launched,
    mut kernel: Kernel,
    target: &Target,
    collector: &mut (dyn Collector + Send),
    stop: &Stop,
) -> Result<(), Error> {
    let task = launched.task();
    (command.job).started(task, move |sender| {
        proc::ancestors(sender).any(|ancestor| ancestor == task)
    });
    let mut run = OneRun::begin(collector, target);
    let exit = std::thread::scope(|scope| {
        let (over, mut is_over) = std::io::pipe().map_err(Error::io("pipe"))?;
        let waiter = std::thread::Builder::new().name("waiter".to_owned());
        let waiter = waiter
            .spawn_scoped(scope, move || {
                let ended = launched.release().and_then(|()| match launched.failure() {
                    None => wait_for(command, task, stop),
                    Some(error) => {
                        // It is gone, or about to be.
                        let _ = wait::wait_child(task);
                        Err(error)
                    }
                });
                // The reader lives longer than this thread.
                let _ = is_over.write_all(&[0]);
                ended
            })
            .map_err(Error::io("starting a thread"))?;
        follow(&mut kernel, &mut run, stop, Some(&over), command.until)?;
        waiter
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    command.job.ended();
    finish(&kernel, run, stop, exit?)
}

/// Reads the counts until the workload has ended. `over` becomes readable when its command has.
fn follow(
    kernel: &mut Kernel,
    run: &mut OneRun<'_>,
    stop: &Stop,
    over: Option<&std::io::PipeReader>,
    until: Until,
) -> Result<(), Error> {
    let mut command_is_over = over.is_none();
    loop {
        let is_enough = until == Until::Exit || stop.is_requested();
        let is_over = command_is_over && (is_enough || kernel.living().map_err(unavailable)? == 0);
        // After the last look at who lives: it holds what the last of them called.
        if is_over {
            return kernel.read_last(run).map_err(unavailable);
        }
        kernel.read(run).map_err(unavailable)?;
        // A stop ends the wait for the command too, so it needs no look of its own until then.
        let next = match over {
            Some(over) if !command_is_over => over.as_fd(),
            _ => stop.as_fd(),
        };
        let mut fds = [kernel.as_fd(), next].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::from(READ_EVERY)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::system("poll")(source)),
        }
        command_is_over |= fds[1].any() == Some(true);
        if fds[0].any() == Some(true) {
            kernel.heard();
        }
    }
}

fn finish(
    kernel: &Kernel,
    mut run: OneRun<'_>,
    stop: &Stop,
    exit: Option<Exit>,
) -> Result<(), Error> {
    let losses = kernel.losses().map_err(unavailable)?;
    for why in losses.into_iter().chain(stop.reason().map(str::to_owned)) {
        run.event(Event::Lost { count: None, why });
    }
    run.end(RunEnd {
        exit,
        no_new_privs: false,
    });
    Ok(())
}
