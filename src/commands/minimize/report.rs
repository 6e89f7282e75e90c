//! Reports the result, as text and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use sc_record::escape;
use serde_json::json;

use crate::ui::output;

/// Whether the workload needs a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Necessity {
    Unused,
    Tolerated,
    Needed,
}

impl Necessity {
    fn name(self) -> &'static str {
        match self {
            Necessity::Unused => "unused",
            Necessity::Tolerated => "tolerated",
            Necessity::Needed => "needed",
        }
    }
}

/// A call of the profile.
pub(super) struct CallReport {
    pub(super) name: String,
    pub(super) necessity: Necessity,
    /// Why it stays in the profile although it is unused or tolerated.
    pub(super) kept_because: Option<&'static str>,
    /// The outcome without it, if it is needed.
    pub(super) without_it: Option<String>,
    /// Whether the programs can make it at all, if their code was read.
    pub(super) is_possible: Option<bool>,
}

pub(super) struct MinimizeReport {
    pub(super) profile: PathBuf,
    /// Sorted by name.
    pub(super) calls: Vec<CallReport>,
    pub(super) runs: usize,
    pub(super) resumed: usize,
    /// How the outcome differed when the result was tested again.
    pub(super) unconfirmed: Option<String>,
    /// Why calls of the workload may be unknown.
    pub(super) incomplete: BTreeSet<String>,
}

impl MinimizeReport {
    /// The calls with this necessity that aren't kept.
    fn of(&self, necessity: Necessity) -> impl Iterator<Item = &CallReport> {
        let calls = self.calls.iter();
        calls.filter(move |call| call.necessity == necessity && call.kept_because.is_none())
    }

    fn kept(&self) -> impl Iterator<Item = &CallReport> {
        self.calls.iter().filter(|call| call.kept_because.is_some())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let [unused, tolerated, needed] =
            [Necessity::Unused, Necessity::Tolerated, Necessity::Needed]
                .map(|necessity| self.of(necessity).collect::<Vec<_>>());
        let kept: Vec<_> = self.kept().collect();
        for (head, calls) in [
            ("unused: never called", &unused),
            (
                "tolerated: the outcome is the same with all of these and the unused ones denied together",
                &tolerated,
            ),
            (
                "kept: unused or tolerated in this run, but that depends on chance (--policy exact keeps none)",
                &kept,
            ),
        ] {
            if !calls.is_empty() {
                let names: Vec<_> = calls.iter().map(|call| &call.name).collect();
                text += &format!("{head}\n{}", output::wrapped("  ", " ", &names));
            }
            let impossible = calls.iter().filter(|call| call.is_possible == Some(false));
            let names: Vec<_> = impossible.map(|call| &call.name).collect();
            if !names.is_empty() {
                text.push_str("  of these, the programs can't make any more:\n");
                text += &output::wrapped("    ", " ", &names);
            }
        }
        if let Some(width) = needed.iter().map(|call| call.name.len()).max() {
            text.push_str("needed: the outcome without it\n");
            for call in &needed {
                let why = call.without_it.as_deref();
                let why = why.unwrap_or("the outcome differs");
                // Writing to a string can't fail.
                let _ = writeln!(text, "  {:width$}  {why}", call.name);
            }
        }
        for why in &self.incomplete {
            let _ = writeln!(text, "unused calls may have been made: {why}");
        }
        let [unused, tolerated, needed, kept] =
            [unused, tolerated, needed, kept].map(|calls| calls.len());
        let _ = writeln!(
            text,
            "{}: {} calls: {unused} unused, {tolerated} tolerated, {needed} needed, {kept} kept; {} runs \
             with calls denied{}",
            escape::path(&self.profile),
            self.calls.len(),
            self.runs,
            match self.resumed {
                0 => String::new(),
                resumed => format!(", {resumed} earlier results"),
            }
        );
        text
    }

    pub(super) fn json(&self) -> String {
        let calls: Vec<_> = (self.calls.iter())
            .map(|call| {
                let mut entry = json!({"name": call.name, "verdict": call.necessity.name()});
                if let Some(what) = &call.without_it {
                    entry["without_it"] = json!(what);
                }
                if let Some(why) = call.kept_because {
                    entry["left_alone_because"] = json!(why);
                }
                if let Some(is_possible) = call.is_possible {
                    entry["possible"] = json!(is_possible);
                }
                entry
            })
            .collect();
        let report = json!({
            "profile": self.profile.to_string_lossy(),
            "calls": calls,
            "removable": self.of(Necessity::Unused).count() + self.of(Necessity::Tolerated).count(),
            "runs": self.runs,
            "resumed": self.resumed,
            "confirmed": self.unconfirmed.is_none(),
            "unconfirmed_because": self.unconfirmed,
            "baseline_incomplete_because": self.incomplete,
        });
        format!("{report:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> MinimizeReport {
        let call = |name: &str, necessity, kept_because, without_it: Option<&str>| CallReport {
            name: name.to_owned(),
            necessity,
            kept_because,
            without_it: without_it.map(str::to_owned),
            is_possible: None,
        };
        let failed = "exit 127 instead of exit 0; stderr ends with: cannot allocate memory";
        let killed = "killed by SIGSEGV instead of exit 0";
        let chance = Some("the kernel makes it");
        MinimizeReport {
            profile: "profiles/app.json".into(),
            calls: vec![
                call("access", Necessity::Tolerated, None, None),
                call("accept4", Necessity::Unused, None, None),
                call("brk", Necessity::Needed, None, Some(failed)),
                call("exit_group", Necessity::Needed, None, Some(killed)),
                call("restart_syscall", Necessity::Unused, chance, None),
                call("rt_sigreturn", Necessity::Tolerated, chance, None),
                call("sysinfo", Necessity::Tolerated, None, None),
            ],
            runs: 9,
            resumed: 2,
            unconfirmed: None,
            incomplete: BTreeSet::new(),
        }
    }

    #[test]
    fn a_report_as_text() {
        assert_eq!(
            report().text(),
            "\
unused: never called
  accept4
tolerated: the outcome is the same with all of these and the unused ones denied together
  access sysinfo
kept: unused or tolerated in this run, but that depends on chance (--policy exact keeps none)
  restart_syscall rt_sigreturn
needed: the outcome without it
  brk         exit 127 instead of exit 0; stderr ends with: cannot allocate memory
  exit_group  killed by SIGSEGV instead of exit 0
profiles/app.json: 7 calls: 1 unused, 2 tolerated, 2 needed, 2 kept; 9 runs with calls denied, 2 earlier results
"
        );
    }

    #[test]
    fn a_report_as_json() {
        insta::assert_snapshot!(report().json());
    }
}
