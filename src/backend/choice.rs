//! Picks the backend: the first that can record the target.

use super::{Backend, Promise, Target, Unavailable};

/// The backend that was picked, and the result of probing each.
pub struct BackendChoice<'a> {
    /// The backend to record with.
    pub picked: &'a dyn Backend,
    /// Its promise.
    pub promise: Promise,
    /// The backends that were preferred to it, and why each can't record.
    pub better: Vec<(&'static str, Unavailable)>,
    /// The results of the backends after it, if they were probed.
    pub others: Vec<(&'static str, Result<Promise, Unavailable>)>,
}

/// No backend can record a target, and why.
#[derive(Debug, thiserror::Error)]
#[error("no backend can record this: {}", list(.0))]
pub struct NoBackend(pub Vec<(&'static str, Unavailable)>);

fn list(missing: &[(&'static str, Unavailable)]) -> String {
    let all = (missing.iter()).map(|(name, why)| format!("{name}: {}", why.chain()));
    all.collect::<Vec<_>>().join("; ")
}

impl Unavailable {
    /// The error with its causes, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        super::chain(self)
    }
}

impl<'a> BackendChoice<'a> {
    /// Picks the first of these that can record the target. Probing takes time, so the backends after it are probed
    /// only on request (`all`).
    pub fn make(
        backends: &'a [Box<dyn Backend>],
        target: &Target,
        all: bool,
    ) -> Result<BackendChoice<'a>, NoBackend> {
        let mut better = Vec::new();
        for (index, backend) in backends.iter().enumerate() {
            match backend.probe(target) {
                Ok(promise) => {
                    let others = backends[index + 1..].iter().filter(|_| all);
                    return Ok(BackendChoice {
                        picked: backend.as_ref(),
                        promise,
                        better,
                        others: others.map(|b| (b.name(), b.probe(target))).collect(),
                    });
                }
                Err(why) => better.push((backend.name(), why)),
            }
        }
        Err(NoBackend(better))
    }
}
