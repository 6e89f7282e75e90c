//! Runs a command under a profile without a container engine: compiles the profile into a filter, checks the filter, loads
//! it, and executes the command.

mod compile;
mod conformance;
mod error;
mod exec;
mod filter;
mod notify;
mod runtime;

pub use compile::{compile, compile_known};
pub use error::CompileError;
pub use exec::{ExecError, Privileges, exec};
pub use filter::{Filter, FilterNote, OnUnknown, UnknownName};
pub use notify::NotifyError;
pub use runtime::compile_like;

#[cfg(test)]
mod tests;
