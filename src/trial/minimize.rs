//! Finds the calls of a profile that a workload doesn't need, by group testing.
//!
//! A question is whether the outcome stays the same with a set of calls denied. [`find_dispensable`] looks for a maximal set:
//! denying any other call in addition changes the outcome (1-minimal in the sense of delta debugging: A. Zeller,
//! R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002). The result holds for the set as a
//! whole: of two calls that can replace each other, only one is dispensable.
//!
//! Each needed call costs a question of its own. Dispensable calls cost fewer: they are denied in groups, and a group is halved
//! if the outcome changes (Hwang's generalized binary splitting, "A Method for Detecting All Defective Members in a Population
//! by Group Testing", JASA 67, 1972). The answers so far determine the size of the groups.
//!
//! A call that is needed with some calls denied is mostly, but not always, needed with more denied: a program that can't fork
//! waits for its child forever, unless it can't create the pipe either. So needed calls are tested again once more calls are
//! denied, until no call can be added.

use std::collections::VecDeque;

use super::calls::{CallNames, name_of};

/// The calls to test.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Allowed but never called: assumed to be dispensable, and tested first.
    pub unused: CallNames,
    /// Allowed and called.
    pub used: CallNames,
}

/// The result of a search: a partition of the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchResult {
    /// Denying all of these together keeps the outcome.
    pub denied: CallNames,
    /// Denying any of these in addition changes the outcome.
    pub needed: CallNames,
}

/// Independent questions: does denying this set of calls keep the outcome?
#[derive(Debug)]
pub struct Questions<'a> {
    /// The sets.
    pub denied: &'a [CallNames],
    /// An estimate of how many questions will follow.
    pub left: usize,
}

/// Finds the dispensable calls, with at most `width` questions at once. The search is deterministic: the same answers lead to
/// the same questions.
pub fn find_dispensable<E>(
    candidates: &Candidates,
    width: usize,
    ask: &mut dyn FnMut(Questions<'_>) -> Result<Vec<bool>, E>,
) -> Result<SearchResult, E> {
    let mut search = Search::new(candidates);
    while let Some(groups) = search.next(width.max(1)) {
        let left = search.guess_left();
        let sets: Vec<CallNames> = groups.iter().map(|group| search.with(group)).collect();
        let answers = ask(Questions {
            denied: &sets,
            left,
        })?;
        let mut passed = Vec::new();
        for (group, same) in groups.into_iter().zip(answers) {
            search.learn(&group, same);
            if same {
                passed.push(group);
            } else {
                search.split(group);
            }
        }
        search.accept(passed, ask)?;
    }
    Ok(SearchResult {
        denied: search.denied,
        needed: search
            .needed
            .into_iter()
            .map(|needed| needed.name)
            .collect(),
    })
}

/// The weight of older answers for the size of the next group.
const FADING: f64 = 0.9;

struct Search<'a> {
    denied: CallNames,
    needed: VecDeque<Needed>,
    unused: &'a CallNames,
    /// The next groups to test.
    queue: VecDeque<Vec<String>>,
    /// Names that are in no group yet.
    rest: VecDeque<String>,
    /// The weighted numbers of needed and of dispensable calls so far.
    seen_needed: f64,
    seen_dispensable: f64,
}

/// A needed call, and how many calls were denied when it was tested.
struct Needed {
    name: String,
    beside: usize,
}

impl Search<'_> {
    fn new(candidates: &Candidates) -> Search<'_> {
        let mut queue = VecDeque::new();
        if !candidates.unused.is_empty() {
            queue.push_back(candidates.unused.iter().cloned().collect());
        }
        // Often dispensable calls come first: homogeneous groups save the most questions.
        let (often, seldom): (Vec<_>, Vec<_>) = (candidates.used.iter().cloned())
            .partition(|call| OFTEN_TOLERATED.contains(&name_of(call)));
        Search {
            denied: CallNames::new(),
            needed: VecDeque::new(),
            unused: &candidates.unused,
            queue,
            rest: often.into_iter().chain(seldom).collect(),
            // A prior of one call of each kind.
            seen_needed: 1.0,
            seen_dispensable: 1.0,
        }
    }

    /// The next groups; `None` at the end.
    fn next(&mut self, width: usize) -> Option<Vec<Vec<String>>> {
        let mut groups = Vec::new();
        while groups.len() < width {
            if let Some(group) = self.queue.pop_front() {
                groups.push(group);
            } else if !self.rest.is_empty() {
                let size = self.group_size().min(self.rest.len());
                groups.push(self.rest.drain(..size).collect());
            } else if let Some(stale) = self.take_stale() {
                groups.push(vec![stale]);
            } else {
                break;
            }
        }
        (!groups.is_empty()).then_some(groups)
    }

    /// A needed call that was tested when fewer calls were denied.
    fn take_stale(&mut self) -> Option<String> {
        let now = self.denied.len();
        let index = (self.needed.iter()).position(|needed| needed.beside != now)?;
        self.needed.remove(index).map(|needed| needed.name)
    }

    /// The estimated share of needed calls.
    fn share(&self) -> f64 {
        self.seen_needed / (self.seen_needed + self.seen_dispensable)
    }

    /// The size at which a group is dispensable with a probability of one half, so that its question gives the most information.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 1 and 64.
    fn group_size(&self) -> usize {
        let size = 0.5_f64.ln() / (1.0 - self.share()).ln();
        size.round().clamp(1.0, 64.0) as usize
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // Small and positive numbers.
    fn guess_left(&self) -> usize {
        let share = self.share();
        let of = |names: usize| match names {
            0 | 1 => names as f64,
            _ => (names as f64 * (share * 1.5 + (1.0 - share) / self.group_size() as f64)).max(1.0),
        };
        let queued: f64 = self.queue.iter().map(|group| of(group.len())).sum();
        let now = self.denied.len();
        let stale = self.needed.iter().filter(|needed| needed.beside != now);
        (queued + of(self.rest.len())).ceil() as usize + stale.count()
    }

    /// The denied calls and a group.
    fn with(&self, group: &[String]) -> CallNames {
        (self.denied.iter().chain(group)).cloned().collect()
    }

    fn learn(&mut self, group: &[String], same: bool) {
        if !same && group.len() > 1 {
            return;
        }
        // Unused calls say nothing about used ones.
        let used = group.iter().filter(|name| !self.unused.contains(*name));
        for _ in 0..used.count() {
            self.seen_needed *= FADING;
            self.seen_dispensable *= FADING;
            *(if same {
                &mut self.seen_dispensable
            } else {
                &mut self.seen_needed
            }) += 1.0;
        }
    }

    /// Halves a group that can't be denied as a whole.
    fn split(&mut self, mut group: Vec<String>) {
        if group.len() == 1 {
            let beside = self.denied.len();
            let needed = group.into_iter().map(|name| Needed { name, beside });
            self.needed.extend(needed);
            return;
        }
        let second = group.split_off(group.len() / 2);
        self.queue.push_front(second);
        self.queue.push_front(group);
    }

    /// Accepts groups that can be denied individually, after testing them together.
    fn accept<E>(
        &mut self,
        passed: Vec<Vec<String>>,
        ask: &mut dyn FnMut(Questions<'_>) -> Result<Vec<bool>, E>,
    ) -> Result<(), E> {
        if passed.len() > 1 {
            let together = self.with(&passed.concat());
            let left = self.guess_left();
            let answers = ask(Questions {
                denied: std::slice::from_ref(&together),
                left,
            })?;
            if answers.first() != Some(&true) {
                let mut passed = passed.into_iter();
                self.denied.extend(passed.next().into_iter().flatten());
                for group in passed.rev() {
                    self.queue.push_front(group);
                }
                return Ok(());
            }
        }
        self.denied.extend(passed.into_iter().flatten());
        Ok(())
    }
}

/// Calls whose failure programs and libraries often ignore or work around.
const OFTEN_TOLERATED: &[&str] = &[
    "access",
    "arch_prctl",
    "chmod",
    "fadvise64",
    "fchmod",
    "fchown",
    "flock",
    "fstatfs",
    "fsync",
    "getcpu",
    "getpgrp",
    "getrandom",
    "getrlimit",
    "getrusage",
    "getsockopt",
    "getxattr",
    "ioctl",
    "lgetxattr",
    "madvise",
    "membarrier",
    "mincore",
    "mlock",
    "prctl",
    "prlimit64",
    "readlink",
    "rseq",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setpgid",
    "setpriority",
    "setrlimit",
    "setsockopt",
    "sigaltstack",
    "statfs",
    "sysinfo",
    "tgkill",
    "umask",
    "uname",
    "utimensat",
];

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn names(names: &str) -> CallNames {
        names.split(' ').map(str::to_owned).collect()
    }

    fn numbered(range: std::ops::Range<usize>) -> CallNames {
        range.map(|number| format!("call{number}")).collect()
    }

    /// Searches a simulated workload. Returns the number of questions too.
    fn find(
        candidates: &Candidates,
        width: usize,
        same: &dyn Fn(&CallNames) -> bool,
    ) -> (SearchResult, usize) {
        let mut asked = 0;
        let mut ask = |questions: Questions<'_>| {
            assert!(questions.denied.len() <= width);
            asked += questions.denied.len();
            Ok::<_, Infallible>(questions.denied.iter().map(same).collect())
        };
        let Ok(result) = find_dispensable(candidates, width, &mut ask);
        (result, asked)
    }

    #[test]
    fn unused_calls_cost_one_question() {
        let candidates = Candidates {
            unused: numbered(0..300),
            used: names("read"),
        };
        let (result, asked) = find(&candidates, 1, &|denied| !denied.contains("read"));
        assert_eq!(result.denied, candidates.unused);
        assert_eq!(result.needed, candidates.used);
        assert_eq!(asked, 2);
    }

    #[test]
    fn a_call_that_is_needed_only_with_another_allowed_is_found_at_the_end() {
        let candidates = Candidates {
            unused: CallNames::new(),
            used: names("fork pipe read"),
        };
        // Without fork it waits forever, unless it has no pipe to wait on.
        let (result, asked) = find(&candidates, 1, &|denied| {
            !denied.contains("read") && (!denied.contains("fork") || denied.contains("pipe"))
        });
        assert_eq!(result.denied, names("fork pipe"));
        assert!(asked <= 7, "{asked}");
    }

    #[test]
    fn an_unused_call_can_turn_out_to_be_needed() {
        let candidates = Candidates {
            unused: numbered(0..16),
            used: CallNames::new(),
        };
        let (result, asked) = find(&candidates, 1, &|denied| !denied.contains("call5"));
        assert_eq!(result.needed, names("call5"));
        assert_eq!(result.denied.len(), 15);
        assert!(asked <= 10, "{asked}");
    }

    #[test]
    fn of_two_calls_that_replace_each_other_one_is_dispensable() {
        for width in [1, 2, 3, 8] {
            let candidates = Candidates {
                unused: CallNames::new(),
                used: names("readlink readlinkat read"),
            };
            let (result, _) = find(&candidates, width, &|denied| {
                let both = ["readlink", "readlinkat"];
                !denied.contains("read") && !both.iter().all(|&name| denied.contains(name))
            });
            assert_eq!(result.denied.len(), 1, "{result:?}");
            assert_eq!(result.needed.len(), 2);
        }
    }

    #[test]
    fn few_needed_calls_are_found_with_few_questions() {
        let candidates = Candidates {
            unused: CallNames::new(),
            used: numbered(0..256),
        };
        let needed = names("call3 call77 call200");
        let (result, asked) = find(&candidates, 1, &|denied| denied.is_disjoint(&needed));
        assert_eq!(result.needed, needed);
        assert!(asked < 60, "{asked}");
        let (_, asked) = find(&candidates, 1, &CallNames::is_empty);
        assert!(asked <= 256 + 32, "all are needed: {asked}");
    }

    proptest! {
        /// With needed calls, and pairs of which one is needed.
        #[test]
        fn the_result_is_a_maximal_set(
            count in 0_usize..40,
            unused in 0_usize..10,
            single in proptest::collection::btree_set(0_usize..50, 0..12),
            pairs in proptest::collection::vec((0_usize..50, 0_usize..50), 0..5),
            width in 1_usize..6,
        ) {
            let candidates = Candidates {
                unused: numbered(count..count + unused),
                used: numbered(0..count),
            };
            let call = |number: &usize| format!("call{number}");
            let same = |denied: &CallNames| {
                !single.iter().any(|number| denied.contains(&call(number)))
                    && !pairs.iter().any(|(a, b)| denied.contains(&call(a)) && denied.contains(&call(b)))
            };
            let (result, asked) = find(&candidates, width, &same);
            prop_assert!(same(&result.denied));
            for needed in &result.needed {
                let mut more = result.denied.clone();
                more.insert(needed.clone());
                prop_assert!(!same(&more), "{needed}");
            }
            let all: CallNames = candidates.used.union(&candidates.unused).cloned().collect();
            let parts: CallNames = result.denied.union(&result.needed).cloned().collect();
            prop_assert_eq!(parts, all);
            prop_assert!(result.denied.is_disjoint(&result.needed));
            prop_assert!(asked <= 6 * (count + unused) + 1);
        }
    }
}
