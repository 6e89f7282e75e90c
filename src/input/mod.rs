//! Input from outside, read in bounded memory.

pub(crate) mod lines;
pub(crate) mod text;
