//! The calls for which call sites are wanted.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::syscall::Syscall;

/// The calls whose [`CallSite`](crate::event::CallSite) is wanted. Finding a call site takes time at every call, so
/// leave out the calls that a workload makes most often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    but: Arc<FxHashSet<Syscall>>,
}

impl Interest {
    /// In all calls but these.
    #[must_use]
    pub fn in_all_but(calls: impl IntoIterator<Item = Syscall>) -> Interest {
        Interest {
            but: Arc::new(calls.into_iter().collect()),
        }
    }

    /// Whether the call site of this call is wanted.
    #[must_use]
    pub fn wants(&self, syscall: Syscall) -> bool {
        !self.but.contains(&syscall)
    }
}
