//! The arguments of clone3(2), which another task can change after the recorder read them.
//!
//! They are in memory. So the kernel is made to read a copy, which is in memory that the workload can't write: the vDSO is
//! mapped in whole pages, and nothing uses the rest of the last page. When a tracer writes there, the process gets a page of
//! its own.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use nix::errno::Errno;

use super::arch::width;
use super::stop::Stopped;
use crate::backend::memory::little_endian;
use crate::backend::proc;
use crate::syscall::Arch;

/// The size of `struct clone_args` in Linux 5.7 to 6.18 (`CLONE_ARGS_SIZE_VER2`).
const KNOWN: usize = 88;

/// The bytes that one copy may take.
const SIZE: usize = 128;
/// The same, for addresses.
const DISTANCE: u64 = SIZE as u64;

/// The least size of a page.
const PAGE: u64 = 4096;

/// The sizes that the kernel accepts: from the first version of the structure (`CLONE_ARGS_SIZE_VER0`) to a page.
const SIZES: RangeInclusive<usize> = 64..=4096;

/// Where a process has room for copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Where the vDSO begins.
    vdso: u64,
    /// The first copy.
    start: u64,
    copies: u64,
}

impl Room {
    /// Looks for the room in the process of a tracee.
    pub(super) fn find(stopped: &Stopped) -> Option<Room> {
        let vdso = proc::mapping_named(stopped.task(), b"[vdso]")?;
        let mut header = [0; 64];
        stopped.read_memory(vdso.start, &mut header).ok()?;
        Room::after(&vdso, image_size(&header)?)
    }

    fn after(vdso: &Range<u64>, image: u64) -> Option<Room> {
        let start = vdso.start.checked_add(image)?;
        let start = start.checked_next_multiple_of(DISTANCE)?;
        let copies = vdso.end.checked_sub(start)? / DISTANCE;
        (copies > 0).then_some(Room {
            vdso: vdso.start,
            start,
            copies,
        })
    }

    /// Whether the vDSO is still there: a process can move it.
    pub(super) fn is_there(self, stopped: &Stopped) -> bool {
        let mut magic = [0; 4];
        stopped.read_memory(self.vdso, &mut magic).is_ok() && magic == *MAGIC
    }

    /// Whether an argument of at most this value can be any place's address.
    pub(super) fn is_below(self, highest: u64) -> bool {
        self.start + self.copies * DISTANCE <= highest
    }

    fn places(self) -> impl Iterator<Item = u64> {
        (0..self.copies).map(move |index| self.start + index * DISTANCE)
    }
}

/// How an ELF file begins (elf(5)).
const MAGIC: &[u8; 4] = b"\x7fELF";

/// The size of an ELF image that ends with its section headers, as the vDSO does.
fn image_size(header: &[u8; 64]) -> Option<u64> {
    let class = header.strip_prefix(MAGIC)?.first()?;
    let number = |at: usize, size: usize| little_endian(&header[at..at + size]);
    // `e_shoff`, `e_shentsize` and `e_shnum`.
    let (headers, size, count) = match class {
        1 => (number(32, 4), number(46, 2), number(48, 2)),
        2 => (number(40, 8), number(58, 2), number(60, 2)),
        _ => return None,
    };
    // Without section headers, the end is unknown.
    (headers > 0).then(|| headers.saturating_add(size * count))
}

/// The copies that the kernel has yet to read, by address. Tasks of different processes don't use the same address at once
/// either, so it identifies the call.
#[derive(Debug, Default)]
pub(super) struct Copies(Rc<RefCell<Vec<u64>>>);

/// The place of a copy, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct CopySlot {
    pub(super) address: u64,
    used: Rc<RefCell<Vec<u64>>>,
}

impl Copies {
    /// Whether no place is free. One will be, soon: the kernel reads the arguments at the beginning of the call.
    pub(super) fn are_full(&self, room: Room) -> bool {
        let used = self.0.borrow();
        room.places().all(|address| used.contains(&address))
    }

    fn place(&self, room: Room) -> Option<CopySlot> {
        let mut used = self.0.borrow_mut();
        let address = room.places().find(|address| !used.contains(address))?;
        used.push(address);
        Some(CopySlot {
            address,
            used: Rc::clone(&self.0),
        })
    }
}

impl Drop for CopySlot {
    fn drop(&mut self) {
        let mut used = self.used.borrow_mut();
        used.retain(|address| *address != self.address);
    }
}

/// The result of copying a call's arguments.
#[derive(Debug)]
pub(super) enum Arguments {
    /// The kernel can read them at this place, with this size.
    Copied { place: CopySlot, size: u64 },
    /// The kernel refuses every structure of this size.
    Refused,
    /// They can't be read: EFAULT.
    Unreadable,
    /// They can't be read as a whole, and what can be is not 0 where the kernel expects that: E2BIG.
    TooLong,
    /// They can't be copied: the kernel will read the workload's own.
    InPlace,
}

/// Copies the arguments of a call of a tracee, without the flags `removed`.
pub(super) fn copy(
    stopped: &Stopped,
    copies: &Copies,
    room: Option<Room>,
    (address, size): (u64, u64),
    removed: u64,
) -> Arguments {
    let Some(size) = usize::try_from(size)
        .ok()
        .filter(|size| SIZES.contains(size))
    else {
        return Arguments::Refused;
    };
    let Some(room) = room else {
        return Arguments::InPlace;
    };
    let mut bytes = vec![0; size];
    match stopped.read_memory(address, &mut bytes) {
        Ok(()) => {}
        Err(Errno::EFAULT) if begins_too_long(stopped, address, &mut bytes) => {
            return Arguments::TooLong;
        }
        Err(Errno::EFAULT) => return Arguments::Unreadable,
        Err(_) => return Arguments::InPlace,
    }
    // The rest of a longer structure must be 0, unless the kernel knows it.
    let known = size.min(SIZE);
    let Some(place) = copies
        .place(room)
        .filter(|_| bytes[known..].iter().all(|&byte| byte == 0))
    else {
        return Arguments::InPlace;
    };
    let words = (place.address..).step_by(8).zip(bytes[..known].chunks(8));
    for (address, word) in words {
        // The flags come first.
        let removed = if address == place.address { removed } else { 0 };
        if !stopped.write_word(address, little_endian(word) & !removed) {
            return Arguments::InPlace;
        }
    }
    Arguments::Copied {
        place,
        size: known as u64,
    }
}

/// Whether something stands behind the fields that the kernel knows, before the first page that can't be read
/// (`check_zeroed_user`).
fn begins_too_long(stopped: &Stopped, address: u64, bytes: &mut [u8]) -> bool {
    // A structure of at most a page crosses one border.
    let readable = usize::try_from(address.wrapping_neg() % PAGE).unwrap_or_default();
    let Some(rest) = bytes.get_mut(KNOWN..readable) else {
        return false;
    };
    let place = address.wrapping_add(KNOWN as u64);
    stopped.read_memory(place, rest).is_ok() && rest.iter().any(|&byte| byte != 0)
}

/// The arguments of clone(2) that make the same task, without the flags `removed`, if there are such. They are in registers.
pub(super) fn for_clone(
    stopped: &Stopped,
    arch: Arch,
    (address, size): (u64, u64),
    removed: u64,
) -> Option<[u64; 5]> {
    let mut bytes = vec![
        0;
        usize::try_from(size)
            .ok()
            .filter(|size| SIZES.contains(size))?
    ];
    stopped.read_memory(address, &mut bytes).ok()?;
    let fields = bytes.chunks(8).map(little_endian).collect::<Vec<_>>();
    let mut registers = registers_of(arch, &fields)?;
    registers[0] &= !removed;
    Some(registers)
}

/// The arguments of clone(2) for those of clone3(2) in `struct clone_args`.
fn registers_of(arch: Arch, fields: &[u64]) -> Option<[u64; 5]> {
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
    const CLONE_DETACHED: u64 = 0x0040_0000;
    /// clone(2) has the signal in these bits, and no flag above 32 bits.
    const NO_FLAGS: u64 = !0xffff_ff00 | CLONE_DETACHED;
    let (
        &[
            flags,
            pidfd,
            child_tid,
            parent_tid,
            signal,
            stack,
            stack_size,
            tls,
        ],
        rest,
    ) = fields.split_first_chunk()?;
    let by_clone3_only = flags & NO_FLAGS != 0
        || rest.iter().any(|&field| field != 0)
        || flags & CLONE_PIDFD != 0 && flags & CLONE_PARENT_SETTID != 0;
    let is_refused = signal > 64 || (stack == 0) != (stack_size == 0);
    if by_clone3_only || is_refused {
        return None;
    }
    let parent_tid = if flags & CLONE_PIDFD == 0 {
        parent_tid
    } else {
        pidfd
    };
    let top = stack.checked_add(stack_size)?;
    let (fourth, fifth) = match arch {
        Arch::X86_64 | Arch::X32 => (child_tid, tls),
        _ => (tls, child_tid),
    };
    let registers = [flags | signal, top, parent_tid, fourth, fifth];
    let fit = registers.iter().all(|&register| register <= width(arch));
    fit.then_some(registers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_after_the_image_in_the_same_page() {
        let vdso = 0x7000..0x9000;
        let room = |image| Room::after(&vdso, image).map(|room| room.places().collect::<Vec<_>>());
        assert_eq!(room(0x1f00), Some(vec![0x8f00, 0x8f80]));
        assert_eq!(room(0x1e81), Some(vec![0x8f00, 0x8f80]));
        assert_eq!(room(0x1f81), None);
        assert_eq!(room(0x2000), None);
        assert_eq!(room(u64::MAX), None);
    }

    #[test]
    fn an_image_ends_with_its_section_headers() {
        let mut header = [0; 64];
        assert_eq!(image_size(&header), None);
        header[..5].copy_from_slice(b"\x7fELF\x02");
        assert_eq!(image_size(&header), None, "no section headers");
        header[40..44].copy_from_slice(&0x15e0_u32.to_le_bytes());
        (header[58], header[60]) = (64, 17);
        assert_eq!(image_size(&header), Some(0x15e0 + 17 * 64));
        header[4] = 1;
        header[32..36].copy_from_slice(&0x1200_u32.to_le_bytes());
        (header[46], header[48]) = (40, 10);
        assert_eq!(image_size(&header), Some(0x1200 + 400));
        header[4] = 3;
        assert_eq!(image_size(&header), None);
    }

    #[test]
    fn no_two_calls_use_the_same_place() {
        let room = Room::after(&(0x7000..0x9000), 0x1f00).unwrap();
        let copies = Copies::default();
        let first = copies.place(room).unwrap();
        let second = copies.place(room).unwrap();
        assert_ne!(first.address, second.address);
        assert!(copies.are_full(room) && copies.place(room).is_none());
        let address = first.address;
        drop(first);
        assert!(!copies.are_full(room));
        assert_eq!(copies.place(room).unwrap().address, address);
    }
}
