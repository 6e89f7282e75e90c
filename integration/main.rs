//! Integration tests: complete workloads, the real kernel, and witnesses that are independent of the recorder.
//!
//! Run with `cargo test --test integration`. Each test declares its needs, and is ignored if they aren't met.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on has failed"
)]

#[macro_use(apply)]
extern crate macro_rules_attribute;

#[macro_use]
mod support;

mod arguments;
mod check;
mod command_line;
mod containers;
mod credits;
mod debuggers;
mod diff;
mod ebpf;
mod ends;
mod enforce;
mod engines;
mod explain;
mod files;
mod formats;
mod generate;
mod hostile;
mod import;
mod init;
mod invisible;
mod jobs;
mod journal;
mod kubernetes;
mod lifecycle;
mod like;
mod lint;
mod log;
mod merge;
mod minimize;
mod notify;
mod pipelines;
mod reach;
mod ready;
mod real;
mod recording;
mod registry;
mod report;
mod resolve;
mod same_run;
mod short_processes;
mod static_program;
mod stats;
mod users;
mod verify;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    support::harness::run()
}
