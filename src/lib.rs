//! Records the system calls of a workload and writes its minimal seccomp profile.

pub mod atomic_file;
pub mod backend;
pub mod command;
pub mod event;
pub mod format;
pub mod profile;
pub mod recording;
pub mod sys;
pub mod syscall;
