//! Imports the output of strace(1).
//!
//! strace prints the names of calls, but not their ABI; `image.rs` determines it. Calls that its options left out
//! (`-e trace=…`) don't show, so only the user can know that a trace is complete: [`StraceOptions::assume_complete`].

mod arguments;
mod image;
mod importer;
mod line;
mod log;
mod names;
mod summary;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use self::image::{TracedImages, choose};
use self::importer::{ONLY_TASK, Pending, StraceImporter};
pub use self::importer::{StraceOptions, StraceSummary};
use self::line::{Body, Leader};
use self::log::TraceLog;
use self::names::StraceNames;
use self::summary::{CountTable, TableRow};
use super::output::{BadLine, ImportError, ImportOutput, report_read};
use super::source::ImportSource;
use crate::event::{Exit, Sink};
use crate::input::lines::{InputLine, LineReader};
use crate::input::text::lossy;
use crate::syscall::Arch;

/// Longer lines are cut. Arguments can be long (-s, -v); the important parts are at the start and the end.
const LONGEST_LINE: usize = 1 << 20;

/// Reads the sources one after another (the files of one `strace -ff` in the order of their pids), and passes calls to `sink` as
/// events, and unreadable lines to `report`.
///
/// The executable of a task is the file that it passed to execve(2): a script, even if the kernel runs its interpreter.
pub fn import_strace(
    mut sources: Vec<ImportSource>,
    options: &StraceOptions,
    sink: &mut dyn Sink,
    report: &mut dyn FnMut(BadLine),
) -> Result<StraceSummary, ImportError> {
    let separate = sources
        .iter()
        .all(|source| log::pid_of(source.name()).is_some());
    if separate {
        // A child's pid is greater than its parent's, unless pids wrapped around.
        sources.sort_by_key(|source| log::pid_of(source.name()));
    }
    let mut importer = StraceImporter {
        options,
        output: ImportOutput { sink, report },
        names: StraceNames::new(options.native),
        images: TracedImages::default(),
        tasks: HashMap::new(),
        forking: BTreeSet::new(),
        first: None,
        exits: false,
        clock: None,
        summary: StraceSummary::default(),
    };
    for source in sources {
        let pid = log::pid_of(source.name()).filter(|_| separate);
        let mut log = TraceLog::new(source.name().to_owned(), pid, options.native, options.began);
        importer.source(source, &mut log)?;
        if !separate {
            importer.end_tasks(&log.name);
        }
        log.report_losses(&mut importer.output);
    }
    importer.end_tasks("the trace");
    if !options.assume_complete {
        importer.output.lost(
            None,
            "the output of strace doesn't show what its options left out".to_owned(),
        );
    }
    Ok(importer.summary)
}

impl StraceImporter<'_> {
    fn source(&mut self, source: ImportSource, log: &mut TraceLog) -> Result<(), ImportError> {
        let mut lines = LineReader::new(source.open()?, LONGEST_LINE);
        let read = loop {
            match lines.next() {
                Ok(Some(line)) => self.line(line, log),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.summary.lines += lines.number();
        report_read(read, &log.name, lines.number(), &mut self.output)
    }

    fn line(&mut self, line: InputLine<'_>, log: &mut TraceLog) {
        log.line = line.number;
        let text = line.text;
        if self.table(text, log) {
            return;
        }
        let (text, attached) = match line::interrupted(text) {
            Some((front, child)) => (front, Some(child)),
            None => (text, None),
        };
        let (leader, body) = line::parse(text);
        // An attach message interrupted a line, which continues here.
        if let Some(id) = log.interrupted.take() {
            match body {
                Body::Attached(pid) => {
                    log.attached(pid);
                    log.interrupted = Some(id);
                }
                _ => self.returns(id, text, log),
            }
            return;
        }
        self.set_clock(log.when(&leader));
        match body {
            Body::Ignored => {}
            Body::Attached(pid) => log.attached(pid),
            Body::Detached(_) => log.detached = true,
            Body::Unavailable => log.unavailable += 1,
            Body::Mode(pid, mode) => self.mode(&leader, pid, mode, log),
            Body::Unknown => {
                if !log::is_remnant(text) {
                    self.broken(log, &format!("not a line of strace's: {}", lossy(text)));
                }
            }
            Body::Call(name, rest) => {
                let id = self.id(&leader, false, log);
                self.call(id, &leader, name, rest, log);
                if let Some(child) = attached {
                    log.attached(child);
                    log.interrupted = Some(id);
                } else if !line::is_unfinished(rest) {
                    self.returns(id, rest, log);
                }
            }
            Body::Resumed(name, rest) => {
                let id = self.id(&leader, true, log);
                let pending = self.tasks.get(&id).and_then(|task| task.pending.as_ref());
                if pending.is_none_or(|pending| *pending.name != *name) {
                    // The log doesn't contain its start.
                    self.call(id, &leader, name, b"", log);
                }
                self.returns(id, rest, log);
            }
            Body::Exited(code) => self.end(&leader, Some(Exit::Code(code)), log),
            Body::Killed(signal) => self.end(&leader, log::signal(signal).map(Exit::Signal), log),
            Body::Superseded(by) => self.supersede(&leader, by, log),
        }
    }

    /// Reads a line of a table of counts. Returns whether it is one.
    fn table(&mut self, text: &[u8], log: &mut TraceLog) -> bool {
        if let Some(mode) = summary::mode(text) {
            log.mode = self.names.of_mode(mode);
            if log.mode.is_none() {
                self.broken(
                    log,
                    &format!("{mode} is no mode of {}", self.options.native),
                );
            }
            return true;
        }
        let Some(table) = &mut log.table else {
            log.table = log::may_be_heads(text)
                .then(|| CountTable::start(text))
                .flatten();
            return log.table.is_some();
        };
        match table.row(text) {
            TableRow::Rule => {}
            // -C: the calls were in the log already.
            TableRow::Calls(..) if log.calls => {}
            TableRow::Calls(name, count) => {
                log.counted = true;
                let found = self.names.of(name, None, None);
                let calls = found.iter().find(|(of, _)| Some(*of) == log.mode);
                match calls {
                    Some((_, calls)) => self.count(ONLY_TASK, *calls, count),
                    None => self.broken(log, &format!("{name} is not a system call")),
                }
            }
            TableRow::End => log.table = None,
            TableRow::Bad => {
                log.table = None;
                self.broken(log, &format!("not a line of strace -c: {}", lossy(text)));
            }
        }
        true
    }

    fn call(&mut self, id: i32, leader: &Leader, name: &str, rest: &[u8], log: &mut TraceLog) {
        log.calls = true;
        self.first.get_or_insert(id);
        self.add_task(id, name, log);
        let mut found = self.names.of(name, leader.number, leader.wide);
        if found.is_empty() {
            found = self.names.of(name, None, None);
        }
        if found.is_empty() {
            self.broken(
                log,
                &format!("{} is not a system call of {}", name, self.options.native),
            );
        }
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.called = true;
        let forks = matches!(name, "clone" | "clone2" | "clone3" | "fork" | "vfork");
        task.pending = Some(Pending {
            name: name.into(),
            executable: matches!(name, "execve" | "execveat").then(|| executable(name, rest)),
            forks,
        });
        if forks {
            self.forking.insert(id);
        } else {
            self.forking.remove(&id);
        }
        let (image, noted, latest) = (task.image, task.noted, task.latest);
        if found.is_empty() {
            return;
        }
        // A number without a name can belong to any ABI. If the program uses two, assume that of its latest call, unless the
        // number has the bit of x32.
        let latest = latest.filter(|_| name.starts_with("syscall_") && !names::has_x32_bit(name));
        if let Some(arch) = noted.or(latest).or(self.images.arch(image)) {
            let chosen = choose(&found, arch);
            if let (Some((arch, _)), Some(task)) = (chosen, self.tasks.get_mut(&id)) {
                task.latest = Some(arch);
            }
            self.called(id, chosen, rest);
            return;
        }
        let arches = || found.iter().map(|(arch, _)| *arch);
        let native = self.names.native();
        let known = if arches().any(|arch| arch == native) && line::is_wide(rest) {
            Some(native)
        } else if let [(arch, _)] = found.as_slice() {
            Some(*arch)
        } else {
            // Only a mark or a number shows x32, so otherwise it doesn't count.
            let mut likely = arches().filter(|&arch| arch != Arch::X32);
            likely.next().filter(|_| likely.next().is_none())
        };
        match known {
            // The ABI of other calls doesn't follow from an x32 call.
            Some(Arch::X32) => self.called(id, choose(&found, Arch::X32), rest),
            Some(arch) => {
                let held = self.images.resolve(image, arch);
                self.release(id, held, arch);
                self.called(id, choose(&found, arch), rest);
            }
            None => {
                if !self.images.hold(image, name, found, self.clock) {
                    let held = self.images.resolve(image, native);
                    self.release(id, held, native);
                }
            }
        }
    }

    /// Ends a call, if the text says that it has returned.
    fn returns(&mut self, id: i32, rest: &[u8], log: &TraceLog) {
        if line::is_unfinished(rest) {
            return;
        }
        let task = self.tasks.get_mut(&id);
        let Some(pending) = task.and_then(|task| task.pending.take()) else {
            return;
        };
        self.forking.remove(&id);
        let Some(result) = line::result(rest) else {
            return;
        };
        if let Some(executable) = pending.executable
            && (result == b"0" || result.starts_with(b"0 "))
        {
            self.executes(id, executable, log);
        } else if pending.forks
            && let Some(child) = line::child(result)
        {
            self.forked(id, child);
        }
    }

    fn mode(&mut self, leader: &Leader, pid: i32, mode: &str, log: &mut TraceLog) {
        log.noted = true;
        let Some(arch) = self.names.of_mode(mode) else {
            self.broken(
                log,
                &format!("{mode} is no mode of {}", self.options.native),
            );
            return;
        };
        let id = self.id(leader, false, log);
        if id == ONLY_TASK {
            log.only_pid = Some(pid);
        }
        self.add_task(id, "", log);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.noted = Some(arch);
        }
    }
}

/// The file that execve(2) or execveat(2) executes, as far as the arguments show it.
fn executable(name: &str, rest: &[u8]) -> PathBuf {
    let path = |text: &[u8]| {
        let (path, _) = line::string(text)?;
        Some(PathBuf::from(OsString::from_vec(path)))
    };
    if name == "execve" {
        return path(rest).unwrap_or_default();
    }
    // execveat(AT_FDCWD, "x", …), execveat(3</dir>, "x", …) with -y.
    let Some(comma) = memchr::memmem::find(rest, b", ") else {
        return PathBuf::new();
    };
    let relative = path(&rest[comma + 2..]).unwrap_or_default();
    let directory = memchr::memchr(b'<', &rest[..comma]).map(|at| &rest[at + 1..comma]);
    match directory.and_then(|directory| directory.strip_suffix(b">")) {
        Some(directory) if relative.as_os_str().is_empty() => {
            PathBuf::from(OsString::from_vec(directory.to_vec()))
        }
        Some(directory) => Path::new(&OsString::from_vec(directory.to_vec())).join(relative),
        None => relative,
    }
}
