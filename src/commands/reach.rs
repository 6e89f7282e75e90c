//! `sc-record reach`: the calls that programs can make at all, beside those that were recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use itertools::Itertools;
use sc_record::command::find_executable;
use sc_record::escape;
use sc_record::reach::{Bound, Function, Reach, Way};
use sc_record::recording::Recording;
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, count};
use crate::cli::ReachArgs;
use crate::ui::output::{self, wrapped};

pub(super) fn reach(args: &ReachArgs) -> anyhow::Result<u8> {
    let mut report = Report::default();
    let mut reach = Reach::new();
    for path in &args.inputs {
        match program(path)? {
            Some(program) => {
                let bound = reach.bound(&program, &args.with)?;
                report.bounds.insert(program, bound);
            }
            None => report.add(&input::recording(path)?, &mut reach, &args.with)?,
        }
    }
    anyhow::ensure!(
        !report.bounds.is_empty(),
        "none of the programs that were recorded can be analysed{}",
        (report.skipped.iter())
            .map(|(path, why)| format!("\n  {}: {why}", escape::path(path)))
            .join("")
    );
    output::result(args.json, || report.json(), || report.words(args.verbose))?;
    Ok(exit_status::of_findings(!report.outside().is_empty()))
}

/// The file of a program; `None` for a recording.
fn program(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if path == Path::new("-") {
        return Ok(None);
    }
    let name = path.as_os_str();
    let is_name = !name.as_encoded_bytes().contains(&b'/');
    let file = if is_name && !path.exists() {
        find_executable(name)?
    } else {
        path.to_owned()
    };
    let mut start = Vec::new();
    if file.is_file() {
        // A file that can't be read fails later, with its error.
        let _ = File::open(&file).and_then(|file| file.take(256).read_to_end(&mut start));
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line);
        let interpreter = line.split_whitespace().next().unwrap_or_default();
        anyhow::bail!(
            "{} is a script, which can make any call that its interpreter can: sc-record reach {interpreter}",
            escape::path(&file)
        );
    }
    Ok(start.starts_with(b"\x7fELF").then_some(file))
}

/// What is possible, and what was recorded.
#[derive(Default)]
struct Report {
    /// By the program's path, as it was given or recorded.
    bounds: BTreeMap<PathBuf, Bound>,
    /// Recorded programs that can't be analysed, and why.
    skipped: BTreeMap<PathBuf, String>,
    /// The calls of recordings, each with the programs that made it.
    recorded: Option<BTreeMap<Syscall, BTreeSet<PathBuf>>>,
}

impl Report {
    /// Adds a recording, and the programs that it executed.
    fn add(
        &mut self,
        recording: &Recording,
        reach: &mut Reach,
        with: &[PathBuf],
    ) -> anyhow::Result<()> {
        let executables = recording.executables();
        anyhow::ensure!(
            !executables.is_empty(),
            "the recording of {} doesn't say which programs made its calls",
            recording.name
        );
        for program in executables {
            if !self.bounds.contains_key(program) {
                match reach.bound(program, with) {
                    Ok(bound) => {
                        self.bounds.insert(program.to_owned(), bound);
                    }
                    Err(error) => {
                        let why = anyhow::Error::from(error);
                        self.skipped.insert(program.to_owned(), format!("{why:#}"));
                    }
                }
            }
        }
        let recorded = self.recorded.get_or_insert_default();
        for (call, seen) in recording.syscalls() {
            let by = seen.executables.into_iter().map(Path::to_owned);
            recorded.entry(call).or_default().extend(by);
        }
        Ok(())
    }

    fn is_recorded(&self, call: Syscall) -> bool {
        (self.recorded.as_ref()).is_some_and(|recorded| recorded.contains_key(&call))
    }

    /// The calls that can be made and were not recorded, each with a program and the way to it.
    fn possible(&self) -> BTreeMap<Syscall, (&Path, &Way)> {
        let mut possible = BTreeMap::<Syscall, (&Path, &Way)>::new();
        for (program, bound) in &self.bounds {
            for (&call, way) in &bound.calls {
                let shortest = possible
                    .get(&call)
                    .is_none_or(|(_, known)| length(way) < length(known));
                if shortest && !self.is_recorded(call) {
                    possible.insert(call, (program, way));
                }
            }
        }
        possible
    }

    /// The calls that were recorded although the program can't make them: the bound is wrong there.
    fn outside(&self) -> Vec<(Syscall, &Path)> {
        let recorded = self.recorded.iter().flatten();
        let made =
            recorded.flat_map(|(call, programs)| programs.iter().map(|program| (*call, program)));
        let outside = made.filter(|(call, program)| {
            let bound = self.bounds.get(*program);
            bound.is_some_and(|bound| !bound.calls.contains_key(call))
        });
        outside
            .map(|(call, program)| (call, program.as_path()))
            .collect()
    }

    /// The calls of x86-64 that are not possible and were not recorded.
    fn unreachable(&self) -> Vec<Syscall> {
        let all = (0..1024).map(|nr| Syscall {
            arch: Arch::X86_64,
            nr,
        });
        let named = all.filter(|call| call.name().is_some());
        let is_possible = |call: &Syscall| {
            self.bounds
                .values()
                .any(|bound| bound.calls.contains_key(call))
        };
        named
            .filter(|call| !is_possible(call) && !self.is_recorded(*call))
            .collect()
    }

    fn holds(&self) -> bool {
        self.skipped.is_empty() && self.bounds.values().all(Bound::holds)
    }

    fn words(&self, verbose: bool) -> String {
        let mut text = String::new();
        for (program, bound) in &self.bounds {
            let libraries = match bound.objects.len() - 1 {
                0 => "no libraries".to_owned(),
                1 => "1 library".to_owned(),
                some => format!("{some} libraries"),
            };
            let calls = count(bound.calls.len(), "call");
            let _ = writeln!(
                text,
                "{}: {calls} possible ({libraries})",
                escape::path(program)
            );
        }
        if let Some(recorded) = &self.recorded {
            let _ = writeln!(text, "\nrecorded: {}", recorded.len());
            text += &names(recorded.keys().copied());
        }
        let possible = self.possible();
        let but = if self.recorded.is_some() {
            ", but not recorded"
        } else {
            ""
        };
        let _ = writeln!(text, "\npossible{but}: {}", possible.len());
        let width = possible
            .keys()
            .map(|call| name(*call).len())
            .max()
            .unwrap_or(0);
        for (call, (program, way)) in possible {
            let way = way_in_words(way, verbose);
            let of = match self.bounds.len() {
                1 => String::new(),
                _ => format!("{}: ", escape::path(program)),
            };
            let _ = writeln!(text, "  {:width$}  {of}{way}", name(call));
        }
        let unreachable = self.unreachable();
        let _ = writeln!(text, "\nnot reachable: {}", unreachable.len());
        if verbose {
            text += &names(unreachable.into_iter());
        }
        text + "\n" + &self.verdict()
    }

    /// What the bound doesn't include.
    fn verdict(&self) -> String {
        let mut text = String::new();
        for (call, program) in self.outside() {
            let program = escape::path(program);
            let _ = writeln!(
                text,
                "recorded, but not possible: {} of {program}: by code that was not read (--with), or where the number is not known",
                name(call)
            );
        }
        for (path, why) in &self.skipped {
            let _ = writeln!(text, "not analysed: {}: {why}", escape::path(path));
        }
        for one in self
            .bounds
            .values()
            .flat_map(|bound| &bound.missing)
            .unique()
        {
            let (name, by) = (escape::path(&one.name), escape::path(&one.needed_by));
            let _ = writeln!(text, "not analysed: {name}, which {by} needs: {}", one.why);
        }
        for one in self
            .bounds
            .values()
            .flat_map(|bound| &bound.unresolved)
            .unique()
        {
            let by = if one.by == one.function {
                String::new()
            } else {
                format!(", which {} calls", one.by)
            };
            let (function, object) = (&one.function, &one.function.object);
            let _ = writeln!(
                text,
                "unknown call: by {function}{by} (at {:#x} of {object})",
                one.address
            );
        }
        let loads = self.bounds.values().flat_map(|bound| &bound.loads).unique();
        let mut loads = loads.map(|function| format!("{function} of {}", function.object));
        let loads = loads.join(", ");
        if !loads.is_empty() {
            let _ = writeln!(
                text,
                "libraries are loaded at run time by {loads}: give them with --with"
            );
        }
        text += match (self.holds() && self.outside().is_empty(), loads.is_empty()) {
            (true, true) => "The bound holds for these programs and libraries.\n",
            (true, false) => {
                "The bound holds for these programs and libraries, and not for further ones that they load.\n"
            }
            (false, _) => "The bound does not hold: other calls are possible too.\n",
        };
        text
    }

    fn json(&self) -> Value {
        let bounds = self.bounds.iter().map(|(program, bound)| {
            let unresolved = bound.unresolved.iter().map(|one| {
                json!({
                    "by": one.by.name,
                    "function": one.function.name,
                    "object": one.function.object,
                    "address": format!("{:#x}", one.address),
                })
            });
            let missing = bound.missing.iter().map(|one| {
                json!({
                    "name": escape::path(&one.name).to_string(),
                    "needed_by": escape::path(&one.needed_by).to_string(),
                    "why": one.why,
                })
            });
            json!({
                "program": escape::path(program).to_string(),
                "objects": bound.objects.iter().map(|path| escape::path(path).to_string()).collect::<Vec<_>>(),
                "calls": bound.calls.keys().map(|call| name(*call)).collect::<Vec<_>>(),
                "holds": bound.holds(),
                "unresolved": unresolved.collect::<Vec<_>>(),
                "missing": missing.collect::<Vec<_>>(),
                "loads_libraries": bound.loads.iter().map(|one| &one.name).collect::<Vec<_>>(),
            })
        });
        let possible = self.possible().into_iter().map(|(call, (program, way))| {
            let (made_by, path) = match way {
                Way::Functions(way) => {
                    ("program", way.iter().map(|one| one.name.as_str()).collect())
                }
                Way::Start => ("start", Vec::new()),
                Way::Kernel => ("kernel", Vec::new()),
            };
            json!({
                "call": name(call),
                "program": escape::path(program).to_string(),
                "made_by": made_by,
                "path": path,
            })
        });
        let skipped = self.skipped.iter();
        let skipped = skipped
            .map(|(path, why)| json!({"program": escape::path(path).to_string(), "why": why}));
        let outside = self.outside().into_iter();
        let outside = outside.map(|(call, program)| json!({"call": name(call), "program": escape::path(program).to_string()}));
        let recorded = self.recorded.as_ref();
        let recorded = recorded.map(|all| all.keys().map(|call| name(*call)).collect::<Vec<_>>());
        json!({
            "holds": self.holds() && self.outside().is_empty(),
            "programs": bounds.collect::<Vec<_>>(),
            "not_analysed": skipped.collect::<Vec<_>>(),
            "recorded": recorded,
            "possible": possible.collect::<Vec<_>>(),
            "not_reachable": self.unreachable().into_iter().map(name).collect::<Vec<_>>(),
            "outside": outside.collect::<Vec<_>>(),
        })
    }
}

/// `read` of x86-64, `x86:read` of others.
fn name(call: Syscall) -> String {
    match call.arch {
        Arch::X86_64 => call.to_string(),
        arch => format!("{arch}:{call}"),
    }
}

fn names(calls: impl Iterator<Item = Syscall>) -> String {
    let names: Vec<String> = calls.map(name).collect();
    wrapped("  ", ", ", &names)
}

fn length(way: &Way) -> usize {
    match way {
        Way::Functions(way) => way.len(),
        Way::Start | Way::Kernel => 0,
    }
}

/// The chain of functions: from the first that has a name, and without those in the middle of a long one.
fn way_in_words(way: &Way, whole: bool) -> String {
    /// How many functions are shown at the start and at the end.
    const SHOWN: usize = 2;
    let way: &[Function] = match way {
        Way::Functions(way) => way,
        Way::Start => return "the execve(2) that starts the program".to_owned(),
        Way::Kernel => return "by the kernel, after a signal".to_owned(),
    };
    // The function that calls the kernel says little without its caller.
    let named = way.iter().position(|function| function.is_named);
    let from = named.unwrap_or(0).min(way.len().saturating_sub(2));
    let way = if whole { way } else { &way[from..] };
    if whole || way.len() <= 2 * SHOWN + 1 {
        return way.iter().join(" -> ");
    }
    let (start, end) = (&way[..SHOWN], &way[way.len() - SHOWN..]);
    format!(
        "{} -> ... -> {}",
        start.iter().join(" -> "),
        end.iter().join(" -> ")
    )
}
