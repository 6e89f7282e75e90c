//! `sc-record --log-mode` without a command: what the kernel logs of what others start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::fmt::friendly::SpanPrinter;
use sc_record::backend::Control;
use sc_record::backend::log::{Follow, Scope};
use sc_record::backend::signals::{self, Interrupts};
use sc_record::recording::{Name, RunBuilder};

use super::exit_status;
use super::keep::Keep;
use crate::cli::RecordArgs;
use crate::ui::failure::NoRecord;
use crate::ui::progress::{Progress, Watched};
use crate::ui::summary::Say;

pub(super) fn follow(args: &RecordArgs) -> anyhow::Result<u8> {
    let scope = Scope {
        pids: args.pid.into_iter().collect(),
        comms: args.follow.comms.clone(),
        exes: args.follow.exes.clone(),
        container: args.follow.container.clone(),
    };
    let keep = Keep::new(&args.keep, default_name(&scope))?;
    keep.check_recording()?;
    let follow = Follow {
        source: args.observe.log.source.clone(),
        become_auditd: args.observe.log.become_auditd,
        receive_buffer: args.observe.log.receive_buffer,
        scope,
        duration: args.follow.duration,
        idle: args.follow.idle,
    };
    // Before there is a thread: the mask of signals is each thread's own.
    let signals = signals::block();
    let control = Arc::new(Control::new());
    signals
        .handle(Arc::clone(&control), Interrupts::First)
        .context("can't handle signals")?;

    let say = !args.keep.verbosity.quiet;
    let progress = say
        .then(|| Progress::start(args.observe.progress))
        .flatten();
    // The program is the first that shows.
    let mut builder = RunBuilder::start(PathBuf::new(), "log");
    let mut sink = Watched {
        builder: &mut builder,
        progress: progress.as_ref(),
    };
    let taken = follow.record(&mut sink, &control, &mut |source| {
        if say {
            let ends = ends(&follow);
            say!("sc-record: follows audit records from {source} until {ends}");
        }
    })?;
    drop(progress);
    if taken == 0 {
        return Err(NoRecord.into());
    }
    let mut run = builder.finish(None, false);
    run.labels = args.keep.labels.to_map();
    keep.keep(run, Say::beside_workload(args.json))?;
    Ok(exit_status::CLEAN)
}

fn ends(follow: &Follow) -> String {
    let friendly = |time: &_| SpanPrinter::new().unsigned_duration_to_string(time);
    let mut ends = vec!["Ctrl-C".to_owned()];
    if let Some(duration) = follow.duration {
        ends.push(format!("{} are over", friendly(&duration)));
    }
    if let Some(idle) = follow.idle {
        ends.push(format!("none has come for {}", friendly(&idle)));
    }
    if !follow.scope.pids.is_empty() {
        ends.push("the processes have ended".to_owned());
    }
    ends.join(", or ")
}

/// What the recording is called if the user doesn't say: as what is followed.
fn default_name(scope: &Scope) -> Name {
    let of_process = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let path = (scope.exes.first().map(PathBuf::from))
        .or_else(|| scope.comms.first().map(PathBuf::from))
        .or_else(|| scope.pids.first().and_then(of_process))
        .or_else(|| {
            // As long as engines show it.
            let id = scope.container.as_deref()?;
            Some(PathBuf::from(id.chars().take(12).collect::<String>()))
        });
    Name::of_command(path.as_deref().unwrap_or(Path::new("log")))
}
