//! Translates records into events.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{filter, lost};
use crate::audit::Record;
use crate::backend::proc;
use crate::event::{CallSite, Event, Sink, Task};
use crate::syscall::Syscall;

/// Translates records into events for a sink.
pub(super) struct Translator {
    launch: Launch,
    /// The executable of each process, by its latest record.
    executing: HashMap<i32, Vec<u8>>,
    /// Calls that the filter allows without logging.
    known: BTreeSet<Syscall>,
    kinds: HashMap<Syscall, Kind>,
    /// Whether to report call sites.
    pub(super) sites: bool,
    /// Whether programs are followed that others start, under a filter that isn't the recorder's.
    follows: bool,
    /// The executables that were checked for privileges that `no_new_privs` takes away; `None`: it takes none.
    privileged: Option<HashSet<PathBuf>>,
}

/// The progress of the command from launcher to program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Launch {
    /// It hasn't executed anything, and still runs the recorder's executable.
    Expected {
        own_exe: Vec<u8>,
    },
    /// This process called execve(2). If it calls it again, the file had no known format and execvp(3) tries the shell.
    Executing {
        own_exe: Vec<u8>,
        process: i32,
    },
    Done,
}

/// The kinds of calls that need more than counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Exec,
    /// It ends the process.
    Exit,
    /// It can load a filter that hides calls from the recording filter.
    OwnFilter,
}

impl Kind {
    fn of(syscall: Syscall) -> Kind {
        if filter::can_load_filter(syscall) {
            return Kind::OwnFilter;
        }
        match syscall.name().as_deref() {
            Some("execve") => Kind::Exec,
            Some("exit_group") => Kind::Exit,
            _ => Kind::Plain,
        }
    }
}

impl Translator {
    /// For processes that already run, or that others start.
    pub(super) fn new() -> Translator {
        Translator {
            launch: Launch::Done,
            executing: HashMap::new(),
            known: BTreeSet::new(),
            kinds: HashMap::new(),
            sites: false,
            follows: true,
            privileged: None,
        }
    }

    /// For a command. It runs the recorder's executable until it executes its program, under a filter that allows the
    /// known calls without logging them.
    pub(super) fn of_command(
        own_exe: &[u8],
        known: BTreeSet<Syscall>,
        privileges_lost: bool,
    ) -> Translator {
        Translator {
            launch: Launch::Expected {
                own_exe: own_exe.to_vec(),
            },
            known,
            follows: false,
            privileged: privileges_lost.then(HashSet::new),
            ..Translator::new()
        }
    }

    /// Translates one record.
    pub(super) fn translate(&mut self, record: &Record<'_>, sink: &mut dyn Sink) -> Fate {
        let task = Task(record.pid);
        let syscall = record.syscall;
        let kind = *self
            .kinds
            .entry(syscall)
            .or_insert_with(|| Kind::of(syscall));
        let exe = record.exe.as_deref().unwrap_or_default();
        let step = self.launch(record.pid, exe, kind);
        match step {
            RecordRole::Launch => {}
            RecordRole::Unrelated => return Fate::Lives,
            RecordRole::Run => self.executes(task, exe, sink),
        }
        sink.event(Event::Syscall {
            task,
            syscall,
            site: (self.sites && step != RecordRole::Launch).then(|| Box::new(site_of(record))),
        });
        match kind {
            Kind::Exit => {
                self.executing.remove(&record.pid);
                sink.event(Event::Exit { task });
                return Fate::Ended;
            }
            Kind::OwnFilter => self.own_filter(syscall, sink),
            Kind::Plain | Kind::Exec => {}
        }
        Fate::Lives
    }

    fn launch(&mut self, process: i32, exe: &[u8], kind: Kind) -> RecordRole {
        let (next, step) = match std::mem::replace(&mut self.launch, Launch::Done) {
            Launch::Expected { own_exe } if kind == Kind::Exec && exe == own_exe => {
                (Launch::Executing { own_exe, process }, RecordRole::Launch)
            }
            Launch::Executing {
                own_exe,
                process: launched,
            } if kind == Kind::Exec && launched == process && exe == own_exe => {
                (Launch::Done, RecordRole::Unrelated)
            }
            // If another recorder records this one, the launcher's calls are logged too.
            Launch::Expected { own_exe } if exe == own_exe && self.execve_is_logged() => {
                (Launch::Expected { own_exe }, RecordRole::Unrelated)
            }
            Launch::Expected { .. } | Launch::Executing { .. } | Launch::Done => {
                (Launch::Done, RecordRole::Run)
            }
        };
        self.launch = next;
        step
    }

    /// Reports an executed file if it would grant privileges without the recorder.
    pub(super) fn check_privileges(&mut self, file: &Path, sink: &mut dyn Sink) {
        if let Some(checked) = &mut self.privileged
            && checked.insert(file.to_owned())
            && proc::is_privileged_file(file)
        {
            let why = "ran without the privileges that its file gives: record as root";
            lost(sink, format!("{} {why}", file.display()));
        }
    }

    fn execve_is_logged(&self) -> bool {
        !self
            .known
            .iter()
            .any(|&syscall| Kind::of(syscall) == Kind::Exec)
    }

    /// Reports the file that a process executes, if it changed.
    fn executes(&mut self, task: Task, exe: &[u8], sink: &mut dyn Sink) {
        let known = self.executing.get(&task.0);
        if exe.is_empty() || known.is_some_and(|known| known == exe) {
            return;
        }
        self.executing.insert(task.0, exe.to_vec());
        let kept = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
        let executable = PathBuf::from(OsStr::from_bytes(kept));
        self.check_privileges(&executable, sink);
        sink.event(Event::Exec { task, executable });
    }

    fn own_filter(&mut self, syscall: Syscall, sink: &mut dyn Sink) {
        if self.follows {
            lost(
                sink,
                format!(
                    "{syscall} may have loaded a seccomp filter of the workload, and calls that it refuses are not logged (under a \
                     profile of log-profile or generate --audit, prctl is logged only then)"
                ),
            );
        // A known call is logged only if it loads a filter.
        } else if self.known.contains(&syscall) {
            lost(
                sink,
                "the workload loaded its own seccomp filter, or tried to: calls that it refuses are not logged, and strict \
                 mode fails under the recording filter; use --backend ptrace",
            );
        } else {
            lost(
                sink,
                format!(
                    "{syscall} may have loaded a seccomp filter of the workload: only another pass can show it"
                ),
            );
        }
    }
}

/// The call site, as far as a record contains it. The process, and so its memory, may be gone by now.
fn site_of(record: &Record<'_>) -> CallSite {
    CallSite {
        args: None,
        ip: record.ip,
        code: Arc::default(),
        executable: record.exe.as_deref().map(|exe| {
            let kept = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
            Arc::from(Path::new(OsStr::from_bytes(kept)))
        }),
        process: Some(Task(record.pid)),
        thread: Some(Arc::from(&*record.comm)),
    }
}

/// Whether a process lives on after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// This was its last call.
    Ended,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordRole {
    /// It is the execve(2) that starts the command. It counts as the program's.
    Launch,
    /// It is a call of the launcher, or execvp(3)'s second execve(2), of the shell: they don't count.
    Unrelated,
    Run,
}
