//! Where functions begin and end, by the unwind data of an ELF file (`.eh_frame`, LSB).

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::backend::memory::little_endian;

/// A segment that is loaded.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its addresses in the file's own terms, as far as the file has its bytes.
    pub(super) addresses: Range<u64>,
    pub(super) offset: u64,
    pub(super) is_code: bool,
}

/// An ELF file of x86-64 and its functions.
#[derive(Debug)]
pub(super) struct Elf {
    file: File,
    pub(super) segments: Vec<Segment>,
    /// The first address of each function and the address of its description, in ascending order.
    functions: Vec<(u64, u64)>,
    /// Whether the descriptions that refer to a common one (CIE) have addresses as they are read here.
    readable: HashMap<u64, bool>,
}

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`
const PC_RELATIVE: u8 = 0x1b;
/// What compilers write at the beginning of `.eh_frame_hdr`: the version and the encodings of the table.
const TABLE: [u8; 4] = [1, PC_RELATIVE, 0x03, 0x3b];
/// How large a table or a section may be.
const LARGEST: u64 = 64 << 20;

/// A little-endian number of at most 8 bytes.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(little_endian(bytes))
}

/// Adds the signed 32-bit number that is at a place to an address.
fn relative(bytes: &[u8], at: usize, to: u64) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(to.wrapping_add_signed(i32::from_le_bytes(bytes).into()))
}

impl Elf {
    pub(super) fn open(file: File) -> Option<Elf> {
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0).ok()?;
        // 64 bits, little endian, x86-64.
        if !header.starts_with(b"\x7fELF\x02\x01") || number(&header, 18, 2)? != 62 {
            return None;
        }
        let size = number(&header, 54, 2)?;
        let count = number(&header, 56, 2)?;
        let mut table = vec![0; usize::try_from(size * count).ok()?];
        file.read_exact_at(&mut table, number(&header, 32, 8)?)
            .ok()?;
        let mut elf = Elf {
            file,
            segments: Vec::new(),
            functions: Vec::new(),
            readable: HashMap::new(),
        };
        let mut unwind = None;
        for entry in table.chunks_exact(usize::try_from(size).ok()?.max(56)) {
            let field = |at| number(entry, at, 8);
            match u32::try_from(number(entry, 0, 4)?).ok()? {
                PT_LOAD => elf.segments.push(Segment {
                    addresses: field(16)?..field(16)?.checked_add(field(32)?)?,
                    offset: field(8)?,
                    is_code: number(entry, 4, 4)? & u64::from(PF_X) != 0,
                }),
                PT_GNU_EH_FRAME => unwind = Some(field(16)?..field(16)?.checked_add(field(32)?)?),
                _ => {}
            }
        }
        // What can't be read has no functions.
        let functions = match unwind {
            Some(table) => elf.functions_of_table(&table),
            None => elf.functions_of_section(&header),
        };
        elf.functions = functions.unwrap_or_default();
        if !elf.functions.is_sorted() {
            elf.functions.sort_unstable();
        }
        Some(elf)
    }

    pub(super) fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// The bytes at an address in the file's own terms.
    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let end = address.checked_add(bytes.len() as u64)?;
        let holds =
            |segment: &&Segment| segment.addresses.start <= address && end <= segment.addresses.end;
        let segment = self.segments.iter().find(holds)?;
        let offset = segment
            .offset
            .checked_add(address - segment.addresses.start)?;
        self.file.read_exact_at(bytes, offset).ok()
    }

    pub(super) fn read_range(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let length = range.end.checked_sub(range.start)?;
        let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= LARGEST)?];
        self.read(range.start, &mut bytes)?;
        Some(bytes)
    }

    fn functions_of_table(&self, range: &Range<u64>) -> Option<Vec<(u64, u64)>> {
        let table = self.read_range(range)?;
        if !table.starts_with(&TABLE) {
            return None;
        }
        let entry = |entry: &[u8]| {
            Some((
                relative(entry, 0, range.start)?,
                relative(entry, 4, range.start)?,
            ))
        };
        let count = usize::try_from(number(&table, 8, 4)?).ok()?;
        let entries = table.get(12..)?.chunks_exact(8).take(count);
        entries.map(entry).collect()
    }

    /// Programs that are linked statically have no table.
    fn functions_of_section(&self, header: &[u8]) -> Option<Vec<(u64, u64)>> {
        let count = usize::try_from(number(header, 60, 2)?).ok()?;
        let names = usize::try_from(number(header, 62, 2)?).ok()?;
        let mut sections = vec![0; count * 64];
        (self.file)
            .read_exact_at(&mut sections, number(header, 40, 8)?)
            .ok()?;
        let section =
            |index: usize, field: usize, size| number(&sections, index * 64 + field, size);
        let names = section(names, 24, 8)?;
        let is_unwind = |&index: &usize| {
            let mut name = [0; 10];
            section(index, 0, 4).is_some_and(|name_at| {
                let read = self.file.read_exact_at(&mut name, names + name_at);
                read.is_ok() && &name == b".eh_frame\0"
            })
        };
        let found = (0..count).find(is_unwind)?;
        let (start, length) = (section(found, 16, 8)?, section(found, 32, 8)?);
        let bytes = self.read_range(&(start..start.checked_add(length)?))?;
        let mut functions = Vec::new();
        let mut at = 0;
        while let Some(length @ 1..0xffff_ffff) = number(&bytes, at, 4) {
            let place = start + at as u64;
            if number(&bytes, at + 4, 4)? != 0 {
                functions.push((relative(&bytes, at + 8, place + 8)?, place));
            }
            at = at.checked_add(4 + usize::try_from(length).ok()?)?;
        }
        Some(functions)
    }

    /// The functions that begin in a range, the one before, and the one after. `None` if that can't be read.
    pub(super) fn functions_near(&mut self, range: &Range<u64>) -> Option<Vec<Range<u64>>> {
        let from = (self.functions).partition_point(|(start, _)| *start < range.start);
        let to = (self.functions).partition_point(|(start, _)| *start < range.end);
        let to = self.functions.len().min(to + 1);
        let near = self.functions.get(from.saturating_sub(1)..to)?.to_vec();
        (near.into_iter())
            .map(|(start, description)| self.function(start, description))
            .collect()
    }

    /// Reads where a function ends from its description (FDE).
    fn function(&mut self, start: u64, description: u64) -> Option<Range<u64>> {
        let mut bytes = [0; 16];
        self.read(description, &mut bytes)?;
        let common = (description + 4).checked_sub(number(&bytes, 4, 4)?)?;
        let readable = if let Some(&readable) = self.readable.get(&common) {
            readable
        } else {
            let readable = self.encoding(common) == Some(PC_RELATIVE);
            self.readable.insert(common, readable);
            readable
        };
        if !readable || relative(&bytes, 8, description + 8)? != start {
            return None;
        }
        Some(start..start.checked_add(number(&bytes, 12, 4)?)?)
    }

    /// How addresses are written in the descriptions that refer to a common one (CIE).
    fn encoding(&self, common: u64) -> Option<u8> {
        let mut bytes = [0; 48];
        self.read(common, &mut bytes)?;
        if number(&bytes, 4, 4)? != 0 {
            return None;
        }
        let (version, rest) = bytes[8..].split_first()?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        let letters = rest[..end].strip_prefix(b"z")?;
        let mut rest = rest.get(end + 1..)?;
        // The alignment factors, the return address's register (one byte in version 1), and the length of what follows.
        for number in 0..4 {
            let is_byte = number == 2 && *version == 1;
            let last = rest.iter().position(|byte| is_byte || byte & 0x80 == 0)?;
            rest = rest.get(last + 1..)?;
        }
        for letter in letters {
            let (&encoding, after) = rest.split_first()?;
            match letter {
                b'R' => return Some(encoding),
                b'L' => rest = after,
                // A function's address, of 4 or of 8 bytes.
                b'P' => rest = after.get(if encoding & 0x0f == 0x0b { 4 } else { 8 }..)?,
                b'S' | b'B' => {}
                _ => return None,
            }
        }
        None
    }
}
