//! Compares a profile with a workload: the calls that the profile does not allow, and the names that it allows but that were
//! never called.
//!
//! The calls come from recordings, which may have the values of their arguments, or from a run that a [`Watch`] observed. The result is a
//! [`Delta`], and the [`Edit`] that the profile needs.

mod answers;
mod patch;
mod values;
mod watch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rustc_hash::FxHashMap;

pub use answers::{Answer, Answers};
pub use watch::{Caller, MAX_CALLERS, Watch, Watched, WatchedCalls};

use crate::profile::Policy;
use crate::profile::{Action, Edit, Profile, Rule};
use crate::recording::{Recording, Run, RunId};
use crate::syscall::{Arch, Syscall};
use values::Values;

/// The known calls of a workload.
#[derive(Clone, Debug)]
pub struct Evidence {
    calls: BTreeMap<Syscall, KnownCall>,
    incomplete: BTreeMap<RunId, BTreeSet<String>>,
    /// Why unused names can't be found.
    blind: Option<String>,
}

/// Everything known about one call.
#[derive(Clone, Debug, Default)]
struct KnownCall {
    count: u64,
    /// Folded runs have the call, which keep no counts: each counts once.
    folded: bool,
    first: Option<Duration>,
    executables: BTreeSet<PathBuf>,
    runs: BTreeSet<RunId>,
    watched: Option<Watched>,
    /// Of calls that were not watched.
    values: Values,
}

impl Evidence {
    /// The calls of recordings.
    #[must_use]
    pub fn of_recording(recording: &Recording) -> Evidence {
        let calls = recording.syscalls().into_iter().map(|(syscall, seen)| {
            let folded = u64::try_from(seen.folded_runs).unwrap_or(u64::MAX);
            let call = KnownCall {
                count: seen.count.saturating_add(folded),
                folded: !seen.count_is_exact(),
                first: None,
                executables: seen.executables.into_iter().map(Into::into).collect(),
                runs: seen.runs,
                watched: None,
                values: values::recorded(recording, syscall),
            };
            (syscall, call)
        });
        let incomplete = (recording.runs.values())
            .filter(|run| !run.is_complete())
            .map(|run| (run.id, run.incomplete_because.clone()));
        Evidence {
            calls: calls.collect(),
            incomplete: incomplete.collect(),
            blind: None,
        }
    }

    /// The calls of a run that was watched.
    #[must_use]
    pub fn of_run(run: &Run, watch: Watch) -> Evidence {
        let mut watched: FxHashMap<Syscall, Watched> = watch.into_calls();
        let calls = run.syscalls.iter().map(|(&syscall, tally)| {
            let call = KnownCall {
                count: tally.count,
                folded: false,
                first: tally.first_ms.map(Duration::from_millis),
                executables: tally.executables.clone(),
                runs: BTreeSet::from([run.id]),
                watched: watched.remove(&syscall),
                values: Values::new(),
            };
            (syscall, call)
        });
        let because = &run.incomplete_because;
        let incomplete = (!because.is_empty()).then(|| (run.id, because.clone()));
        Evidence {
            calls: calls.collect(),
            incomplete: incomplete.into_iter().collect(),
            blind: None,
        }
    }

    /// Calls that are simply allowed were not observed, for this reason. So unused names can't be found.
    #[must_use]
    pub fn blind(self, why: String) -> Evidence {
        Evidence {
            blind: Some(why),
            ..self
        }
    }
}

/// The differences between a profile and a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Calls that were made and would not be allowed.
    pub denied: Vec<Finding>,
    /// Calls that were made and would not be allowed, which the user tolerates.
    pub tolerated: Vec<Finding>,
    /// Calls that were made, and that may or may not be allowed.
    pub undecided: Vec<Finding>,
    /// Names and ABIs that are allowed and were not called.
    pub unused: Unused,
    /// The runs that may lack calls, each with the reasons.
    pub incomplete: BTreeMap<RunId, BTreeSet<String>>,
    /// The change after which the profile allows the denied calls, as far as a profile can.
    pub missing: Edit,
}

/// A call that was made, and is not simply allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The call.
    pub syscall: Syscall,
    /// What the profile answers, or may answer.
    pub actions: BTreeSet<Action>,
    /// Why.
    pub because: Because,
    /// The values of arguments for which it has this outcome, with their registers; empty if unknown or any.
    pub values: BTreeSet<(u8, u64)>,
    /// How often it was made with this outcome.
    pub count: u64,
    /// Whether `count` is exact, not a lower bound.
    pub count_is_exact: bool,
    /// When it was first made with this outcome, since the start of the run; `None` if there were several runs.
    pub first: Option<Duration>,
    /// Which executables made it, with any outcome.
    pub executables: BTreeSet<PathBuf>,
    /// In which runs.
    pub runs: BTreeSet<RunId>,
    /// The observed callers; the first one comes first.
    pub callers: Vec<Caller>,
    /// How often other or unknown callers made it.
    pub by_others: u64,
}

/// Why a call is not simply allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// No rule names it.
    NotNamed,
    /// A rule allows it with other arguments only.
    Arguments {
        /// The rules, by their numbers.
        rules: BTreeSet<usize>,
    },
    /// A rule refuses it.
    Refused {
        /// The rules, by their numbers.
        rules: BTreeSet<usize>,
    },
    /// The profile doesn't list the ABI.
    UnlistedAbi,
    /// Its number has no name, so no profile can allow it.
    NoName,
    /// It depends on arguments that are not known.
    UnknownArguments {
        /// The rules, by their numbers.
        rules: BTreeSet<usize>,
    },
    /// Several rules hold, with different answers.
    Contradiction {
        /// The rules, by their numbers.
        rules: BTreeSet<usize>,
    },
}

impl Because {
    /// Whether adding a name or an ABI to the profile would allow the call.
    #[must_use]
    pub fn can_be_patched(&self) -> bool {
        matches!(
            self,
            Because::NotNamed | Because::Arguments { .. } | Because::UnlistedAbi
        )
    }
}

/// Names and ABIs that a profile allows and that were never called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unused {
    /// They are known.
    Known {
        /// Names in rules that allow.
        names: Vec<UnusedName>,
        /// ABIs that are listed.
        arches: Vec<Arch>,
    },
    /// They are unknown, for this reason.
    Unknown(String),
}

impl Unused {
    /// The names that the policy explains.
    pub fn by_policy(&self) -> impl Iterator<Item = &UnusedName> {
        self.names().iter().filter(|unused| unused.policy.is_some())
    }

    /// The ABIs without calls.
    #[must_use]
    pub fn arches(&self) -> &[Arch] {
        match self {
            Unused::Known { arches, .. } => arches,
            Unused::Unknown(_) => &[],
        }
    }

    fn names(&self) -> &[UnusedName] {
        match self {
            Unused::Known { names, .. } => names,
            Unused::Unknown(_) => &[],
        }
    }

    /// The names that no policy explains.
    pub fn stale(&self) -> impl Iterator<Item = &UnusedName> {
        self.names().iter().filter(|unused| unused.policy.is_none())
    }
}

/// A name that is allowed and was not called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedName {
    /// The name.
    pub name: String,
    /// The rule, by its number.
    pub rule: usize,
    /// Which of its names.
    pub index: usize,
    /// The rule holds for some arguments only. The call may have been made with others.
    pub conditional: bool,
    /// Why the policy allows it nevertheless: the end of the sentence "NAME is allowed because …".
    pub policy: Option<&'static str>,
}

/// Exceptions from the findings.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Names that it adds to such a recording are not stale.
    pub policy: Policy,
    /// Calls that display as one of these may be denied.
    pub tolerated: BTreeSet<String>,
}

/// Compares a profile with what a workload called.
#[must_use]
pub fn check(profile: &Profile, answers: &Answers, evidence: &Evidence, terms: &Terms) -> Delta {
    let mut delta = Delta {
        denied: Vec::new(),
        tolerated: Vec::new(),
        undecided: Vec::new(),
        unused: Unused::Unknown(String::new()),
        incomplete: evidence.incomplete.clone(),
        missing: Edit::default(),
    };
    let mut used = BTreeSet::new();
    for (&syscall, call) in &evidence.calls {
        let outcomes = call.outcomes(answers, syscall);
        used.extend(outcomes.held.iter().map(|&rule| (rule, syscall)));
        for (tally, decided) in [(&outcomes.denied, true), (&outcomes.undecided, false)] {
            if tally.count == 0 {
                continue;
            }
            let because = because(profile, answers, syscall, tally, decided);
            let finding = Finding {
                syscall,
                actions: tally.actions.clone(),
                because,
                values: if decided {
                    outcomes.values.clone()
                } else {
                    BTreeSet::new()
                },
                count: tally.count,
                count_is_exact: !call.folded && (outcomes.values.is_empty() || outcomes.is_exact),
                first: call.watched.as_ref().map(|_| tally.first).or(call.first),
                executables: call.executables.clone(),
                runs: call.runs.clone(),
                callers: tally.callers.clone(),
                by_others: tally.by_others,
            };
            let name = syscall.to_string();
            if terms.tolerated.contains(&name) || profile.replaces(&name) {
                delta.tolerated.push(finding);
            } else if decided {
                let choices = call.denied_choices(&outcomes);
                delta.missing.add(&finding, answers, &choices);
                delta.denied.push(finding);
            } else {
                delta.undecided.push(finding);
            }
        }
    }
    delta.unused = match &evidence.blind {
        Some(why) => Unused::Unknown(why.clone()),
        None => unused(profile, answers, evidence, &used, terms.policy),
    };
    delta
}

impl KnownCall {
    /// The profile's answers. A call that was not watched is judged without arguments.
    fn outcomes(&self, answers: &Answers, syscall: Syscall) -> Outcomes {
        if let Some(watched) = &self.watched {
            // An undecided rule may have applied, so it doesn't count as unused.
            let held = watched.held.iter().chain(&watched.undecided.rules);
            return Outcomes {
                held: held.copied().collect(),
                denied: watched.denied.clone(),
                undecided: watched.undecided.clone(),
                ..Outcomes::default()
            };
        }
        if let Some(verdict) = values::verdict(answers, syscall, &self.values) {
            return self.judged(verdict);
        }
        let answer = answers.answer(syscall, None);
        let tally = WatchedCalls {
            count: self.count,
            actions: answer.actions.clone(),
            rules: answer.rules.clone(),
            by_others: self.count,
            ..WatchedCalls::default()
        };
        let (denied, undecided) = match answer.executes() {
            Some(true) => (WatchedCalls::default(), WatchedCalls::default()),
            Some(false) => (tally, WatchedCalls::default()),
            None => (WatchedCalls::default(), tally),
        };
        Outcomes {
            held: answer.rules,
            denied,
            undecided,
            ..Outcomes::default()
        }
    }

    /// The arguments with which the call has to be allowed. Empty if they are not known.
    fn denied_choices(&self, outcomes: &Outcomes) -> BTreeSet<values::Choice> {
        match &self.watched {
            None => patch::denied_choices(&self.values, &outcomes.values),
            Some(watched) if watched.denied.other_choices => BTreeSet::new(),
            Some(watched) => watched.denied.choices.clone(),
        }
    }

    /// The outcomes of a call by the values of its arguments.
    fn judged(&self, verdict: values::Verdict) -> Outcomes {
        let mut outcomes = Outcomes {
            values: verdict.denied,
            is_exact: verdict.is_exact,
            ..Outcomes::default()
        };
        for answer in verdict.denials {
            outcomes.denied.actions.extend(answer.actions);
            outcomes.denied.rules.extend(answer.rules);
        }
        outcomes.denied.count = verdict.calls;
        for answer in verdict.others {
            // Rules that may have applied don't count as unused.
            outcomes.held.extend(answer.rules.iter().copied());
            if answer.executes() != Some(true) {
                outcomes.undecided.actions.extend(answer.actions);
                outcomes.undecided.rules.extend(answer.rules);
                outcomes.undecided.count = self.count.saturating_sub(verdict.calls).max(1);
            }
        }
        outcomes.denied.by_others = outcomes.denied.count;
        outcomes.undecided.by_others = outcomes.undecided.count;
        outcomes
    }
}

#[derive(Default)]
struct Outcomes {
    held: BTreeSet<usize>,
    denied: WatchedCalls,
    undecided: WatchedCalls,
    /// The values of arguments that are denied; empty if they don't decide.
    values: BTreeSet<(u8, u64)>,
    /// The number of calls with them is exact.
    is_exact: bool,
}

fn because(
    profile: &Profile,
    answers: &Answers,
    syscall: Syscall,
    tally: &WatchedCalls,
    decided: bool,
) -> Because {
    let answer = answers.answer(syscall, None);
    let rules = tally.rules.clone();
    if answer.unlisted {
        return if syscall.name().is_some() {
            Because::UnlistedAbi
        } else {
            Because::NoName
        };
    }
    match (decided, rules.is_empty()) {
        (true, false) => Because::Refused { rules },
        (true, true) if syscall.name().is_none() => Because::NoName,
        (true, true) => {
            let allows = |&rule: &usize| {
                (profile.rules().get(rule)).is_some_and(|rule: &Rule| rule.action().executes())
            };
            let rules: BTreeSet<usize> = answer.rules.into_iter().filter(allows).collect();
            if rules.is_empty() {
                Because::NotNamed
            } else {
                Because::Arguments { rules }
            }
        }
        (false, _) if answers.has_conditions(syscall) => Because::UnknownArguments { rules },
        (false, _) => Because::Contradiction { rules },
    }
}

fn unused(
    profile: &Profile,
    answers: &Answers,
    evidence: &Evidence,
    used: &BTreeSet<(usize, Syscall)>,
    policy: Policy,
) -> Unused {
    let mut called: BTreeMap<Arch, BTreeSet<String>> = BTreeMap::new();
    for syscall in evidence.calls.keys() {
        let of_arch = called.entry(syscall.arch).or_default();
        of_arch.extend(syscall.name().map(Cow::into_owned));
    }
    let added: BTreeMap<&str, &'static str> = (called.iter())
        .flat_map(|(&arch, called)| policy.additions(arch, called))
        .map(|addition| (addition.name, addition.why))
        .collect();
    let mut names = Vec::new();
    for (rule_index, rule) in profile.rules().iter().enumerate() {
        let action = rule.action();
        if !action.executes() || action == profile.default_action() {
            continue;
        }
        for (index, name) in rule.names().iter().enumerate() {
            let calls = answers.calls_of(rule_index, index);
            if calls.iter().any(|&call| used.contains(&(rule_index, call))) {
                continue;
            }
            names.push(UnusedName {
                name: name.clone(),
                rule: rule_index,
                index,
                conditional: !rule.args().is_empty(),
                policy: added.get(name.as_str()).copied(),
            });
        }
    }
    let listed = profile.listed();
    let arches = listed.filter(|arch| !called.contains_key(arch)).collect();
    Unused::Known { names, arches }
}

#[cfg(test)]
mod tests;
