//! Follows the workload, and delivers what the kernel counted.

use std::io::PipeReader;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroups::{self, NamePart};
use super::counts::Counted;
use super::kernel::{Begin, Inside, Kernel, namespace_of};
use super::loading;
use super::{Each, Ebpf, NAME};
use crate::backend::collector::{RunOfEach, Runs};
use crate::backend::launch::{Launched, launch, while_waiting};
use crate::backend::{
    Backend, Collector, Command, Detail, Error, Notice, OneRun, Over, Promise, RunEnd, Scope, Stop,
    Target, Unavailable, Until, Workload, proc,
};
use crate::event::{Event, Exit, Sink, Task};

/// How often the counts are read while the workload runs.
const READ_EVERY: Duration = Duration::from_millis(500);

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Loads nothing: loading takes longer than most commands, and fails in a way that leads to the next backend.
    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        loading::probe()?;
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
            _ if target.each_container().is_some() => "as they start".to_owned(),
            Some(duration) => format!("for {duration:?}, or until the last has exited"),
            None => "until the last has exited".to_owned(),
        };
        collector.notice(Notice::Ready(format!(
            "counting the calls of {} {until}",
            match living {
                _ if target.each_container().is_some() => "containers".to_owned(),
                1 => "1 task".to_owned(),
                tasks => format!("{tasks} tasks"),
            }
        )));
        let deadline = self.duration.map(|duration| Instant::now() + duration);
        let mut end = End::of(stop, target, Until::All);
        end.deadline = deadline;
        let mut runs = CountedRuns::begin(collector, target, self.each);
        let is_left = follow(&mut kernel, &mut runs, end)?;
        let stopped = stop.reason().filter(|_| is_left);
        finish(&kernel, runs, stopped, None)
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

/// What has a run of its own.
#[derive(Clone, Copy)]
enum What {
    Each(Each),
    Container,
}

/// Where the calls go. Of many runs, the key is the path of the executable or the cgroup, or the id of the container.
struct CountedRuns<'a> {
    runs: Runs<'a, Option<Arc<Path>>>,
    each: What,
}

impl<'a> CountedRuns<'a> {
    fn begin(
        collector: &'a mut (dyn Collector + Send),
        target: &Target,
        each_of_all: Each,
    ) -> CountedRuns<'a> {
        let each = match target.scope() {
            Some(Scope::Everything) => What::Each(each_of_all),
            Some(Scope::Containers(_)) => What::Container,
            _ => {
                let runs = Runs::One(OneRun::begin(collector, target));
                let each = What::Each(each_of_all);
                return CountedRuns { runs, each };
            }
        };
        let runs = Runs::Each(RunOfEach::new(collector));
        CountedRuns { runs, each }
    }

    /// `of` is the path of the cgroup or the name of the container's, if they are counted by themselves.
    fn counted(&mut self, of: Option<&Arc<Path>>, event: Event) {
        let each = self.each;
        let runs = match &mut self.runs {
            Runs::One(run) => return run.event(event),
            Runs::Each(runs) => runs,
        };
        let of = match (&event, each) {
            (_, What::Each(Each::Cgroup)) => of.cloned(),
            // In the hierarchies of version 1, a container has several cgroups.
            (_, What::Container) => of.and_then(|name| {
                let id = proc::container_in(&name.to_string_lossy())?;
                Some(Path::new(&id).into())
            }),
            (
                Event::Counted { executable, .. } | Event::Submitted { executable, .. },
                What::Each(Each::Executable),
            ) => executable.clone(),
            (_, What::Each(Each::Executable)) => None,
        };
        runs.event_of(of, event, |of| {
            let path = of.as_deref().unwrap_or(Path::new("unknown"));
            let label = |name: &str| Workload {
                labels: [(name.to_owned(), path.to_string_lossy().into_owned())].into(),
                ..Workload::default()
            };
            match each {
                What::Each(Each::Executable) => Workload {
                    program: path.into(),
                    ..Workload::default()
                },
                What::Each(Each::Cgroup) => label("cgroup"),
                What::Container => label("container"),
            }
        });
    }

    /// The recording ends before the tasks.
    fn stopped(&mut self, why: &str) {
        let lost = Event::Lost {
            count: None,
            why: why.to_owned(),
        };
        match (&mut self.runs, self.each) {
            // Others have ended.
            (Runs::Each(runs), What::Container) => {
                let still_run = proc::containers();
                let runs_still = |container: &Option<Arc<Path>>| {
                    let id = container.as_deref().and_then(Path::to_str);
                    id.is_none_or(|id| still_run.contains(id))
                };
                runs.event_of_those(runs_still, &lost);
            }
            (runs, _) => runs.event(lost),
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
                inside.named = Some(NamePart::Text(part.clone()));
                format!("there is no cgroup *{part}*")
            }
            Scope::Containers(_) => {
                inside.named = Some(NamePart::Id);
                "there is no container".to_owned()
            }
            Scope::ContainerOf { process, has_begun } => {
                inside.enters = !has_begun;
                let of = |process| namespace_of(process, "pid");
                inside.pid_namespace = of(*process).filter(|_| of(*process) != of(proc::myself()));
                format!("process {process} is in no container")
            }
        };
        // Other containers may run already.
        inside.enters |= will_start && !inside.by_container();
        let waits = (will_start || inside.by_container()) && inside.named.is_some();
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
    let mut runs = CountedRuns::begin(collector, target, Each::default());
    if command.starts.is_some() {
        let text = "counting the calls of the container that the command starts";
        runs.runs.notice(Notice::Ready(text.to_owned()));
    }
    let mut is_left = false;
    let exit = while_waiting(command, launched, stop, |over| {
        let end = End {
            over: Some(over),
            ..End::of(stop, target, command.until)
        };
        is_left = follow(&mut kernel, &mut runs, end)?;
        Ok(())
    })?;
    let stopped = stop.reason().filter(|_| is_left);
    finish(&kernel, runs, stopped, exit)
}

/// When the recording ends.
#[derive(Clone, Copy)]
struct End<'a> {
    stop: &'a Stop,
    until: Until,
    /// Becomes readable when the command has ended.
    over: Option<&'a PipeReader>,
    deadline: Option<Instant>,
    /// Says whether the containers have ended, if each has a run.
    containers: Option<&'a Over>,
}

impl<'a> End<'a> {
    fn of(stop: &'a Stop, target: &'a Target, until: Until) -> End<'a> {
        End {
            stop,
            until,
            over: None,
            deadline: None,
            containers: target.each_container(),
        }
    }
}

/// Reads the counts until the workload has ended, or enough of it. Returns whether tasks are left.
fn follow(kernel: &mut Kernel, runs: &mut CountedRuns<'_>, end: End<'_>) -> Result<bool, Error> {
    let stop = end.stop;
    let counted: Counted<'_> = &mut |of, event| runs.counted(of, event);
    let mut command_is_over = end.over.is_none();
    loop {
        let is_late = end
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        let is_enough = end.until == Until::Exit || stop.is_requested() || is_late;
        let is_over = command_is_over
            && (is_enough
                || match end.containers {
                    Some(Over(is_over)) => is_over(),
                    None => kernel.living().map_err(unavailable)? == 0,
                });
        // After the last look at who lives: it holds what the last of them called.
        if is_over {
            let is_left = kernel.living().map_err(unavailable)? > 0;
            kernel.read_last(counted).map_err(unavailable)?;
            return Ok(is_left);
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

fn finish(
    kernel: &Kernel,
    mut runs: CountedRuns<'_>,
    stopped: Option<&str>,
    exit: Option<Exit>,
) -> Result<(), Error> {
    for why in kernel.losses().map_err(unavailable)? {
        runs.runs.event(Event::Lost { count: None, why });
    }
    if let Some(reason) = stopped {
        runs.stopped(reason);
    }
    runs.runs.end(RunEnd {
        exit,
        no_new_privs: false,
    });
    Ok(())
}
