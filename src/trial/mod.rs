//! Trials: runs of a command under a profile, to learn whether the profile fits.

mod compare;
mod inject;
mod minimize;
mod run;
mod verify;

pub use compare::{ComparedStreams, UsualStderr, difference, last_line};
pub use inject::{InjectError, InjectOutcome, InjectVerdict, Injected, inject};
pub use minimize::{
    CallNames, Candidates, Questions, SearchResult, allowed_calls, find_dispensable, made_calls,
    name_of, without_calls,
};
pub use run::{Limits, Trial, TrialEnd, TrialError, TrialResult};
pub use verify::{Denial, DenialOutcome, FirstDenial, SaidBy, Verified, Verifier};
