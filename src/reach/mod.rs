//! Which system calls a program can make at all: a bound from its code, beside the recording of what it did.
//!
//! Everything that can't be decided counts as possible: an address that is computed may be called, a name that several objects
//! define is any of theirs, and what data points to is always reachable. What is not known is in the [`Bound`], and then it
//! [doesn't hold](Bound::holds).
//!
//! The instructions are those of x86-64. Only `code` and `values` know them.

mod cache;
mod code;
mod elf;
mod go;
mod graph;
mod libraries;
mod numbers;
mod reached;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use itertools::Itertools as _;
use serde::{Deserialize, Serialize};

use self::cache::{Cache, Found};
use self::elf::Elf;
use self::graph::{Graph, Node, Object};
use self::libraries::Search;
use self::reached::Reached;
use crate::syscall::{Arch, Syscall};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// Why a file can't be analysed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// It can't be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not a program or a library for x86-64, or it is broken.
    #[error("cannot analyse {}: {problem}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A function of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Function {
    /// The file name of the object.
    pub object: String,
    /// The function's symbol, or the object's name and the address in it.
    pub name: String,
    /// Whether it has a symbol.
    pub is_named: bool,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// How a call can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// A shortest chain of functions, the last of which calls the kernel.
    Functions(Vec<Function>),
    /// The execve(2) that starts the program.
    Start,
    /// The kernel makes the call itself: `restart_syscall(2)`, after a signal.
    Kernel,
}

impl Way {
    /// How many functions it has.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Way::Functions(way) => way.len(),
            Way::Start | Way::Kernel => 0,
        }
    }
}

/// `main -> ... -> fchown`: from the first function that has a name, and without those in the middle of a long way. `{:#}` has all.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many functions are shown at the start and at the end.
        const SHOWN: usize = 2;
        let way = match self {
            Way::Functions(way) => &way[..],
            Way::Start => return f.write_str("the execve(2) that starts the program"),
            Way::Kernel => return f.write_str("by the kernel, after a signal"),
        };
        if f.alternate() {
            return way.iter().format(" -> ").fmt(f);
        }
        // The function that calls the kernel says little without its caller.
        let named = way.iter().position(|function| function.is_named);
        let way = &way[named.unwrap_or(0).min(way.len().saturating_sub(2))..];
        if way.len() <= 2 * SHOWN + 1 {
            return way.iter().format(" -> ").fmt(f);
        }
        let (start, end) = (&way[..SHOWN], &way[way.len() - SHOWN..]);
        let (start, end) = (start.iter().format(" -> "), end.iter().format(" -> "));
        write!(f, "{start} -> ... -> {end}")
    }
}

/// An instruction that calls the kernel with a number that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unresolved {
    /// The function that determines the number.
    pub by: Function,
    /// The function that has the instruction: mostly the same.
    pub function: Function,
    /// The instruction's address in its object.
    pub address: u64,
}

/// A library that was not read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// Its name, as the object has it.
    pub name: PathBuf,
    /// The object.
    pub needed_by: PathBuf,
    /// Why.
    pub why: String,
}

/// The calls that a program can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The program.
    pub program: PathBuf,
    /// The files that were read, the program first.
    pub objects: Vec<PathBuf>,
    /// The calls.
    pub calls: BTreeMap<Syscall, Way>,
    /// Where the number of a call is not known.
    pub unresolved: Vec<Unresolved>,
    /// Libraries that were not read.
    pub missing: BTreeSet<Missing>,
    /// Functions that load libraries at run time. The C library's own are not among them.
    pub loads: BTreeSet<Function>,
}

impl Bound {
    /// Whether the program can't make any other call, as long as it loads no further library and makes no code at run time.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.unresolved.is_empty() && self.missing.is_empty()
    }
}

/// Analyses programs. A library that several of them use is read once.
#[derive(Debug)]
pub struct Reach {
    search: Search,
    files: BTreeMap<PathBuf, Arc<Elf>>,
    objects: BTreeMap<PathBuf, Object>,
    cache: Option<Cache>,
}

/// The objects of a program, the program first, each with whether all of its functions can be called.
#[derive(Default)]
struct Closure {
    objects: Vec<(PathBuf, bool)>,
    missing: BTreeSet<Missing>,
}

impl Closure {
    fn add(&mut self, path: PathBuf, is_open: bool) {
        if self.objects.iter().all(|(known, _)| *known != path) {
            self.objects.push((path, is_open));
        }
    }
}

impl Default for Reach {
    fn default() -> Reach {
        Reach::new()
    }
}

impl Reach {
    /// Nothing is analysed yet, and nothing is kept.
    #[must_use]
    pub fn new() -> Reach {
        Reach {
            search: Search::of_this_machine(),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
            cache: None,
        }
    }

    /// Takes what earlier runs found from the user's folder for caches, and keeps what is found there.
    #[must_use]
    pub fn cached(self) -> Reach {
        Reach {
            cache: Cache::of_user(),
            ..self
        }
    }

    /// The bound of a program. It may load the libraries in `with` at run time.
    pub fn bound(&mut self, program: &Path, with: &[PathBuf]) -> Result<Bound, ReachError> {
        let closure = self.closure(program, with)?;
        let file = self.cache.as_ref().map(|cache| {
            let parts = closure.objects.iter();
            let parts = parts.map(|(path, is_open)| (&**path, self.files[path].digest, *is_open));
            cache.file(&parts.collect_vec(), &closure.missing)
        });
        let mut objects = (closure.objects.iter())
            .map(|(path, _)| path.clone())
            .collect_vec();
        let known = file.as_deref().and_then(Cache::read);
        let found = if let Some(found) = known {
            found
        } else {
            let found = self.analyse(closure, program)?;
            if let (Some(cache), Some(file)) = (&self.cache, file) {
                cache.write(&file, &found);
            }
            found
        };
        objects.retain(|path| found.missing.iter().all(|one| one.name != *path));
        Ok(Bound {
            program: objects[0].clone(),
            calls: (found.calls.into_iter())
                .map(|(arch, nr, way)| (Syscall { arch, nr }, way))
                .collect(),
            unresolved: found.unresolved,
            missing: found.missing,
            loads: found.loads,
            objects,
        })
    }

    fn closure(&mut self, program: &Path, with: &[PathBuf]) -> Result<Closure, ReachError> {
        let main = self.load(program)?;
        let mut all = Closure::default();
        all.add(main.clone(), false);
        for path in with {
            all.add(self.load(path)?, true);
        }
        let mut done = 0;
        while let Some((object, _)) = all.objects.get(done).cloned() {
            let mut wanted = self.needed(&object, &main, &mut all.missing);
            let uses_nss = self.files[&object].uses_nss();
            wanted.extend(uses_nss.then(|| self.search.nss()).into_iter().flatten());
            for (name, path, is_open) in wanted {
                match self.load(&path) {
                    Ok(path) => all.add(path, is_open),
                    Err(error) => {
                        all.missing.insert(Missing {
                            name,
                            needed_by: object.clone(),
                            why: error.to_string(),
                        });
                    }
                }
            }
            done += 1;
        }
        Ok(all)
    }

    fn load(&mut self, path: &Path) -> Result<PathBuf, ReachError> {
        let io = |source| ReachError::Io {
            path: path.to_owned(),
            source,
        };
        let found = path.canonicalize().map_err(io)?;
        if !self.files.contains_key(&found) {
            let elf = read(&found)?;
            self.files.insert(found.clone(), Arc::new(elf));
        }
        Ok(found)
    }

    /// The libraries that the dynamic linker loads for an object: their names and files.
    fn needed(
        &self,
        object: &Path,
        main: &Path,
        missing: &mut BTreeSet<Missing>,
    ) -> Vec<(PathBuf, PathBuf, bool)> {
        let elf = &*self.files[object];
        let program = (main, &*self.files[main]);
        let mut wanted = Vec::new();
        if let Some(path) = &elf.interpreter
            && object == main
        {
            wanted.push((path.clone(), path.clone(), false));
        }
        for name in &elf.needed {
            let files = self.search.find(name, (object, elf), program);
            if files.is_empty() {
                missing.insert(Missing {
                    name: name.clone(),
                    needed_by: object.to_owned(),
                    why: "there is no such file".to_owned(),
                });
            }
            let files = files.into_iter();
            wanted.extend(files.map(|file| (name.clone(), file, false)));
        }
        wanted
    }

    /// Reads the code of a program's objects.
    fn analyse(&mut self, closure: Closure, program: &Path) -> Result<Found, ReachError> {
        let mut missing = closure.missing;
        let mut parts = Vec::new();
        for (path, is_open) in closure.objects {
            if !self.objects.contains_key(&path) {
                let name = path.file_name().unwrap_or(path.as_os_str());
                let name = name.to_string_lossy().into_owned();
                match Object::new(Arc::clone(&self.files[&path]), name) {
                    Ok(object) => {
                        self.objects.insert(path.clone(), object);
                    }
                    Err(problem) if parts.is_empty() => {
                        let path = program.to_owned();
                        return Err(ReachError::Elf { path, problem });
                    }
                    Err(why) => {
                        missing.insert(Missing {
                            name: path.clone(),
                            needed_by: program.to_owned(),
                            why,
                        });
                        continue;
                    }
                }
            }
            parts.push((path, is_open));
        }
        let (objects, open): (Vec<&Object>, Vec<bool>) = parts
            .iter()
            .map(|(path, is_open)| (&self.objects[path], *is_open))
            .unzip();
        let reached = Reached::of(&Graph::new(&objects, &open));
        let function = |(object, chunk): Node| objects[object].function(chunk);
        let of_machine =
            |number: u32, arch: Arch| Syscall::from_audit(arch.audit(), number.cast_signed());
        let ways = reached
            .calls
            .into_iter()
            .filter_map(|((number, is_32_bit), way)| {
                let arch = if is_32_bit { Arch::X86 } else { Arch::X86_64 };
                let way = way.into_iter().map(function).collect();
                Some((of_machine(number, arch)?, Way::Functions(way)))
            });
        let mut calls: BTreeMap<Syscall, Way> = ways.collect();
        for (name, way) in [("execve", Way::Start), ("restart_syscall", Way::Kernel)] {
            if let Some(call) = Syscall::from_name(Arch::X86_64, name) {
                calls.entry(call).or_insert(way);
            }
        }
        let mut unresolved: Vec<Unresolved> = (reached.unresolved.into_iter())
            .map(|(by, of, site)| Unresolved {
                by: function(by),
                function: function(of),
                address: site.at,
            })
            .collect();
        unresolved.sort_unstable();
        unresolved.dedup();
        Ok(Found {
            calls: (calls.into_iter())
                .map(|(call, way)| (call.arch, call.nr, way))
                .collect(),
            unresolved,
            missing,
            loads: reached.opens.into_iter().map(function).collect(),
        })
    }
}

/// Reads an object of bounded size.
fn read(path: &Path) -> Result<Elf, ReachError> {
    let io = |source| ReachError::Io {
        path: path.to_owned(),
        source,
    };
    let broken = |problem: String| ReachError::Elf {
        path: path.to_owned(),
        problem,
    };
    // A FIFO would be waited for.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(broken("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(io)?.take(MAX_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(broken(format!("it is larger than {MAX_BYTES} bytes")));
    }
    Elf::parse(bytes).map_err(broken)
}

/// Analyses bytes as the file of a program without its libraries, for fuzzing.
pub fn analyse_bytes(bytes: Vec<u8>) -> Result<usize, String> {
    let object = Object::new(Arc::new(Elf::parse(bytes)?), "object".to_owned())?;
    let reached = Reached::of(&Graph::new(&[&object], &[true]));
    Ok(reached.calls.len())
}

#[cfg(test)]
mod tests;
