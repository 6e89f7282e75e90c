//! Every `unsafe` block of the crate, behind safe functions.
//!
//! They cover what nix has no safe function for: raw wait statuses and signal numbers (nix's enums lack real-time
//! signals), parts of ptrace(2), and the code between fork(2) and execve(2).
#![allow(unsafe_code)]

pub(crate) mod allocator;
pub(crate) mod exec;
pub(crate) mod file;
pub mod inherited;
pub(crate) mod init;
pub(crate) mod inject;
pub(crate) mod launch;
pub(crate) mod netlink;
pub(crate) mod notify;
pub(crate) mod pidfd;
pub(crate) mod probe;
pub(crate) mod ptrace;
pub(crate) mod raw_call;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod supervise;
pub(crate) mod wait;
