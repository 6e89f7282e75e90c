//! Records the system calls of a workload and writes its minimal seccomp profile.
//!
//! # Terminology
//!
//! - A *workload* is a command with everything it starts: the tree of its *tasks* (threads, of one process or many).
//! - A *system call* ([`syscall::Syscall`]) is a number in the table of an ABI (*arch*). Its name is derived.
//! - A *backend* ([`backend::Backend`]) watches a workload and reports *events* ([`event::Event`]).
//! - A *run* ([`recording::Run`]) is what was seen of one execution; a *recording* ([`recording::Recording`]) is all runs
//!   of one workload. A run is *complete* if no call can be missing.
//! - A *profile* ([`profile::Profile`]) says which *action* seccomp takes for which call: the default action, and
//!   *rules* of names, arguments and an action. A *policy* ([`profile::Policy`]) says what may be in a profile beyond what
//!   was recorded.
//! - A *filter* is what a profile is compiled to: the classic BPF program that the kernel runs at each call (seccomp(2)).
//! - A *tracee* is a task under ptrace(2); a *stop* is one of its ptrace-stops.
//!
//! # The flow
//!
//! [`backend`] → [`event`] → [`recording`] → [`profile`] → [`format`](mod@format). ARCHITECTURE.md says more.

pub mod atomic_file;
pub mod audit;
pub mod backend;
pub mod bpf;
pub mod command;
pub mod enforce;
pub mod event;
pub mod format;
pub mod import;
pub mod input;
pub mod nearest;
mod panic;
pub mod profile;
pub mod recording;
pub mod review;
pub mod session;
pub mod sys;
pub mod syscall;
pub mod trial;
