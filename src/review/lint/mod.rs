//! What is likely to go wrong with a profile, in what loads it.
//!
//! A rule is a function with an id that stays, a text and a fix ([`RULES`]). It looks at a profile for one target, and tells
//! of the places where it fires. The facts are those of runc's `libcontainer/seccomp`, crun's `seccomp.c`, containerd's and
//! moby's reading of profiles, systemd.exec(5), and of libseccomp ([`libseccomp`]).

mod arguments;
mod calls;
pub mod libseccomp;
mod target;
#[cfg(test)]
mod tests;
mod whole;

pub use libseccomp::Version;
pub use target::{Target, UnknownTarget};

use std::collections::BTreeSet;
use std::fmt;

use crate::profile::{Place, Profile};
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
    check: fn(&Context<'_>) -> Vec<Found>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// What will load it.
    pub target: Target,
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
struct Found {
    place: Option<Place>,
    /// The path in the file where it isn't a place of the profile.
    path: Option<String>,
    message: String,
}

impl Found {
    fn whole(message: impl Into<String>) -> Found {
        Found {
            place: None,
            path: None,
            message: message.into(),
        }
    }

    fn at(place: Place, message: impl Into<String>) -> Found {
        Found {
            place: Some(place),
            ..Found::whole(message)
        }
    }
}

/// What is likely to go wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// By which rule.
    pub rule: &'static LintRule,
    /// Where; `None`: it is about the profile as a whole, or about a part that [`Finding::path`] tells.
    pub place: Option<Place>,
    /// The path of the part of the file, where it isn't a place of the profile.
    pub path: Option<String>,
    /// What is wrong there.
    pub message: String,
}

/// Everything that the rules find in a profile, in the order of its parts.
#[must_use]
pub fn lint(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        findings.extend((rule.check)(context).into_iter().map(|found| Finding {
            rule,
            place: found.place,
            path: found.path,
            message: found.message,
        }));
    }
    findings.sort_by_key(|finding| (finding.place, finding.rule.id));
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
        "Without exit and exit_group a program can't end: it spins instead.",
        "Allow exit and exit_group.";
    "SCR002" "missing-runtime-call" Error calls::missing_runtime_call,
        "The container runtime makes calls under the filter before it starts the program.",
        "Allow them, or measure what your runtime needs: record it, or generate the profile from a recording of the container.";
    "SCR003" "unknown-call" Error calls::unknown_call,
        "No architecture has a call of this name: runc ignores it silently, crun with a warning.",
        "Correct the name, or remove it. `sc-record resolve NAME` tells what is known.";
    "SCR004" "newer-than-libseccomp" Error calls::newer_than_libseccomp,
        "The target's libseccomp doesn't know the call yet, and the runtime leaves the rule out: the call gets the default action.",
        "Use a runtime with a newer libseccomp, or see to it that the program can do without the call.";
    "SCR005" "enosys-trap" Warning calls::enosys_trap,
        "runc answers ENOSYS to calls with numbers above the highest one that the profile names, and the default errno to those below: \
         naming a new call makes libc fail on older ones that it would have done without.",
        "Answer ENOSYS to them by a rule: `sc-record generate --enosys-probes` does.";
    "SCR006" "call-of-no-architecture" Note calls::call_of_no_architecture,
        "No listed architecture has the call: the rule has no effect.",
        "Remove the name, or list the architecture if its programs are run.";
    "SCR007" "contradiction" Error calls::contradiction,
        "Two rules answer the same call differently, whatever its arguments are: libseccomp refuses the second, or order decides.",
        "Keep one of the rules.";
    "SCR008" "rule-like-default" Note calls::rule_like_default,
        "The rule answers what the default action answers: runtimes skip it.",
        "Remove it, or give it the answer that was meant.";
    "SCR009" "risky-call" Note calls::risky_call,
        "The call changes the whole machine, or is a way out of a container.",
        "Make sure that the workload needs it (`sc-record explain`), and that it hasn't the capability otherwise.";
    "SCR010" "clone3-unfiltered" Warning calls::clone3_unfiltered,
        "The flags of clone are filtered, but clone3 has its flags in memory, where no filter sees them.",
        "Answer ENOSYS to clone3, so that libc takes clone.";
    "SCR011" "multiplexed" Warning calls::multiplexed,
        "socketcall and ipc hold many calls, and their arguments are in memory: whoever may call them may make each of the calls.",
        "Leave them out if no 32-bit program is run.";
    "SCR020" "two-not-equal" Error arguments::two_not_equal,
        "An argument that is compared twice in a rule makes two rules: with two SCMP_CMP_NE one of them always holds.",
        "Allow what is wanted with SCMP_CMP_EQ, one rule a value; or use ranges.";
    "SCR021" "argument-twice" Warning arguments::argument_twice,
        "An argument that is compared twice makes each comparison of the rule a rule of its own: \"or\", not \"and\".",
        "Write them as rules of their own, so that it reads as it is; a range can't be said in one rule.";
    "SCR022" "unmasked-int" Warning arguments::unmasked_int,
        "The argument is a 32-bit one, of which the upper half of the register can hold anything: the comparison fails, or is got around.",
        "Use SCMP_CMP_MASKED_EQ with the mask 0xffffffff as value, and the number as valueTwo.";
    "SCR023" "pointer-compared" Error arguments::pointer_compared,
        "The argument is a pointer: where it points to is not known before, and what it points to is not seen.",
        "Leave the comparison out.";
    "SCR024" "clone-on-s390" Warning arguments::clone_on_s390,
        "s390 has clone's first two arguments the other way round: the flags are argument 1 there.",
        "Use a profile of its own for s390x, which compares argument 1.";
    "SCR025" "merged-comparisons" Warning arguments::merged_comparisons,
        "libseccomp up to 2.6.0 can weaken filters that unite 64-bit comparisons of one call (GHSA-4q85-33p6-j5g6).",
        "Compare masked or with SCMP_CMP_EQ only; `sc-record run` checks what libseccomp makes of a profile.";
    "SCR026" "never-holds" Warning arguments::never_holds,
        "The comparison can't hold: the rule has no effect.",
        "Correct the values: with SCMP_CMP_MASKED_EQ `value` is the mask, and `valueTwo` what is expected of the masked bits.";
    "SCR030" "allows-by-default" Warning whole::allows_by_default,
        "The default action lets calls through: what the profile forgets is allowed, and so is every call of newer kernels.",
        "Deny by default, and list what is needed: `sc-record -- CMD` finds that out.";
    "SCR031" "wide-architectures" Warning whole::wide_architectures,
        "An architecture is listed that was not recorded, or that goes with another one only for old programs: more kernel code is within reach.",
        "List what was recorded: the native architecture, for most.";
    "SCR032" "architecture-newer-than-libseccomp" Error whole::arch_newer_than_libseccomp,
        "The target's libseccomp doesn't have the architecture.",
        "Use a runtime with a newer libseccomp, or leave the architecture out.";
    "SCR033" "feature-newer-than-libseccomp" Error whole::feature_newer_than_libseccomp,
        "The target's libseccomp doesn't have the action or flag: the profile is not loaded.",
        "Use a runtime with a newer libseccomp, or another action.";
    "SCR034" "conditional-rules" Error whole::conditional_rules,
        "The target reads plain OCI: it drops the conditions of Docker's dialect, so that rules under a condition always hold.",
        "Resolve them: write the profile as OCI.";
    "SCR035" "notify-misplaced" Error whole::notify_misplaced,
        "runc refuses SCMP_ACT_NOTIFY as the default action and for write, which it uses itself to hand over the listener.",
        "Name the calls that are to be asked for, without write.";
    "SCR036" "missing-listener" Error whole::missing_listener,
        "SCMP_ACT_NOTIFY needs somebody who is asked: without listenerPath the profile is not loaded, or the calls fail with ENOSYS.",
        "Give the path of the listener's socket.";
    "SCR037" "not-for-systemd" Error whole::not_for_systemd,
        "SystemCallFilter= can't say arguments, and knows no answers but to allow, an errno and kill.",
        "Leave the arguments to another layer; `sc-record convert -f systemd` writes the rest.";
    "SCR038" "no-rules" Error whole::no_rules,
        "The profile refuses every call: nothing can start under it.",
        "Allow what the workload needs: `sc-record -- CMD` finds that out.";
    "SCR039" "no-spec-allow" Note whole::no_spec_allow,
        "Without SECCOMP_FILTER_FLAG_SPEC_ALLOW kernels before 5.16 mitigate speculative store bypass for the workload, which slows it.",
        "Add the flag, or leave `flags` out, unless the workload runs code of strangers.";
    "SCR040" "recorded-but-refused" Error whole::recorded_but_refused,
        "The workload was recorded with a call that the profile refuses.",
        "Generate the profile anew from the recording.";
    "SCR041" "unused-listener" Note whole::unused_listener,
        "There is a listener, and no rule with SCMP_ACT_NOTIFY: nobody asks it.",
        "Remove listenerPath, or name the calls that are to be asked for.";
}
