//! The file formats of profiles. Each is one file and one row of `table.rs`.
//!
//! Reading is strict: an unknown part is an error with its position, never ignored. A part that another format can't express
//! is an error too, or, on request, omitted and listed ([`Lost`]), also in a comment where the format has comments. Written
//! profiles read back unchanged.

mod bpf;
mod by_call;
mod conditional;
mod detect;
mod docker;
mod document;
mod edit;
mod edit_json;
mod error;
mod falco;
mod file;
mod json;
mod kubernetes;
mod libseccomp;
mod machine;
mod minijail;
mod name;
mod oci;
mod reading;
mod row;
mod seccompiler;
mod spo;
mod systemd;
mod table;
mod writing;
mod yaml;

pub use conditional::{Conditional, conditionals};
pub use detect::detect;
pub use document::{Document, DocumentError, OnUnnamed, document};
pub use edit::{EditError, edit};
pub use error::{Invalid, Lost, ParseError, ParseErrorKind, Position, RenderError};
pub use file::{parse, read, render, write};
pub use machine::{KernelVersion, Machine};
pub use name::Format;
pub use reading::{Groups, MAX_BYTES, Parsed, Positions, Reading};
pub use systemd::groups_of_systemd;
pub use table::UnknownFormat;
pub use writing::{Companion, Compile, Writing, Written};

#[cfg(test)]
mod tests;
