//! The memory of other processes.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Reads the memory of a process, as far as it could itself; EFAULT: it couldn't read all of it.
pub(super) fn read(process: Pid, address: u64, bytes: &mut [u8]) -> nix::Result<()> {
    let place = RemoteIoVec {
        base: usize::try_from(address).map_err(|_| Errno::EFAULT)?,
        len: bytes.len(),
    };
    let read = process_vm_readv(process, &mut [IoSliceMut::new(bytes)], &[place])?;
    if read == place.len {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// A number of up to 8 bytes, as x86 and arm64 store it.
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    let add = |number, &byte: &u8| number << 8 | u64::from(byte);
    bytes.iter().rev().fold(0, add)
}
