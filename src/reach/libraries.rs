//! Finds the libraries that the dynamic linker loads with a program (ld.so(8)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::elf::Elf;

/// Where ld.so and musl look last.
const DEFAULT: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-musl",
];

/// The files of library names.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// What /etc/ld.so.cache has.
    cache: FxHashMap<Vec<u8>, Vec<PathBuf>>,
    /// The modules that /etc/nsswitch.conf names.
    nss: Vec<PathBuf>,
}

impl Search {
    pub(super) fn of_this_machine() -> Search {
        let read = |path| std::fs::read(path).unwrap_or_default();
        Search {
            cache: parse_cache(&read("/etc/ld.so.cache")),
            nss: parse_nsswitch(&read("/etc/nsswitch.conf")),
        }
    }

    /// The modules of the name service switch that exist: their names and files. Their functions are looked up by name.
    pub(super) fn nss(&self) -> Vec<(PathBuf, PathBuf, bool)> {
        let names = self.nss.iter();
        let found = names.flat_map(|name| {
            self.installed(name)
                .into_iter()
                .map(|file| (name.clone(), file, true))
        });
        found.collect()
    }

    /// The files of a name that an object needs. The cache can have several, for different processors: any may be taken.
    pub(super) fn find(
        &self,
        name: &Path,
        (object, elf): (&Path, &Elf),
        (program, of_program): (&Path, &Elf),
    ) -> Vec<PathBuf> {
        if name.as_os_str().as_bytes().contains(&b'/') {
            let path = Some(name.to_owned());
            return path.filter(|path| path.is_file()).into_iter().collect();
        }
        // DT_RPATH counts only without DT_RUNPATH, and is inherited.
        let mut lists = Vec::new();
        if elf.runpath.is_empty() {
            lists.push((object, &elf.rpath));
            lists.push((program, &of_program.rpath));
        }
        lists.push((object, &elf.runpath));
        for (origin, list) in lists {
            for folder in list.split(|byte| *byte == b':') {
                let path = expanded(folder, origin).join(name);
                if !folder.is_empty() && path.is_file() {
                    return vec![path];
                }
            }
        }
        // musl's dynamic linker is its C library.
        let musl = of_program.interpreter.as_deref();
        let musl = musl.filter(|path| path.to_string_lossy().contains("ld-musl"));
        if let Some(musl) = musl
            && name.as_os_str().as_bytes().starts_with(b"libc.")
        {
            return vec![musl.to_owned()];
        }
        self.installed(name)
    }

    fn installed(&self, name: &Path) -> Vec<PathBuf> {
        let cached = self.cache.get(name.as_os_str().as_bytes());
        let cached = cached.into_iter().flatten().filter(|path| path.is_file());
        let cached: Vec<PathBuf> = cached.cloned().collect();
        if !cached.is_empty() {
            return cached;
        }
        let folders = DEFAULT.iter().map(|folder| Path::new(folder).join(name));
        folders.filter(|path| path.is_file()).take(1).collect()
    }
}

/// The libraries of the services that nsswitch.conf(5) names.
fn parse_nsswitch(bytes: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let services = lines.filter_map(|line| line.split_once(':'));
    let names = services.flat_map(|(_, services)| services.split_whitespace());
    // What is in brackets says what to do next.
    let names = names.filter(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    let mut files: Vec<PathBuf> = names
        .map(|name| format!("libnss_{name}.so.2").into())
        .collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// A folder of a list, with `$ORIGIN` and `$LIB` replaced.
fn expanded(folder: &[u8], object: &Path) -> PathBuf {
    let folder = OsStr::from_bytes(folder).to_string_lossy();
    let origin = object.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let mut text = folder.into_owned();
    for (name, value) in [
        ("ORIGIN", origin.as_ref()),
        ("LIB", "lib/x86_64-linux-gnu"),
        ("PLATFORM", "x86_64"),
    ] {
        text = text.replace(&format!("${{{name}}}"), value);
        text = text.replace(&format!("${name}"), value);
    }
    text.into()
}

/// Reads ld.so.cache: `glibc-ld.so.cache1.1`, perhaps after a table of the old format.
fn parse_cache(bytes: &[u8]) -> FxHashMap<Vec<u8>, Vec<PathBuf>> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    /// ELF, libc6, x86-64 (`sysdeps/generic/ldconfig.h`).
    const X86_64: u32 = 0x0303;
    let mut found = FxHashMap::<Vec<u8>, Vec<PathBuf>>::default();
    let Some(start) = memchr::memmem::find(bytes, MAGIC) else {
        return found;
    };
    let table = &bytes[start..];
    let word = |at: usize| {
        let word = table.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word))
    };
    let text = |at: u32| {
        let rest = table.get(usize::try_from(at).ok()?..)?;
        rest.split(|byte| *byte == 0).next()
    };
    let count = word(MAGIC.len()).and_then(|count| usize::try_from(count).ok());
    for at in (HEADER..table.len())
        .step_by(ENTRY)
        .take(count.unwrap_or(0))
    {
        if word(at) == Some(X86_64)
            && let Some(key) = word(at + 4).and_then(text)
            && let Some(value) = word(at + 8).and_then(text)
        {
            let paths = found.entry(key.to_vec()).or_default();
            paths.push(PathBuf::from(OsStr::from_bytes(value)));
        }
    }
    found
}
