//! A drop-in for a unit of systemd (`systemd.exec(5)`): `SystemCallFilter=`, `SystemCallErrorNumber=`,
//! `SystemCallArchitectures=`, and `SystemCallLog=` for a profile that logs. The actions are to execute a call, to log it, to deny
//! it with an errno, and to kill the process. Of arguments, only those are compared that a setting of its own restricts
//! ([`Restriction`]).
//!
//! systemd puts `@default` into every list of allowed calls. So a written list begins with that group, removes
//! it again, and then adds the profile's own calls: lines are applied in order (`seccomp_parse_syscall_filter`,
//! `src/shared/seccomp-util.c`). A call with an errno of its own goes into a line with `~`, which in a list of allowed
//! calls sets its errno.
//!
//! A filter of systemd applies to all ABIs of the machine, unless `SystemCallArchitectures=` excludes them. A profile
//! without ABIs is for the native one, which is written as `native`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::by_call::{Said, calls, with_plain_names, without_loading};
use super::docker::errno_of_name;
use super::reading::{Groups, Input, Parsed, Places};
use super::writing::Output;
use super::{Format, ParseError, Position, Reader as Read, RenderError, Row, Writer};
use crate::profile::{Action, ArgCmp, ErrnoRet, Op, Place, Profile, Rule};
use crate::syscall::Arch;

pub(super) const ROW: Row = Row {
    name: "systemd",
    extension: "conf",
    about: "Drop-in for a systemd unit",
    is_oci: false,
    json: |_| false,
    line: |line| line == "[Service]" || line.starts_with("SystemCall"),
    read: Read::Text(parse),
    write: Writer::Text(render),
    companion: None,
    edit: None,
};

/// The group that systemd adds to each list of allowed calls.
const DEFAULT: &str = "@default";

/// Lines are broken before they are longer.
const WIDTH: usize = 100;

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
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
                answers.insert(name, Action::Allow);
                restricting.push(restriction.setting());
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

/// A setting that allows a call with some arguments only, and denies it with others by EPERM (`seccomp_restrict_namespaces` and
/// `seccomp_lock_personality`, `src/shared/seccomp-util.c`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restriction {
    /// `RestrictNamespaces=yes`: clone(2) and unshare(2) without flags that make a namespace, and no setns(2).
    Namespaces,
    /// `LockPersonality=yes`: personality(2) with the default only.
    Personality,
}

impl Restriction {
    /// The flags of namespaces.
    const NAMESPACES: u64 = 0x7e02_0000;

    fn setting(self) -> &'static str {
        match self {
            Restriction::Namespaces => "RestrictNamespaces=yes\n",
            Restriction::Personality => "LockPersonality=yes\n",
        }
    }

    fn call(self) -> &'static str {
        match self {
            Restriction::Namespaces => "clone",
            Restriction::Personality => "personality",
        }
    }

    /// The comparison under which the call is allowed.
    fn comparison(self) -> Option<ArgCmp> {
        let mask = match self {
            Restriction::Namespaces => Restriction::NAMESPACES,
            Restriction::Personality => u64::from(u32::MAX),
        };
        ArgCmp::new(0, Op::MaskedEq, mask, Some(0)).ok()
    }

    /// The setting that means exactly what the rules of a call say, or why there is none.
    fn of(name: &str, said: &Said<'_>, profile: &Profile) -> Result<Restriction, &'static str> {
        let all = [Restriction::Namespaces, Restriction::Personality];
        let known = all.into_iter().find(|known| known.call() == name);
        let Some(restriction) = known else {
            return Err(match name {
                "socket" => {
                    " (RestrictAddressFamilies= answers EAFNOSUPPORT, and compares no types)"
                }
                "mmap" | "mmap2" | "mprotect" | "pkey_mprotect" | "shmat" => {
                    " (MemoryDenyWriteExecute= depends on the kernel's PR_SET_MDWE)"
                }
                "sched_setscheduler" => " (RestrictRealtime= allows three policies)",
                _ => "",
            });
        };
        let parts = |one: &ArgCmp| {
            let expected = one.value_two().unwrap_or(0);
            (one.index(), one.op(), one.value(), expected)
        };
        let is_same = match (said, restriction.comparison()) {
            (Said::When(when), Some(wanted)) => {
                matches!(when[..], [([only], Action::Allow)] if parts(only) == parts(&wanted))
            }
            _ => false,
        };
        // On s390, the flags of clone are argument 1.
        let is_first = !profile
            .listed_or(Arch::NATIVE)
            .iter()
            .any(|arch| matches!(arch, Arch::S390 | Arch::S390x));
        let denies = profile.default_action() == Action::Errno(ErrnoRet::EPERM);
        // systemd answers ENOSYS to clone3, too.
        let others_denied = profile.replaces("clone3")
            && ["unshare", "setns"]
                .iter()
                .all(|other| !profile.may_execute(other));
        match restriction {
            _ if !is_same || !denies => Err(""),
            Restriction::Namespaces if !is_first || !others_denied => Err(""),
            restriction => Ok(restriction),
        }
    }
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
const ARCHES: &[(&str, Arch)] = &[
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

/// The calls of a group in this machine's systemd; `None` without systemd or such a group.
#[must_use]
pub fn groups_of_systemd(group: &str) -> Option<Vec<String>> {
    /// One process lists all: a file can name thousands of groups.
    static ALL: OnceLock<BTreeMap<String, Vec<String>>> = OnceLock::new();
    let all = ALL.get_or_init(|| groups(&listed_groups().unwrap_or_default()));
    let (mut calls, mut open) = (BTreeSet::new(), vec![group]);
    let mut seen = BTreeSet::new();
    while let Some(group) = open.pop() {
        for member in all.get(group)? {
            if !member.starts_with('@') {
                calls.insert(member.clone());
            } else if seen.insert(member) {
                open.push(member);
            }
        }
    }
    Some(calls.into_iter().collect())
}

/// What systemd-analyze(1) prints about all groups.
fn listed_groups() -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    command.args(["--no-pager", "syscall-filter"]);
    let output = (command.stdin(Stdio::null()).stderr(Stdio::null()))
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The members of each group: calls, and other groups.
fn groups(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let word = line.trim();
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        if line.starts_with('@') {
            current = Some(groups.entry(word.to_owned()).or_default());
        } else if let Some(members) = &mut current {
            members.push(word.to_owned());
        }
    }
    groups
}

/// The settings after the lines that were read.
#[derive(Default)]
struct Unit {
    /// Whether it is a list of allowed calls; `None` without a list.
    allows: Option<bool>,
    /// The list: calls, and groups that were not expanded yet, each with its errno, if any.
    list: BTreeMap<String, (Option<Action>, Position)>,
    /// Calls that are not logged; `None` without such a list.
    unlogged: Option<BTreeMap<String, Position>>,
    number: Option<Action>,
    arches: Option<Vec<(Arch, Position)>>,
    restrictions: Vec<(Restriction, Position)>,
}

struct UnitReader<'a, 'b> {
    groups: Option<Groups>,
    input: &'a mut Input<'b>,
}

fn parse(text: &str, input: &mut Input<'_>) -> Result<Parsed, ParseError> {
    let groups = input.reading.groups;
    let mut reader = UnitReader { groups, input };
    let mut unit = Unit::default();
    let mut in_service = true;
    for (line, position) in logical_lines(text) {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if content.starts_with('[') {
            in_service = content == "[Service]";
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            return Err(form(
                position,
                "neither KEY=VALUE nor a [Section]".to_owned(),
            ));
        };
        if !in_service {
            continue;
        }
        reader.assign(&mut unit, key.trim(), value.trim(), position)?;
    }
    reader.profile(unit)
}

/// Lines, with those that end in a backslash joined to the next, and where each begins.
fn logical_lines(text: &str) -> Vec<(String, Position)> {
    let mut lines = Vec::new();
    let mut held: Option<(String, Position)> = None;
    for (number, line) in text.lines().enumerate() {
        let here = Position {
            line: number + 1,
            column: 1 + line.len() - line.trim_start().len(),
        };
        let (mut logical, position) = held.take().unwrap_or((String::new(), here));
        let is_comment = line.trim_start().starts_with(['#', ';']);
        match line.strip_suffix('\\').filter(|_| !is_comment) {
            Some(start) => {
                logical.push_str(start);
                logical.push(' ');
                held = Some((logical, position));
            }
            // A comment between the parts of a line is not part of it.
            None if is_comment && !logical.is_empty() => held = Some((logical, position)),
            None => lines.push((logical + line, position)),
        }
    }
    lines.extend(held);
    lines
}

fn form(position: Position, message: String) -> ParseError {
    ParseError::form(Some(position), message)
}

impl UnitReader<'_, '_> {
    fn assign(
        &mut self,
        unit: &mut Unit,
        key: &str,
        value: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        match key {
            "SystemCallFilter" => self.filter(unit, value, position),
            "SystemCallLog" => {
                if value.is_empty() {
                    unit.unlogged = None;
                    return Ok(());
                }
                let Some(list) = value.strip_prefix('~') else {
                    return self.input.lose(
                        Some(position),
                        "SystemCallLog= with a list of logged calls: a profile can't log and refuse at once",
                    );
                };
                for word in list.split_whitespace() {
                    for name in self.expand(word, position)? {
                        let unlogged = unit.unlogged.get_or_insert_default();
                        unlogged.insert(name, position);
                    }
                }
                Ok(())
            }
            "SystemCallErrorNumber" => {
                unit.number = match value {
                    "" | "kill" => None,
                    name => Some(read_errno(name, position)?),
                };
                Ok(())
            }
            "SystemCallArchitectures" => {
                for word in value.split_whitespace() {
                    let arches = unit.arches.get_or_insert_default();
                    let known = ARCHES.iter().find(|(name, _)| *name == word);
                    match known {
                        Some((_, arch)) => arches.push((*arch, position)),
                        None if word == "native" => {}
                        None => {
                            return Err(form(
                                position,
                                format!("{word:?} is not an architecture of systemd"),
                            ));
                        }
                    }
                }
                if value.is_empty() {
                    unit.arches = None;
                }
                Ok(())
            }
            "RestrictNamespaces" if is_true(value) => {
                unit.restrictions.push((Restriction::Namespaces, position));
                Ok(())
            }
            "LockPersonality" if is_true(value) => {
                unit.restrictions.push((Restriction::Personality, position));
                Ok(())
            }
            // Other settings have nothing to do with calls, or restrict some by other means.
            "RestrictAddressFamilies"
            | "RestrictNamespaces"
            | "MemoryDenyWriteExecute"
            | "RestrictRealtime"
            | "RestrictSUIDSGID"
            | "LockPersonality"
            | "ProtectClock"
            | "ProtectKernelModules"
            | "ProtectKernelTunables"
            | "ProtectKernelLogs"
            | "ProtectHostname"
            | "PrivateDevices" => {
                let what = format!("{key}=: a filter of systemd's own comes with it");
                self.input.lose(Some(position), what)
            }
            _ => Ok(()),
        }
    }

    fn filter(
        &mut self,
        unit: &mut Unit,
        value: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        if value.is_empty() {
            unit.allows = None;
            unit.list.clear();
            return Ok(());
        }
        let (inverted, words) = match value.strip_prefix('~') {
            Some(words) => (true, words),
            None => (false, value),
        };
        let allows = *unit.allows.get_or_insert_with(|| {
            if !inverted {
                unit.list.insert(DEFAULT.to_owned(), (None, position));
            }
            !inverted
        });
        for word in words.split_whitespace() {
            let (name, action) = match word.split_once(':') {
                None => (word, None),
                Some((_, _)) if !inverted => {
                    let message = format!("{word:?}: only lists with ~ have errnos");
                    return Err(form(position, message));
                }
                Some((name, "kill")) => (name, Some(Action::KillProcess)),
                Some((name, errno)) => (name, Some(read_errno(errno, position)?)),
            };
            if inverted != allows || action.is_some() {
                // A group is not expanded until its calls differ.
                let names = match action {
                    None => vec![name.to_owned()],
                    Some(_) => self.expand(name, position)?,
                };
                for name in names {
                    unit.list.insert(name, (action, position));
                }
            } else {
                self.remove(&mut unit.list, name, position)?;
            }
        }
        Ok(())
    }

    /// Removes a call or a group from the list.
    fn remove(
        &mut self,
        list: &mut BTreeMap<String, (Option<Action>, Position)>,
        name: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        // Keys are sorted, so groups are side by side.
        let is_group = |entry: Option<(&String, _)>| {
            entry.is_none_or(|(known, _): (&String, &_)| known.starts_with('@'))
        };
        if name.starts_with('@')
            && is_group(list.first_key_value())
            && is_group(list.last_key_value())
        {
            list.remove(name);
            if list.is_empty() {
                return Ok(());
            }
        }
        let groups = list.range("@".to_owned().."A".to_owned());
        let groups: Vec<String> = groups.map(|(known, _)| known.clone()).collect();
        for group in groups {
            if let Some((action, at)) = list.remove(&group) {
                for call in self.expand(&group, at)? {
                    list.entry(call).or_insert((action, at));
                }
            }
        }
        for call in self.expand(name, position)? {
            list.remove(&call);
        }
        Ok(())
    }

    /// A call, or the calls of a group.
    fn expand(&mut self, word: &str, position: Position) -> Result<Vec<String>, ParseError> {
        if !word.starts_with('@') {
            return Ok(vec![word.to_owned()]);
        }
        if let Some(calls) = self.groups.and_then(|groups| groups(word)) {
            return Ok(calls);
        }
        let what = if self.groups.is_some() {
            format!("the calls of {word}, which systemd-analyze on this machine doesn't know")
        } else {
            format!("the calls of {word}, which only systemd knows")
        };
        self.input.lose(Some(position), what)?;
        Ok(Vec::new())
    }

    /// The profile with a rule for the call that a setting restricts.
    fn restricted(
        &mut self,
        profile: Profile,
        restriction: Restriction,
        at: Position,
    ) -> Result<Profile, ParseError> {
        let call = restriction.call();
        let args = Vec::from_iter(restriction.comparison());
        let compared = Rule::new(vec![call.to_owned()], Action::Allow, args.clone());
        let compared = compared.map_err(|error| form(at, error.to_string()))?;
        let without =
            profile.with_names(|rule, name| rule.action() != Action::Allow || name != call);
        let rules = without.rules().iter().cloned().chain([compared]);
        let restricted = without.clone().with_rules(rules);
        let said = Said::When(vec![(&args, Action::Allow)]);
        if profile.may_execute(call) && Restriction::of(call, &said, &restricted).is_ok() {
            return Ok(restricted);
        }
        let what = restriction.setting().trim_end();
        self.input.lose(
            Some(at),
            format!("{what}: a filter of systemd's own comes with it"),
        )?;
        Ok(profile)
    }

    fn profile(&mut self, unit: Unit) -> Result<Parsed, ParseError> {
        let mut places = BTreeMap::new();
        let start = Position { line: 1, column: 1 };
        let (default_action, list) = match (unit.allows, unit.unlogged) {
            (None, None) => {
                return Err(form(
                    start,
                    "there is neither SystemCallFilter= nor SystemCallLog=".to_owned(),
                ));
            }
            (None, Some(unlogged)) => {
                let list = unlogged.into_iter();
                let list = list.map(|(name, at)| (name, (Some(Action::Allow), at)));
                (Action::Log, list.collect())
            }
            (Some(allows), unlogged) => {
                if let Some(at) = unlogged.and_then(|list| list.into_values().next()) {
                    let what = "SystemCallLog= beside SystemCallFilter=";
                    self.input.lose(Some(at), what)?;
                }
                let refused = unit.number.unwrap_or(Action::KillProcess);
                let mut list = BTreeMap::new();
                for (name, (action, at)) in unit.list {
                    let action = match (allows, action) {
                        (_, Some(action)) => action,
                        (true, None) => Action::Allow,
                        (false, None) => refused,
                    };
                    for call in self.expand(&name, at)? {
                        // A call has an errno of its own even if it is in a group without one.
                        if call == name {
                            list.insert(call, (Some(action), at));
                        } else {
                            list.entry(call).or_insert((Some(action), at));
                        }
                    }
                }
                (if allows { refused } else { Action::Allow }, list)
            }
        };
        let mut by_action: BTreeMap<Action, Vec<(String, Position)>> = BTreeMap::new();
        for (name, (action, at)) in list {
            let action = action.unwrap_or(default_action);
            by_action.entry(action).or_default().push((name, at));
        }
        let mut rules = Vec::new();
        // ALLOW first: it is the longest.
        for (action, names) in by_action.into_iter().rev() {
            let rule = rules.len();
            for (name, (_, at)) in names.iter().enumerate() {
                places.insert(Place::Name { rule, name }, *at);
            }
            places.extend(names.first().map(|(_, at)| (Place::Rule(rule), *at)));
            let names = names.into_iter().map(|(name, _)| name).collect();
            let rule = Rule::new(names, action, Vec::new());
            rules.push(rule.map_err(|error| form(start, error.to_string()))?);
        }
        let mut arches = Vec::new();
        for (arch, at) in unit.arches.into_iter().flatten() {
            if !arches.contains(&arch) {
                places.insert(Place::Architecture(arches.len()), at);
                arches.push(arch);
            }
        }
        let mut profile = Profile::new(default_action)
            .with_architectures((!arches.is_empty()).then_some(arches))
            .with_rules(rules);
        for (restriction, at) in unit.restrictions {
            profile = self.restricted(profile, restriction, at)?;
        }
        Ok(Parsed::new(Format::Systemd, profile, Places::Noted(places)))
    }
}

/// A boolean of systemd (`parse_boolean`).
fn is_true(text: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

fn read_errno(text: &str, position: Position) -> Result<Action, ParseError> {
    let number = text.parse().ok().or_else(|| errno_of_name(text));
    let errno = number.and_then(ErrnoRet::new);
    errno.map(Action::Errno).ok_or_else(|| {
        let message = format!("{text:?} is neither the name of an errno nor one of 0 to 4095");
        form(position, message)
    })
}
