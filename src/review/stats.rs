//! Estimates how complete a recording is, from how often its runs share calls: [`Incidence`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::profile::{AnyValue, argument_incidence, saturated};
use crate::recording::{Incidence, Recording, Run, RunId};
use crate::syscall::Syscall;
use crate::syscall::arguments::{Argument, CallArguments};

/// A step of the discovery curve: one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryStep {
    /// The run.
    pub run: RunId,
    /// The calls that no earlier run had.
    pub new: Vec<Syscall>,
    /// How many calls this and the earlier runs have.
    pub seen: usize,
}

/// How complete the values of an argument are.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgumentStats {
    /// The call.
    pub syscall: Syscall,
    /// The argument.
    pub argument: &'static Argument,
    /// The numbers that its estimates are computed from; `None` if not all values are known.
    pub incidence: Option<Incidence>,
    /// Why `generate --args safe` has no rule for it: its values are not saturated, or not known.
    pub free: Option<AnyValue>,
}

/// Statistics of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// The numbers that the estimates are computed from.
    pub incidence: Incidence,
    /// The runs, in the order of their ids.
    pub steps: Vec<DiscoveryStep>,
    /// Calls that exactly one run has, with that run.
    pub unique: BTreeMap<Syscall, RunId>,
    /// For every call, the earliest time since the start of a run at which it was seen, in milliseconds, if known; sorted.
    pub first_ms: Vec<u64>,
    /// How long the longest run took, in milliseconds.
    pub longest_ms: u64,
    /// The number of runs that may lack calls.
    pub incomplete: usize,
    /// The number of runs that count nowhere, since they have only the calls that a profile lacked.
    pub partial: usize,
    /// The arguments whose values were recorded.
    pub arguments: Vec<ArgumentStats>,
}

impl Stats {
    /// Evaluates all runs of a recording.
    #[must_use]
    pub fn of(recording: &Recording) -> Stats {
        let mut in_runs = BTreeMap::<Syscall, (u32, RunId)>::new();
        let mut steps = Vec::new();
        let is_partial = |id: &RunId| recording.runs.get(id).is_some_and(Run::is_partial);
        let (partial, whole): (Vec<_>, Vec<_>) =
            (recording.calls_by_run()).partition(|(id, _)| is_partial(id));
        for (run, calls) in whole {
            let mut new = Vec::new();
            for call in calls {
                let (runs, _) = in_runs.entry(call).or_insert_with(|| {
                    new.push(call);
                    (0, run)
                });
                *runs += 1;
            }
            let seen = in_runs.len();
            steps.push(DiscoveryStep { run, new, seen });
        }
        let in_exactly = |n| in_runs.values().filter(|(runs, _)| *runs == n).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let unique = (in_runs.iter()).filter(|(_, (runs, _))| *runs == 1);
        let durations = recording.runs.values().map(|run| run.duration);
        let longest = durations.fold(recording.folded.seen.longest, Duration::max);
        let calls = recording.syscalls().into_values();
        let mut first_ms: Vec<u64> = calls.filter_map(|seen| seen.first_ms).collect();
        first_ms.sort_unstable();
        Stats {
            incidence: Incidence {
                runs: count(steps.len()),
                seen: count(in_runs.len()),
                once: count(in_exactly(1)),
                twice: count(in_exactly(2)),
                total: in_runs.values().map(|(runs, _)| u64::from(*runs)).sum(),
            },
            steps,
            unique: unique.map(|(&call, &(_, run))| (call, run)).collect(),
            first_ms,
            longest_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
            incomplete: recording.incomplete_runs(),
            partial: partial.len(),
            arguments: arguments(recording),
        }
    }

    /// How many runs have a call that no other run has.
    #[must_use]
    pub fn runs_with_unique(&self) -> usize {
        self.unique.values().collect::<BTreeSet<_>>().len()
    }

    /// Good-Turing's chance that the next run brings a call that no run had, 0 to 1; `None` for fewer than two runs.
    #[must_use]
    pub fn chance_of_new(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 runs")]
        let unique = self.runs_with_unique() as f64;
        (self.incidence.runs >= 2).then(|| unique / f64::from(self.incidence.runs))
    }

    /// The last run that brought a call that no earlier one had: its number, from 1.
    #[must_use]
    pub fn last_new(&self) -> Option<usize> {
        let last = self.steps.iter().rposition(|step| !step.new.is_empty());
        last.map(|index| index + 1)
    }
}

/// The arguments whose values any run has. Those of clone3(2) count as those of clone(2).
fn arguments(recording: &Recording) -> Vec<ArgumentStats> {
    let tallies = recording.runs.values().flat_map(|run| &run.syscalls);
    let with_values = tallies.filter(|(_, tally)| !tally.args.is_empty());
    let calls: BTreeSet<Syscall> = with_values.map(|(&call, _)| call).collect();
    let mut all = Vec::new();
    for syscall in calls {
        let name = syscall.to_string();
        let Some(call) = CallArguments::named(&name).filter(|call| !call.is_in_memory()) else {
            continue;
        };
        for (register, argument) in call.registers(&name, syscall.arch) {
            let found = argument_incidence(recording, syscall, register, argument);
            let free = found
                .as_ref()
                .map_or_else(|why| Some(*why), |of| saturated(of).err());
            all.push(ArgumentStats {
                syscall,
                argument,
                incidence: found.ok(),
                free,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::strategies;

    fn incidence(runs: u32, seen: u32, once: u32, twice: u32, total: u64) -> Incidence {
        Incidence {
            runs,
            seen,
            once,
            twice,
            total,
        }
    }

    fn near(actual: f64, expected: f64, within: f64) {
        let difference = (actual - expected).abs();
        assert!(difference <= within, "{actual} != {expected}");
    }

    #[test]
    fn chao2_of_the_trees_of_barro_colorado_is_that_of_vegan() {
        // Condit et al. (2002), 50 plots, 225 species: `specpool(BCI)` of the R package vegan prints chao 236.3732, chao.se
        // 6.54361, jack1 245.58 (so Q1 is 21), jack2 247.8722 (so Q2 is 19).
        let unseen = incidence(50, 225, 21, 19, 0).chao2().unwrap();
        near(225.0 + unseen.estimate, 236.3732, 5e-5);
        near(unseen.standard_error, 6.54361, 5e-6);
    }

    #[test]
    fn chao2_is_that_of_spader() {
        // What Chao's own program SpadeR (ChaoSpecies, incidence_freq, row "Chao2 (Chao, 1987)") prints for three data sets
        // with these T, D, Q1, Q2 and U: estimate, standard error, 95 % interval (all with the seen), and sample coverage C.
        let check = |incidence: Incidence, expected: [f64; 4]| {
            let unseen = incidence.chao2().unwrap();
            let seen = f64::from(incidence.seen);
            let (low, high) = unseen.interval.unwrap();
            let found = [
                seen + unseen.estimate,
                unseen.standard_error,
                seen + low,
                seen + high,
            ];
            for (found, expected) in found.into_iter().zip(expected) {
                near(found, expected, 5e-4);
            }
            incidence.coverage().unwrap()
        };
        let one = incidence(16, 18, 13, 4, 29);
        near(check(one, [37.805, 15.445, 23.129, 94.469]), 0.569, 5e-4);
        let two = incidence(16, 15, 9, 4, 30);
        near(check(two, [24.492, 8.489, 17.113, 57.648]), 0.717, 5e-4);
        // Without a species in exactly two samples.
        let three = incidence(40, 10, 6, 0, 35);
        near(check(three, [24.625, 13.216, 13.217, 76.490]), 0.83, 5e-3);
    }

    #[test]
    fn chao2_of_the_rabbits_is_near_the_number_that_there_were() {
        // Edwards & Eberhardt (1967): of 135 penned cottontails 76 were caught on 18 occasions, 43 of them once, 16 twice,
        // then 8, 6, 0, 2, 1. The example of Chao (1987), who leaves out the factor (T-1)/T: 43²/(2*16) = 57.8, 134 in all.
        let unseen = incidence(18, 76, 43, 16, 142).chao2().unwrap();
        near(unseen.estimate * 18.0 / 17.0, 57.78, 0.005);
        let (low, high) = unseen.interval.unwrap();
        assert!(76.0 + low < 135.0 && 135.0 < 76.0 + high);
    }

    #[test]
    fn coverage_of_the_ants_is_that_of_inext() {
        // Longino & Colwell (2011), five elevations: `iNEXT(ant)$DataInfo` of the R package iNEXT prints T, U, S.obs, SC, Q1
        // and Q2.
        let check = |t, u, s, coverage, q1, q2| {
            let found = incidence(t, s, q1, q2, u).coverage();
            near(found.unwrap(), coverage, 5e-5);
        };
        check(599, 5976, 227, 0.9918, 49, 23);
        check(230, 2943, 241, 0.9760, 71, 34);
        check(150, 1730, 122, 0.9839, 28, 16);
        check(200, 1170, 56, 0.9889, 13, 4);
        check(200, 271, 14, 0.9964, 1, 2);
    }

    #[test]
    fn good_turing_is_goods_share_where_a_run_has_one_call() {
        // Good (1953): of N observations n1 were of species seen once; the chance of a new one is n1/N.
        let of = incidence(10, 4, 2, 0, 10);
        near(of.expected_new().unwrap(), 0.2, 1e-12);
    }

    #[test]
    fn small_recordings_say_what_they_can() {
        assert_eq!(incidence(0, 0, 0, 0, 0).chao2(), None);
        let one = incidence(1, 30, 30, 0, 30);
        let estimates = (one.chao2(), one.expected_new(), one.coverage());
        assert_eq!(estimates, (None, None, None));
        let sure = incidence(5, 30, 0, 3, 140);
        let unseen = sure.chao2().unwrap();
        near(unseen.estimate, 0.0, 0.0);
        assert_eq!(unseen.interval, None);
        assert_eq!(sure.coverage(), Some(1.0));
        // One call in one run, none in two: the bias-corrected form is 0.
        let unseen = incidence(5, 30, 1, 0, 146).chao2().unwrap();
        near(unseen.estimate, 0.0, 0.0);
        assert_eq!(incidence(2, 0, 0, 0, 0).coverage(), None);
    }

    proptest! {
        #[test]
        fn every_estimate_is_a_number_in_its_bounds(
            runs in 2..1000_u32, once in 0..500_u32, twice in 0..500_u32, more in 0..500_u32,
        ) {
            let total = u64::from(once) + 2 * u64::from(twice) + 3 * u64::from(more);
            let incidence = incidence(runs, once + twice + more, once, twice, total);
            let unseen = incidence.chao2().unwrap();
            prop_assert!(unseen.estimate.is_finite() && unseen.estimate >= 0.0);
            prop_assert!(unseen.standard_error.is_finite() && unseen.standard_error >= 0.0);
            if let Some((low, high)) = unseen.interval {
                prop_assert!(0.0 <= low && low <= unseen.estimate && unseen.estimate <= high);
            }
            prop_assert!(incidence.coverage().is_none_or(|c| (0.0..=1.0).contains(&c)));
        }

        #[test]
        fn the_steps_lead_to_all_calls_in_any_order_of_the_runs(recording in strategies::recording()) {
            let stats = Stats::of(&recording);
            let mut whole = recording.clone();
            whole.runs.retain(|_, run| !run.is_partial());
            let all = whole.syscalls();
            prop_assert_eq!(stats.steps.iter().map(|step| step.new.len()).sum::<usize>(), all.len());
            prop_assert_eq!(stats.steps.last().map_or(0, |step| step.seen), all.len());
            prop_assert_eq!(stats.incidence.seen as usize, all.len());
            prop_assert_eq!(stats.unique.len(), stats.incidence.once as usize);
            for (syscall, run) in &stats.unique {
                prop_assert_eq!(all[syscall].runs.iter().collect::<Vec<_>>(), [run]);
            }
            let timed = recording.syscalls();
            let timed = timed.values().filter(|seen| seen.first_ms.is_some());
            prop_assert_eq!(stats.first_ms.len(), timed.count());
        }
    }
}
