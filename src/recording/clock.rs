//! The times of events, and how times are written.

use std::time::{Duration, Instant, SystemTime};

use super::Run;

/// The source of the times of events.
pub(super) enum Clock {
    /// The start of the run. Events happen when they arrive.
    Running(Instant),
    /// Events are of the past, and no [`Event::Clock`](crate::event::Event::Clock) came yet.
    Unset,
    /// Events happened at the time of the latest [`Event::Clock`](crate::event::Event::Clock), since 1970.
    Set {
        now: Duration,
        earliest: Duration,
        latest: Duration,
    },
}

impl Clock {
    /// Since the start of the run, or since 1970 if the start is not known before the end.
    pub(super) fn now(&self) -> Option<Duration> {
        match self {
            Clock::Running(start) => Some(start.elapsed()),
            Clock::Unset => None,
            Clock::Set { now, .. } => Some(*now),
        }
    }

    pub(super) fn set(&mut self, time: SystemTime) {
        let now = (time.duration_since(SystemTime::UNIX_EPOCH)).unwrap_or_default();
        let (earliest, latest) = match *self {
            Clock::Running(_) | Clock::Unset => (now, now),
            Clock::Set {
                earliest, latest, ..
            } => (earliest.min(now), latest.max(now)),
        };
        *self = Clock::Set {
            now,
            earliest,
            latest,
        };
    }

    /// What times of events are since.
    pub(super) fn zero(&self, run: &Run) -> SystemTime {
        match self {
            Clock::Running(_) => run.started,
            Clock::Unset | Clock::Set { .. } => SystemTime::UNIX_EPOCH,
        }
    }

    /// Sets when the run started and how long it took. Returns its start as [`Clock::now`] counts.
    pub(super) fn finish(&self, run: &mut Run) -> Duration {
        match *self {
            Clock::Running(start) => {
                run.duration = start.elapsed();
                Duration::ZERO
            }
            Clock::Unset => Duration::ZERO,
            Clock::Set {
                earliest, latest, ..
            } => {
                run.started = SystemTime::UNIX_EPOCH + earliest;
                run.duration = latest.saturating_sub(earliest);
                earliest
            }
        }
    }
}

/// A time in files and messages: RFC 3339, UTC, whole milliseconds, from 1970 to the end of the year 9999.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let ms = i64::try_from(whole_ms(since_1970.unwrap_or_default())).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// A duration in files: whole milliseconds.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
