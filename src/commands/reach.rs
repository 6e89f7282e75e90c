//! `sc-record reach`: the calls that programs can make at all, beside those that were recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use itertools::Itertools;
use sc_record::command::find_executable;
use sc_record::escape;
use sc_record::reach::Way;
use sc_record::review::reachable::{Possible, Reachable};
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, count};
use crate::cli::ReachArgs;
use crate::ui::output::{self, wrapped};

pub(super) fn reach(args: &ReachArgs) -> anyhow::Result<u8> {
    let mut all = Reachable::new(args.with.clone());
    for path in &args.inputs {
        match program(path)? {
            Some(program) => all.add_program(program)?,
            None => all.add_recording(&input::recording(path)?)?,
        }
    }
    input::some_analysed(&all)?;
    let report = Report(all);
    output::result(args.json, || report.json(), || report.words(args.verbose))?;
    Ok(exit_status::of_findings(!report.0.outside().is_empty()))
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

/// What is printed.
struct Report(Reachable);

impl Report {
    fn words(&self, verbose: bool) -> String {
        let mut text = String::new();
        for (program, bound) in self.0.bounds() {
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
        if let Some(recorded) = self.0.recorded() {
            let _ = writeln!(text, "\nrecorded: {}", recorded.len());
            text += &names(recorded.keys().copied());
        }
        let possible = self.0.possible();
        let but = if self.0.recorded().is_some() {
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
        for (call, Possible { program, way }) in possible {
            let way = if verbose {
                format!("{way:#}")
            } else {
                way.to_string()
            };
            let of = match self.0.bounds().len() {
                1 => String::new(),
                _ => format!("{}: ", escape::path(program)),
            };
            let _ = writeln!(text, "  {:width$}  {of}{way}", name(call));
        }
        let unreachable = self.0.unreachable();
        let _ = writeln!(text, "\nnot reachable: {}", unreachable.len());
        if verbose {
            text += &names(unreachable.into_iter());
        }
        text + "\n" + &self.verdict()
    }

    /// What the bound doesn't include.
    fn verdict(&self) -> String {
        let mut text = String::new();
        for (call, program) in self.0.outside() {
            let program = escape::path(program);
            let _ = writeln!(
                text,
                "recorded, but not possible: {} of {program}: by code that was not read (--with), or where the number is not known",
                name(call)
            );
        }
        for (path, why) in self.0.skipped() {
            let _ = writeln!(text, "not analysed: {}: {why}", escape::path(path));
        }
        for one in self
            .0
            .bounds()
            .values()
            .flat_map(|bound| &bound.missing)
            .unique()
        {
            let (name, by) = (escape::path(&one.name), escape::path(&one.needed_by));
            let _ = writeln!(text, "not analysed: {name}, which {by} needs: {}", one.why);
        }
        for one in self
            .0
            .bounds()
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
        let loads = self
            .0
            .bounds()
            .values()
            .flat_map(|bound| &bound.loads)
            .unique();
        let mut loads = loads.map(|function| format!("{function} of {}", function.object));
        let loads = loads.join(", ");
        if !loads.is_empty() {
            let _ = writeln!(
                text,
                "libraries are loaded at run time by {loads}: give them with --with"
            );
        }
        text += match (self.0.holds(), loads.is_empty()) {
            (true, true) => "The bound holds for these programs and libraries.\n",
            (true, false) => {
                "The bound holds for these programs and libraries, and not for further ones that they load.\n"
            }
            (false, _) => "The bound does not hold: other calls are possible too.\n",
        };
        text
    }

    fn json(&self) -> Value {
        let bounds = self.0.bounds().iter().map(|(program, bound)| {
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
        let skipped = self.0.skipped().iter();
        let skipped = skipped
            .map(|(path, why)| json!({"program": escape::path(path).to_string(), "why": why}));
        let outside = self.0.outside().into_iter();
        let outside = outside.map(|(call, program)| json!({"call": name(call), "program": escape::path(program).to_string()}));
        let recorded = self.0.recorded();
        let recorded = recorded.map(|all| all.keys().map(|call| name(*call)).collect::<Vec<_>>());
        json!({
            "holds": self.0.holds(),
            "programs": bounds.collect::<Vec<_>>(),
            "not_analysed": skipped.collect::<Vec<_>>(),
            "recorded": recorded,
            "possible": possible_json(&self.0.possible()),
            "not_reachable": self.0.unreachable().into_iter().map(name).collect::<Vec<_>>(),
            "outside": outside.collect::<Vec<_>>(),
        })
    }
}

/// The calls that programs can still make, as a list; empty without one. The end of the first line says more of them.
pub(super) fn still_possible(calls: &BTreeMap<Syscall, Possible<'_>>, more: &str) -> String {
    if calls.is_empty() {
        return String::new();
    }
    let some = count(calls.len(), "call");
    format!(
        "{some} that these programs can still make{more} (`reach` shows how):\n{}",
        names(calls.keys().copied())
    )
}

/// Calls that programs can still make, each with a way to it.
pub(super) fn possible_json(calls: &BTreeMap<Syscall, Possible<'_>>) -> Vec<Value> {
    let calls = calls.iter().map(|(&call, Possible { program, way })| {
        let (made_by, path) = match way {
            Way::Functions(way) => ("program", way.iter().map(|one| one.name.as_str()).collect()),
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
    calls.collect()
}

/// `read` of x86-64, `x86:read` of others.
pub(super) fn name(call: Syscall) -> String {
    match call.arch {
        Arch::X86_64 => call.to_string(),
        arch => format!("{arch}:{call}"),
    }
}

fn names(calls: impl Iterator<Item = Syscall>) -> String {
    let names: Vec<String> = calls.map(name).collect();
    wrapped("  ", ", ", &names)
}
