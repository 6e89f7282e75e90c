//! Input from outside, read in bounded memory.

mod file;
pub(crate) mod lines;
pub(crate) mod text;

pub use file::{FileKind, ReadError, read_file};
pub(crate) use file::{is_endless, read_any, require_text};
