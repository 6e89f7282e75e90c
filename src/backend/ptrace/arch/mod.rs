//! The code that depends on the machine's architecture: registers, how a call is skipped or entered again, the ABIs of the
//! machine, and the calls that ptrace(2) doesn't show.
//!
//! Each architecture is one file with a [`MACHINE`], an implementation of [`CallRegisters`], and a `Vsyscall`.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod fast_path;
mod machine;
#[cfg(target_arch = "x86_64")]
mod vsyscall;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{
    AtExit, Entered, FastPath, MACHINE, Registers, Vsyscall, can_allow, known_calls,
};
#[cfg(target_arch = "x86_64")]
pub(super) use fast_path::{AtExit, Entered, FastPath, can_allow, filter as known_calls};
pub(super) use machine::{CallEntry, CallRegisters, NOTHING, width};
#[cfg(target_arch = "x86_64")]
pub(super) use vsyscall::Vsyscall;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{MACHINE, Registers};

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
compile_error!("the ptrace backend needs a file for this architecture in src/backend/ptrace/arch");
