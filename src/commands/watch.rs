//! `sc-record watch`: reports the calls that running programs make and their profile lacks, as the kernel logs them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use sc_record::audit::Record;
use sc_record::backend::log::TakeRecord;
use sc_record::backend::{Backend, Follow, Over, Scope, Target};
use sc_record::engines::Selected;
use sc_record::event::Task;
use sc_record::profile::Action;
use sc_record::review::check::Answers;
use sc_record::syscall::Syscall;
use serde_json::{Value, json};

use super::selected::selected;
use super::{exit_status, load};
use crate::cli::{ContainersArg, WatchArgs, When};
use crate::ui::observation::{self, Observation};
use crate::ui::output;
use crate::ui::ready::Ready;
use crate::ui::summary::count;

pub(super) fn watch(args: &WatchArgs) -> anyhow::Result<u8> {
    let ready = Ready::new(args.ready.ready_fd)?;
    let profile = load::load(&args.profile, &args.read, None, false)?
        .parsed
        .profile;
    let answers = Answers::of(&profile).context("the profile can't be compiled")?;
    let selected = selected(args.container.as_ref(), args.verbosity.quiet)?;
    if let Some(version) = selected.as_ref().and_then(Selected::drops_flags)
        && !args.verbosity.quiet
    {
        say!(
            "sc-record: warning: Docker {version} drops the flag that has denials logged: only containers under a profile of log-profile --assume are watched"
        );
    }
    let target = match (args.pid, &args.container, &args.cgroup) {
        (Some(pid), ..) => Target::process(Task(pid))?,
        (_, Some(ContainersArg::Id(id)), _) => Target::Scope(Scope::Container(id.clone())),
        // Others may start after those that run now.
        (_, Some(ContainersArg::Selected(_)), _) => {
            Target::Scope(Scope::Containers(Over(Arc::new(|| false))))
        }
        (_, _, Some(path)) => Target::Scope(Scope::Cgroup(path.clone())),
        (None, None, None) => Target::Scope(Scope::Everything),
    };
    let drift = Arc::new(Mutex::new(Drift {
        answers,
        as_json: args.json,
        found: BTreeMap::new(),
        doubts: BTreeSet::new(),
        failed: None,
    }));
    let taking = Arc::clone(&drift);
    let of_selected = selected.clone();
    let backends: [Box<dyn Backend>; 1] = [Box::new(Follow {
        reading: observation::reading(&args.audit),
        comms: args.comms.clone(),
        exes: args.exes.clone(),
        duration: args.duration,
        records: Some(TakeRecord(Arc::new(move |record, container| {
            lock(&taking).take_selected(record, container, of_selected.as_ref());
        }))),
        ..Follow::default()
    })];
    let observation = Observation::prepare(&target, args.verbosity, When::Never)?;
    let observation = observation.announcing(ready);
    let run = observation.record(&backends, None, &mut |_| {})?;
    observation.saved();
    let mut drift = lock(&drift);
    if let Some(error) = drift.failed.take() {
        return Err(error);
    }
    let mut lost: Vec<_> = run
        .incomplete_because
        .iter()
        .map(ToString::to_string)
        .chain(std::mem::take(&mut drift.doubts))
        .collect();
    if let (Some(ContainersArg::Selected(selector)), Some(selected)) = (&args.container, &selected)
    {
        match selected.has_run() {
            Ok(true) => {}
            Ok(false) => lost.push(format!("no container with {selector} has run")),
            Err(error) => lost.push(error.to_string()),
        }
    }
    drift.end(args, &lost)?;
    Ok(match (drift.found.is_empty(), lost.is_empty()) {
        (false, _) => exit_status::FINDINGS,
        (true, true) => exit_status::CLEAN,
        (true, false) => exit_status::TROUBLE,
    })
}

/// The state is consistent after every step, also if another thread panicked.
fn lock(drift: &Mutex<Drift>) -> MutexGuard<'_, Drift> {
    drift.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What programs call and their profile lacks.
struct Drift {
    answers: Answers,
    as_json: bool,
    found: BTreeMap<Syscall, Lacking>,
    /// Why the engine did not say which containers are meant.
    doubts: BTreeSet<String>,
    /// Why a line could not be printed.
    failed: Option<anyhow::Error>,
}

/// The records of a call that the profile lacks.
#[derive(Default)]
struct Lacking {
    count: u64,
    denied: u64,
    /// At most [`MOST_PROGRAMS`].
    programs: BTreeSet<String>,
}

/// How many calls are distinguished: a program can call numbers at random.
const MOST_CALLS: usize = 4096;
const MOST_PROGRAMS: usize = 32;

impl Drift {
    /// Takes a record if it is of a container that is meant.
    fn take_selected(
        &mut self,
        record: &Record<'_>,
        container: Option<&str>,
        selected: Option<&Selected>,
    ) {
        let (Some(id), Some(selected)) = (container, selected) else {
            return self.take(record, None);
        };
        match selected.name_of(id) {
            Ok(Some(name)) => self.take(record, Some(&name)),
            Ok(None) => {}
            // Rather too many than too few.
            Err(error) => {
                self.doubts
                    .insert(format!("{error}: every container is watched"));
                self.take(record, Some(id));
            }
        }
    }

    fn take(&mut self, record: &Record<'_>, container: Option<&str>) {
        let syscall = record.syscall;
        let allows = self.answers.answer(syscall, None).actions == BTreeSet::from([Action::Allow]);
        let denied = !record.was_allowed();
        let is_new = !self.found.contains_key(&syscall);
        if allows && !denied || is_new && self.found.len() >= MOST_CALLS {
            return;
        }
        let program = record.exe.as_deref().unwrap_or(&record.comm);
        let program = OsStr::from_bytes(program).display().to_string();
        let lacking = self.found.entry(syscall).or_default();
        lacking.count += 1;
        lacking.denied += u64::from(denied);
        if lacking.programs.len() < MOST_PROGRAMS {
            lacking.programs.insert(program.clone());
        }
        if !is_new || self.failed.is_some() {
            return;
        }
        let printed = if self.as_json {
            let mut line = json!({
                "event": "drift", "syscall": syscall.to_string(), "arch": syscall.arch.name(), "number": syscall.nr,
                "denied": denied, "allowed_by_profile": allows, "program": program, "pid": record.pid,
            });
            if let Some(container) = container {
                line["container"] = container.into();
            }
            output::json(format_args!("{line}\n"))
        } else {
            let what = match (denied, allows) {
                (true, true) => {
                    "denied, though the profile allows it: the program has another filter"
                }
                (true, false) => "denied",
                (false, _) => "logged",
            };
            let arch = syscall.arch;
            let pid = record.pid;
            let of = container.map(|name| format!(" of container {name}"));
            let of = of.unwrap_or_default();
            output::report(&format!(
                "{syscall} ({arch}) {what}: {program}, process {pid}{of}\n"
            ))
        };
        self.failed = printed.err();
    }

    /// Prints the counts.
    fn end(&self, args: &WatchArgs, lost: &[String]) -> anyhow::Result<()> {
        if self.as_json {
            let calls: Vec<Value> = (self.found.iter())
                .map(|(syscall, lacking)| {
                    json!({
                        "syscall": syscall.to_string(), "arch": syscall.arch.name(), "number": syscall.nr,
                        "count": lacking.count, "denied": lacking.denied, "programs": lacking.programs,
                    })
                })
                .collect();
            let end = json!({"event": "end", "lacking": calls, "incomplete_because": lost});
            return output::json(format_args!("{end}\n"));
        }
        for why in lost {
            say!("sc-record: INCOMPLETE, calls may be missing: {why}");
        }
        if args.verbosity.quiet {
            return Ok(());
        }
        let profile = args.profile.display();
        if self.found.is_empty() {
            say!("sc-record: no call was seen that {profile} lacks");
        }
        for (syscall, lacking) in &self.found {
            let programs: Vec<_> = lacking.programs.iter().map(String::as_str).collect();
            say!(
                "sc-record: {profile} lacks {syscall} ({}): {}, {} denied, by {}",
                syscall.arch,
                count(lacking.count, "record"),
                lacking.denied,
                programs.join(", ")
            );
        }
        Ok(())
    }
}
