//! What the backends share that answer seccomp notifications: who calls ([`callers`]), and the process that answers when
//! the recorder is gone ([`keeper`]).

pub(super) mod callers;
pub(super) mod keeper;
