//! Writes a drop-in.

use std::collections::BTreeMap;

use super::restriction::Restriction;
use crate::format::by_call::{Said, calls, with_plain_names, without_loading};
use crate::format::error::RenderError;
use crate::format::name::Format;
use crate::format::writing::Output;
use crate::profile::{Action, Profile};
use crate::syscall::Arch;

/// The group that systemd adds to each list of allowed calls.
pub(super) const DEFAULT: &str = "@default";

/// Lines are broken before they are longer.
const WIDTH: usize = 100;

pub(super) fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    without_loading(profile, out)?;
    let arches = profile.listed();
    let arches = arches.map(|arch| {
        let format = Format::Systemd;
        arch_name(arch).ok_or(RenderError::Architecture { format, arch })
    });
    let mut arches: Vec<&str> = arches.collect::<Result<_, _>>()?;
    arches.dedup();
    if arches.is_empty() {
        arches.push("native");
    }
    let said = calls(profile, out)?;
    let said = with_plain_names(said, out)?;
    // Each call with its answer.
    let mut answers: BTreeMap<&str, Action> = BTreeMap::new();
    let mut compared = Vec::new();
    for (name, said) in said {
        match said {
            Said::Always(action) => {
                answers.insert(name, action);
            }
            Said::When(_) => compared.push((name, said)),
        }
    }
    let mut restricting = Vec::new();
    for (name, said) in compared {
        match Restriction::of(name, &said, profile) {
            Ok(restriction) => {
                if profile.default_action() != Action::Allow {
                    answers.insert(name, Action::Allow);
                }
                restricting.push(restriction.setting() + "\n");
            }
            Err(why) => out.lose(format!("{name}: its rules compare arguments{why}"))?,
        }
    }
    let lists = lists(profile.default_action(), answers, out)?;
    let mut head = vec![
        "A drop-in for a unit: put it into /etc/systemd/system/UNIT.d/, then",
        "systemctl daemon-reload and restart the unit.",
    ];
    if lists.contains(DEFAULT) {
        head.push("systemd also allows the calls of @default: the list first removes them.");
    }
    Ok(format!(
        "{}[Service]\n{}{}SystemCallArchitectures={}\n",
        out.head("#", &head),
        lists,
        restricting.concat(),
        arches.join(" ")
    ))
}

/// The lines with the calls and their actions.
fn lists(
    default_action: Action,
    mut answers: BTreeMap<&str, Action>,
    out: &mut Output<'_>,
) -> Result<String, RenderError> {
    let sayable = |action: Action| match (default_action, action) {
        (Action::Log, action) => action == Action::Allow,
        (Action::Allow, action) => matches!(action, Action::Errno(_) | Action::KillProcess),
        (_, action) => matches!(
            action,
            Action::Allow | Action::Errno(_) | Action::KillProcess
        ),
    };
    for (name, action) in &answers {
        if !sayable(*action) {
            out.lose(format!("{name}: {action}"))?;
        }
    }
    answers.retain(|_, action| sayable(*action));
    let allowed: Vec<String> = (answers.iter())
        .filter(|(_, action)| **action == Action::Allow)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let denied: Vec<String> = (answers.iter())
        .filter_map(|(name, action)| match action {
            Action::Errno(errno) => Some(format!("{name}:{errno}")),
            Action::KillProcess => Some(format!("{name}:kill")),
            _ => None,
        })
        .collect();
    match default_action {
        Action::Allow if denied.is_empty() => {
            out.lose("no call is denied: there is nothing to filter")?;
            Ok(String::new())
        }
        Action::Allow => Ok(lines("SystemCallFilter=~", &denied)),
        Action::Log if allowed.is_empty() => {
            // A list of calls that are not logged can't be empty: this name is no call.
            out.lose("no call is allowed without being logged")?;
            Ok(String::new())
        }
        Action::Log => Ok(lines("SystemCallLog=~", &allowed)),
        action => {
            let number = match action {
                Action::KillProcess => "kill".to_owned(),
                Action::Errno(errno) if errno.get() != 0 => errno.to_string(),
                other => {
                    out.lose(format!("defaultAction: {other}; the process is killed"))?;
                    "kill".to_owned()
                }
            };
            let mut text = format!(
                "SystemCallFilter={DEFAULT}\nSystemCallFilter=~{DEFAULT}\n{}",
                lines("SystemCallFilter=", &allowed)
            );
            if !denied.is_empty() {
                text += &lines("SystemCallFilter=~", &denied);
            }
            text += &format!("SystemCallErrorNumber={number}\n");
            Ok(text)
        }
    }
}

/// As many lines as needed; systemd joins them.
fn lines(start: &str, words: &[String]) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words {
        if line.is_empty() {
            line = format!("{start}{word}");
        } else if line.len() + 1 + word.len() > WIDTH {
            text += &format!("{line}\n");
            line = format!("{start}{word}");
        } else {
            line += &format!(" {word}");
        }
    }
    if !line.is_empty() {
        text += &format!("{line}\n");
    }
    text
}

/// The names of systemd (`architecture_table`, `src/basic/architecture.c`, and `seccomp_arch_from_string`).
pub(super) const ARCHES: &[(&str, Arch)] = &[
    ("x86-64", Arch::X86_64),
    ("x86", Arch::X86),
    ("x32", Arch::X32),
    ("arm64", Arch::Aarch64),
    ("arm", Arch::Arm),
    ("riscv64", Arch::Riscv64),
    ("s390x", Arch::S390x),
    ("s390", Arch::S390),
    ("ppc64-le", Arch::Ppc64le),
    ("ppc64", Arch::Ppc64),
    ("ppc", Arch::Ppc),
    ("loongarch64", Arch::Loongarch64),
    ("mips", Arch::Mips),
    ("mips-le", Arch::Mipsel),
    ("mips64", Arch::Mips64),
    ("mips64-le", Arch::Mipsel64),
    ("mips64-n32", Arch::Mips64n32),
    ("mips64-le-n32", Arch::Mipsel64n32),
    ("parisc", Arch::Parisc),
    ("parisc64", Arch::Parisc64),
];

fn arch_name(arch: Arch) -> Option<&'static str> {
    let found = ARCHES.iter().find(|(_, known)| *known == arch);
    found.map(|(name, _)| *name)
}
