//! Rules for arguments: which values of a call's arguments a profile allows, and why an argument gets no rule.
//!
//! The values that were recorded are the evidence. `exact` allows these. `safe` compares only the bits that carry a choice, adds
//! values that libraries exchange for them, and leaves an argument free unless its values are saturated: enough runs have the
//! call, and few of its values are in a single run (Good-Turing, [`Incidence::expected_new`]).

use std::collections::{BTreeMap, BTreeSet};

use super::policy::ArgumentRules;
use super::{ArgCmp, Op};
use crate::recording::{ArgumentValues, Incidence, Recording, Run};
use crate::syscall::arguments::{Argument, ArgumentKind, CallArguments, has_these_names};
use crate::syscall::{Arch, Syscall};

/// `safe` needs this many runs with the call.
pub const MIN_RUNS: u32 = 3;

/// `safe` leaves an argument free from which the next run is expected to bring more new values than this.
pub const MAX_EXPECTED_NEW: f64 = 0.1;

/// The maximum number of rules for one call. A profile in an OCI artefact has at most 128.
const MAX_RULES: usize = 64;

/// What was decided about an argument of an allowed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentRule {
    /// The argument.
    pub argument: &'static Argument,
    /// Its register, from 0.
    pub register: u8,
    /// The values that are allowed, or why all are.
    pub values: Result<AllowedValues, AnyValue>,
}

/// The values of an argument that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedValues {
    /// The bits that are compared.
    pub compared: u64,
    /// What was recorded, in these bits.
    pub recorded: BTreeSet<u64>,
    /// What was added to that.
    pub added: BTreeSet<u64>,
}

/// Why any value of an argument is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnyValue {
    /// Not all of the evidence has the argument.
    #[error("its values were not recorded in every run (record with --args)")]
    NotRecorded,
    /// There are too many.
    #[error("a run has more values than are kept")]
    Many,
    /// Too few runs.
    #[error("a rule needs {needed} runs with the call, not {runs}")]
    FewRuns {
        /// With the call.
        runs: u32,
        /// How many are needed.
        needed: u32,
    },
    /// More values are likely.
    #[error("{once} of the values came from a single run (of {runs}), so new ones are likely")]
    NotSaturated {
        /// Values in exactly one run.
        once: u32,
        /// Runs with the call.
        runs: u32,
    },
    /// The policy or a container runtime needs the call.
    #[error("the recorded program isn't the only one that makes the call")]
    OtherCallers,
    /// The ABIs differ.
    #[error("the ABIs of the profile have it in different registers")]
    Registers,
    /// The table doesn't know the ABI's numbers.
    #[error("the numbers of this ABI are not in the table of names")]
    Numbers,
    /// A value isn't one of a fixed set, such as the clock of another process.
    #[error("a value was computed at run time")]
    Computed,
    /// Bits of a register that no 32-bit comparison sees.
    #[error("a value has more than 32 bits")]
    Wide,
    /// clone3(2) was used for what clone(2) can't do.
    #[error("clone3 was called for what clone can't do")]
    OnlyClone3,
    /// The rule would be too long.
    #[error("the call would need more than {MAX_RULES} rules")]
    TooManyRules,
}

/// What the evidence has of one argument: the values of each run with the call.
struct ArgumentEvidence {
    runs: Vec<BTreeSet<u64>>,
}

/// The argument rules of a call with this name, on the ABIs for which it is allowed. `other_callers`: not only the workload
/// needs the call. Empty if none of its arguments carries a choice.
pub(crate) fn rules(
    recording: &Recording,
    name: &str,
    arches: &BTreeSet<Arch>,
    how: ArgumentRules,
    other_callers: bool,
) -> Vec<ArgumentRule> {
    let Some(call) = CallArguments::named(name).filter(|call| !call.is_in_memory()) else {
        return Vec::new();
    };
    let mut rules: Vec<ArgumentRule> = Vec::new();
    for (place, argument) in call.arguments.iter().enumerate() {
        let registers: BTreeSet<Option<u8>> = (arches.iter())
            .map(|&arch| {
                call.registers(name, arch)
                    .nth(place)
                    .map(|(register, _)| register)
            })
            .collect();
        let register = registers.first().copied().flatten();
        let values = match (register, registers.len()) {
            _ if other_callers => Err(AnyValue::OtherCallers),
            (Some(register), 1) => evidence(recording, name, arches, register)
                .and_then(|evidence| allowed(argument, &evidence, arches, how)),
            _ => Err(AnyValue::Registers),
        };
        rules.push(ArgumentRule {
            argument,
            register: register.unwrap_or_default(),
            values,
        });
    }
    let unknown = |rule: &ArgumentRule| {
        matches!(
            rule.values,
            Err(AnyValue::NotRecorded | AnyValue::OtherCallers)
        )
    };
    if call.on_request && rules.iter().all(unknown) {
        return Vec::new();
    }
    // The arguments that matter most come first.
    let mut count = 1_usize;
    for rule in &mut rules {
        let Ok(allowed) = &rule.values else { continue };
        match count.saturating_mul(allowed.implicants().len()) {
            more if more > MAX_RULES => rule.values = Err(AnyValue::TooManyRules),
            more => count = more,
        }
    }
    rules
}

/// The values of an argument in each run with the call. Those of clone(2) are also what clone3(2) was called with, since a
/// filter can't read that: it has to answer ENOSYS, and libraries use clone(2) then.
fn evidence(
    recording: &Recording,
    name: &str,
    arches: &BTreeSet<Arch>,
    register: u8,
) -> Result<ArgumentEvidence, AnyValue> {
    let mut sources = vec![(name, register)];
    if name == "clone" {
        sources.push(("clone3", 0));
    }
    let calls: Vec<(Syscall, u8)> = sources
        .iter()
        .flat_map(|&(name, register)| {
            let on = arches
                .iter()
                .filter_map(|&arch| Syscall::from_name(arch, name));
            on.map(move |call| (call, register))
        })
        .collect();
    let folded = &recording.folded.seen.syscalls;
    if calls.iter().any(|(call, _)| folded.contains_key(call)) {
        return Err(AnyValue::NotRecorded);
    }
    let of_runs = recording.runs.values().map(|run| of_run(run, &calls));
    let of_runs: Vec<_> = of_runs.collect();
    // Whichever run lacks them: compaction may fold it.
    if of_runs.contains(&Err(AnyValue::NotRecorded)) {
        return Err(AnyValue::NotRecorded);
    }
    let mut runs: Vec<_> = of_runs.into_iter().collect::<Result<_, _>>()?;
    runs.retain(|values: &BTreeSet<u64>| !values.is_empty());
    if name == "clone" {
        // CLONE_CLEAR_SIGHAND is an optimisation; the rest of the upper half and CLONE_NEWTIME are not.
        let only_clone3 =
            |value: &u64| value & !0x1_0000_0000 > u64::from(u32::MAX) || value & 0x80 != 0;
        if runs.iter().flatten().any(only_clone3) {
            return Err(AnyValue::OnlyClone3);
        }
        let lower =
            |values: &BTreeSet<u64>| values.iter().map(|v| v & u64::from(u32::MAX)).collect();
        runs = runs.iter().map(lower).collect();
    }
    Ok(ArgumentEvidence { runs })
}

fn of_run(run: &Run, calls: &[(Syscall, u8)]) -> Result<BTreeSet<u64>, AnyValue> {
    let mut all = BTreeSet::new();
    for (call, register) in calls {
        let Some(tally) = run.syscalls.get(call) else {
            continue;
        };
        match tally.args.get(register) {
            None => return Err(AnyValue::NotRecorded),
            Some(ArgumentValues::Many) => return Err(AnyValue::Many),
            Some(ArgumentValues::Each(values)) => all.extend(values.keys()),
        }
    }
    Ok(all)
}

fn allowed(
    argument: &'static Argument,
    evidence: &ArgumentEvidence,
    arches: &BTreeSet<Arch>,
    how: ArgumentRules,
) -> Result<AllowedValues, AnyValue> {
    let lower = u64::from(u32::MAX);
    let compared = match how {
        ArgumentRules::Exact => lower,
        ArgumentRules::Off | ArgumentRules::Safe => lower & !argument.ignored,
    };
    let runs = evidence.masked(compared);
    let recorded: BTreeSet<u64> = runs.iter().flatten().copied().collect();
    if recorded.iter().any(|value| value & !lower != 0) {
        return Err(AnyValue::Wide);
    }
    let mut added = BTreeSet::new();
    if how == ArgumentRules::Safe {
        let negative = recorded.iter().any(|value| value >> 31 != 0);
        if matches!(argument.kind, ArgumentKind::One(_)) && negative {
            return Err(AnyValue::Computed);
        }
        if !arches.iter().all(|&arch| has_these_names(arch)) {
            return Err(AnyValue::Numbers);
        }
        saturated(&incidence_of(&runs))?;
        let swapped = argument.siblings.iter().copied();
        let swapped = swapped.filter(|group| group.iter().any(|value| recorded.contains(value)));
        added.extend(swapped.chain([argument.always]).flatten());
        added.retain(|value| !recorded.contains(value));
    }
    Ok(AllowedValues {
        compared,
        recorded,
        added,
    })
}

/// How often the runs of a recording share the values of an argument, in the bits that `safe` compares.
pub(crate) fn incidence(
    recording: &Recording,
    call: Syscall,
    register: u8,
    argument: &Argument,
) -> Result<Incidence, AnyValue> {
    let arches = BTreeSet::from([call.arch]);
    let evidence = evidence(recording, &call.to_string(), &arches, register)?;
    Ok(incidence_of(
        &evidence.masked(u64::from(u32::MAX) & !argument.ignored),
    ))
}

impl ArgumentEvidence {
    /// The values of each run in these bits, and in the upper half.
    fn masked(&self, compared: u64) -> Vec<BTreeSet<u64>> {
        let mask = compared | !u64::from(u32::MAX);
        let masked = |values: &BTreeSet<u64>| values.iter().map(|value| value & mask).collect();
        self.runs.iter().map(masked).collect()
    }
}

fn incidence_of(runs: &[BTreeSet<u64>]) -> Incidence {
    let mut in_runs = BTreeMap::<u64, u32>::new();
    for value in runs.iter().flatten() {
        *in_runs.entry(*value).or_default() += 1;
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let in_exactly = |n| count(in_runs.values().filter(|runs| **runs == n).count());
    Incidence {
        runs: count(runs.len()),
        seen: count(in_runs.len()),
        once: in_exactly(1),
        twice: in_exactly(2),
        total: in_runs.values().map(|runs| u64::from(*runs)).sum(),
    }
}

/// Whether the values of an argument are all known, as far as runs can show.
pub(crate) fn saturated(incidence: &Incidence) -> Result<(), AnyValue> {
    if incidence.runs < MIN_RUNS {
        return Err(AnyValue::FewRuns {
            runs: incidence.runs,
            needed: MIN_RUNS,
        });
    }
    match incidence.expected_new() {
        Some(expected_new) if expected_new > MAX_EXPECTED_NEW => Err(AnyValue::NotSaturated {
            once: incidence.once,
            runs: incidence.runs,
        }),
        _ => Ok(()),
    }
}

impl AllowedValues {
    /// All values that are allowed, in the compared bits.
    #[must_use]
    pub fn all(&self) -> BTreeSet<u64> {
        &self.recorded | &self.added
    }

    /// The values as few masks and expected values: exactly these values have the expected bits under one of the masks.
    fn implicants(&self) -> Vec<(u64, u64)> {
        minimize(self.compared, &self.all())
    }
}

/// The conditions under which a call is allowed: each alternative compares different arguments, and all comparisons of one
/// must hold. Empty without a rule.
pub(crate) fn alternatives(rules: &[ArgumentRule]) -> Vec<Vec<ArgCmp>> {
    let mut all: Vec<Vec<ArgCmp>> = vec![Vec::new()];
    for rule in rules {
        let Ok(allowed) = &rule.values else { continue };
        let comparisons: Vec<ArgCmp> = (allowed.implicants().into_iter())
            .filter_map(|(mask, value)| {
                ArgCmp::new(rule.register.into(), Op::MaskedEq, mask, Some(value)).ok()
            })
            .collect();
        all = (all.iter())
            .flat_map(|front| {
                comparisons.iter().map(|&comparison| {
                    let mut alternative = front.clone();
                    // Every value is allowed.
                    alternative.extend((comparison.value() != 0).then_some(comparison));
                    alternative.sort_by_key(ArgCmp::index);
                    alternative
                })
            })
            .collect();
    }
    all.retain(|alternative| !alternative.is_empty());
    all
}

/// Joins values that differ in one bit, as the method of Quine and `McCluskey` does, and picks few of the results that cover all values.
fn minimize(compared: u64, values: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut level: BTreeSet<(u64, u64)> = values.iter().map(|&value| (compared, value)).collect();
    let mut primes = BTreeSet::new();
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        for &(mask, value) in &level {
            let mut joined = false;
            for bit in (0..32)
                .map(|bit| 1_u64 << bit)
                .filter(|bit| mask & bit != 0)
            {
                if level.contains(&(mask, value ^ bit)) {
                    next.insert((mask & !bit, value & !bit));
                    joined = true;
                }
            }
            if !joined {
                primes.insert((mask, value));
            }
        }
        level = next;
    }
    let covers = |(mask, expected): (u64, u64), value: u64| value & mask == expected;
    let mut rest = values.clone();
    let mut picked = Vec::new();
    while let Some(&lowest) = rest.first() {
        // Of those with the lowest value, the one that covers most of the rest.
        let best = (primes.iter().copied())
            .filter(|&prime| covers(prime, lowest))
            .max_by_key(|&prime| rest.iter().filter(|&&value| covers(prime, value)).count());
        let best = best.unwrap_or((compared, lowest));
        rest.retain(|&value| !covers(best, value));
        picked.push(best);
    }
    picked.sort_unstable();
    picked
}

#[cfg(test)]
mod tests;
