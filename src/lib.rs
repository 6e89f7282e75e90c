//! Records the system calls of a workload and writes its minimal seccomp profile.
//!
//! # Terminology
//!
//! - A *workload* is a command with all its descendants: a tree of *tasks* (threads, of one or more processes).
//! - A *system call* ([`syscall::Syscall`]) is a number in the table of an ABI (*arch*). Its name is derived.
//! - A *backend* ([`backend::Backend`]) observes a workload and reports *events* ([`event::Event`]).
//! - A *run* ([`recording::Run`]) describes one execution; a *recording* ([`recording::Recording`]) holds all runs of
//!   one workload. A run is *complete* if no call can be missing.
//! - A *profile* ([`profile::Profile`]) defines the *action* of seccomp for each call: a default action, and *rules* of
//!   names, arguments and an action. A *policy* ([`profile::Policy`]) determines which unrecorded calls a profile
//!   allows.
//! - A *filter* is a compiled profile: the classic BPF program that the kernel runs at each call (seccomp(2)).
//! - A *tracee* is a task under ptrace(2); a *stop* is one of its ptrace-stops.
//!
//! # The flow
//!
//! [`backend`] → [`event`] → [`recording`] → [`profile`] → [`format`](mod@format). See ARCHITECTURE.md.

pub mod atomic_file;
pub mod audit;
pub mod backend;
pub mod bpf;
pub mod command;
pub mod enforce;
pub mod engines;
pub mod escape;
pub mod event;
pub mod format;
pub mod import;
pub mod input;
pub mod nearest;
mod panic;
pub mod profile;
pub mod reach;
pub mod recording;
pub mod registry;
pub mod review;
pub mod session;
pub mod sys;
pub mod syscall;
pub mod trial;
