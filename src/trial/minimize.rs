//! Which calls of a profile a workload can do without: group testing of what is denied together.
//!
//! The question that can be asked is whether the workload's result is the same with a set of calls denied. [`search`] looks
//! for a set that is as large as it gets: with any other call denied too, the result is another one (1-minimal in the sense
//! of delta debugging: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002).
//! What is found is found of the whole set at once: of two calls that stand for each other, one is tolerated.
//!
//! A call that is needed costs a question of its own, whatever one does. Questions are saved on calls that are not: they are
//! asked of in groups, and a group is halved where the answer is no (Hwang's generalized binary splitting, "A Method for
//! Detecting All Defective Members in a Population by Group Testing", JASA 67, 1972). How large the groups are follows
//! the answers.
//!
//! What fails with some calls denied mostly fails with more denied, too, but not always: a program that may not fork waits
//! for its child in vain, unless it may not make the pipe either. So each call that was needed while less was denied is
//! asked about again at the end, until none can be added.

use std::collections::{BTreeSet, VecDeque};

use crate::profile::{Profile, Rule};

/// Names of calls.
pub type Names = BTreeSet<String>;

/// What a search is about.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Allowed, and never called: taken to be dispensable until a question says otherwise.
    pub unused: Names,
    /// Allowed, and called.
    pub used: Names,
}

/// What a search found. Together they are the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The result is the same with all of these denied at once.
    pub denied: Names,
    /// With any of these denied too the result is another.
    pub needed: Names,
}

/// The questions of one step, which don't depend on each other's answers: is the result the same with each of these sets
/// denied?
#[derive(Debug)]
pub struct Questions<'a> {
    /// The sets.
    pub denied: &'a [Names],
    /// How many more questions there will be after these, as far as it can be guessed.
    pub left: usize,
}

/// Looks for the calls that can be denied, asking at most `width` questions at once. The same answers lead to the same
/// questions.
pub fn search<E>(
    candidates: &Candidates,
    width: usize,
    ask: &mut dyn FnMut(Questions<'_>) -> Result<Vec<bool>, E>,
) -> Result<Found, E> {
    let mut search = Search::new(candidates);
    while let Some(groups) = search.next(width.max(1)) {
        let left = search.guess_left();
        let sets: Vec<Names> = groups.iter().map(|group| search.with(group)).collect();
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
    Ok(Found {
        denied: search.denied,
        needed: search
            .needed
            .into_iter()
            .map(|needed| needed.name)
            .collect(),
    })
}

/// How much older answers count for the next group's size.
const FADING: f64 = 0.9;

struct Search<'a> {
    denied: Names,
    needed: VecDeque<Needed>,
    unused: &'a Names,
    /// Groups that are to be asked about next.
    queue: VecDeque<Vec<String>>,
    /// Names of which no group was made yet.
    rest: VecDeque<String>,
    /// How many calls were needed and weren't, lately.
    seen_needed: f64,
    seen_dispensable: f64,
}

/// A call that was needed when so many others were denied. They only become more.
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
        // What often isn't needed comes first: groups of one kind save most questions.
        let (often, seldom): (Vec<_>, Vec<_>) =
            (candidates.used.iter().cloned()).partition(|name| OFTEN_TOLERATED.contains(&&**name));
        Search {
            denied: Names::new(),
            needed: VecDeque::new(),
            unused: &candidates.unused,
            queue,
            rest: often.into_iter().chain(seldom).collect(),
            // As if two had been seen, one of each kind.
            seen_needed: 1.0,
            seen_dispensable: 1.0,
        }
    }

    /// The groups of the next step; `None` when all is known.
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

    /// A call that was needed when less was denied.
    fn take_stale(&mut self) -> Option<String> {
        let now = self.denied.len();
        let index = (self.needed.iter()).position(|needed| needed.beside != now)?;
        self.needed.remove(index).map(|needed| needed.name)
    }

    /// The share of calls that are needed.
    fn share(&self) -> f64 {
        self.seen_needed / (self.seen_needed + self.seen_dispensable)
    }

    /// A group of which it is as likely as not that all of it can be denied: its question tells most.
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

    /// What is denied already, and a group.
    fn with(&self, group: &[String]) -> Names {
        (self.denied.iter().chain(group)).cloned().collect()
    }

    fn learn(&mut self, group: &[String], same: bool) {
        if !same && group.len() > 1 {
            return;
        }
        // What was never called says nothing of what was.
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

    /// Of a group that can't be denied as a whole.
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

    /// Takes over groups that can be denied each: whether they can be together is another question.
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

/// Calls whose result programs and libraries often ignore, or for which they have another way.
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

/// The names that rules of a profile let through, with any arguments or some.
#[must_use]
pub fn let_through(profile: &Profile) -> Names {
    let rules = (profile.rules.iter()).filter(|rule| rule.action().executes());
    rules.flat_map(Rule::names).cloned().collect()
}

/// The profile whose rules don't let these calls through: they get what other rules say of them, or the default action.
#[must_use]
pub fn without(profile: &Profile, denied: &Names) -> Profile {
    let mut less = profile.clone();
    less.rules = (profile.rules.iter())
        .filter_map(|rule| {
            if !rule.action().executes() {
                return Some(rule.clone());
            }
            let names = rule.names().iter().filter(|name| !denied.contains(*name));
            // Without a name there is no rule.
            Rule::new(
                names.cloned().collect(),
                rule.action(),
                rule.args().to_vec(),
            )
            .ok()
        })
        .collect();
    less
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Names {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn numbered(range: std::ops::Range<usize>) -> Names {
        range.map(|number| format!("call{number}")).collect()
    }

    /// Searches a workload whose result is the same if this says so; gives how many questions that took.
    fn find(
        candidates: &Candidates,
        width: usize,
        same: &dyn Fn(&Names) -> bool,
    ) -> (Found, usize) {
        let mut asked = 0;
        let mut ask = |questions: Questions<'_>| {
            assert!(questions.denied.len() <= width);
            asked += questions.denied.len();
            Ok::<_, Infallible>(questions.denied.iter().map(same).collect())
        };
        let Ok(found) = search(candidates, width, &mut ask);
        (found, asked)
    }

    #[test]
    fn unused_calls_cost_one_question() {
        let candidates = Candidates {
            unused: numbered(0..300),
            used: names(&["read"]),
        };
        let (found, asked) = find(&candidates, 1, &|denied| !denied.contains("read"));
        assert_eq!(found.denied, candidates.unused);
        assert_eq!(found.needed, candidates.used);
        assert_eq!(asked, 2);
    }

    #[test]
    fn what_is_needed_only_while_something_else_works_is_found_at_the_end() {
        let candidates = Candidates {
            unused: Names::new(),
            used: names(&["fork", "pipe", "read"]),
        };
        // Without fork it waits in vain, unless there is no pipe to wait on.
        let (found, asked) = find(&candidates, 1, &|denied| {
            !denied.contains("read") && (!denied.contains("fork") || denied.contains("pipe"))
        });
        assert_eq!(found.denied, names(&["fork", "pipe"]));
        assert!(asked <= 7, "{asked}");
    }

    #[test]
    fn an_unused_call_can_be_needed_after_all() {
        let candidates = Candidates {
            unused: numbered(0..16),
            used: Names::new(),
        };
        let (found, asked) = find(&candidates, 1, &|denied| !denied.contains("call5"));
        assert_eq!(found.needed, names(&["call5"]));
        assert_eq!(found.denied.len(), 15);
        assert!(asked <= 10, "{asked}");
    }

    #[test]
    fn of_two_calls_that_stand_for_each_other_one_is_tolerated() {
        for width in [1, 2, 3, 8] {
            let candidates = Candidates {
                unused: Names::new(),
                used: names(&["readlink", "readlinkat", "read"]),
            };
            let (found, _) = find(&candidates, width, &|denied| {
                let both = ["readlink", "readlinkat"];
                !denied.contains("read") && !both.iter().all(|&name| denied.contains(name))
            });
            assert_eq!(found.denied.len(), 1, "{found:?}");
            assert_eq!(found.needed.len(), 2);
        }
    }

    #[test]
    fn few_needed_calls_are_found_with_few_questions() {
        let candidates = Candidates {
            unused: Names::new(),
            used: numbered(0..256),
        };
        let needed = names(&["call3", "call77", "call200"]);
        let (found, asked) = find(&candidates, 1, &|denied| denied.is_disjoint(&needed));
        assert_eq!(found.needed, needed);
        assert!(asked < 60, "{asked}");
        let (_, asked) = find(&candidates, 1, &Names::is_empty);
        assert!(asked <= 256 + 32, "all are needed: {asked}");
    }

    proptest! {
        /// For needed calls, and pairs of which one is needed: what is denied can be denied together, and nothing can be
        /// added to it.
        #[test]
        fn what_is_found_is_minimal(
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
            let same = |denied: &Names| {
                !single.iter().any(|number| denied.contains(&call(number)))
                    && !pairs.iter().any(|(a, b)| denied.contains(&call(a)) && denied.contains(&call(b)))
            };
            let (found, asked) = find(&candidates, width, &same);
            prop_assert!(same(&found.denied));
            for needed in &found.needed {
                let mut more = found.denied.clone();
                more.insert(needed.clone());
                prop_assert!(!same(&more), "{needed}");
            }
            let all: Names = candidates.used.union(&candidates.unused).cloned().collect();
            let parts: Names = found.denied.union(&found.needed).cloned().collect();
            prop_assert_eq!(parts, all);
            prop_assert!(found.denied.is_disjoint(&found.needed));
            prop_assert!(asked <= 6 * (count + unused) + 1);
        }
    }

    #[test]
    fn a_profile_without_calls_keeps_what_else_it_says_of_them() {
        use crate::profile::{Action, ErrnoRet};
        let rule = |names: &[&str], action| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            Rule::new(names, action, Vec::new()).unwrap()
        };
        let mut profile = Profile::new(Action::Errno(ErrnoRet::EPERM));
        profile.rules = vec![
            rule(&["read", "write"], Action::Allow),
            rule(&["mount"], Action::Log),
            rule(&["write", "clone3"], Action::Errno(ErrnoRet::ENOSYS)),
        ];
        assert_eq!(let_through(&profile), names(&["mount", "read", "write"]));
        let less = without(&profile, &names(&["write", "mount", "clone3"]));
        assert_eq!(less.rules[0].names(), ["read"]);
        assert_eq!(less.rules[1], profile.rules[2]);
        assert_eq!(less.rules.len(), 2);
    }
}
