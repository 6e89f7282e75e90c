//! The wait for the next stop, which is most of what recording costs.
//!
//! A tracer that sleeps must be woken, mostly on another CPU than its tracee's; one that looks for the next stop again and
//! again keeps its tracee off its own CPU. Which costs more depends on the machine (waking an idle CPU of a virtual one can
//! take ten times as long as the rest of a stop) and on the workload. So both are tried, and the better one is used.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::stop::Change;
use crate::backend::Error;
use crate::event::Task;
use crate::sys::wait::{self, Patience, Status};

/// How a wait begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With looking, for [`LOOK_FOR`] at most.
    Look,
    /// With sleeping.
    Sleep,
}

/// How long a wait looks for the next stop before it sleeps after all: about as long as to sleep and be woken takes. The
/// CPU is offered to others at each look (`sched_yield(2)`).
const LOOK_FOR: Duration = Duration::from_micros(60);

/// After so many looks in vain, waits sleep: stops come too seldom for anything else to matter.
const LOOKS_IN_VAIN: u32 = 4;

/// The stops after which the two ways are compared. The first half of a round isn't measured: the scheduler needs a while
/// until it has moved the tasks to where they stay with this way.
const ROUND: u32 = 512;

/// One round in so many tries the way that was slower the last time.
const TRY_THE_OTHER: u32 = 32;

/// Waits for the next change of any tracee of the calling thread.
#[derive(Debug)]
pub(super) struct Waiter {
    way: Way,
    /// What a stop took lately, the tracees' own time included, when waits looked and when they slept.
    looking: Option<Duration>,
    sleeping: Option<Duration>,
    rounds: u32,
    /// Of this round.
    stops: u32,
    /// The half of this round.
    since: Instant,
    in_vain: u32,
}

impl Waiter {
    pub(super) fn new() -> Waiter {
        Waiter {
            way: Way::Look,
            looking: None,
            sleeping: None,
            rounds: 0,
            stops: 0,
            since: Instant::now(),
            in_vain: 0,
        }
    }

    /// Waits for the next change.
    pub(super) fn next(&mut self) -> Result<Change, Error> {
        self.stops += 1;
        match self.stops {
            stops if stops == ROUND / 2 => self.since = Instant::now(),
            ROUND => self.compare(),
            _ => {}
        }
        let found = match self.look() {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => self.sleep(),
            Err(errno) => Err(errno),
        };
        match found {
            Ok(Some((task, status))) => Ok(Change::of(task, status)),
            Ok(None) | Err(Errno::EINTR) => Ok(Change::Interrupted),
            Err(Errno::ECHILD) => Ok(Change::NobodyLeft),
            Err(source) => Err(Error::System {
                operation: "waiting for the workload (wait4)",
                source,
            }),
        }
    }

    /// Ends a round: from now on waits begin the way that was faster.
    fn compare(&mut self) {
        let took = self.since.elapsed() / (ROUND / 2);
        let before = match self.way {
            Way::Look => &mut self.looking,
            Way::Sleep => &mut self.sleeping,
        };
        // Half of it is what was known: one odd round doesn't decide.
        *before = Some(before.map_or(took, |before| (before + took) / 2));
        // What wasn't tried yet counts as the fastest.
        let faster = if self.looking < self.sleeping {
            Way::Look
        } else {
            Way::Sleep
        };
        self.rounds = (self.rounds + 1) % TRY_THE_OTHER;
        self.way = match (self.rounds, faster) {
            (0, Way::Look) => Way::Sleep,
            (0, Way::Sleep) => Way::Look,
            (_, faster) => faster,
        };
        self.stops = 0;
        self.in_vain = 0;
    }

    fn look(&mut self) -> nix::Result<Option<(Task, Status)>> {
        if self.way == Way::Sleep || self.in_vain >= LOOKS_IN_VAIN {
            return Ok(None);
        }
        let start = Instant::now();
        while start.elapsed() < LOOK_FOR {
            if let Some(found) = wait::wait_any(Patience::Poll)? {
                self.in_vain = 0;
                return Ok(Some(found));
            }
            std::thread::yield_now();
        }
        self.in_vain += 1;
        Ok(None)
    }

    fn sleep(&mut self) -> nix::Result<Option<(Task, Status)>> {
        let start = Instant::now();
        let found = wait::wait_any(Patience::Block)?;
        // It would have been worth to look.
        if start.elapsed() < 2 * LOOK_FOR {
            self.in_vain = self.in_vain.saturating_sub(1);
        }
        Ok(found)
    }
}
