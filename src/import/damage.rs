//! Damaged logs, for the property tests of all imports.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One of these files, with some bytes changed and the end cut off.
pub(super) fn damaged(
    names: &'static [&'static str],
    read: fn(&str) -> Vec<u8>,
) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..20);
    (select(names), any::<Index>(), changes).prop_map(move |(name, cut, changes)| {
        let mut bytes = read(name);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()));
        bytes
    })
}
