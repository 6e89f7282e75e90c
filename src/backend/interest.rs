//! The calls for which call sites are wanted.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::syscall::Syscall;

/// The calls whose [`CallSite`](crate::event::CallSite) is wanted. To find it out takes time at every one of them, so it
/// shouldn't be those that a workload makes most.
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

    /// Whether more is wanted of this call.
    #[must_use]
    pub fn wants(&self, syscall: Syscall) -> bool {
        !self.but.contains(&syscall)
    }
}
