//! What calls do to mappings.

use std::ops::Range;

use nix::libc::user_regs_struct;

use super::AtExit;

/// What a call does to mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maps {
    Map,
    Unmap,
    Protect,
    Move,
    Attach,
    Remap,
}

impl Maps {
    /// Whether some such calls may be made without a stop; see [`filter`](super::stub::filter).
    pub(super) fn may_be_known(self) -> bool {
        matches!(self, Maps::Map | Maps::Unmap | Maps::Protect)
    }
}

/// A range of addresses. The kernel rounds up.
pub(super) fn pages(start: u64, length: u64) -> Range<u64> {
    start..start.saturating_add(length.saturating_add(4095))
}

pub(super) const MAPS: [(&str, Maps); 8] = [
    ("mmap", Maps::Map),
    ("mmap2", Maps::Map),
    ("munmap", Maps::Unmap),
    ("mprotect", Maps::Protect),
    ("pkey_mprotect", Maps::Protect),
    ("mremap", Maps::Move),
    ("shmat", Maps::Attach),
    ("remap_file_pages", Maps::Remap),
];

/// What one such call of a 64-bit program does, if it succeeds.
pub(super) struct Effect {
    /// What it maps or protects is code.
    pub(super) is_code: bool,
    /// The mappings whose place it takes, or whose protection it changes.
    pub(super) replaced: Vec<Range<u64>>,
    /// What is in these may be seen later: elsewhere, where jumps to chunks would lead nowhere, or as data.
    pub(super) moved_or_protected: bool,
    /// What it does is known at its exit only.
    pub(super) then: Option<AtExit>,
}

impl Effect {
    pub(super) fn of(what: Maps, r: &user_regs_struct) -> Effect {
        const PROT_WRITE: u64 = 2;
        const PROT_EXEC: u64 = 4;
        const MAP_FIXED: u64 = 0x10;
        const MREMAP_FIXED: u64 = 2;
        const SHM_REMAP: u64 = 0o40000;
        let given = pages(r.rdi, r.rsi);
        let is_code = matches!(what, Maps::Map | Maps::Protect) && r.rdx & PROT_EXEC != 0;
        let (replaced, then) = match what {
            Maps::Map if r.r10 & MAP_FIXED != 0 => (vec![given], None),
            Maps::Map => (vec![], is_code.then_some(AtExit::Mapped(r.rsi))),
            Maps::Unmap | Maps::Protect | Maps::Remap => (vec![given], None),
            Maps::Move if r.r10 & MREMAP_FIXED != 0 => {
                (vec![given, pages(r.r8, r.rdx)], Some(AtExit::Mapped(r.rdx)))
            }
            Maps::Move => (vec![given], Some(AtExit::Mapped(r.rdx))),
            // The kernel knows how long it is.
            Maps::Attach if r.rdx & SHM_REMAP != 0 => {
                (vec![pages(0, u64::MAX)], Some(AtExit::Look))
            }
            Maps::Attach => (vec![], Some(AtExit::Attached)),
        };
        Effect {
            is_code,
            replaced,
            moved_or_protected: match what {
                Maps::Protect => !is_code || r.rdx & PROT_WRITE != 0,
                _ => what == Maps::Move,
            },
            then,
        }
    }
}
