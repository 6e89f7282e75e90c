//! The fence around `unsafe`: every system call that needs it, behind a safe function.
#![allow(unsafe_code)]

pub mod sigpipe;
