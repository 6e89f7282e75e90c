//! Writes a C source.

use std::collections::BTreeSet;

use crate::format::error::RenderError;
use crate::format::name::Format;
use crate::format::oci::write_op;
use crate::format::writing::Output;
use crate::profile::{Action, ArgCmp, Flag, Op, Profile, ProfilePart, Rule};
use crate::syscall::{Arch, Syscall};

/// The line that marks such a source.
pub(super) const MARK: &str = "/* A seccomp profile, written by sc-record. */";

const BEFORE: &str = r"#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct rule {
	uint32_t action;
	unsigned int count;
	struct scmp_arg_cmp args[6];
	const char *const *names;
};

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })

";

const CODE: &str = include_str!("code.c");

/// Lines are broken before they are longer.
const WIDTH: usize = 110;

pub(super) fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    if profile.listener().is_some() {
        out.lose("listenerPath")?;
    }
    let mut rules = Vec::new();
    for (index, rule) in profile.rules().iter().enumerate() {
        if rule.action() == Action::Notify {
            let names = rule.names().join(", ");
            let place = ProfilePart::Rule(index);
            out.lose(format!(
                "{place} ({names}): SCMP_ACT_NOTIFY, which needs a listener"
            ))?;
            continue;
        }
        for all in rule.alternatives() {
            rules.push((rule, all));
        }
    }
    if profile.default_action() == Action::Notify {
        return Err(out.unsaid("defaultAction: SCMP_ACT_NOTIFY"));
    }
    let arches = profile.listed();
    let arches = arches.map(|arch| {
        let format = Format::Libseccomp;
        arch.oci_name()
            .filter(|_| arch.scmp().is_some())
            .ok_or(RenderError::Architecture { format, arch })
    });
    let arches: Vec<&str> = arches.collect::<Result<_, _>>()?;
    let arches: Vec<String> = arches.iter().map(|name| format!("{name}, ")).collect();
    let arches = arches.concat();
    let mut text = format!("{MARK}\n");
    for lost in out.head("/*", &[]).lines() {
        let lost = lost.replace("*/", "* /");
        text += &format!("{lost} */\n");
    }
    text += BEFORE;
    text += &format!(
        "#define DEFAULT_ACTION {}\n\nstatic const uint32_t architectures[] = {{ {arches}0 }};\n\n",
        write_action(profile.default_action())
    );
    text += "static const struct rule rules[] = {\n";
    for (rule, all) in rules {
        text += &write_rule(rule, all);
    }
    text += "\t{ 0, 0, { { 0 } }, NULL },\n};\n\n";
    text += &attributes(profile);
    text += &numbers(profile);
    Ok(text + CODE)
}

fn write_action(action: Action) -> String {
    match action {
        Action::Errno(errno) => format!("SCMP_ACT_ERRNO({})", errno.get()),
        Action::Trace(message) => format!("SCMP_ACT_TRACE({message})"),
        other => other.to_string(),
    }
}

fn write_rule(rule: &Rule, all: &[ArgCmp]) -> String {
    let args: Vec<String> = (all.iter())
        .map(|arg| {
            let two = match arg.op() {
                Op::MaskedEq => arg.value_two().unwrap_or(0),
                _ => 0,
            };
            let (index, op) = (arg.index(), write_op(arg.op()));
            format!("{{ {index}, {op}, {:#x}u, {two:#x}u }}", arg.value())
        })
        .collect();
    let count = args.len();
    let args = if args.is_empty() {
        "{ 0 }".to_owned()
    } else {
        args.join(", ")
    };
    let action = write_action(rule.action());
    let mut text = format!("\t{{ {action}, {count}, {{ {args} }}, NAMES(\n");
    let mut line = String::from("\t\t");
    for (index, name) in rule.names().iter().enumerate() {
        let comma = if index + 1 < rule.names().len() {
            ","
        } else {
            ""
        };
        let word = format!("{}{comma}", quoted(name));
        if line.len() + word.len() > WIDTH {
            text += &format!("{}\n", line.trim_end_matches(' '));
            line = String::from("\t\t");
        }
        line += &format!("{word} ");
    }
    text += &format!("{}) }},\n", line.trim_end_matches(' '));
    text
}

/// A string of C, with unusual bytes in octal, which always has three digits.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            text.push(char::from(byte));
        } else {
            text += &format!("\\{byte:03o}");
        }
    }
    text + "\""
}

/// How the filter is loaded.
fn attributes(profile: &Profile) -> String {
    let mut text = String::from(
        "static const struct {\n\tenum scmp_filter_attr attribute;\n\tuint32_t value;\n} attributes[] = {\n",
    );
    for flag in profile.effective_flags() {
        text += match flag {
            Flag::Tsync => "\t{ SCMP_FLTATR_CTL_TSYNC, 1 },\n",
            Flag::Log => "\t{ SCMP_FLTATR_CTL_LOG, 1 },\n",
            Flag::SpecAllow => "\t{ SCMP_FLTATR_CTL_SSB, 1 },\n",
            Flag::WaitKillableRecv => "\t{ SCMP_FLTATR_CTL_WAITKILL, 1 },\n",
        };
    }
    text + "\t{ 0, 0 },\n};\n\n"
}

/// The numbers that libseccomp doesn't know: of newer calls, and of those for which it returns a pseudo number although the
/// ABI has them.
fn numbers(profile: &Profile) -> String {
    let names: BTreeSet<&String> = profile.rules().iter().flat_map(Rule::names).collect();
    let listed = profile.listed();
    let arches: BTreeSet<Arch> = listed.chain([Arch::NATIVE]).collect();
    let mut text = String::from(
        "static const struct {\n\tuint32_t arch;\n\tconst char *name;\n\tint nr;\n} numbers[] = {\n",
    );
    for arch in arches {
        let Some(oci) = arch.oci_name() else { continue };
        for name in &names {
            let Some(syscall) = Syscall::from_name(arch, name) else {
                continue;
            };
            if !given_by_libseccomp(arch, name) {
                text += &format!("\t{{ {oci}, {}, {} }},\n", quoted(name), syscall.audit_nr());
            }
        }
    }
    text + "\t{ 0, NULL, 0 },\n};\n\n"
}

fn given_by_libseccomp(arch: Arch, name: &str) -> bool {
    let given = arch
        .scmp()
        .and_then(|scmp| libseccomp::ScmpSyscall::from_name_by_arch(name, scmp).ok());
    given.is_some_and(|syscall| syscall.as_raw_syscall() >= 0)
}
