//! Go's table of functions, which stripped programs keep: `.gopclntab`, as Go 1.18 and later write it (`debug/gosym`).

/// How the table begins, on a machine with the lower byte first: of Go 1.18, and of Go 1.20 and later.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// The words of the header: how many functions there are, where their code begins, and where names and functions are in the table.
const COUNT: usize = 0;
pub(super) const TEXT: usize = 2;
const NAMES: usize = 3;
const FUNCTIONS: usize = 7;

/// The place of a word of the header.
pub(super) const fn word_at(number: usize) -> usize {
    8 + 8 * number
}

/// The functions of a table, by their distance from where the code begins. Nothing, if the table is of another version or broken.
pub(super) fn functions(table: &[u8]) -> Vec<(u64, &[u8])> {
    read(table).unwrap_or_default()
}

fn read(table: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let word = |number| {
        let bytes = table.get(word_at(number)..)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let is_known = MAGIC.contains(&half(table, 0)?) && table.get(7) == Some(&8);
    let names = table.get(word(NAMES)?..).filter(|_| is_known)?;
    let functions = table.get(word(FUNCTIONS)?..)?;
    let mut found = Vec::new();
    // In a table that Go's linker made, each name is there once for its function.
    let mut left = table.len();
    for entry in functions.chunks_exact(8).take(word(COUNT)?) {
        let of = usize::try_from(half(entry, 4)?).ok()?;
        let name = usize::try_from(half(functions, of.checked_add(4)?)?).ok()?;
        let name = names.get(name..)?;
        let name = &name[..memchr::memchr(0, &name[..name.len().min(left)])?];
        left -= name.len();
        found.push((u64::from(half(entry, 0)?), name));
    }
    Some(found)
}

/// The 32 bits at a place.
fn half(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
