//! One ELF file: its code, where its functions begin, and the addresses that its data holds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gimli::{BaseAddresses, CieOrFde, EhFrame, UnwindSection};
use object::elf;
use object::read::elf::{
    Dyn, ElfFile64, FileHeader, ProgramHeader, Rela, SectionHeader, Sym, SymbolTable,
};
use object::{LittleEndian as Le, SymbolIndex};
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use super::go;

/// How the names of the C library's functions begin that can load the modules of nsswitch.conf(5): glob(3) and wordexp(3) look
/// for home directories, getlogin(3), grantpt(3) and rcmd(3) for users and groups.
const USES_NSS: [&[u8]; 22] = [
    b"getpw",
    b"setpwent",
    b"getgr",
    b"setgrent",
    b"initgroups",
    b"getsp",
    b"getsg",
    b"gethostby",
    b"gethostent",
    b"getaddrinfo",
    b"getnameinfo",
    b"getserv",
    b"getproto",
    b"getnet",
    b"getrpc",
    b"getalias",
    b"innetgr",
    b"glob",
    b"wordexp",
    b"getlogin",
    b"grantpt",
    b"rcmd",
];

/// A part of the file that is mapped at an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) end: u64,
    offset: usize,
}

/// What a word of the object holds once it is relocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// An address of this object.
    Here(u64),
    /// The symbol of that index in [`Elf::names`], of whichever object defines it.
    Import(usize),
}

/// A function's first address that the file states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    pub(super) at: u64,
    /// Whether a frame description begins or ends here, so that no function continues across it.
    pub(super) is_edge: bool,
}

/// What the analysis needs of an ELF file.
#[derive(Debug, Default)]
pub(super) struct Elf {
    bytes: Vec<u8>,
    /// SHA-256 of the file.
    pub(super) digest: [u8; 32],
    pub(super) entry: u64,
    pub(super) interpreter: Option<PathBuf>,
    pub(super) needed: Vec<PathBuf>,
    pub(super) rpath: Vec<u8>,
    pub(super) runpath: Vec<u8>,
    pub(super) soname: Option<Vec<u8>>,
    /// Executable parts, by address, without overlaps.
    pub(super) code: Vec<Area>,
    /// The other parts that are loaded, by address.
    pub(super) data: Vec<Area>,
    /// Those of them that can have the program's own text.
    pub(super) texts: Vec<Area>,
    /// Sorted, without duplicates.
    pub(super) starts: Vec<Start>,
    /// The ranges of frame descriptions, by address.
    pub(super) frames: Vec<(u64, u64)>,
    /// Names of functions, by address.
    pub(super) functions: FxHashMap<u64, String>,
    /// Names of symbols that relocations refer to.
    pub(super) names: Vec<Vec<u8>>,
    /// Functions that other objects can call by name.
    pub(super) exports: Vec<(Vec<u8>, u64)>,
    /// What words of data hold, by their address.
    pub(super) words: FxHashMap<u64, Target>,
    /// What data outside of the GOT holds: anything that runs can load it and jump there.
    pub(super) pointers: Vec<Target>,
    /// The addresses of code in data and of what runs at its start and end, sorted.
    labels: Vec<u64>,
    /// Whether it was linked at a fixed address, so that its code has addresses without relocations.
    pub(super) is_fixed: bool,
    /// Whether Go's linker made it.
    pub(super) is_go: bool,
    /// Whether glibc is linked in.
    pub(super) has_glibc: bool,
}

impl Elf {
    /// Reads the bytes of a file. The error says what is wrong with them.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Elf, String> {
        let mut elf = Elf::default();
        if !bytes.starts_with(b"\x7fELF") {
            return Err("not an ELF file".to_owned());
        }
        elf.fill(&bytes).map_err(|error| match error {
            Problem::Object(error) => error.to_string(),
            Problem::Own(text) => text.to_owned(),
        })?;
        elf.digest = Sha256::digest(&bytes).into();
        elf.bytes = bytes;
        elf.scan_fixed_data();
        let labels = elf.pointers.iter().filter_map(|to| match to {
            Target::Here(at) => Some(*at),
            Target::Import(_) => None,
        });
        elf.labels = labels.collect();
        elf.labels.sort_unstable();
        Ok(elf)
    }

    /// Whether it calls functions of the C library that load the modules of nsswitch.conf(5).
    pub(super) fn uses_nss(&self) -> bool {
        // The C library itself uses its own.
        let is_libc = (self.exports.iter()).any(|(name, _)| name == b"__libc_start_main");
        let uses = |name: &Vec<u8>| USES_NSS.iter().any(|start| name.starts_with(start));
        !is_libc && self.names.iter().any(uses)
    }

    /// The bytes of an area.
    pub(super) fn bytes(&self, area: &Area) -> &[u8] {
        let length = usize::try_from(area.end - area.start).unwrap_or(0);
        let rest = self.bytes.get(area.offset..).unwrap_or_default();
        rest.get(..length).unwrap_or_default()
    }

    /// The bytes from an address to the end of its area.
    pub(super) fn at<'a>(&'a self, areas: &[Area], address: u64) -> &'a [u8] {
        let index = areas.partition_point(|area| area.end <= address);
        match areas.get(index) {
            Some(area) if area.start <= address => {
                let skip = usize::try_from(address - area.start).unwrap_or(usize::MAX);
                self.bytes(area).get(skip..).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The addresses in a range that data has.
    pub(super) fn labels(&self, start: u64, end: u64) -> &[u64] {
        let from = self.labels.partition_point(|at| *at < start);
        let to = self.labels.partition_point(|at| *at < end);
        self.labels.get(from..to).unwrap_or_default()
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        is_in(&self.code, address)
    }

    fn fill(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let class = bytes.get(4).copied();
        if class != Some(elf::ELFCLASS64) {
            return Err(Problem::Own("32-bit code is not read"));
        }
        let file = ElfFile64::<Le>::parse(bytes)?;
        let header = file.elf_header();
        if header.e_machine(Le) != elf::EM_X86_64 {
            return Err(Problem::Own("not for x86-64"));
        }
        self.entry = header.e_entry(Le);
        self.is_fixed = header.e_type(Le) == elf::ET_EXEC;
        let sections = file.elf_section_table();
        if sections.is_empty() {
            return Err(Problem::Own("it has no section headers"));
        }
        for program in file.elf_program_headers() {
            if let Some(path) = program.interpreter(Le, bytes)? {
                self.interpreter = Some(PathBuf::from(OsStr::from_bytes(path)));
            }
        }
        let Parts {
            plt,
            got,
            frames,
            go,
        } = self.sections(&file)?;
        if self.code.is_empty() {
            return Err(Problem::Own("it has no code"));
        }
        self.dynamic(&file)?;
        for (address, content) in frames {
            self.frames(address, content)?;
        }
        self.frames.sort_unstable();
        let edges = self.frames.iter().flat_map(|&(start, end)| [start, end]);
        let edges = edges.chain(self.code.iter().map(|area| area.start));
        let edges = edges.chain(plt).map(|at| Start { at, is_edge: true });
        let mut starts: Vec<Start> = edges.collect();
        starts.push(Start {
            at: self.entry,
            is_edge: false,
        });
        self.symbols(file.elf_symbol_table(), false, &mut starts);
        self.symbols(file.elf_dynamic_symbol_table(), true, &mut starts);
        self.relocations(&file, &got)?;
        if let Some((address, table)) = go {
            self.go_functions(address, table, &mut starts);
        }
        starts.retain(|start| self.is_code(start.at));
        starts.sort_unstable_by_key(|start| (start.at, !start.is_edge));
        starts.dedup_by_key(|start| start.at);
        self.starts = starts;
        self.has_glibc = memchr::memmem::find(bytes, b"glibc").is_some();
        Ok(())
    }

    fn sections<'data>(&mut self, file: &ElfFile64<'data, Le>) -> Result<Parts<'data>, Problem> {
        let mut parts = Parts::default();
        let sections = file.elf_section_table();
        for section in sections.iter() {
            let flags = section.sh_flags(Le);
            let name = sections.section_name(Le, section).unwrap_or_default();
            self.is_go |= name == b".gopclntab" || name == b".go.buildinfo";
            let is_loaded = flags & u64::from(elf::SHF_ALLOC) != 0;
            let has_bytes = section.sh_type(Le) != elf::SHT_NOBITS;
            if !is_loaded || !has_bytes || section.sh_size(Le) == 0 {
                continue;
            }
            let content = section.data(Le, file.data())?;
            let start = section.sh_addr(Le);
            let end = start.checked_add(content.len() as u64);
            let area = Area {
                start,
                end: end.ok_or(Problem::Own("a section is beyond the address space"))?,
                offset: usize::try_from(section.sh_offset(Le)).unwrap_or(usize::MAX),
            };
            if flags & u64::from(elf::SHF_EXECINSTR) != 0 {
                self.code.push(area);
                if name.starts_with(b".plt") {
                    let step = if section.sh_entsize(Le) == 8 { 8 } else { 16 };
                    parts.plt.extend((area.start..area.end).step_by(step));
                }
                continue;
            }
            self.data.push(area);
            if name == b".gopclntab" {
                parts.go = Some((start, content));
            }
            if name == b".eh_frame" {
                parts.frames.push((start, content));
            } else if section.sh_type(Le) == elf::SHT_PROGBITS {
                self.texts.push(area);
            }
            if name.starts_with(b".got") {
                parts.got.push(area);
            }
        }
        without_overlaps(&mut self.code)?;
        without_overlaps(&mut self.data)?;
        parts.got.sort_by_key(|area| area.start);
        Ok(parts)
    }

    fn dynamic(&mut self, file: &ElfFile64<'_, Le>) -> Result<(), Problem> {
        let table = file.elf_dynamic_table()?;
        let strings = table.strings();
        let text = |offset: u64| -> Result<Vec<u8>, Problem> {
            let offset = u32::try_from(offset).map_err(|_| Problem::Own("a bad string"))?;
            let text = strings.get(offset);
            Ok(text.map_err(|()| Problem::Own("a bad string"))?.to_vec())
        };
        for entry in table.dynamics() {
            let value = entry.d_val(Le);
            match entry.d_tag(Le) {
                elf::DT_NULL => break,
                elf::DT_NEEDED => {
                    let name = text(value)?;
                    self.needed.push(PathBuf::from(OsStr::from_bytes(&name)));
                }
                elf::DT_SONAME => self.soname = Some(text(value)?),
                elf::DT_RPATH => self.rpath = text(value)?,
                elf::DT_RUNPATH => self.runpath = text(value)?,
                elf::DT_INIT | elf::DT_FINI => self.pointers.push(Target::Here(value)),
                _ => {}
            }
        }
        Ok(())
    }

    fn frames(&mut self, address: u64, content: &[u8]) -> Result<(), Problem> {
        let section = EhFrame::new(content, gimli::LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(address);
        let mut entries = section.entries(&bases);
        let mut known = FxHashMap::default();
        let bad = |_| Problem::Own("bad frame descriptions");
        while let Some(entry) = entries.next().map_err(bad)? {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            let fde = partial.parse(|_, bases, offset| {
                use std::collections::hash_map::Entry;
                Ok(match known.entry(offset.0) {
                    Entry::Occupied(one) => one.into_mut(),
                    Entry::Vacant(one) => one.insert(section.cie_from_offset(bases, offset)?),
                }
                .clone())
            });
            let fde = fde.map_err(bad)?;
            let mut start = fde.initial_address();
            let end = start.checked_add(fde.len());
            // The C library describes the return from signal handlers from the byte before it on.
            start = start.wrapping_add(u64::from(fde.is_signal_trampoline()));
            if let Some(end) = end
                && end > start
            {
                self.frames.push((start, end));
            }
        }
        Ok(())
    }

    fn symbols(
        &mut self,
        table: &SymbolTable<'_, elf::FileHeader64<Le>>,
        exported: bool,
        starts: &mut Vec<Start>,
    ) {
        let mut rank = FxHashMap::<u64, (bool, usize, usize)>::default();
        for symbol in table.symbols() {
            let at = symbol.st_value(Le);
            let kind = symbol.st_type();
            let may_be = matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE);
            if !may_be || symbol.st_shndx(Le) == elf::SHN_UNDEF || !self.is_code(at) {
                continue;
            }
            let Ok(name) = symbol.name(Le, table.strings()) else {
                continue;
            };
            if name.is_empty() {
                continue;
            }
            starts.push(Start { at, is_edge: false });
            let text = String::from_utf8_lossy(name);
            // Of several names, the one without underscores, and the shortest.
            let underscores = name.iter().take_while(|byte| **byte == b'_').count();
            let this = (kind == elf::STT_NOTYPE, underscores, name.len());
            let best = rank.entry(at).or_insert((true, usize::MAX, 0));
            if this < *best {
                *best = this;
                self.functions.insert(at, text.into_owned());
            }
            if exported {
                self.exports.push((name.to_vec(), at));
            }
        }
    }

    /// The functions of Go's table, which begins at an address.
    fn go_functions(&mut self, address: u64, table: &[u8], starts: &mut Vec<Start>) {
        let at = go::word_at(go::TEXT);
        let stored = table.get(at..).and_then(|rest| rest.first_chunk());
        let text = match self.words.get(&address.wrapping_add(at as u64)) {
            Some(Target::Here(text)) => Some(*text),
            _ => stored.map(|word| u64::from_le_bytes(*word)),
        };
        let Some(text) = text.filter(|text| self.is_code(*text)) else {
            return;
        };
        for (distance, name) in go::functions(table) {
            let at = text.wrapping_add(distance);
            starts.push(Start { at, is_edge: false });
            let name = || String::from_utf8_lossy(name).into_owned();
            self.functions.entry(at).or_insert_with(name);
        }
    }

    fn relocations(&mut self, file: &ElfFile64<'_, Le>, got: &[Area]) -> Result<(), Problem> {
        let bytes = file.data();
        let symbols = file.elf_dynamic_symbol_table();
        let mut names = FxHashMap::<Vec<u8>, usize>::default();
        for section in file.elf_section_table().iter() {
            if section.sh_flags(Le) & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            if let Some((entries, _)) = section.rela(Le, bytes)? {
                for entry in entries {
                    let (at, addend) = (entry.r_offset(Le), entry.r_addend(Le));
                    let target = match entry.r_type(Le, false) {
                        elf::R_X86_64_RELATIVE
                        | elf::R_X86_64_RELATIVE64
                        | elf::R_X86_64_IRELATIVE => Some(Target::Here(addend.cast_unsigned())),
                        elf::R_X86_64_64 | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT => {
                            let index = SymbolIndex(
                                usize::try_from(entry.r_sym(Le, false)).unwrap_or(usize::MAX),
                            );
                            let symbol = symbols.symbol(index)?;
                            let name = symbol.name(Le, symbols.strings())?;
                            let is_here = symbol.st_shndx(Le) != elf::SHN_UNDEF;
                            if is_here && (symbol.st_bind() == elf::STB_LOCAL || addend != 0) {
                                let value = symbol.st_value(Le);
                                Some(Target::Here(value.wrapping_add_signed(addend)))
                            } else {
                                let next = names.len();
                                Some(Target::Import(*names.entry(name.to_vec()).or_insert_with(
                                    || {
                                        self.names.push(name.to_vec());
                                        next
                                    },
                                )))
                            }
                        }
                        _ => None,
                    };
                    let is_resolver = entry.r_type(Le, false) == elf::R_X86_64_IRELATIVE;
                    if let Some(target) = target {
                        self.word(at, target, is_resolver || !is_in(got, at));
                    }
                }
            }
            if let Some(entries) = section.relr(Le, bytes)? {
                for at in entries {
                    let word = self.at_of(bytes, at);
                    if let Some(value) = word {
                        self.word(at, Target::Here(value), !is_in(got, at));
                    }
                }
            }
        }
        Ok(())
    }

    fn at_of(&self, bytes: &[u8], address: u64) -> Option<u64> {
        let index = self.data.partition_point(|area| area.end <= address);
        let area = self.data.get(index).filter(|area| area.start <= address)?;
        let skip = usize::try_from(address - area.start).ok()?;
        let word = bytes.get(area.offset.checked_add(skip)?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word))
    }

    fn word(&mut self, at: u64, target: Target, is_pointer: bool) {
        let is_code = match target {
            Target::Here(address) => self.is_code(address),
            Target::Import(_) => true,
        };
        if is_code || self.words.contains_key(&at) {
            self.words.insert(at, target);
        }
        if is_code && is_pointer {
            self.pointers.push(target);
        }
    }

    /// Finds the pointers of an object without relocations: each word that could be the address of code.
    fn scan_fixed_data(&mut self) {
        if !self.is_fixed {
            return;
        }
        let mut found = Vec::new();
        for area in &self.data {
            let skip = area.start.wrapping_neg() % 8;
            let content = self.bytes(area);
            let words = content.get(usize::try_from(skip).unwrap_or(0)..);
            let words = words.unwrap_or_default().chunks_exact(8);
            for (at, word) in (area.start + skip..).step_by(8).zip(words) {
                let value = word
                    .first_chunk()
                    .map_or(0, |word| u64::from_le_bytes(*word));
                if self.is_code(value) && !self.words.contains_key(&at) {
                    found.push((at, value));
                }
            }
        }
        for (at, value) in found {
            self.word(at, Target::Here(value), true);
        }
    }
}

/// Sections with a meaning of their own.
#[derive(Default)]
struct Parts<'data> {
    /// Where the entries of procedure linkage tables begin.
    plt: Vec<u64>,
    got: Vec<Area>,
    frames: Vec<(u64, &'data [u8])>,
    /// Go's table of functions.
    go: Option<(u64, &'data [u8])>,
}

enum Problem {
    Object(object::Error),
    Own(&'static str),
}

impl From<object::Error> for Problem {
    fn from(error: object::Error) -> Problem {
        Problem::Object(error)
    }
}

fn is_in(areas: &[Area], address: u64) -> bool {
    let index = areas.partition_point(|area| area.end <= address);
    areas.get(index).is_some_and(|area| area.start <= address)
}

/// Sorts areas. Overlapping ones would be read many times.
fn without_overlaps(areas: &mut [Area]) -> Result<(), Problem> {
    areas.sort_by_key(|area| area.start);
    if areas.windows(2).any(|two| two[0].end > two[1].start) {
        return Err(Problem::Own("its sections overlap"));
    }
    Ok(())
}
