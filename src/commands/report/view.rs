//! What a report shows. The texts are as they were read: [`super::html`] and [`super::markdown`] escape them.

use std::fmt;

use itertools::Itertools;
use sc_record::review::diff::Direction;
use sc_record::review::lint::Severity;
use sc_record::review::{Risk, RiskClass};

use super::curve::Curve;

/// A report.
#[derive(Debug)]
pub(super) struct ReportView {
    /// The workload.
    pub(super) name: String,
    /// The profile.
    pub(super) profile: String,
    /// `9 runs`.
    pub(super) number_of_runs: String,
    pub(super) verdict: Vec<Judgement>,
    pub(super) difference: Option<DifferenceSection>,
    pub(super) calls: Vec<CallRow>,
    /// What [`CallRow::by`] refers to.
    pub(super) executables: Vec<String>,
    /// What [`RunRow::labels`] refers to.
    pub(super) labels: Vec<String>,
    pub(super) possible: Option<PossibleSection>,
    pub(super) curve: Curve,
    /// Terms and what is known of each.
    pub(super) estimates: Vec<(&'static str, String)>,
    pub(super) lint: Option<LintSection>,
    pub(super) recorded_by: Vec<String>,
    pub(super) runs: Vec<RunRow>,
}

/// How a reader should take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Plain,
    Look,
    Bad,
}

/// A sentence of the verdict.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) state: Tone,
    pub(super) heading: &'static str,
    pub(super) says: String,
}

/// What differs from another profile.
#[derive(Debug)]
pub(super) struct DifferenceSection {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) rows: Vec<DifferenceRow>,
}

#[derive(Debug)]
pub(super) struct DifferenceRow {
    pub(super) direction: Direction,
    pub(super) risk: RiskClass,
    pub(super) what: String,
    pub(super) about: String,
}

/// A call that was recorded, or that the profile names.
#[derive(Debug)]
pub(super) struct CallRow {
    /// The anchor of its row.
    pub(super) id: String,
    pub(super) name: String,
    /// What the profile does with it, in a word or two.
    pub(super) answer: &'static str,
    pub(super) is_allowed: bool,
    /// Its rules, where it isn't simply allowed, and why it is not.
    pub(super) rule: String,
    /// Why it is there, in a word or two.
    pub(super) origin: &'static str,
    /// Why it is there, in sentences.
    pub(super) reasons: Vec<String>,
    pub(super) risk: Risk,
    pub(super) docker: String,
    /// How often it was made; 0 if it was not recorded, or by folded runs only.
    pub(super) count: u64,
    pub(super) is_exact: bool,
    pub(super) number_of_runs: usize,
    pub(super) first_ms: Option<u64>,
    /// Which runs made it.
    pub(super) runs: String,
    /// The runs, by their place in [`ReportView::runs`].
    pub(super) in_runs: Vec<usize>,
    /// The labels of these runs.
    pub(super) labels: String,
    /// Which executables made it.
    pub(super) executables: String,
    /// The same in short.
    pub(super) by_whom: String,
    /// The executables, by their place in [`ReportView::executables`].
    pub(super) by: Vec<usize>,
    pub(super) arguments: Vec<String>,
    /// Where it is made, if the profile lacks it and a check has seen it.
    pub(super) callers: Vec<String>,
}

/// The calls that the programs can make and that no run has made.
#[derive(Debug)]
pub(super) struct PossibleSection {
    /// Whether the programs can't make any other call.
    pub(super) bound: &'static str,
    pub(super) rows: Vec<PossibleRow>,
}

#[derive(Debug)]
pub(super) struct PossibleRow {
    pub(super) call: String,
    /// What the profile does with it, in a word or two.
    pub(super) answer: &'static str,
    pub(super) risk: Risk,
    pub(super) program: String,
    /// The way to the call.
    pub(super) way: String,
}

/// The findings of lint.
#[derive(Debug)]
pub(super) struct LintSection {
    pub(super) target: &'static str,
    pub(super) libseccomp: String,
    pub(super) findings: Vec<LintRow>,
}

#[derive(Debug)]
pub(super) struct LintRow {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) rule: String,
    pub(super) places: String,
    pub(super) fix: &'static str,
}

/// A run that is not folded.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) id: String,
    /// Its number, from 1, as in `stats`.
    pub(super) number: usize,
    pub(super) started: String,
    pub(super) took: String,
    pub(super) program: String,
    pub(super) ended: String,
    /// By their place in [`ReportView::labels`].
    pub(super) labels: Vec<usize>,
    pub(super) labels_shown: String,
    /// How many calls it has.
    pub(super) calls: usize,
    /// How many of them no earlier run has.
    pub(super) new: usize,
    /// `yes`, or what may be missing.
    pub(super) complete: String,
}

impl ReportView {
    /// The risk classes of its calls, the gravest first.
    pub(super) fn risks(&self) -> Vec<&'static str> {
        let classes = self.calls.iter().map(|call| call.risk.class);
        classes.sorted().dedup().map(RiskClass::name).collect()
    }

    /// The kinds of reasons of its calls.
    pub(super) fn origins(&self) -> Vec<&'static str> {
        let origins = self.calls.iter().map(|call| call.origin);
        origins.sorted().dedup().collect()
    }
}

impl CallRow {
    /// How often it was made.
    pub(super) fn times(&self) -> String {
        match (self.count, self.is_exact) {
            (0, _) => String::new(),
            (count, true) => count.to_string(),
            (count, false) => format!("≥ {count}"),
        }
    }

    /// When it was first seen.
    pub(super) fn first(&self) -> String {
        self.first_ms
            .map_or_else(String::new, |ms| format!("{ms} ms"))
    }
}

impl DifferenceRow {
    pub(super) fn state(&self) -> Tone {
        match self.direction {
            Direction::Wider | Direction::Mixed => Tone::Look,
            Direction::Narrower => Tone::Good,
            Direction::Other => Tone::Plain,
        }
    }
}

impl LintRow {
    pub(super) fn state(&self) -> Tone {
        Tone::of_severity(self.severity)
    }
}

impl fmt::Display for Tone {
    /// The class of the style sheet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tone::Good => "good",
            Tone::Plain => "plain",
            Tone::Look => "look",
            Tone::Bad => "bad",
        })
    }
}

/// The first of some texts: `a, b and 3 more`.
pub(super) fn some(all: impl Iterator<Item = String>, shown: usize) -> String {
    let mut all = all.peekable();
    let text = all.by_ref().take(shown).join(", ");
    match all.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Numbers that may follow each other: `1–4, 7`.
pub(super) fn ranges(numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = String> {
    let ranges = numbers
        .map(|number| number..=number)
        .coalesce(|one, other| {
            if *one.end() + 1 == *other.start() {
                Ok(*one.start()..=*other.end())
            } else {
                Err((one, other))
            }
        });
    ranges.map(|range| {
        let (first, last) = range.into_inner();
        if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_ranges() {
        let shown = |numbers: &[usize]| ranges(numbers.iter().copied()).join(", ");
        assert_eq!(shown(&[1, 2, 3, 5, 7, 8]), "1–3, 5, 7–8");
        assert_eq!(shown(&[4]), "4");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let shown = |number: usize| some((0..number).map(|one| one.to_string()), 2);
        assert_eq!(shown(0), "");
        assert_eq!(shown(2), "0, 1");
        assert_eq!(shown(5), "0, 1 and 3 more");
    }
}
