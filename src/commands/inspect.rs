//! `sc-record inspect`: what is inside the filters of a process, of a profile, or of a file of BPF.

#![allow(
    clippy::format_push_string,
    reason = "texts are put together from pieces; write! would have errors that can't be"
)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use sc_record::bpf::{
    Confinement, Mode, Outcome, Program, Table, confinement, explain, filters, other_arches, prove,
};
use sc_record::enforce::{self, OnUnknown};
use sc_record::format::{self, Format, detect};
use sc_record::profile::{ARGS, Action, Profile};
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use super::input::count;
use super::{exit_status, source};
use crate::cli::InspectArgs;

/// How wide a line of names may be.
const WIDTH: usize = 100;

/// What is looked into.
struct Subject {
    /// What it is called.
    name: String,
    /// What proc(5) tells of it, if it is a process.
    process: Option<Confinement>,
    /// The newest filter first, as the kernel asks them.
    filters: Vec<Inspected>,
    /// What the filter is compiled from, if it is a profile.
    profile: Option<Profile>,
}

struct Inspected {
    program: Program,
    logs: Option<bool>,
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let subject = subject(args)?;
    let mut stdout = io::stdout().lock();
    if let Some(call) = &args.call {
        let call = parse_call(call)?;
        let mut values = [0; ARGS];
        for &(index, value) in &args.args {
            values[index] = value;
        }
        let text = if args.json {
            format!("{}\n", question_json(&subject, call, &values))
        } else {
            question(&subject, call, &values)
        };
        stdout.write_all(text.as_bytes())?;
        return Ok(exit_status::CLEAN);
    }
    let proofs = if args.prove {
        Some(proofs(&subject)?)
    } else {
        None
    };
    if args.json {
        writeln!(
            stdout,
            "{}",
            json(&subject, args.disassemble, proofs.as_deref())
        )?;
    } else {
        stdout.write_all(text(&subject, args.disassemble).as_bytes())?;
        for proof in proofs.iter().flatten() {
            let arches: Vec<_> = proof.arches.iter().map(|arch| arch.name()).collect();
            let (reached, ends) = proof.ways;
            writeln!(
                stdout,
                "proven: the kernel answers so to {} calls of {}, on {reached} of {ends} ways through the program",
                proof.calls,
                arches.join(", ")
            )?;
        }
    }
    Ok(exit_status::CLEAN)
}

fn subject(args: &InspectArgs) -> anyhow::Result<Subject> {
    let pid = args.what.to_str().and_then(|text| text.parse().ok());
    if let Some(pid) = pid.filter(|&pid: &i32| pid > 0) {
        return of_process(pid);
    }
    let path = Path::new(&args.what);
    let file = path.display();
    let bytes = format::read_file(path).with_context(|| format!("cannot read {file}"))?;
    let format = args.read.from;
    if format.unwrap_or_else(|| detect(&bytes)) == Format::Bpf {
        let program = Program::from_bytes(&bytes).with_context(|| format!("{file}"))?;
        return Ok(Subject {
            name: format!("{file} (bpf)"),
            process: None,
            filters: vec![Inspected {
                program,
                logs: None,
            }],
            profile: None,
        });
    }
    let source = source::parse(&bytes, &args.read, None, false);
    let source = source.with_context(|| format!("{file}"))?;
    let filter = enforce::compile(&source.profile, OnUnknown::Ignore)
        .with_context(|| format!("{file}: cannot compile the profile"))?;
    for ignored in filter.ignored() {
        say!("sc-record: warning: {file}: ignored: {ignored}");
    }
    let program = filter.program().with_context(|| format!("{file}"))?;
    Ok(Subject {
        name: format!("{file} ({}), compiled", source.format),
        process: None,
        filters: vec![Inspected {
            program,
            logs: None,
        }],
        profile: Some(source.profile),
    })
}

fn of_process(pid: i32) -> anyhow::Result<Subject> {
    let process = confinement(pid)?;
    let loaded = if process.mode == Mode::Filter {
        let loaded = filters(pid);
        loaded.with_context(|| {
            let number = match process.filters {
                Some(number) => format!("{number} seccomp filters"),
                None => "seccomp filters".to_owned(),
            };
            format!(
                "{pid} ({}) has {number}, but they can't be read",
                process.comm
            )
        })?
    } else {
        Vec::new()
    };
    // The kernel asks the newest first, and all of them.
    let filters = loaded.into_iter().rev();
    Ok(Subject {
        name: format!("{pid} ({})", process.comm),
        process: Some(process),
        filters: (filters.map(|filter| Inspected {
            program: filter.program,
            logs: filter.logs,
        }))
        .collect(),
        profile: None,
    })
}

fn proofs(subject: &Subject) -> anyhow::Result<Vec<sc_record::bpf::Proven>> {
    let proofs = (subject.filters.iter())
        .map(|filter| prove(&filter.program, subject.profile.as_ref()))
        .collect::<Result<_, _>>();
    proofs.with_context(|| format!("{} can't be proven", subject.name))
}

/// A name or a number, with its ABI in front or not.
fn parse_call(text: &str) -> anyhow::Result<Syscall> {
    let (arch, call) = match text.split_once(':') {
        None => (Arch::NATIVE, text),
        Some((arch, call)) => {
            let arch = Arch::from_any_name(arch);
            (
                arch.with_context(|| format!("{text}: no such architecture"))?,
                call,
            )
        }
    };
    if let Ok(nr) = call.strip_prefix('#').unwrap_or(call).parse() {
        return Ok(Syscall { arch, nr });
    }
    Ok(Syscall::parse(arch, call)?)
}

/// What the kernel makes of the answers of several filters: the strictest one wins.
fn strictest(answers: impl Iterator<Item = Action>) -> Option<Action> {
    // Of several errnos that of the newest filter, which comes first.
    let class = |action: &Action| match action {
        Action::Errno(_) => Action::Errno(sc_record::profile::ErrnoRet::EPERM),
        Action::Trace(_) => Action::Trace(0),
        other => *other,
    };
    answers.reduce(|first, next| {
        if class(&next) < class(&first) {
            next
        } else {
            first
        }
    })
}

fn question(subject: &Subject, call: Syscall, args: &[u64; ARGS]) -> String {
    let values = args.map(|arg| format!("{arg:#x}")).join(", ");
    let mut text = format!("{} {call}({values}): ", call.arch);
    let answers: Vec<_> = (subject.filters.iter())
        .map(|filter| filter.program.ends(call, args))
        .collect();
    match strictest(answers.iter().map(|(_, action)| *action)) {
        None => text += &format!("{}\n", unfiltered(subject)),
        Some(action) => text += &format!("{action}\n"),
    }
    for (number, (at, action)) in answers.iter().enumerate() {
        if answers.len() > 1 {
            text += &format!("  filter {}: {action}, by instruction {at}\n", number + 1);
        } else {
            text += &format!("  by instruction {at}\n");
        }
    }
    text
}

fn unfiltered(subject: &Subject) -> &'static str {
    match subject.process.as_ref().map(|process| process.mode) {
        Some(Mode::Strict) => "strict mode: SIGKILL but for read, write, exit and rt_sigreturn",
        _ => "there is no filter",
    }
}

fn question_json(subject: &Subject, call: Syscall, args: &[u64; ARGS]) -> Value {
    let answers: Vec<_> = (subject.filters.iter())
        .map(|filter| filter.program.ends(call, args))
        .collect();
    let action = strictest(answers.iter().map(|(_, action)| *action));
    let filters = answers
        .iter()
        .map(|(at, action)| json!({"instruction": at, "action": action.to_string()}));
    json!({
        "subject": subject.name,
        "arch": call.arch.name(),
        "syscall": call.to_string(),
        "args": args,
        "action": action.map(|action| action.to_string()),
        "filters": filters.collect::<Vec<_>>(),
    })
}

fn text(subject: &Subject, disassemble: bool) -> String {
    let mut text = format!("{}\n", subject.name);
    if let Some(process) = &subject.process {
        let mode = match process.mode {
            Mode::Disabled => "no seccomp".to_owned(),
            Mode::Strict => "strict mode".to_owned(),
            Mode::Filter => match subject.filters.len() {
                1 => "1 filter".to_owned(),
                number => format!("{number} filters, the newest first"),
            },
        };
        let privileges = if process.no_new_privs {
            "no_new_privs"
        } else {
            "without no_new_privs"
        };
        text += &format!("{mode}, {privileges}\n");
    }
    let several = subject.filters.len() > 1;
    for (number, filter) in subject.filters.iter().enumerate() {
        if several {
            text += &format!("\nfilter {}\n", number + 1);
        }
        let length = filter.program.len();
        let logs = match filter.logs {
            Some(true) => ", logs what it refuses",
            _ => "",
        };
        text += &format!("{length} instructions{logs}\n");
        for table in explain(&filter.program) {
            text += &table_text(&table);
        }
        text += &format!(
            "other ABIs\n  all: {}\n",
            outcome_text(&other_arches(&filter.program))
        );
        if disassemble {
            text += &format!("\n{}", filter.program);
        }
    }
    text
}

type NamesByAction = BTreeMap<Action, Vec<String>>;

/// The names of the calls with the same answer, and those whose answer depends on something.
fn by_outcome(table: &Table) -> (NamesByAction, Vec<(String, &Outcome)>) {
    let mut constant: BTreeMap<Action, Vec<String>> = BTreeMap::new();
    let mut others = Vec::new();
    for (&nr, outcome) in &table.calls {
        let name = Syscall {
            arch: table.arch,
            nr,
        }
        .to_string();
        match outcome.always() {
            Some(action) => constant.entry(action).or_default().push(name),
            None => others.push((name, outcome)),
        }
    }
    for names in constant.values_mut() {
        names.sort();
    }
    others.sort_by(|(a, _), (b, _)| a.cmp(b));
    (constant, others)
}

fn table_text(table: &Table) -> String {
    let mut text = format!("{}\n", table.arch);
    let (constant, others) = by_outcome(table);
    for (action, names) in constant.iter().rev() {
        text += &format!("  {action}: {}\n", count(names.len(), "call"));
        text += &wrapped(names);
    }
    for (name, outcome) in &others {
        text += &format!("  {name}: {}\n", outcome_text(outcome));
    }
    let rest = if table.calls.is_empty() {
        "all"
    } else {
        "all others"
    };
    text + &format!("  {rest}: {}\n", outcome_text(&table.rest))
}

fn wrapped(names: &[String]) -> String {
    let mut text = String::new();
    let mut line = String::from("   ");
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { "," } else { "" };
        if line.len() + name.len() + 2 > WIDTH {
            text += &format!("{line}\n");
            line = String::from("   ");
        }
        line += &format!(" {name}{comma}");
    }
    text + &format!("{line}\n")
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Always(action) => action.to_string(),
        Outcome::TooMany => "depends on its arguments in too many ways to tell".to_owned(),
        Outcome::Depends { ways, otherwise } => {
            let mut text = String::new();
            for (conditions, action) in ways {
                let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
                text += &format!("{action} if {}; ", conditions.join(" && "));
            }
            text + &format!("otherwise {otherwise}")
        }
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Always(action) => json!({"action": action.to_string()}),
        Outcome::TooMany => json!({"unknown": "too many ways"}),
        Outcome::Depends { ways, otherwise } => {
            let ways = ways.iter().map(|(conditions, action)| {
                let conditions = conditions.iter().map(ToString::to_string);
                json!({"action": action.to_string(), "if": conditions.collect::<Vec<_>>()})
            });
            json!({"ways": ways.collect::<Vec<_>>(), "otherwise": otherwise.to_string()})
        }
    }
}

fn json(subject: &Subject, disassemble: bool, proofs: Option<&[sc_record::bpf::Proven]>) -> Value {
    let process = subject.process.as_ref().map(|process| {
        json!({
            "comm": process.comm,
            "mode": match process.mode {
                Mode::Disabled => "disabled",
                Mode::Strict => "strict",
                Mode::Filter => "filter",
            },
            "no_new_privs": process.no_new_privs,
            "tracer": process.tracer,
        })
    });
    let filters = subject.filters.iter().enumerate().map(|(index, filter)| {
        let tables = explain(&filter.program).into_iter().map(|table| {
            let calls: BTreeMap<String, Value> = (table.calls.iter())
                .map(|(&nr, outcome)| {
                    let arch = table.arch;
                    (Syscall { arch, nr }.to_string(), outcome_json(outcome))
                })
                .collect();
            json!({
                "arch": table.arch.name(),
                "calls": calls,
                "others": outcome_json(&table.rest),
            })
        });
        let lines = filter.program.to_string();
        json!({
            "instructions": filter.program.len(),
            "logs": filter.logs,
            "arches": tables.collect::<Vec<_>>(),
            "other_arches": outcome_json(&other_arches(&filter.program)),
            "disassembly": disassemble.then(|| lines.lines().collect::<Vec<_>>()),
            "proven": proofs.and_then(|proofs| proofs.get(index)).map(|proof| json!({
                "calls": proof.calls,
                "arches": proof.arches.iter().map(|arch| arch.name()).collect::<Vec<_>>(),
                "ways": [proof.ways.0, proof.ways.1],
            })),
        })
    });
    json!({
        "subject": subject.name,
        "process": process,
        "filters": filters.collect::<Vec<_>>(),
    })
}
