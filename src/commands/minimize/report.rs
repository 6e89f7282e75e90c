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
    /// Unused, and left alone.
    Kept,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Unused | Verdict::Kept => "unused",
            Verdict::Tolerated => "tolerated",
            Verdict::Needed => "needed",
        }
    }
}

/// A call of the profile.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Of a needed one: what happens without it. Of a kept one: why it is.
    pub(super) why: Option<String>,
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
    fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Call> {
        self.calls
            .iter()
            .filter(move |call| call.verdict == verdict)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.of(verdict).count()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let heads = [
            (Verdict::Unused, "unused: never called"),
            (
                Verdict::Tolerated,
                "tolerated: the result is the same with all of these and the unused denied at once",
            ),
            (
                Verdict::Kept,
                "unused, left alone: the kernel or the C library may call them all the same (--policy exact tries them)",
            ),
        ];
        for (verdict, head) in heads {
            if self.count(verdict) > 0 {
                // A string can be written to.
                let _ = writeln!(text, "{head}");
                text.push_str(&wrapped(self.of(verdict).map(|call| call.name.as_str())));
            }
        }
        let width = self.of(Verdict::Needed).map(|call| call.name.len()).max();
        if let Some(width) = width {
            text.push_str("needed: without it\n");
            for call in self.of(Verdict::Needed) {
                let why = call.why.as_deref().unwrap_or("the result is another");
                let _ = writeln!(text, "  {:width$}  {why}", call.name);
            }
        }
        for why in &self.incomplete {
            let _ = writeln!(text, "unused ones may have been called: {why}");
        }
        let _ = writeln!(
            text,
            "{}: {} calls: {} unused, {} tolerated, {} needed, {} left alone; {} runs with calls denied{}",
            self.profile.display(),
            self.calls.len(),
            self.count(Verdict::Unused),
            self.count(Verdict::Tolerated),
            self.count(Verdict::Needed),
            self.count(Verdict::Kept),
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
                match (call.verdict, &call.why) {
                    (Verdict::Needed, Some(why)) => entry["without_it"] = json!(why),
                    (Verdict::Kept, Some(why)) => entry["left_alone_because"] = json!(why),
                    _ => {}
                }
                entry
            })
            .collect();
        let report = json!({
            "profile": self.profile.to_string_lossy(),
            "calls": calls,
            "removable": self.count(Verdict::Unused) + self.count(Verdict::Tolerated),
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
        let call = |name: &str, verdict, why: Option<&str>| Call {
            name: name.to_owned(),
            verdict,
            why: why.map(str::to_owned),
        };
        let failed = "exit 127 instead of exit 0; stderr ends with: cannot allocate memory";
        Report {
            profile: "profiles/app.json".into(),
            calls: vec![
                call("access", Verdict::Tolerated, None),
                call("accept4", Verdict::Unused, None),
                call("brk", Verdict::Needed, Some(failed)),
                call(
                    "exit_group",
                    Verdict::Needed,
                    Some("killed by SIGSEGV instead of exit 0"),
                ),
                call(
                    "restart_syscall",
                    Verdict::Kept,
                    Some("the kernel makes it"),
                ),
                call("sysinfo", Verdict::Tolerated, None),
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
unused, left alone: the kernel or the C library may call them all the same (--policy exact tries them)
  restart_syscall
needed: without it
  brk         exit 127 instead of exit 0; stderr ends with: cannot allocate memory
  exit_group  killed by SIGSEGV instead of exit 0
profiles/app.json: 6 calls: 1 unused, 2 tolerated, 2 needed, 1 left alone; 9 runs with calls denied, 2 results from before
"
        );
    }

    #[test]
    fn a_report_as_json() {
        insta::assert_snapshot!(report().json());
    }
}
