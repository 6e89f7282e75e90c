//! What a task does on signals, and which are pending for it.

use super::files::{field, read};
use crate::event::Task;

/// The disposition of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Disposition {
    Default,
    Ignored,
    Handled,
}

/// A set of signals in a task's status, as a bit mask.
fn set_in(status: &str, set: &str) -> Option<u64> {
    u64::from_str_radix(field(status, set)?, 16).ok()
}

/// Whether a signal (1 to 64) is in one of the sets of signals of a task's status; `None` if the task is gone.
fn in_signal_set(task: Task, set: &str, signal: i32) -> Option<bool> {
    let set = set_in(&read(task, "status").ok()?, set)?;
    Some(set >> (signal - 1) & 1 == 1)
}

/// A task's disposition of a signal (1 to 64); `None` if the task is gone.
pub(in crate::backend) fn disposition(task: Task, signal: i32) -> Option<Disposition> {
    Some(if in_signal_set(task, "SigIgn:", signal)? {
        Disposition::Ignored
    } else if in_signal_set(task, "SigCgt:", signal)? {
        Disposition::Handled
    } else {
        Disposition::Default
    })
}

/// Whether a task has a handler for a signal (1 to 64).
pub(in crate::backend) fn handles(task: Task, signal: i32) -> bool {
    in_signal_set(task, "SigCgt:", signal) == Some(true)
}

/// Whether a task runs, or is about to, and blocks or ignores a signal (1 to 64): if the kernel forces it on the task, it unblocks the
/// signal and resets its action (`force_sig_info_to_task`).
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn runs_without(task: Task, signal: i32) -> bool {
    let status = read(task, "status").unwrap_or_default();
    let has = |set| set_in(&status, set).is_some_and(|set| set >> (signal - 1) & 1 == 1);
    let runs = field(&status, "State:").is_some_and(|state| state.starts_with('R'));
    runs && (has("SigBlk:") || has("SigIgn:"))
}

/// Whether a signal (1 to 64) is pending for a process or its leader because it is blocked.
pub(in crate::backend) fn has_pending(process: Task, signal: i32) -> bool {
    ["SigPnd:", "ShdPnd:"]
        .iter()
        .any(|set| in_signal_set(process, set, signal) == Some(true))
}

/// Whether a signal is pending for a task or its process that the task doesn't block and has a handler for.
pub(in crate::backend) fn is_about_to_handle(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    let set = |name| set_in(&status, name).unwrap_or_default();
    (set("SigPnd:") | set("ShdPnd:")) & set("SigCgt:") & !set("SigBlk:") != 0
}
