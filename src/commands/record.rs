//! `sc-record [OPTIONS] [--] CMD [ARG]...`: the verb that needs no name.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use sc_record::backend::log::Source;
use sc_record::backend::ptrace::Ptrace;
use sc_record::backend::signals::{self, Interrupts};
use sc_record::backend::{Backend, Command, Control, Log, Outcome, Target, Until};
use sc_record::command::find_executable;
use sc_record::event::Task;
use sc_record::recording::{Name, Run, RunBuilder};
use sc_record::syscall::Syscall;

use super::keep::Keep;
use super::passes::Passes;
use super::profile;
use crate::cli::{self, RecordArgs};
use crate::ui::progress::{Progress, Watched};
use crate::ui::summary::Say;

/// What the command line comes to.
struct Plan<'a> {
    args: &'a RecordArgs,
    target: Target,
    /// What needn't be logged.
    known: BTreeSet<Syscall>,
    program: PathBuf,
    keep: Keep<'a>,
}

/// How it is recorded.
enum Method {
    Ptrace(Ptrace),
    Log(Passes),
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Method::Ptrace(ptrace) => ptrace.name(),
            Method::Log(passes) => passes.log.name(),
        }
    }

    /// What it does, and why so.
    fn why(&self) -> String {
        match self {
            Method::Ptrace(ptrace) => ptrace.stopping().to_string(),
            Method::Log(passes) => format!(
                "audit records from {}, at most {} passes",
                passes.log.source, passes.at_most
            ),
        }
    }
}

/// Records, and gives the exit status of the workload.
pub(super) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    if args.observe.is_log_mode() && args.command.is_empty() {
        return super::follow::follow(args);
    }
    anyhow::ensure!(
        args.observe.log.source != Source::Stdin,
        "--source - takes the standard input, which is CMD's"
    );
    let plan = Plan::new(args)?;
    plan.keep.check_recording()?;
    // Before there is a thread: the mask of signals is each thread's own.
    let signals = signals::block();
    let control = Arc::new(Control::new());
    let interrupts = match plan.target {
        Target::Command(_) => Interrupts::Second,
        Target::Process(_) => Interrupts::First,
    };
    signals
        .handle(Arc::clone(&control), interrupts)
        .context("can't handle signals")?;

    let (run, outcome) = plan.run(&control)?;
    match &args.assume {
        // Without a call there is nothing to keep, nor to make a profile of.
        Some(assumed) if run.syscalls.is_empty() => {
            say!(
                "sc-record: {} lacks nothing that was called",
                assumed.display()
            );
            for why in &run.incomplete_because {
                say!("sc-record: INCOMPLETE, calls may be missing: {why}");
            }
        }
        _ => plan.keep.keep(run, Say::beside_workload(args.json))?,
    }
    Ok(status(&outcome, &plan.target))
}

/// The workload's own status. One that was attached to has none for us; one whose recording was broken off ended by the
/// interrupt.
fn status(outcome: &Outcome, target: &Target) -> u8 {
    let status = match (outcome.exit, target) {
        (_, Target::Process(_)) => 0,
        (Some(exit), Target::Command(_)) => exit.shell_status(),
        (None, Target::Command(_)) => 128 + libc::SIGINT,
    };
    // A status is a byte, and so are 128 and any signal.
    u8::try_from(status).unwrap_or(super::exit_status::TOOL_FAILED)
}

impl Plan<'_> {
    fn new(args: &RecordArgs) -> anyhow::Result<Plan<'_>> {
        let (target, program) = match (args.pid, args.command.first()) {
            (None, Some(command)) => {
                let path = find_executable(command)?;
                let command = Command {
                    path,
                    argv: args.command.clone(),
                };
                (Target::Command(command), PathBuf::from(&args.command[0]))
            }
            (pid, _) => {
                let pid = pid.context("there is neither a command nor a process")?;
                let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                (Target::Process(Task(pid)), program)
            }
        };
        let mut keep = Keep::new(&args.keep, Name::of_command(&program))?;
        let mut known = BTreeSet::new();
        if let Some(path) = &args.assume {
            anyhow::ensure!(args.observe.is_log_mode(), "--assume needs --log-mode");
            let assumed = profile::assumed(path)?;
            known = assumed.allowed();
            keep.assume(assumed);
        }
        Ok(Plan {
            args,
            target,
            known,
            program,
            keep,
        })
    }

    fn run(&self, control: &Control) -> anyhow::Result<(Run, Outcome)> {
        let method = self.method();
        if self.args.keep.verbosity.verbose {
            say!("sc-record: backend {}: {}", method.name(), method.why());
        }
        let show = !self.args.keep.verbosity.quiet;
        let progress = show
            .then(|| Progress::start(self.args.observe.progress))
            .flatten();
        let mut builder = RunBuilder::start(self.program.clone(), method.name());
        let mut sink = Watched {
            builder: &mut builder,
            progress: progress.as_ref(),
        };
        let outcome = match method {
            Method::Ptrace(ptrace) => ptrace.record(&self.target, &mut sink, control),
            Method::Log(passes) => passes.record(&self.target, &mut sink, control),
        }?;
        drop(progress);
        let mut run = builder.finish(outcome.exit, outcome.no_new_privs);
        run.labels = self.args.keep.labels.to_map();
        if let (true, Target::Command(command)) = (self.args.keep_argv, &self.target) {
            run.argv = Some(command.argv.clone());
        }
        Ok((run, outcome))
    }

    fn method(&self) -> Method {
        let until = match self.args.observe.until {
            cli::Until::All => Until::All,
            cli::Until::Exit => Until::Exit,
        };
        let log = &self.args.observe.log;
        if !self.args.observe.is_log_mode() {
            return Method::Ptrace(Ptrace {
                until,
                no_filter: self.args.observe.no_filter,
                interest: None,
            });
        }
        Method::Log(Passes {
            log: Log {
                source: log.source.clone(),
                become_auditd: log.become_auditd,
                receive_buffer: log.receive_buffer,
                known: self.known.clone(),
                executed: BTreeSet::new(),
                sites: false,
                until,
            },
            at_most: log.passes,
            assumed: self.args.assume.clone(),
            quiet: self.args.keep.verbosity.quiet,
            verbose: self.args.keep.verbosity.verbose,
        })
    }
}
