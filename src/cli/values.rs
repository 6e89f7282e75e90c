//! The values that options take, and how they are read.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use sc_record::backend::Each;
use sc_record::engines::{NotASelector, Selector};
use sc_record::format::{Format, KernelVersion};
use sc_record::profile::Runtime;
use sc_record::review::RiskClass;
use sc_record::review::lint::{LintRule, LintTarget, RULES, rule};
use sc_record::syscall::{Arch, Syscall, suggestion};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendArg {
    /// The best one that this machine allows
    Auto,
    /// Stop at every call with ptrace(2); needs no privileges
    Ptrace,
    /// Count in the kernel with eBPF, without stopping the workload; needs `CAP_BPF` and `CAP_PERFMON`
    Ebpf,
    /// Have every call wait for an answer (seccomp user notification); needs no privileges, and tracers
    /// work inside
    Notify,
    /// Let the kernel log every call and read its audit records; needs `CAP_AUDIT_READ` and `CAP_AUDIT_CONTROL`
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// Only the recorded calls
    Exact,
    /// Also what the kernel, the loader and the vDSO hide
    Safe,
    /// Also what other versions of libc use instead
    Portable,
}

/// Which rules arguments get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArgRules {
    /// Any arguments
    Off,
    /// Where enough runs agree: what matters of the recorded values
    Safe,
    /// The recorded values
    Exact,
}

/// What has a recording of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Per {
    /// Each executable
    Executable,
    /// Each cgroup of version 2, without those below it
    Cgroup,
}

impl From<Per> for Each {
    fn from(per: Per) -> Each {
        match per {
            Per::Executable => Each::Executable,
            Per::Cgroup => Each::Cgroup,
        }
    }
}

/// Which containers are recorded.
#[derive(Clone, Debug)]
pub(crate) enum ContainersArg {
    /// The one with this text in its cgroups' names.
    Id(String),
    /// Those that their engine knows by this.
    Selected(Selector),
}

impl FromStr for ContainersArg {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<ContainersArg, NotASelector> {
        if text.is_empty() {
            Err(NotASelector)
        } else if text.contains('=') {
            text.parse().map(ContainersArg::Selected)
        } else {
            Ok(ContainersArg::Id(text.to_owned()))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UntilArg {
    /// CMD itself exits; its descendants keep running
    Exit,
    /// All its descendants have exited too
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// A difference that makes `diff` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailOn {
    Any,
    Wider,
    Narrower,
    Risk(RiskClass),
}

/// What compiles a profile into a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Like {
    /// sc-record: every name or an error; calls of unlisted architectures kill the process
    Kernel,
    /// runc, of Docker and containerd
    Runc,
    /// crun, of Podman and CRI-O
    Crun,
}

impl Like {
    pub(crate) fn runtime(self) -> Option<Runtime> {
        match self {
            Like::Kernel => None,
            Like::Runc => Some(Runtime::Runc),
            Like::Crun => Some(Runtime::Crun),
        }
    }
}

/// The parts of a workload's outcome that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComparedArg {
    /// How it ended; always compared
    Exit,
    /// Its stdout
    Stdout,
    /// Its stderr
    Stderr,
}

impl ComparedArg {
    /// The comparison of a list of parts.
    pub(crate) fn all(list: &[ComparedArg]) -> sc_record::trial::ComparedStreams {
        sc_record::trial::ComparedStreams {
            stdout: list.contains(&ComparedArg::Stdout),
            stderr: list.contains(&ComparedArg::Stderr),
        }
    }
}

/// Where a result is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `none`: nowhere.
    Nowhere,
    /// `-`: stdout.
    Stdout,
    /// A file. One with the name `none` is `./none`.
    File(PathBuf),
}

impl From<OsString> for Destination {
    fn from(text: OsString) -> Destination {
        match text.to_str() {
            Some("none") => Destination::Nowhere,
            Some("-") => Destination::Stdout,
            _ => Destination::File(PathBuf::from(text)),
        }
    }
}

impl FromStr for Destination {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Destination, Infallible> {
        Ok(OsString::from(text).into())
    }
}

/// One architecture, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchesArg {
    One(Arch),
    All,
}

/// Capabilities by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caps(pub(crate) Vec<String>);

pub(super) fn fail_on(text: &str) -> Result<FailOn, String> {
    let class = |name| {
        let class = RiskClass::ALL.iter().find(|class| class.name() == name);
        let known = || RiskClass::ALL.iter().map(|class| class.name());
        class.ok_or_else(|| {
            format!(
                "risk classes are {}",
                known().collect::<Vec<_>>().join(", ")
            )
        })
    };
    match (text, text.strip_prefix("risk=")) {
        ("any", _) => Ok(FailOn::Any),
        ("wider", _) => Ok(FailOn::Wider),
        ("narrower", _) => Ok(FailOn::Narrower),
        (_, Some(name)) => class(name).map(|&class| FailOn::Risk(class)),
        _ => Err("expected any, wider, narrower or risk=CLASS".to_owned()),
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

/// A duration such as `500ms`, `90s` or `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, jiff::Error> {
    let span: jiff::Span = text.parse()?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())?
        .try_into()
}

/// A time of RFC 3339, or one of the local time zone.
pub(super) fn time(text: &str) -> Result<SystemTime, jiff::Error> {
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let local: jiff::civil::DateTime = text.parse()?;
        Ok::<_, jiff::Error>(
            local
                .to_zoned_datetime(jiff::tz::TimeZone::system())?
                .timestamp(),
        )
    })?;
    time.try_into()
}

pub(super) fn arch(text: &str) -> Result<Arch, String> {
    Arch::from_any_name(text).ok_or_else(|| {
        let known: Vec<_> = Arch::ALL.iter().map(|arch| arch.name()).collect();
        format!("not an architecture; known are {}", known.join(", "))
    })
}

pub(super) fn arches(text: &str) -> Result<ArchesArg, String> {
    match text {
        "all" => Ok(ArchesArg::All),
        _ => arch(text).map(ArchesArg::One),
    }
}

/// The name of a system call of any architecture, or `#` and a number.
pub(super) fn call(text: &str) -> Result<String, String> {
    let known = Arch::ALL
        .iter()
        .any(|&arch| Syscall::parse(arch, text).is_ok());
    let hint = || format!("not a system call{}", suggestion(Arch::ALL, text));
    known.then(|| text.to_owned()).ok_or_else(hint)
}

pub(super) fn caps(text: &str) -> Result<Caps, String> {
    if text == "none" {
        return Ok(Caps(Vec::new()));
    }
    let name = |cap: &str| {
        let upper = cap.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_name
            .then(|| format!("CAP_{name}"))
            .ok_or_else(|| format!("{cap:?} is not a capability"))
    };
    text.split(',')
        .map(name)
        .collect::<Result<_, _>>()
        .map(Caps)
}

pub(super) fn kernel(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::of_release(text).ok_or_else(|| "expected a version such as 5.10".to_owned())
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("not between 0 and 100".to_owned())
    }
}

/// The index and the value of a system call's argument.
pub(super) fn argument(text: &str) -> Result<(usize, u64), String> {
    let wrong = || "an argument is N=VALUE, with N from 0 to 5".to_owned();
    let (index, value) = text.split_once('=').ok_or_else(wrong)?;
    let index: usize = index.parse().map_err(|_| wrong())?;
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| wrong())?;
    let value = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    if index < 6 {
        Ok((index, value))
    } else {
        Err(wrong())
    }
}

/// Reads the name of a format.
pub(super) fn formats() -> impl TypedValueParser<Value = Format> {
    let values = Format::ALL
        .iter()
        .map(|&format| PossibleValue::new(format.name()).help(format.about()));
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}

/// Reads the name of a target.
pub(super) fn targets() -> impl TypedValueParser<Value = LintTarget> {
    PossibleValuesParser::new(LintTarget::ALL.iter().map(|target| target.name()))
        .try_map(|name| name.parse())
}

/// Reads the id or the name of a lint rule.
pub(super) fn rules() -> impl TypedValueParser<Value = &'static LintRule> {
    let ids = RULES
        .iter()
        .map(|rule| PossibleValue::new(rule.id).help(rule.name));
    let names = RULES.iter().map(|rule| PossibleValue::new(rule.name));
    PossibleValuesParser::new(ids.chain(names).collect::<Vec<_>>())
        .try_map(|name| rule(&name).ok_or("not a rule"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbers_in_any_spelling() {
        assert_eq!(argument("0=16"), Ok((0, 16)));
        assert_eq!(argument("5=0x10"), Ok((5, 16)));
        assert_eq!(argument("1=-1"), Ok((1, u64::MAX)));
        assert!(argument("6=1").is_err());
        assert!(argument("1").is_err());
        assert!(argument("1=x").is_err());
    }
}
