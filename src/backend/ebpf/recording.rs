//! Follows the workload, and delivers what the kernel counted.

use std::collections::HashMap;
use std::io::PipeReader;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroups;
use super::kernel::{self, Begin, Counted, Inside, Kernel, namespace_of};
use super::{Each, Ebpf, NAME};
use crate::backend::launch::{Launched, launch, while_waiting};
use crate::backend::{
    Backend, Collector, Command, Detail, Error, Notice, OneRun, Promise, RunEnd, Scope, Stop,
    Target, Unavailable, Until, Workload, WorkloadId, proc,
};
use crate::event::Exit;
use crate::event::{Event, Sink, Task};

/// How often the counts are read while the workload runs.
const READ_EVERY: Duration = Duration::from_millis(500);

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Loads nothing: loading takes longer than most commands, and fails in a way that leads to the next backend.
    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        kernel::probe()?;
        // No process has this id.
        self.begin(target, Task(i32::MAX))?;
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
            let begin = self.begin(target, launched.task());
            let kernel = begin.and_then(|begin| Kernel::load(&begin, &self.interest));
            return match kernel {
                Ok(kernel) => record_command(command, launched, kernel, target, collector, stop),
                Err(why) => {
                    launched.abandon();
                    Err(unavailable(why))
                }
            };
        }
        let begin = self.begin(target, proc::myself());
        let kernel = begin.and_then(|begin| Kernel::load(&begin, &self.interest));
        let mut kernel = kernel.map_err(unavailable)?;
        let living = kernel.living().map_err(unavailable)?;
        if let (&Target::Process(process), 0) = (target, living) {
            return Err(Error::NoProcess(process));
        }
        let until = match self.duration {
            Some(duration) => format!("for {duration:?}, or until the last has exited"),
            None => "until the last has exited".to_owned(),
        };
        collector.notice(Notice::Ready(format!(
            "counting the calls of {} {until}",
            match living {
                1 => "1 task".to_owned(),
                tasks => format!("{tasks} tasks"),
            }
        )));
        let deadline = self.duration.map(|duration| Instant::now() + duration);
        let mut end = End::of(stop, Until::All);
        end.deadline = deadline;
        if let Target::Scope(Scope::Everything) = target {
            let mut runs = RunOfEach::new(collector, self.each);
            follow(
                &mut kernel,
                &mut |cgroup, event| runs.counted(cgroup, event),
                end,
            )?;
            report_losses(&kernel, &mut runs, stop)?;
            runs.end();
        } else {
            let mut run = OneRun::begin(collector, target);
            follow(&mut kernel, &mut |_, event| run.event(event), end)?;
            finish(&kernel, run, stop, None)?;
        }
        Ok(())
    }
}

impl Ebpf {
    fn begin(&self, target: &Target, child: Task) -> Result<Begin, Unavailable> {
        let mut begin = Begin::of(target, child)?;
        if let (Target::Scope(Scope::Everything), Begin::Inside(inside)) = (target, &mut begin) {
            inside.by_cgroup = self.each == Each::Cgroup;
            if inside.by_cgroup && !cgroups::has_version_2() {
                let feature = "cgroups of version 2, which are not mounted";
                return Err(Unavailable::Feature(feature.to_owned()));
            }
        }
        Ok(begin)
    }
}

/// One run for each executable or cgroup.
struct RunOfEach<'a> {
    collector: &'a mut (dyn Collector + Send),
    each: Each,
    /// By the path of the executable or the cgroup.
    ids: HashMap<Option<Arc<Path>>, WorkloadId>,
}

impl<'a> RunOfEach<'a> {
    fn new(collector: &'a mut (dyn Collector + Send), each: Each) -> RunOfEach<'a> {
        RunOfEach {
            collector,
            each,
            ids: HashMap::new(),
        }
    }

    fn end(self) {
        for id in self.ids.into_values() {
            self.collector.end(id, RunEnd::default());
        }
    }
}

impl RunOfEach<'_> {
    fn counted(&mut self, cgroup: Option<&Arc<Path>>, event: Event) {
        let of = match (&event, self.each) {
            (_, Each::Cgroup) => cgroup.cloned(),
            (Event::Counted { executable, .. } | Event::Submitted { executable, .. }, _) => {
                executable.clone()
            }
            _ => None,
        };
        let next = WorkloadId(self.ids.len() as u64);
        let id = *self.ids.entry(of).or_insert_with_key(|of| {
            let path = of.as_deref().unwrap_or(Path::new("unknown"));
            let mut workload = Workload::default();
            match self.each {
                Each::Executable => workload.program = path.into(),
                Each::Cgroup => {
                    let path = path.to_string_lossy().into_owned();
                    workload.labels.insert("cgroup".to_owned(), path);
                }
            }
            self.collector.begin(next, workload);
            next
        });
        self.collector.event(id, event);
    }
}

/// What can be of any run.
impl Sink for RunOfEach<'_> {
    fn event(&mut self, event: Event) {
        for &id in self.ids.values() {
            self.collector.event(id, event.clone());
        }
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
            Scope::Cgroup(path) => {
                inside.leaves = true;
                format!("there is no cgroup {}", path.display())
            }
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

fn record_command(
    command: &Command,
    launched: Launched,
    mut kernel: Kernel,
    target: &Target,
    collector: &mut (dyn Collector + Send),
    stop: &Stop,
) -> Result<(), Error> {
    let mut run = OneRun::begin(collector, target);
    if command.starts.is_some() {
        let text = "counting the calls of the container that the command starts";
        run.notice(Notice::Ready(text.to_owned()));
    }
    let exit = while_waiting(command, launched, stop, |over| {
        let end = End {
            over: Some(over),
            ..End::of(stop, command.until)
        };
        follow(&mut kernel, &mut |_, event| run.event(event), end)
    })?;
    finish(&kernel, run, stop, exit)
}

/// When the recording ends.
#[derive(Clone, Copy)]
struct End<'a> {
    stop: &'a Stop,
    until: Until,
    /// Becomes readable when the command has ended.
    over: Option<&'a PipeReader>,
    deadline: Option<Instant>,
}

impl End<'_> {
    fn of(stop: &Stop, until: Until) -> End<'_> {
        End {
            stop,
            until,
            over: None,
            deadline: None,
        }
    }
}

/// Reads the counts until the workload has ended.
fn follow(kernel: &mut Kernel, counted: Counted<'_>, end: End<'_>) -> Result<(), Error> {
    let stop = end.stop;
    let mut command_is_over = end.over.is_none();
    loop {
        let is_late = end
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        let is_enough = end.until == Until::Exit || stop.is_requested() || is_late;
        let is_over = command_is_over && (is_enough || kernel.living().map_err(unavailable)? == 0);
        // After the last look at who lives: it holds what the last of them called.
        if is_over {
            return kernel.read_last(counted).map_err(unavailable);
        }
        kernel.read(counted).map_err(unavailable)?;
        // A stop ends the wait for the command too, so it needs no look of its own until then.
        let next = match end.over {
            Some(over) if !command_is_over => over.as_fd(),
            _ => stop.as_fd(),
        };
        let left = end
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.unwrap_or(READ_EVERY).min(READ_EVERY) + Duration::from_millis(1);
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let mut fds = [kernel.as_fd(), next].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::system("poll")(source)),
        }
        command_is_over |= fds[1].any() == Some(true);
        if fds[0].any() == Some(true) {
            kernel.heard();
        }
    }
}

fn report_losses(kernel: &Kernel, sink: &mut dyn Sink, stop: &Stop) -> Result<(), Error> {
    let losses = kernel.losses().map_err(unavailable)?;
    for why in losses.into_iter().chain(stop.reason().map(str::to_owned)) {
        sink.event(Event::Lost { count: None, why });
    }
    Ok(())
}

fn finish(
    kernel: &Kernel,
    mut run: OneRun<'_>,
    stop: &Stop,
    exit: Option<Exit>,
) -> Result<(), Error> {
    report_losses(kernel, &mut run, stop)?;
    run.end(RunEnd {
        exit,
        no_new_privs: false,
    });
    Ok(())
}
