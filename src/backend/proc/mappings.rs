//! Reads the mappings of a task: `/proc/PID/maps`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::files::{open, read_large};
use crate::event::{Code, Task};

/// The mappings of a task; none if they can't be read.
pub(in crate::backend) fn mappings(task: Task) -> Vec<Mapping> {
    let maps = read_large(task, "maps").unwrap_or_default();
    let mappings = maps.split(|&byte| byte == b'\n').filter_map(Mapping::parse);
    mappings.collect()
}

/// The first mapping of a task with this name, such as `[vdso]`.
pub(in crate::backend) fn mapping_named(task: Task, name: &[u8]) -> Option<Range<u64>> {
    let mut mappings = mappings(task).into_iter();
    let found = mappings.find(|mapping| mapping.name == name)?;
    Some(found.range)
}

/// Whether a task maps memory that another process can have too, or it can't be found out.
pub(in crate::backend) fn has_shared_mappings(task: Task) -> bool {
    let mappings = mappings(task);
    mappings.is_empty() || (mappings.iter()).any(|mapping| mapping.permissions[3] == b's')
}

/// The files that a task has mapped as executable, as paths in its mount namespace.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn executable_files_of(task: Task) -> Vec<PathBuf> {
    (mappings(task).into_iter())
        .filter(|mapping| mapping.permissions[2] == b'x' && mapping.name.starts_with(b"/"))
        .map(|mapping| PathBuf::from(OsString::from_vec(mapping.name)))
        .collect()
}

/// The code that a task has mapped at an address.
pub(in crate::backend) fn code_at(task: Task, address: u64) -> Code {
    open(task, "maps").map_or(Code::Unknown, |maps| {
        find_code(BufReader::new(maps), address)
    })
}

/// Looks for an address in the lines of `/proc/PID/maps`: `start-end mode offset device inode path`.
fn find_code(maps: impl BufRead, address: u64) -> Code {
    let mut lines = maps.split(b'\n').map_while(Result::ok);
    let found = lines.find_map(|line| Mapping::parse(&line).filter(|m| m.range.contains(&address)));
    found.map_or(Code::Unknown, |mapping| mapping.code_at(address))
}

/// A line of `/proc/PID/maps`.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only the fast path of x86-64 reads all fields")
)]
#[derive(Debug)]
pub(in crate::backend) struct Mapping {
    pub(in crate::backend) range: Range<u64>,
    /// Such as `r-xp`.
    pub(in crate::backend) permissions: [u8; 4],
    pub(in crate::backend) offset: u64,
    pub(in crate::backend) inode: u64,
    /// As the kernel prints it: newlines are `\012`.
    pub(in crate::backend) name: Vec<u8>,
}

impl Mapping {
    fn parse(line: &[u8]) -> Option<Mapping> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let hex = |field: &[u8]| u64::from_str_radix(str::from_utf8(field).ok()?, 16).ok();
        let range = fields.next()?;
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
        let permissions = fields.next()?.try_into().ok()?;
        let offset = hex(fields.next()?)?;
        let inode = str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        let name = fields.next()?.trim_ascii_start();
        Some(Mapping {
            range: start..end,
            permissions,
            offset,
            inode,
            name: name.to_vec(),
        })
    }

    fn code_at(&self, address: u64) -> Code {
        let inside = address - self.range.start;
        match self.name.first() {
            None => Code::Anonymous,
            Some(b'[') => Code::Named {
                name: String::from_utf8_lossy(&self.name).into_owned(),
                offset: inside,
            },
            Some(_) => {
                let kept = self.name.strip_suffix(b" (deleted)");
                Code::File {
                    path: PathBuf::from(OsString::from_vec(unescape(kept.unwrap_or(&self.name)))),
                    offset: self.offset.wrapping_add(inside),
                    deleted: kept.is_some(),
                }
            }
        }
    }
}

/// Undoes the kernel's escaping of newlines (`seq_path`).
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut rest = path;
    let mut plain = Vec::with_capacity(path.len());
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::task::name_of;
    use super::*;

    #[test]
    fn an_address_is_found_in_its_mapping() {
        let maps = b"\
00400000-00452000 r--p 00000000 08:02 173521                             /usr/bin/a b
00452000-00500000 r-xp 00052000 08:02 173521                             /usr/bin/a b
01000000-01001000 r-xp 00000000 08:02 173522                             /tmp/x\\012y (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";
        let check = |address, expect: &str| {
            let code = find_code(&maps[..], address);
            assert_eq!(code.to_string(), expect, "{address:#x}");
        };
        check(0x40_0000, "/usr/bin/a b+0x0");
        check(0x45_2010, "/usr/bin/a b+0x52010");
        check(0x50_0000, "unknown");
        check(0x100_0002, r"/tmp/x\ny+0x2 (deleted)");
        check(0x7f00_0000_0fff, "anonymous memory");
        check(0x7ffd_0000_1234, "[vdso]+0x1234");
        check(0xffff_ffff_ff60_0009, "[vsyscall]+0x9");
        check(0, "unknown");
        assert_eq!(find_code(&b"nonsense\n1-2\n"[..], 1), Code::Unknown);
    }

    #[test]
    fn the_code_and_the_name_of_this_process_are_found() {
        let task = Task(nix::unistd::gettid().as_raw());
        let here = Mapping::parse as fn(&[u8]) -> Option<Mapping> as usize as u64;
        let Code::File { path, deleted, .. } = code_at(task, here) else {
            panic!("{:?}", code_at(task, here));
        };
        assert_eq!((path, deleted), (std::env::current_exe().unwrap(), false));
        assert!(name_of(task).is_some());
        assert_eq!(code_at(Task(-1), 0), Code::Unknown);
    }
}
