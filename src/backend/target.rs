//! The target of a recording: a command, a process, or a scope.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, Job, proc};
use crate::event::Task;

/// The target of a recording.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program that the backend starts, with all its descendants.
    Command(Command),
    /// A running process, with its threads and its descendants.
    Process(Task),
    /// Programs that others start, including those that already run.
    Scope(Scope),
}

/// Processes that the recorder neither starts nor names one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those in this cgroup and below it, given by its path from the root of the hierarchy (cgroups(7)).
    Cgroup(PathBuf),
    /// Those of one container: a component of their cgroup path contains this text. Container engines put the id there.
    Container(String),
    /// Those of the container of this process: its pid namespace, and its cgroups that the recorder is not in.
    ContainerOf {
        /// The process.
        process: Task,
        /// Its program runs. If not, a container runtime is about to execute it.
        has_begun: bool,
    },
    /// Those of every container of Docker, Podman, CRI-O or containerd's CRI: a run each, with its id as the label `container`.
    Containers(Over),
    /// Every process on the machine.
    Everything,
}

/// Says whether the recording of containers is over. A command that has them started must have ended, too.
#[derive(Clone)]
pub struct Over(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Over")
    }
}

impl PartialEq for Over {
    fn eq(&self, other: &Over) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Over {}

/// A program to start. It gets the recorder's own stdin, stdout, stderr, terminal, environment, working directory,
/// signal dispositions and limits.
#[derive(Clone, Debug)]
pub struct Command {
    /// The file to execute, already looked up in `PATH`.
    pub path: PathBuf,
    /// Its arguments, the zeroth (its own name) included.
    pub argv: Vec<OsString>,
    /// When the recording ends by itself.
    pub until: Until,
    /// How it takes part in the job control of the recorder's terminal.
    pub job: Arc<Job>,
    /// What is recorded instead of the command and its descendants: the container that the command, a client, has started.
    pub starts: Option<Scope>,
}

/// When the recording of a command ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When no task of the workload is left.
    #[default]
    All,
    /// When the command itself has ended. Its descendants run on, unharmed.
    Exit,
}

/// Whether a process is the first one of a pid namespace below the recorder's.
#[must_use]
pub fn is_container_init(process: Task) -> bool {
    proc::ids_of(process).is_some_and(|ids| ids.len() > 1 && ids.last() == Some(&1))
}

impl Command {
    /// A command that is recorded until no task of the workload is left.
    #[must_use]
    pub fn new(path: PathBuf, argv: Vec<OsString>) -> Command {
        Command {
            path,
            argv,
            until: Until::All,
            job: Arc::default(),
            starts: None,
        }
    }
}

impl Target {
    /// A running process.
    ///
    /// Refuses kernel threads, which make no system calls, and an init that is an ancestor of the recorder, and of
    /// everything else.
    pub fn process(process: Task) -> Result<Target, Error> {
        const INIT: Task = Task(1);
        if proc::is_kernel_thread(process) {
            return Err(Error::KernelThread {
                process,
                name: String::from_utf8_lossy(&proc::name_of(process).unwrap_or_default()).into(),
            });
        }
        if process == INIT && proc::ancestors(proc::myself()).any(|ancestor| ancestor == INIT) {
            return Err(Error::Init);
        }
        Ok(Target::Process(process))
    }

    /// The scope that is recorded; `None`: the processes of the command, or of the process.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Target::Command(command) => command.starts.as_ref(),
            Target::Process(_) => None,
            Target::Scope(scope) => Some(scope),
        }
    }

    /// When the recording is over, if every container has a run.
    pub(super) fn each_container(&self) -> Option<&Over> {
        match self.scope() {
            Some(Scope::Containers(over)) => Some(over),
            _ => None,
        }
    }

    /// The program of the run, as it was called. Empty for a scope: there, the first program that is executed counts.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        match self {
            Target::Command(Command {
                starts: None, argv, ..
            }) => argv.first().map(PathBuf::from).unwrap_or_default(),
            Target::Process(process) => {
                std::fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default()
            }
            Target::Command(Command {
                starts: Some(_), ..
            })
            | Target::Scope(_) => PathBuf::new(),
        }
    }
}
