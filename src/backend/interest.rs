//! The calls of which more is wanted than that they were made.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::ptrace;
use crate::syscall::{Syscall, arguments};

/// The calls whose [`CallSite`](crate::event::CallSite) or [arguments](crate::event::Event::Arguments) are wanted. Finding
/// either takes time at every call, so leave out the calls that a workload makes most often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    no_site: Option<Arc<FxHashSet<Syscall>>>,
    arguments: Arc<FxHashSet<Syscall>>,
}

impl Interest {
    /// In the call sites of all calls but these.
    #[must_use]
    pub fn in_all_but(calls: impl IntoIterator<Item = Syscall>) -> Interest {
        Interest {
            no_site: Some(Arc::new(calls.into_iter().collect())),
            arguments: Arc::default(),
        }
    }

    /// In the arguments that carry a choice, of the ABIs of this machine ([`arguments::watched`]).
    #[must_use]
    pub fn in_arguments(on_request: bool) -> Interest {
        let watched = arguments::watched(ptrace::abis(), on_request);
        Interest {
            no_site: None,
            arguments: Arc::new(watched.into_iter().collect()),
        }
    }

    /// Whether any call sites are wanted.
    #[must_use]
    pub fn has_sites(&self) -> bool {
        self.no_site.is_some()
    }

    /// Whether the call site of this call is wanted.
    #[must_use]
    pub fn wants(&self, syscall: Syscall) -> bool {
        let no_site = self.no_site.as_ref();
        no_site.is_some_and(|no_site| !no_site.contains(&syscall))
    }

    /// The calls whose arguments are wanted.
    pub fn arguments(&self) -> impl Iterator<Item = Syscall> {
        self.arguments.iter().copied()
    }

    /// Whether any arguments are wanted.
    #[must_use]
    pub fn has_arguments(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// Whether the arguments of this call are wanted.
    #[must_use]
    pub fn wants_arguments(&self, syscall: Syscall) -> bool {
        self.arguments.contains(&syscall)
    }
}
