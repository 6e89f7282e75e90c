//! `sc-record resolve 59 x86:openat`: translates numbers and names of system calls, also in the lines of a log.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::Context;
use sc_record::syscall::{Arch, Syscall, suggestion};
use serde_json::{Value, json};

use super::exit_status;
use crate::cli::{ArchesArg, ResolveArgs};
use crate::ui::output;

pub(super) fn resolve(args: &ResolveArgs) -> anyhow::Result<u8> {
    let of_stdin = args.calls.iter().all(|call| call == "-");
    if !of_stdin {
        return resolve_calls(args);
    }
    anyhow::ensure!(
        !args.json,
        "--json applies to calls on the command line, not to lines of stdin"
    );
    let stdin = io::stdin();
    anyhow::ensure!(
        !args.calls.is_empty() || !stdin.is_terminal(),
        "nothing to resolve: pass numbers or names, or a log on stdin"
    );
    let arch = match args.arches.as_slice() {
        [] => Arch::NATIVE,
        [ArchesArg::One(arch)] => *arch,
        _ => {
            anyhow::bail!("the lines of stdin can have only one default architecture")
        }
    };
    annotate_all(stdin.lock(), &mut io::stdout().lock(), arch)
}

/// The maximum length of a line, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A number or name, and its calls.
struct Resolved<'a> {
    asked: &'a str,
    found: Result<Vec<Syscall>, String>,
}

fn resolve_calls(args: &ResolveArgs) -> anyhow::Result<u8> {
    let mut arches = Vec::new();
    for given in &args.arches {
        match given {
            ArchesArg::One(arch) => arches.push(*arch),
            ArchesArg::All => arches.extend(Arch::ALL),
        }
    }
    if arches.is_empty() {
        arches.push(Arch::NATIVE);
    }
    let answers: Vec<_> = (args.calls.iter())
        .map(|asked| Resolved {
            asked,
            found: find(asked, &arches),
        })
        .collect();
    if args.json {
        let all: Value = answers.iter().flat_map(Resolved::json).collect();
        output::json(format_args!("{all}\n"))?;
    }
    let mut status = exit_status::CLEAN;
    for answer in &answers {
        match &answer.found {
            Ok(calls) if !args.json => {
                let lines: String = (calls.iter()).map(|call| line(*call) + "\n").collect();
                output::report(&lines)?;
            }
            Ok(_) => {}
            Err(why) => {
                say!("sc-record: {why}");
                status = exit_status::FINDINGS;
            }
        }
    }
    Ok(status)
}

/// Finds the calls of a number or a name on the architectures that have it.
fn find(asked: &str, arches: &[Arch]) -> Result<Vec<Syscall>, String> {
    let (arches, call) = match asked.rsplit_once(':') {
        Some((arch, call)) => {
            let arch = Arch::from_any_name(arch)
                .ok_or_else(|| format!("{asked}: {arch} is not an architecture"))?;
            (vec![arch], call)
        }
        None => (arches.to_vec(), asked),
    };
    let number = number(call);
    let found: Vec<Syscall> = (arches.iter())
        .filter_map(|&arch| match number {
            Some(nr) => with_number(arch, nr).filter(|call| call.name().is_some()),
            None => Syscall::from_name(arch, call),
        })
        .collect();
    if found.is_empty() {
        let names: Vec<_> = arches.iter().map(|arch| arch.name()).collect();
        let of = match names.as_slice() {
            [one] => (*one).to_owned(),
            _ => format!("any of {} architectures", names.len()),
        };
        return Err(match number {
            Some(nr) => format!("{asked}: no system call of {of} has the number {nr}"),
            None => format!(
                "{asked}: no system call of {of} has this name{}",
                suggestion(&arches, call)
            ),
        });
    }
    Ok(found)
}

/// The call of a kernel number. An `x86_64` number with the bit of x32 is an x32 call, and an x32 number can lack the bit.
fn with_number(arch: Arch, nr: i32) -> Option<Syscall> {
    match arch {
        Arch::X32 if nr >= 0 && Syscall { arch, nr }.audit_nr() != nr => Some(Syscall { arch, nr }),
        _ => Syscall::from_audit(arch.audit(), nr),
    }
}

/// `59`, `-5`, `0x3b`, `#59`
fn number(text: &str) -> Option<i32> {
    let text = text.strip_prefix('#').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(digits, 16).ok().map(u32::cast_signed);
    }
    text.parse().ok()
}

/// `x86_64 59 execve`; for x32 also the number in filters and records.
fn line(call: Syscall) -> String {
    let bit = match call.arch {
        Arch::X32 => format!(" ({})", call.audit_nr()),
        _ => String::new(),
    };
    format!("{} {}{bit} {call}", call.arch, call.nr)
}

impl Resolved<'_> {
    fn json(&self) -> Vec<Value> {
        match &self.found {
            Ok(calls) => (calls.iter())
                .map(|call| {
                    json!({
                        "asked": self.asked,
                        "arch": call.arch,
                        "nr": call.nr,
                        "name": call.name(),
                        "audit_arch": format!("{:08x}", call.arch.audit()),
                        "audit_nr": call.audit_nr(),
                    })
                })
                .collect(),
            Err(why) => vec![json!({"asked": self.asked, "error": why})],
        }
    }
}

fn annotate_all(mut from: impl BufRead, to: &mut impl Write, arch: Arch) -> anyhow::Result<u8> {
    let mut status = exit_status::CLEAN;
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let mut bounded = from.by_ref().take(LONGEST_LINE);
        let read = bounded.read_until(b'\n', &mut line);
        if read.context("can't read stdin")? == 0 {
            return Ok(status);
        }
        number += 1;
        let is_cut = bounded.limit() == 0 && !line.ends_with(b"\n");
        anyhow::ensure!(
            !is_cut,
            "line {number} is longer than {LONGEST_LINE} bytes, so this is not a log"
        );
        let (annotated, unknown) = annotate(&line, arch);
        to.write_all(&annotated).context("can't write to stdout")?;
        if let Some(unknown) = unknown {
            say!("sc-record: line {number}: {unknown}");
            status = exit_status::FINDINGS;
        }
    }
}

/// Adds names to the numbers in a line: `arch=c000003e(x86_64) syscall=59(execve)`. Returns the first number without a name too.
fn annotate(line: &[u8], default: Arch) -> (Vec<u8>, Option<String>) {
    let fields = fields(line);
    let mut notes: Vec<(usize, String)> = Vec::new();
    let mut unknown = None;
    for (at, field) in fields.iter().enumerate() {
        let (Kind::Syscall, Some(nr)) = (field.kind, number(field.value)) else {
            continue;
        };
        // The kernel writes the architecture before the number; other programs may write it after.
        let is_arch = |field: &&Field<'_>| field.kind == Kind::Arch;
        let before = fields[..at].iter().rfind(is_arch);
        let of = before.or_else(|| fields[at + 1..].iter().find(is_arch));
        let arch = match of {
            Some(of) => Arch::from_any_name(of.value),
            None => Some(default),
        };
        let call = arch.and_then(|arch| with_number(arch, nr));
        if let (Some(of), Some(call)) = (of, call)
            && of.value != call.arch.name()
            && !notes.iter().any(|(end, _)| *end == of.end)
        {
            notes.push((of.end, format!("({})", call.arch)));
        }
        if let Some(name) = call.and_then(Syscall::name) {
            notes.push((field.end, format!("({name})")));
        } else {
            let arch = of.map_or(default.name(), |of| of.value);
            unknown.get_or_insert(format!(
                "syscall={} of arch={arch} has no name",
                field.value
            ));
        }
    }
    notes.sort();
    let mut annotated = Vec::with_capacity(line.len() + 32);
    let mut from = 0;
    for (end, note) in notes {
        annotated.extend_from_slice(&line[from..end]);
        annotated.extend_from_slice(note.as_bytes());
        from = end;
    }
    annotated.extend_from_slice(&line[from..]);
    (annotated, unknown)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Arch,
    Syscall,
}

/// `arch=…` or `syscall=…` in a line.
struct Field<'a> {
    kind: Kind,
    value: &'a str,
    /// The end of the value.
    end: usize,
}

fn fields(line: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut from = 0;
    while let Some(equals) = memchr::memchr(b'=', &line[from..]).map(|at| from + at) {
        let kind = if line[..equals].ends_with(b"syscall") {
            Some((Kind::Syscall, equals - "syscall".len()))
        } else if line[..equals].ends_with(b"arch") {
            Some((Kind::Arch, equals - "arch".len()))
        } else {
            None
        };
        from = equals + 1;
        let Some((kind, start)) = kind else { continue };
        // Not the end of another field's name.
        if start > 0 && (line[start - 1].is_ascii_alphanumeric() || line[start - 1] == b'_') {
            continue;
        }
        let is_value = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let length = line[from..]
            .iter()
            .take_while(|byte| is_value(byte))
            .count();
        if let Ok(value) = std::str::from_utf8(&line[from..from + length]) {
            let end = from + length;
            fields.push(Field { kind, value, end });
        }
        from += length;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(asked: &str, arches: &[Arch]) -> Result<String, String> {
        let calls = find(asked, arches)?;
        Ok(calls.into_iter().map(line).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn numbers_and_names_in_every_spelling() {
        let check = |asked: &str, expected: &str| {
            assert_eq!(
                found(asked, &[Arch::X86_64]).as_deref(),
                Ok(expected),
                "{asked}"
            );
        };
        check("59", "x86_64 59 execve");
        check("0x3b", "x86_64 59 execve");
        check("#59", "x86_64 59 execve");
        check("openat", "x86_64 257 openat");
        check("x86:openat", "x86 295 openat");
        check("i386:102", "x86 102 socketcall");
        check("aarch64:openat", "aarch64 56 openat");
        check("c000003e:435", "x86_64 435 clone3");
        check("SCMP_ARCH_S390X:read", "s390x 3 read");
        check("x32:512", "x32 512 (1073742336) rt_sigaction");
        check("1073742336", "x32 512 (1073742336) rt_sigaction");
        check("0x40000200", "x32 512 (1073742336) rt_sigaction");
        check("x32:read", "x32 0 (1073741824) read");
    }

    #[test]
    fn unknown_calls_are_reported_with_the_architectures() {
        let check = |asked: &str, arches: &[Arch], why: &str| {
            assert_eq!(found(asked, arches), Err(format!("{asked}: {why}")));
        };
        let x86_64 = &[Arch::X86_64];
        check(
            "100000",
            x86_64,
            "no system call of x86_64 has the number 100000",
        );
        check(
            "-5",
            &[Arch::X86],
            "no system call of x86 has the number -5",
        );
        let why = "no system call of any of 26 architectures has this name";
        check("qwertyqwerty", Arch::ALL, why);
        check("vax:read", Arch::ALL, "vax is not an architecture");
    }

    #[test]
    fn the_numbers_of_a_log_get_names() {
        let check = |line: &str, expected: &str, without_name: Option<&str>| {
            let (annotated, unknown) = annotate(line.as_bytes(), Arch::X86_64);
            assert_eq!(String::from_utf8(annotated).unwrap(), expected);
            assert_eq!(unknown.as_deref(), without_name);
        };
        let line = "sig=0 arch=c000003e syscall=59 compat=0";
        let named = "sig=0 arch=c000003e(x86_64) syscall=59(execve) compat=0";
        check(line, named, None);
        let line = "arch=40000003 syscall=102 x arch=c000003e syscall=1073741863";
        let named = "arch=40000003(x86) syscall=102(socketcall) x arch=c000003e(x32) syscall=1073741863(getpid)";
        check(line, named, None);
        let named = "syscall=20(getpid) arch=40000003(x86)\n";
        check("syscall=20 arch=40000003\n", named, None);
        check("syscall=39", "syscall=39(getpid)", None);
        for line in [
            "arch=x86_64 syscall=openat",
            "my_syscall=1 xarch=2 syscall= arch=",
            "nothing of the kind\n",
        ] {
            check(line, line, None);
        }
        let unknown = Some("syscall=100000 of arch=c000003e has no name");
        let named = "arch=c000003e(x86_64) syscall=100000";
        check("arch=c000003e syscall=100000", named, unknown);
        let unknown = Some("syscall=1 of arch=dead has no name");
        check("arch=dead syscall=1", "arch=dead syscall=1", unknown);
    }
}
