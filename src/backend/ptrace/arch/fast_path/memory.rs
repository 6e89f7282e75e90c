//! The memory of a tracee, where it can be written although the tracee itself couldn't.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::backend::proc;
use crate::event::Task;

/// The memory of a task.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn open(task: Task) -> Option<Memory> {
        proc::open_memory_for_writing(task).ok().map(Memory)
    }

    pub(super) fn has(&self, address: u64, bytes: &[u8]) -> bool {
        let mut found = vec![0; bytes.len()];
        self.0.read_exact_at(&mut found, address).is_ok() && found == bytes
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Option<()> {
        self.0.write_all_at(bytes, address).ok()
    }

    /// Replaces an instruction that other tasks may execute meanwhile: they find the old one, a breakpoint or the new one.
    pub(super) fn replace(&self, address: u64, bytes: &[u8]) -> Option<()> {
        let (first, rest) = bytes.split_first()?;
        self.write(address, &[super::stub::INT3])?;
        self.write(address + 1, rest)?;
        self.write(address, &[*first])
    }
}
