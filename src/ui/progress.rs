//! The progress line, shown only where it can't disturb the workload's terminal.

use std::fs::File;
use std::io::{IsTerminal, stderr, stdout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use console::Term;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sc_record::recording::RunBuilder;
use sc_record::syscall::Syscall;

use crate::cli::When;

/// How often the line changes.
const TICK: Duration = Duration::from_millis(100);

/// The figures of the line. The recorder writes them at every event; the drawing thread reads them at every tick.
#[derive(Default)]
struct Figures {
    calls: AtomicU64,
    distinct: AtomicU64,
    tasks: AtomicU64,
    latest_new: Mutex<Option<Syscall>>,
    over: AtomicBool,
}

impl Figures {
    fn show(&self) -> String {
        let latest = *self
            .latest_new
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let latest = latest
            .map(|syscall| format!(", last new one {syscall}"))
            .unwrap_or_default();
        format!(
            "calls {}, distinct {}, tasks {}{latest}",
            HumanCount(self.calls.load(Ordering::Relaxed)),
            self.distinct.load(Ordering::Relaxed),
            HumanCount(self.tasks.load(Ordering::Relaxed)),
        )
    }
}

/// A live line that is being shown.
pub(crate) struct Progress {
    figures: Arc<Figures>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show the line, if `when` and the terminal allow it.
    pub(crate) fn start(when: When) -> Option<Progress> {
        let target = target(when)?;
        let figures = Arc::new(Figures::default());
        let shared = Arc::clone(&figures);
        let thread = std::thread::Builder::new().name("progress".to_owned());
        let thread = thread.spawn(move || draw(target, &shared));
        // If the thread can't be started, there is no line.
        Some(Progress {
            figures,
            thread: thread.ok(),
        })
    }
}

impl Progress {
    /// Shows the figures of this run at the next tick.
    pub(crate) fn update(&self, run: &RunBuilder) {
        let figures = &self.figures;
        figures.calls.store(run.calls(), Ordering::Relaxed);
        figures.tasks.store(run.tasks(), Ordering::Relaxed);
        let distinct = run.distinct() as u64;
        if figures.distinct.swap(distinct, Ordering::Relaxed) != distinct {
            *figures
                .latest_new
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = run.latest_new();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.figures.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the drawing thread must not affect the recording.
            let _ = thread.join();
        }
    }
}

/// The terminal for the line. `auto`: the controlling terminal, if the workload's output goes elsewhere.
fn target(when: When) -> Option<ProgressDrawTarget> {
    match when {
        When::Never => None,
        When::Always => Some(ProgressDrawTarget::stderr()),
        When::Auto => {
            let shared = stdout().is_terminal() || stderr().is_terminal();
            let terminal = File::options().read(true).write(true).open("/dev/tty");
            let terminal = terminal.ok().filter(|_| !shared)?;
            // In the background, another job has the terminal.
            let in_foreground = nix::unistd::tcgetpgrp(&terminal) == Ok(nix::unistd::getpgrp());
            let input = terminal.try_clone().ok().filter(|_| in_foreground)?;
            Some(ProgressDrawTarget::term(
                Term::read_write_pair(input, terminal),
                10,
            ))
        }
    }
}

fn draw(target: ProgressDrawTarget, figures: &Figures) {
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} recording {elapsed}: {msg}") {
        bar.set_style(style);
    }
    while !figures.over.load(Ordering::Relaxed) {
        bar.set_message(figures.show());
        bar.tick();
        std::thread::park_timeout(TICK);
    }
    bar.finish_and_clear();
}
