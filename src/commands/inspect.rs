//! `sc-record inspect`: explains the filters of a process, of a profile, or of a BPF file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use itertools::Itertools;
use sc_record::bpf::{
    ArchAnswers, Confinement, FilterAnswer, Program, Proof, SeccompMode, TaskFilter, confinement,
    explain, explain_other_arches, filters, prove,
};
use sc_record::enforce::{self, OnUnknown};
use sc_record::format::detect;
use sc_record::profile::{ARGS, Action, Profile};
use sc_record::syscall::{Arch, Syscall, suggestion};
use serde_json::{Value, json};

use super::input::count;
use super::{exit_status, load};
use crate::cli::InspectArgs;
use crate::ui::output;

/// The filters to explain, and where they come from.
struct Inspected {
    name: String,
    /// For a process.
    process: Option<Confinement>,
    /// The newest first, as the kernel runs them.
    filters: Vec<TaskFilter>,
    /// For a profile.
    profile: Option<Profile>,
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let inspected = load(args)?;
    if let Some(call) = &args.call {
        let call = parse_call(call)?;
        let mut values = [0; ARGS];
        for &(index, value) in &args.args {
            values[index] = value;
        }
        output::result(
            args.json,
            || question_json(&inspected, call, &values),
            || question(&inspected, call, &values),
        )?;
        return Ok(exit_status::CLEAN);
    }
    let proofs = args.prove.then(|| proofs(&inspected)).transpose()?;
    output::result(
        args.json,
        || json(&inspected, args.disassemble, proofs.as_deref()),
        || {
            let proven = proofs.iter().flatten().map(proven);
            text(&inspected, args.disassemble) + &proven.collect::<String>()
        },
    )?;
    Ok(exit_status::CLEAN)
}

fn proven(proof: &Proof) -> String {
    let (reached, ends) = proof.ends;
    format!(
        "proven: the kernel gives the same answers to {} calls of {}, which reach {reached} of {ends} returns\n",
        proof.calls,
        proof.arches.iter().join(", ")
    )
}

fn load(args: &InspectArgs) -> anyhow::Result<Inspected> {
    let pid = args.what.to_str().and_then(|text| text.parse().ok());
    if let Some(pid) = pid.filter(|&pid: &i32| pid > 0) {
        return of_process(pid);
    }
    let path = Path::new(&args.what);
    let file = path.display();
    let bytes = load::read(path)?;
    let format = args.read.from;
    if !format.unwrap_or_else(|| detect(&bytes)).is_text() {
        let program = Program::from_bytes(&bytes).with_context(|| format!("{file}"))?;
        return Ok(of_program(format!("{file} (bpf)"), program, None));
    }
    let source = load::parse(path, &bytes, &args.read, None, false)?;
    let filter = enforce::compile(&source.profile, OnUnknown::Ignore)
        .with_context(|| format!("{file}: can't compile the profile"))?;
    for unknown in filter.unknown() {
        say!("sc-record: warning: {file}: ignored: {unknown}");
    }
    let name = format!("{file} ({}), compiled", source.format);
    let program = filter.program().clone();
    Ok(of_program(name, program, Some(source.profile)))
}

fn of_program(name: String, program: Program, profile: Option<Profile>) -> Inspected {
    Inspected {
        name,
        process: None,
        filters: vec![TaskFilter {
            program,
            logs: None,
        }],
        profile,
    }
}

fn of_process(pid: i32) -> anyhow::Result<Inspected> {
    let process = confinement(pid)?;
    let mut filters = if process.mode == SeccompMode::Filter {
        filters(pid).with_context(|| {
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
    filters.reverse();
    Ok(Inspected {
        name: format!("{pid} ({})", process.comm),
        process: Some(process),
        filters,
        profile: None,
    })
}

fn proofs(inspected: &Inspected) -> anyhow::Result<Vec<Proof>> {
    let proofs = (inspected.filters.iter())
        .map(|filter| prove(&filter.program, inspected.profile.as_ref()))
        .collect::<Result<_, _>>();
    proofs.with_context(|| format!("can't prove the explanation of {}", inspected.name))
}

/// Parses a name or a number, with an optional ABI in front.
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
    Syscall::parse(arch, call)
        .map_err(|error| anyhow::anyhow!("{error}{}", suggestion(&[arch], call)))
}

/// The kernel's action, from those of several filters: the strictest.
fn strictest(answers: impl Iterator<Item = Action>) -> Option<Action> {
    // Of several errnos, that of the newest filter, which comes first.
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

fn question(inspected: &Inspected, call: Syscall, args: &[u64; ARGS]) -> String {
    let values = args.map(|arg| format!("{arg:#x}")).join(", ");
    let mut text = format!("{} {call}({values}): ", call.arch);
    let answers: Vec<_> = (inspected.filters.iter())
        .map(|filter| filter.program.end(call, args))
        .collect();
    match strictest(answers.iter().map(|(_, action)| *action)) {
        None => text += &format!("{}\n", unfiltered(inspected)),
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

fn unfiltered(inspected: &Inspected) -> &'static str {
    match inspected.process.as_ref().map(|process| process.mode) {
        Some(SeccompMode::Strict) => {
            "strict mode: SIGKILL, except read, write, exit and rt_sigreturn"
        }
        _ => "there is no filter",
    }
}

fn question_json(inspected: &Inspected, call: Syscall, args: &[u64; ARGS]) -> Value {
    let answers: Vec<_> = (inspected.filters.iter())
        .map(|filter| filter.program.end(call, args))
        .collect();
    let action = strictest(answers.iter().map(|(_, action)| *action));
    let filters = answers
        .iter()
        .map(|(at, action)| json!({"instruction": at, "action": action.to_string()}));
    json!({
        "subject": inspected.name,
        "arch": call.arch.name(),
        "syscall": call.to_string(),
        "args": args,
        "action": action.map(|action| action.to_string()),
        "filters": filters.collect::<Vec<_>>(),
    })
}

fn text(inspected: &Inspected, disassemble: bool) -> String {
    let mut text = format!("{}\n", inspected.name);
    if let Some(process) = &inspected.process {
        let mode = match process.mode {
            SeccompMode::Disabled => "no seccomp".to_owned(),
            SeccompMode::Strict => "strict mode".to_owned(),
            SeccompMode::Filter => match inspected.filters.len() {
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
    let several = inspected.filters.len() > 1;
    for (number, filter) in inspected.filters.iter().enumerate() {
        if several {
            text += &format!("\nfilter {}\n", number + 1);
        }
        let length = filter.program.len();
        let logs = match filter.logs {
            Some(true) => ", logs denials",
            _ => "",
        };
        text += &format!("{length} instructions{logs}\n");
        for answers in explain(&filter.program) {
            text += &arch_text(&answers);
        }
        text += &format!(
            "other ABIs\n  all: {}\n",
            answer_text(&explain_other_arches(&filter.program))
        );
        if disassemble {
            text += &format!("\n{}", filter.program);
        }
    }
    text
}

type NamesByAction = BTreeMap<Action, Vec<String>>;

/// The names of the calls by action, and those whose action depends on arguments.
fn by_action(answers: &ArchAnswers) -> (NamesByAction, Vec<(String, &FilterAnswer)>) {
    let mut constant: BTreeMap<Action, Vec<String>> = BTreeMap::new();
    let mut others = Vec::new();
    for (&nr, answer) in &answers.calls {
        let arch = answers.arch;
        let name = Syscall { arch, nr }.to_string();
        match answer.always() {
            Some(action) => constant.entry(action).or_default().push(name),
            None => others.push((name, answer)),
        }
    }
    for names in constant.values_mut() {
        names.sort();
    }
    others.sort_by(|(a, _), (b, _)| a.cmp(b));
    (constant, others)
}

fn arch_text(answers: &ArchAnswers) -> String {
    let mut text = format!("{}\n", answers.arch);
    let (constant, others) = by_action(answers);
    for (action, names) in constant.iter().rev() {
        text += &format!("  {action}: {}\n", count(names.len(), "call"));
        text += &output::wrapped("    ", ", ", names);
    }
    for (name, answer) in &others {
        text += &format!("  {name}: {}\n", answer_text(answer));
    }
    let rest = if answers.calls.is_empty() {
        "all"
    } else {
        "all others"
    };
    text + &format!("  {rest}: {}\n", answer_text(&answers.rest))
}

fn answer_text(answer: &FilterAnswer) -> String {
    match answer {
        FilterAnswer::Always(action) => action.to_string(),
        FilterAnswer::Unknown => "unknown: the conditions are too complex".to_owned(),
        FilterAnswer::Depends { cases, otherwise } => {
            let mut text = String::new();
            for (conditions, action) in cases {
                text += &format!("{action} if {}; ", conditions.iter().join(" && "));
            }
            text + &format!("otherwise {otherwise}")
        }
    }
}

fn answer_json(answer: &FilterAnswer) -> Value {
    match answer {
        FilterAnswer::Always(action) => json!({"action": action.to_string()}),
        FilterAnswer::Unknown => json!({"unknown": "too complex"}),
        FilterAnswer::Depends { cases, otherwise } => {
            let ways = cases.iter().map(|(conditions, action)| {
                let conditions = conditions.iter().map(ToString::to_string);
                json!({"action": action.to_string(), "if": conditions.collect::<Vec<_>>()})
            });
            json!({"ways": ways.collect::<Vec<_>>(), "otherwise": otherwise.to_string()})
        }
    }
}

fn json(inspected: &Inspected, disassemble: bool, proofs: Option<&[Proof]>) -> Value {
    let process = inspected.process.as_ref().map(|process| {
        json!({
            "comm": process.comm,
            "mode": match process.mode {
                SeccompMode::Disabled => "disabled",
                SeccompMode::Strict => "strict",
                SeccompMode::Filter => "filter",
            },
            "no_new_privs": process.no_new_privs,
            "tracer": process.tracer,
        })
    });
    let filters = inspected.filters.iter().enumerate().map(|(index, filter)| {
        let arches = explain(&filter.program).into_iter().map(|answers| {
            let arch = answers.arch;
            let calls: BTreeMap<String, Value> = (answers.calls.iter())
                .map(|(&nr, answer)| (Syscall { arch, nr }.to_string(), answer_json(answer)))
                .collect();
            json!({
                "arch": arch.name(),
                "calls": calls,
                "others": answer_json(&answers.rest),
            })
        });
        let lines = filter.program.to_string();
        json!({
            "instructions": filter.program.len(),
            "logs": filter.logs,
            "arches": arches.collect::<Vec<_>>(),
            "other_arches": answer_json(&explain_other_arches(&filter.program)),
            "disassembly": disassemble.then(|| lines.lines().collect::<Vec<_>>()),
            "proven": proofs.and_then(|proofs| proofs.get(index)).map(|proof| json!({
                "calls": proof.calls,
                "arches": proof.arches.iter().map(|arch| arch.name()).collect::<Vec<_>>(),
                "ways": [proof.ends.0, proof.ends.1],
            })),
        })
    });
    json!({
        "subject": inspected.name,
        "process": process,
        "filters": filters.collect::<Vec<_>>(),
    })
}
