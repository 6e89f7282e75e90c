//! Trials: runs of a command under a profile, to learn whether the profile fits.

mod calls;
mod compare;
mod inject;
mod minimize;
mod run;
mod verify;

pub use calls::{CallNames, allowed_calls, made_calls, name_of, without_calls};
pub use compare::{ComparedStreams, UsualStderr, difference, last_line};
pub use inject::{InjectError, InjectOutcome, InjectVerdict, Injected, inject};
pub use minimize::{Candidates, Questions, SearchResult, find_dispensable};
pub use run::{Limits, Trial, TrialEnd, TrialError, TrialResult};
pub use verify::{Denial, DenialOutcome, FirstDenial, SaidBy, Verified, Verifier};
