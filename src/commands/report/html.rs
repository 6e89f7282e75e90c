//! The report as one HTML page, which loads nothing and runs no script but its own.

use std::fmt::{self, Write};

use askama::Template;
use askama::filters::Escaper;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sc_record::escape::{Json, Line};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::view::{CallRow, ReportView};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    view: &'a ReportView,
    version: &'static str,
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    data: String,
}

/// Renders the page.
pub(super) fn render(view: &ReportView) -> anyhow::Result<String> {
    let page = Page {
        view,
        version: env!("CARGO_PKG_VERSION"),
        style: STYLE,
        style_hash: hash(STYLE),
        script: SCRIPT,
        script_hash: hash(SCRIPT),
        data: data(view),
    };
    Ok(page.render()?)
}

/// The source of a Content-Security-Policy that permits this text alone.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest))
}

/// What the script filters and copies. Nothing in it can end the element that holds it.
fn data(view: &ReportView) -> String {
    let executables = view.executables.iter().map(|path| Line(path).to_string());
    let runs = view
        .runs
        .iter()
        .map(|run| json!({"id": run.id, "labels": run.labels}));
    let data = json!({
        "name": view.name,
        "profile": Line(&view.profile).to_string(),
        "executables": executables.collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
        "calls": view.calls.iter().map(|one| call(one, view)).collect::<Vec<_>>(),
    });
    Json(data).to_string().replace('<', "\\u003c")
}

fn call(call: &CallRow, view: &ReportView) -> Value {
    json!({
        "name": call.name,
        "answer": call.answer,
        "rule": call.rule,
        "origin": call.origin,
        "reasons": call.reasons,
        "risk": call.risk.class.name(),
        "risk_rank": call.risk.class as u8,
        "risk_because": call.risk.why,
        "docker": call.docker,
        "count": call.count,
        "count_is_exact": call.is_exact,
        "number_of_runs": call.number_of_runs,
        "first_ms": call.first_ms,
        "arguments": call.arguments,
        "callers": call.callers,
        "runs": set(&call.in_runs, view.runs.len()),
        "executables": set(&call.by, view.executables.len()),
    })
}

/// Ascending members of a set, four per hexadecimal digit, the first one in the lowest bit.
fn set(members: &[usize], of: usize) -> String {
    let mut digits = vec![0_u8; of.div_ceil(4)];
    for member in members {
        if let Some(digit) = digits.get_mut(member / 4) {
            *digit |= 1 << (member % 4);
        }
    }
    digits.iter().fold(String::new(), |mut text, digit| {
        // Writing to a string can't fail.
        let _ = write!(text, "{digit:x}");
        text
    })
}

/// Escapes every text of the template, twice: what can't be seen or changes the direction of text is made visible, and what
/// HTML gives a meaning stays text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, dest: W, string: &str) -> fmt::Result {
        write!(Html(dest), "{}", Line(string))
    }
}

/// Writes text to HTML.
struct Html<W>(W);

impl<W: Write> Write for Html<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        askama::filters::Html.write_escaped_str(&mut self.0, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_four_members_per_digit() {
        assert_eq!(set(&[0, 3, 4, 9], 10), "912");
        assert_eq!(set(&[], 5), "00");
        assert_eq!(set(&[], 0), "");
    }

    #[test]
    fn text_has_no_markup_and_nothing_unseen() {
        let mut written = String::new();
        let hostile = "</script><img src=x onerror='alert(1)'>&\u{1b}[31m\u{202e}\"\n";
        Visible.write_escaped_str(&mut written, hostile).unwrap();
        assert!(
            !written.contains(['<', '>', '"', '\'', '\u{1b}', '\u{202e}', '\n']),
            "{written}"
        );
        assert!(written.contains("\\u{1b}[31m\\u{202e}"), "{written}");
    }
}
