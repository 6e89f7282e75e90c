//! The kernel's type information (BTF), reduced to what loading the programs takes. aya compares each type that the
//! programs read with all of the kernel's, of which there are more than 100,000, and keeps them in memory.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>.

use aya::{Btf, Endianness};

/// Where the kernel shows it.
pub(super) const FILE: &str = "/sys/kernel/btf/vmlinux";

/// What the programs read: the types that `record/kernel.h` marks with `CORE`.
const READ: [&[u8]; 27] = [
    b"thread_info\0",
    b"seccomp\0",
    b"qstr\0",
    b"super_block\0",
    b"inode\0",
    b"hlist_bl_node\0",
    b"dentry\0",
    b"vfsmount\0",
    b"ns_common\0",
    b"mnt_namespace\0",
    b"nsproxy\0",
    b"mount\0",
    b"path\0",
    b"file\0",
    b"mm_struct\0",
    b"pid_namespace\0",
    b"upid\0",
    b"pid\0",
    b"kernfs_node\0",
    b"cgroup_subsys_state\0",
    b"cgroup_root\0",
    b"cgroup\0",
    b"css_set\0",
    b"task_struct\0",
    b"io_kiocb\0",
    b"bpf_iter_meta\0",
    b"bpf_iter__task\0",
];
/// The beginning of the names of the types that tracepoints have.
const TRACEPOINT: &[u8] = b"btf_trace_";
/// The function that the iterator of tasks has.
const ITERATOR: &[u8] = b"bpf_iter_task\0";

const POINTER: u32 = 2;
const INTEGER: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FORWARD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNCTION: u32 = 12;
const FUNCTION_PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const FLOAT: u32 = 16;
const DECLARATION_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Reads the kernel's types; `None` if it has none, or in another format.
pub(super) fn read() -> Option<Btf> {
    let all = std::fs::read(FILE).ok()?;
    let reduced = Types::of(&all)?.reduced()?;
    drop(all);
    Btf::parse(&reduced, Endianness::default()).ok()
}

/// The types by their ids.
struct Types<'a> {
    header: &'a [u8],
    /// `struct btf_type` with what follows it. The first, `void`, is none.
    by_id: Vec<&'a [u8]>,
    names: &'a [u8],
}

impl<'a> Types<'a> {
    fn of(btf: &'a [u8]) -> Option<Types<'a>> {
        const HEADER: usize = 24;
        let part = |offset: usize| {
            let offset = at(btf, offset)?;
            btf.get(usize::try_from(at(btf, 4)?.checked_add(offset)?).ok()?..)
        };
        let length = |offset: usize| usize::try_from(at(btf, offset)?).ok();
        let mut rest = part(8)?.get(..length(12)?)?;
        let mut by_id = vec![&btf[..0]];
        while !rest.is_empty() {
            let (one, others) = rest.split_at_checked(size(rest)?)?;
            by_id.push(one);
            rest = others;
        }
        Some(Types {
            header: btf.get(..HEADER)?,
            by_id,
            names: part(16)?.get(..length(20)?)?,
        })
    }

    /// The same ids, with only those types that are needed, and what these hold other than by a pointer.
    fn reduced(&self) -> Option<Vec<u8>> {
        /// A type without a name that is declared only.
        const NONE: [u32; 3] = [0, FORWARD << 24, 0];
        let mut keeps = vec![false; self.by_id.len()];
        let mut open: Vec<usize> = (1..self.by_id.len())
            .filter(|&id| self.is_needed(id))
            .collect();
        while let Some(id) = open.pop() {
            if !std::mem::replace(keeps.get_mut(id)?, true) {
                self.held_by(id, &mut open)?;
            }
        }
        let mut kept = Vec::new();
        for (id, one) in self.by_id.iter().enumerate().skip(1) {
            if keeps[id] {
                kept.extend_from_slice(one);
            } else {
                kept.extend(NONE.into_iter().flat_map(u32::to_ne_bytes));
            }
        }
        let length = u32::try_from(kept.len()).ok()?.to_ne_bytes();
        let names_length = u32::try_from(self.names.len()).ok()?.to_ne_bytes();
        let header_length = u32::try_from(self.header.len()).ok()?.to_ne_bytes();
        let mut reduced = self.header.get(..4)?.to_vec();
        for word in [header_length, [0; 4], length, length, names_length] {
            reduced.extend(word);
        }
        reduced.extend(kept);
        reduced.extend_from_slice(self.names);
        Some(reduced)
    }

    fn is_needed(&self, id: usize) -> bool {
        let is_it = || {
            let one = self.by_id[id];
            let name = self.names.get(usize::try_from(at(one, 0)?).ok()?..)?;
            Some(match kind(one)? {
                STRUCT => READ.iter().any(|read| name.starts_with(read)),
                TYPEDEF => name.starts_with(TRACEPOINT),
                FUNCTION => name.starts_with(ITERATOR),
                _ => false,
            })
        };
        is_it().unwrap_or(false)
    }

    /// The types that a value of this one holds.
    fn held_by(&self, id: usize, held: &mut Vec<usize>) -> Option<()> {
        let Some(one) = self.by_id.get(id).filter(|one| !one.is_empty()) else {
            return Some(());
        };
        let mut push = |offset| {
            held.push(usize::try_from(at(one, offset)?).ok()?);
            Some(())
        };
        match kind(one)? {
            STRUCT | UNION => (0..count(one)?).try_for_each(|n| push(12 + 12 * n + 4)),
            ARRAY => [12, 16].into_iter().try_for_each(push),
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => push(8),
            _ => Some(()),
        }
    }
}

/// The number at an offset.
fn at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn kind(one: &[u8]) -> Option<u32> {
    Some(at(one, 4)? >> 24 & 0x1f)
}

/// How many members it has.
fn count(one: &[u8]) -> Option<usize> {
    usize::try_from(at(one, 4)? & 0xffff).ok()
}

/// The size of the first of these types.
fn size(types: &[u8]) -> Option<usize> {
    let members = count(types)?;
    let follows = match kind(types)? {
        POINTER | FORWARD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNCTION | FLOAT | TYPE_TAG => {
            0
        }
        INTEGER | VARIABLE | DECLARATION_TAG => 4,
        ARRAY => 12,
        ENUM | FUNCTION_PROTOTYPE => 8 * members,
        STRUCT | UNION | SECTION | ENUM64 => 12 * members,
        _ => return None,
    };
    Some(12 + follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_read_is_kept() {
        let source = include_str!("record/kernel.h");
        let declared = source.split("\nstruct ").skip(1);
        let declared = declared.filter(|text| {
            let end = text.find("\n}").unwrap_or_default();
            text[end..].starts_with("\n} CORE;")
        });
        let names = declared.map(|text| text.split(' ').next().unwrap().to_owned() + "\0");
        let mut names: Vec<Vec<u8>> = names.map(String::into_bytes).collect();
        let mut read = READ.map(<[u8]>::to_vec).to_vec();
        names.sort();
        read.sort();
        assert_eq!(names, read);
    }

    #[test]
    fn types_keep_their_ids_and_what_they_hold() {
        let names = b"\0int\0pid\0upid\0other\0a\0b\0";
        let int = [1, INTEGER << 24, 4, 32].as_slice();
        let other = [14, STRUCT << 24 | 1, 4, 20, 1, 0].as_slice();
        // Without a name: held by pid, holds an array.
        let inner = [0, UNION << 24 | 1, 4, 22, 4, 0].as_slice();
        let array = [0, ARRAY << 24, 0, 1, 1, 4].as_slice();
        let pointer = [0, POINTER << 24, 2].as_slice();
        let pid = [5, STRUCT << 24 | 2, 16, 20, 3, 0, 22, 5, 64].as_slice();
        let types = [int, other, inner, array, pointer, pid].concat();
        let length = u32::try_from(4 * types.len()).unwrap();
        let header = [
            0x0001_eb9f,
            24,
            0,
            length,
            length,
            u32::try_from(names.len()).unwrap(),
        ];
        let mut btf: Vec<u8> = Vec::new();
        btf.extend(header.into_iter().chain(types).flat_map(u32::to_ne_bytes));
        btf.extend(names);

        let reduced = Types::of(&btf).unwrap().reduced().unwrap();
        let kinds = |btf: &[u8]| {
            let types = Types::of(btf).unwrap().by_id;
            let kinds = types[1..].iter().map(|one| kind(one).unwrap());
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(&btf),
            [INTEGER, STRUCT, UNION, ARRAY, POINTER, STRUCT]
        );
        assert_eq!(
            kinds(&reduced),
            [INTEGER, FORWARD, UNION, ARRAY, POINTER, STRUCT]
        );
        for length in 0..btf.len() {
            assert!(Types::of(&btf[..length]).is_none(), "{length}");
        }
    }
}
