//! What was found, for people and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

/// What became of a call of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unused,
    Tolerated,
    Needed,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Unused => "unused",
            Verdict::Tolerated => "tolerated",
            Verdict::Needed => "needed",
        }
    }
}

/// A call of the profile.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Why it stays in the profile although it is unused or tolerated.
    pub(super) left_alone: Option<&'static str>,
    /// Of a needed one: what happens.
    pub(super) without_it: Option<String>,
}

pub(super) struct Report {
    pub(super) profile: PathBuf,
    /// By name.
    pub(super) calls: Vec<Call>,
    pub(super) runs: usize,
    pub(super) resumed: usize,
    /// How the result differed when all was tried once more.
    pub(super) unconfirmed: Option<String>,
    /// Why the calls of the workload may not all be known.
    pub(super) incomplete: BTreeSet<String>,
}

/// How wide lists of names are.
const WIDTH: usize = 100;

impl Report {
    /// The calls with this verdict, but for those that are left alone.
    fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Call> {
        let calls = self.calls.iter();
        calls.filter(move |call| call.verdict == verdict && call.left_alone.is_none())
    }

    fn left_alone(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.left_alone.is_some())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let [unused, tolerated, needed] =
            [Verdict::Unused, Verdict::Tolerated, Verdict::Needed].map(|verdict| self.of(verdict));
        let counts = [
            self.of(Verdict::Unused).count(),
            self.of(Verdict::Tolerated).count(),
            self.of(Verdict::Needed).count(),
            self.left_alone().count(),
        ];
        let mut list = |head: &str, calls: Vec<&Call>| {
            if !calls.is_empty() {
                text.push_str(head);
                text.push('\n');
                text.push_str(&wrapped(calls.iter().map(|call| call.name.as_str())));
            }
        };
        list("unused: never called", unused.collect());
        list(
            "tolerated: the result is the same with all of these and the unused denied at once",
            tolerated.collect(),
        );
        list(
            "left alone: unused or tolerated here, but whether they are is chance (--policy exact spares none)",
            self.left_alone().collect(),
        );
        let needed: Vec<&Call> = needed.collect();
        if let Some(width) = needed.iter().map(|call| call.name.len()).max() {
            text.push_str("needed: without it\n");
            for call in needed {
                let why = call.without_it.as_deref();
                let why = why.unwrap_or("the result is another");
                // A string can be written to.
                let _ = writeln!(text, "  {:width$}  {why}", call.name);
            }
        }
        for why in &self.incomplete {
            let _ = writeln!(text, "unused ones may have been called: {why}");
        }
        let [unused, tolerated, needed, left_alone] = counts;
        let _ = writeln!(
            text,
            "{}: {} calls: {unused} unused, {tolerated} tolerated, {needed} needed, {left_alone} left alone; {} runs \
             with calls denied{}",
            self.profile.display(),
            self.calls.len(),
            self.runs,
            match self.resumed {
                0 => String::new(),
                resumed => format!(", {resumed} results from before"),
            }
        );
        text
    }

    pub(super) fn json(&self) -> String {
        let calls: Vec<_> = (self.calls.iter())
            .map(|call| {
                let mut entry = json!({"name": call.name, "verdict": call.verdict.name()});
                if let Some(what) = &call.without_it {
                    entry["without_it"] = json!(what);
                }
                if let Some(why) = call.left_alone {
                    entry["left_alone_because"] = json!(why);
                }
                entry
            })
            .collect();
        let report = json!({
            "profile": self.profile.to_string_lossy(),
            "calls": calls,
            "removable": self.of(Verdict::Unused).count() + self.of(Verdict::Tolerated).count(),
            "runs": self.runs,
            "resumed": self.resumed,
            "confirmed": self.unconfirmed.is_none(),
            "unconfirmed_because": self.unconfirmed,
            "baseline_incomplete_because": self.incomplete,
        });
        format!("{report:#}\n")
    }
}

/// Names in indented lines.
fn wrapped<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut line = String::from(" ");
    for name in names {
        if line.len() + 1 + name.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(name);
    }
    text.push_str(&line);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let call = |name: &str, verdict, left_alone, without_it: Option<&str>| Call {
            name: name.to_owned(),
            verdict,
            left_alone,
            without_it: without_it.map(str::to_owned),
        };
        let failed = "exit 127 instead of exit 0; stderr ends with: cannot allocate memory";
        let killed = "killed by SIGSEGV instead of exit 0";
        let chance = Some("the kernel makes it");
        Report {
            profile: "profiles/app.json".into(),
            calls: vec![
                call("access", Verdict::Tolerated, None, None),
                call("accept4", Verdict::Unused, None, None),
                call("brk", Verdict::Needed, None, Some(failed)),
                call("exit_group", Verdict::Needed, None, Some(killed)),
                call("restart_syscall", Verdict::Unused, chance, None),
                call("rt_sigreturn", Verdict::Tolerated, chance, None),
                call("sysinfo", Verdict::Tolerated, None, None),
            ],
            runs: 9,
            resumed: 2,
            unconfirmed: None,
            incomplete: BTreeSet::new(),
        }
    }

    #[test]
    fn a_report_for_people() {
        assert_eq!(
            report().text(),
            "\
unused: never called
  accept4
tolerated: the result is the same with all of these and the unused denied at once
  access sysinfo
left alone: unused or tolerated here, but whether they are is chance (--policy exact spares none)
  restart_syscall rt_sigreturn
needed: without it
  brk         exit 127 instead of exit 0; stderr ends with: cannot allocate memory
  exit_group  killed by SIGSEGV instead of exit 0
profiles/app.json: 7 calls: 1 unused, 2 tolerated, 2 needed, 2 left alone; 9 runs with calls denied, 2 results from before
"
        );
    }

    #[test]
    fn a_report_as_json() {
        insta::assert_snapshot!(report().json());
    }
}
