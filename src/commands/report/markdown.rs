//! The report as the text of a comment on a pull request.

use itertools::Itertools;
use sc_record::escape::Line;
use sc_record::review::RiskClass;

use super::view::{CallRow, ReportView, Tone};

/// The longest comment that GitHub takes, in characters. GitLab takes more.
const LIMIT: usize = 65_536;

/// For the ends of open elements, and for what was left out.
const RESERVE: usize = 400;

/// A text that grows to a limit.
struct Comment {
    text: String,
    left_out: Vec<String>,
}

impl Comment {
    /// Adds a part, if it and the rest of the comment fit. Bytes are counted, and a character has one or more.
    fn add(&mut self, part: &str) -> bool {
        let fits = self.text.len() + part.len() + RESERVE <= LIMIT;
        if fits {
            self.text += part;
        }
        fits
    }

    /// Adds a collapsed section, with as many of its lines as fit.
    fn section(&mut self, title: &str, head: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let start = format!("\n<details><summary>{title}</summary>\n\n{head}");
        let shown = if self.add(&start) {
            let shown = lines.iter().take_while(|line| self.add(line)).count();
            self.text += "\n</details>\n";
            shown
        } else {
            0
        };
        if shown < lines.len() {
            self.left_out.push(format!(
                "{} of {} lines of “{title}”",
                lines.len() - shown,
                lines.len()
            ));
        }
    }

    fn end(mut self) -> String {
        if !self.left_out.is_empty() {
            let left_out = self.left_out.join(", ");
            self.text += &format!(
                "\nLeft out, since a comment has a limit: {left_out}. The HTML report has them.\n"
            );
        }
        self.text
    }
}

/// Renders the comment. It has at most as many characters as GitHub takes.
pub(super) fn render(view: &ReportView) -> String {
    let mut comment = Comment {
        text: format!(
            "### System calls of {}\n\n{}, and {} by sc-record\n\n",
            text(&view.name),
            text(&view.profile),
            view.number_of_runs
        ),
        left_out: Vec::new(),
    };
    for judgement in &view.verdict {
        let mark = mark(judgement.state);
        let line = format!(
            "- {mark} **{}**: {}\n",
            judgement.heading,
            text(&judgement.says)
        );
        if !comment.add(&line) {
            comment.left_out.push(format!("“{}”", judgement.heading));
        }
    }
    if let Some(difference) = &view.difference {
        let rows = difference.rows.iter().map(|row| {
            format!(
                "| {} | {} | {} |\n",
                row.direction,
                text(&row.what),
                text(&row.about)
            )
        });
        let head = "| direction | change | risk |\n| --- | --- | --- |\n";
        comment.section("Change", head, &rows.collect::<Vec<_>>());
    }
    let head = "| call | profile | reason | risk | runs | times | executables |\n| --- | --- | --- | --- | --: | --: | --- |\n";
    let (denied, allowed): (Vec<&CallRow>, Vec<&CallRow>) =
        view.calls.iter().partition(|call| !call.is_allowed);
    let (risky, ordinary): (Vec<&CallRow>, Vec<&CallRow>) = allowed
        .into_iter()
        .partition(|call| call.risk.class != RiskClass::Ordinary);
    for (title, calls) in [
        ("Calls that are not allowed", denied),
        ("Calls with a risk", risky),
    ] {
        comment.section(title, head, &calls.into_iter().map(row).collect::<Vec<_>>());
    }
    if let Some(possible) = &view.possible {
        let rows = possible.rows.iter().map(|row| {
            let cells = [
                &row.call,
                row.answer,
                row.risk.class.name(),
                &row.program,
                &row.way,
            ];
            format!("| {} |\n", cells.into_iter().map(text).join(" | "))
        });
        let head = format!(
            "{}\n\n| call | profile | risk | program | way |\n| --- | --- | --- | --- | --- |\n",
            text(possible.bound)
        );
        comment.section(
            "Possible, but not recorded",
            &head,
            &rows.collect::<Vec<_>>(),
        );
    }
    if let Some(lint) = &view.lint {
        let rows = lint.findings.iter().map(|finding| {
            let rule = text(&finding.rule);
            format!(
                "- {}: {} ({rule}). {}\n",
                finding.severity,
                text(&finding.message),
                text(finding.fix)
            )
        });
        comment.section("Lint", "", &rows.collect::<Vec<_>>());
    }
    let estimates = view
        .estimates
        .iter()
        .map(|(what, says)| format!("- {what}: {}\n", text(says)));
    comment.section("Completeness", "", &estimates.collect::<Vec<_>>());
    let recorded = view
        .recorded_by
        .iter()
        .map(|says| format!("- {}\n", text(says)));
    comment.section("How it was recorded", "", &recorded.collect::<Vec<_>>());
    comment.section(
        "Other calls",
        head,
        &ordinary.into_iter().map(row).collect::<Vec<_>>(),
    );
    comment.end()
}

fn mark(state: Tone) -> &'static str {
    match state {
        Tone::Good => "✅",
        Tone::Plain => "▫️",
        Tone::Look => "⚠️",
        Tone::Bad => "❌",
    }
}

fn row(call: &CallRow) -> String {
    let risk = [call.risk.class.name(), call.risk.why];
    let risk = risk.into_iter().filter(|text| !text.is_empty()).join(": ");
    let (runs, times) = (call.number_of_runs.to_string(), call.times());
    let cells = [
        call.name.as_str(),
        call.answer,
        call.origin,
        &risk,
        &runs,
        &times,
        &call.by_whom,
    ];
    format!("| {} |\n", cells.into_iter().map(text).join(" | "))
}

/// Text that is text in GitHub's Markdown too: HTML, references to users and issues, links and emphasis have no effect.
fn text(content: &str) -> String {
    let mut text = String::with_capacity(content.len());
    for character in Line(content).to_string().chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '#' | '$' => {
                text.extend(['\\', character]);
            }
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '&' => text += "&amp;",
            character => text.push(character),
        }
    }
    // Mentions and links are found in bare text: a space without width takes them apart.
    text.replace('@', "@&#8203;")
        .replace("://", ":&#8203;//")
        .replace("www.", "www&#8203;.")
}
