//! Finds likely problems of a profile in the runtime that loads it.
//!
//! A rule is a function with an id that stays, a text and a fix ([`RULES`]). It looks at a profile for one target, and
//! reports the places where it fires, all in one finding. The facts are those of runc's `libcontainer/seccomp`, crun's
//! `seccomp.c`, containerd's and moby's reading of profiles, systemd.exec(5), and of libseccomp ([`libseccomp`]).

mod arguments;
mod calls;
pub mod libseccomp;
mod target;
#[cfg(test)]
mod tests;
mod whole;

pub use libseccomp::Version;
pub use target::{LintTarget, UnknownTarget};

use std::collections::BTreeSet;
use std::fmt;

use crate::profile::{Profile, ProfilePart};
use crate::recording::Recording;
use crate::syscall::Arch;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The profile is not loaded, or the workload does not run under it.
    Error,
    /// It does not do what it seems to say, or not everywhere.
    Warning,
    /// Worth a thought.
    Note,
}

impl Severity {
    /// The name in reports; SARIF has the same.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A rule.
#[derive(Debug)]
pub struct LintRule {
    /// What it is known by, for ever: `SCR001`.
    pub id: &'static str,
    /// The same in words: `missing-exit`.
    pub name: &'static str,
    /// How bad its findings are.
    pub severity: Severity,
    /// What it finds, in one sentence.
    pub text: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    check: fn(&Context<'_>) -> Vec<RuleFinding>,
}

/// The profile and its target.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// What will load it.
    pub target: LintTarget,
    /// The libseccomp of the target.
    pub libseccomp: Version,
    /// What the workload was seen to call, if that is known.
    pub recording: Option<&'a Recording>,
    /// Parts of the file that hold under conditions only, or in the target's dialect only: their paths in the file.
    pub conditional: &'a [String],
}

impl Context<'_> {
    /// The ABIs that the profile is for.
    fn arches(&self) -> BTreeSet<Arch> {
        self.profile.listed_or(Arch::NATIVE)
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleFinding {
    places: Vec<ProfilePart>,
    /// Paths in the file of parts that aren't places of the profile.
    paths: Vec<String>,
    message: String,
}

impl RuleFinding {
    fn whole(message: impl Into<String>) -> RuleFinding {
        RuleFinding {
            places: Vec::new(),
            paths: Vec::new(),
            message: message.into(),
        }
    }

    fn at(place: ProfilePart, message: impl Into<String>) -> RuleFinding {
        RuleFinding {
            places: vec![place],
            ..RuleFinding::whole(message)
        }
    }

    /// One finding for all names; none without names.
    fn names(
        names: Vec<(ProfilePart, String)>,
        message: impl FnOnce(&str) -> String,
    ) -> Vec<RuleFinding> {
        let (places, names): (Vec<ProfilePart>, Vec<String>) = names.into_iter().unzip();
        let names: Vec<String> = (names.iter().enumerate())
            .filter(|(index, name)| !names[..*index].contains(name))
            .map(|(_, name)| name.clone())
            .collect();
        let found = (!places.is_empty()).then(|| RuleFinding {
            places,
            ..RuleFinding::whole(message(&names.join(", ")))
        });
        found.into_iter().collect()
    }
}

/// A likely problem, found by one rule.
#[derive(Clone, Debug)]
pub struct LintFinding {
    /// By which rule.
    pub rule: &'static LintRule,
    /// Where; empty: the profile as a whole, or [`LintFinding::paths`].
    pub places: Vec<ProfilePart>,
    /// The paths of parts of the file that aren't places of the profile.
    pub paths: Vec<String>,
    /// The problem.
    pub message: String,
}

/// What the rules find in a profile: at most one finding per rule, in the order of the profile's parts.
#[must_use]
pub fn lint(context: &Context<'_>) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for rule in RULES {
        let found = (rule.check)(context);
        if found.is_empty() {
            continue;
        }
        let mut messages: Vec<String> = Vec::new();
        let (mut places, mut paths) = (Vec::new(), Vec::new());
        for found in found {
            places.extend(found.places);
            paths.extend(found.paths);
            if !messages.contains(&found.message) {
                messages.push(found.message);
            }
        }
        places.sort_unstable();
        places.dedup();
        findings.push(LintFinding {
            rule,
            places,
            paths,
            message: messages.join("; "),
        });
    }
    findings.sort_by_key(|finding| (finding.places.first().copied(), finding.rule.id));
    findings
}

/// The rule with this id or name.
#[must_use]
pub fn rule(name: &str) -> Option<&'static LintRule> {
    RULES
        .iter()
        .find(|rule| rule.id.eq_ignore_ascii_case(name) || rule.name == name)
}

use Severity::{Error, Note, Warning};

/// Declares the rules, one a line of the table: id, name, severity, function, text, fix.
macro_rules! rules {
    ($($id:literal $name:literal $severity:ident $check:path, $text:literal, $fix:literal;)*) => {
        /// Every rule, by its id.
        pub const RULES: &[LintRule] = &[
            $(LintRule { id: $id, name: $name, severity: $severity, text: $text, fix: $fix, check: $check },)*
        ];
    };
}

rules! {
    "SCR001" "missing-exit" Error calls::missing_exit,
        "Without exit and exit_group, a program can't end and spins instead.",
        "Allow exit and exit_group.";
    "SCR002" "missing-runtime-call" Error calls::missing_runtime_call,
        "The profile denies a call that the container runtime makes under the filter before it starts the program.",
        "Allow them: generate the profile with `sc-record generate --runtime runc`, or from a recording of the container under your runtime.";
    "SCR003" "unknown-call" Error calls::unknown_call,
        "No architecture has a call of this name: runc ignores it silently, crun with a warning.",
        "Correct the name, or remove it. `sc-record resolve NAME` suggests the nearest.";
    "SCR004" "newer-than-libseccomp" Error calls::newer_than_libseccomp,
        "The target's libseccomp doesn't know the call, and the runtime skips the rule: the call gets the default action.",
        "Use a runtime with a newer libseccomp, or make sure that the program can do without the call.";
    "SCR005" "enosys-trap" Warning calls::enosys_trap,
        "runc answers ENOSYS to calls above the highest number that the profile names, and the default errno to calls below it: \
         once a new call is named, libc no longer falls back from older calls that the profile denies.",
        "Add a rule that answers ENOSYS to them, as `sc-record generate --enosys-probes` does.";
    "SCR006" "call-of-no-architecture" Note calls::call_of_no_architecture,
        "No listed architecture has the call: the rule has no effect.",
        "Remove the name, or list the architecture if its programs run.";
    "SCR007" "contradiction" Error calls::contradiction,
        "Two rules answer the same call differently, with any arguments: libseccomp refuses the second, or their order decides.",
        "Keep one of them.";
    "SCR008" "rule-like-default" Note calls::rule_like_default,
        "The rule answers what the default action answers, so runtimes skip it.",
        "Remove it, or give it the intended answer.";
    "SCR009" "risky-call" Note calls::risky_call,
        "The call changes the whole machine, or is a way out of a container.",
        "Check that the workload needs it (`sc-record explain`), and drop the capability if it doesn't.";
    "SCR010" "clone3-unfiltered" Warning calls::clone3_unfiltered,
        "The flags of clone are filtered, but clone3 has its flags in memory, where no filter can read them.",
        "Answer ENOSYS to clone3, so that libc falls back to clone.";
    "SCR011" "multiplexed" Warning calls::multiplexed,
        "socketcall and ipc stand for many calls whose arguments are in memory: allowing one allows them all.",
        "Leave them out if no 32-bit program runs.";
    "SCR012" "io-uring" Warning calls::io_uring,
        "io_uring opens, reads, writes, connects and more without system calls: its operations go past the profile.",
        "Answer ENOSYS or EPERM to io_uring_setup: most programs then use ordinary calls. Record these under `sysctl kernel.io_uring_disabled=2`, and add them.";
    "SCR013" "lacking-on-architecture" Warning calls::lacking_on_architecture,
        "A listed architecture lacks a call, and the profile allows none of the calls that libc makes there instead: it was recorded on another machine only.",
        "Record on each architecture and merge the recordings, or generate with `--policy portable`.";
    "SCR020" "two-not-equal" Error arguments::two_not_equal,
        "A rule that compares one argument twice becomes two rules: of two SCMP_CMP_NE, one always holds.",
        "Allow the wanted values with SCMP_CMP_EQ, one rule per value, or use ranges.";
    "SCR021" "argument-twice" Warning arguments::argument_twice,
        "A rule that compares one argument twice becomes one rule per comparison: \"or\", not \"and\".",
        "Write one rule per comparison, so that the profile reads as it works. A range can't be expressed in one rule.";
    "SCR022" "unmasked-int" Warning arguments::unmasked_int,
        "The argument has 32 bits, and the upper half of the register can hold anything: the comparison fails or can be bypassed.",
        "Use SCMP_CMP_MASKED_EQ with the mask 0xffffffff as value, and the number as valueTwo.";
    "SCR023" "pointer-compared" Error arguments::pointer_compared,
        "The argument is a pointer: its value is not known in advance, and a filter can't read what it points to.",
        "Remove the comparison.";
    "SCR024" "clone-on-s390" Warning arguments::clone_on_s390,
        "On s390, clone's first two arguments are swapped: the flags are argument 1.",
        "Use a separate profile for s390x that compares argument 1.";
    "SCR025" "merged-comparisons" Warning arguments::merged_comparisons,
        "libseccomp up to 2.6.0 can weaken filters that combine 64-bit comparisons of one call (GHSA-4q85-33p6-j5g6).",
        "Compare only masked values or with SCMP_CMP_EQ. `sc-record run` checks the filter that libseccomp compiles.";
    "SCR026" "never-holds" Warning arguments::never_holds,
        "The comparison is never true: the rule has no effect.",
        "Correct the values: for SCMP_CMP_MASKED_EQ, `value` is the mask and `valueTwo` is what the masked bits must equal.";
    "SCR027" "rule-passed-by" Warning arguments::rule_passed_by,
        "The rule compares arguments of a call that 32-bit programs can also make through socketcall or ipc, with any arguments: libseccomp allows that with the call.",
        "Answer ENOSYS to socketcall and ipc, as `sc-record generate --args` does unless they were recorded (--refuse-multiplexers: always), or leave the 32-bit ABI out.";
    "SCR030" "allows-by-default" Warning whole::allows_by_default,
        "The default action allows calls: what the profile forgets is allowed, and so is every call of newer kernels.",
        "Deny by default and list what is needed: `sc-record -- CMD` records it.";
    "SCR031" "wide-architectures" Warning whole::wide_architectures,
        "A listed architecture was not recorded, or accompanies another one only for old programs: more kernel code can be reached.",
        "List only recorded architectures: usually just the native one.";
    "SCR032" "architecture-newer-than-libseccomp" Error whole::arch_newer_than_libseccomp,
        "The target's libseccomp doesn't have the architecture.",
        "Use a runtime with a newer libseccomp, or leave the architecture out.";
    "SCR033" "feature-newer-than-libseccomp" Error whole::feature_newer_than_libseccomp,
        "The target's libseccomp doesn't have the action or flag: the profile is not loaded.",
        "Use a runtime with a newer libseccomp, or another action.";
    "SCR034" "conditional-rules" Error whole::conditional_rules,
        "The target reads plain OCI and drops the conditions of Docker's dialect: conditional rules always apply.",
        "Resolve the conditions: `sc-record convert -f oci`.";
    "SCR035" "notify-misplaced" Error whole::notify_misplaced,
        "runc refuses SCMP_ACT_NOTIFY as the default action and for write, with which it hands over the listener.",
        "Name the calls to notify for, without write.";
    "SCR036" "missing-listener" Error whole::missing_listener,
        "SCMP_ACT_NOTIFY needs a listener: without listenerPath, the profile is not loaded or the calls fail with ENOSYS.",
        "Set listenerPath to the listener's socket.";
    "SCR037" "not-for-systemd" Error whole::not_for_systemd,
        "SystemCallFilter= can't compare arguments, and can only allow, return an errno or kill.",
        "Leave arguments to another layer; `sc-record convert -f systemd` writes the rest.";
    "SCR038" "no-rules" Error whole::no_rules,
        "The profile denies every call: nothing can start under it.",
        "Allow what the workload needs: `sc-record -- CMD` records it.";
    "SCR039" "no-spec-allow" Note whole::no_spec_allow,
        "Without SECCOMP_FILTER_FLAG_SPEC_ALLOW, kernels before 5.16 slow the workload by mitigating speculative store bypass.",
        "Add the flag or leave `flags` out, unless the workload runs untrusted code.";
    "SCR040" "recorded-but-refused" Error whole::recorded_but_refused,
        "The profile denies a call that the workload was recorded with.",
        "Generate the profile again from the recording.";
    "SCR041" "unused-listener" Note whole::unused_listener,
        "A listener is set, but no rule has SCMP_ACT_NOTIFY: it is never notified.",
        "Remove listenerPath, or name the calls to notify for.";
}
