//! The estimates of how complete a recording is, in words.

use sc_record::review::Stats;

/// What is known of the calls that no run has.
pub(crate) fn estimates(stats: &Stats) -> Vec<(&'static str, String)> {
    let incidence = stats.incidence;
    let once = format!("{} of {}", incidence.once, incidence.seen);
    let unseen = match incidence.chao2() {
        None => "unknown: one run is not enough".to_owned(),
        Some(unseen) => match unseen.interval {
            None => "0 (Chao2; no interval, since no calls are rare)".to_owned(),
            Some((low, high)) => format!(
                "at least {:.1} (Chao2; 95 % interval {low:.1} to {high:.1})",
                unseen.estimate
            ),
        },
    };
    let mut all = vec![("seen in one run only", once), ("not seen yet", unseen)];
    if let (Some(chance), Some(expected)) = (stats.chance_of_new(), incidence.expected_new()) {
        let says = format!(
            "{} (Good-Turing: {} of {} runs have a call that no other has); {} new calls expected",
            percent(chance),
            stats.runs_with_unique(),
            stats.steps.len(),
            rounded(expected)
        );
        all.push(("next run brings a new", says));
    }
    if let Some(coverage) = incidence.coverage() {
        let says = format!("{} (Chao & Jost)", percent(coverage));
        all.push(("sample coverage", says));
    }
    all
}

/// The conclusion, and what to do next.
pub(crate) fn verdict(stats: &Stats) -> String {
    let runs = stats.steps.len();
    let incidence = stats.incidence;
    let Some(unseen) = incidence.chao2() else {
        return "one run can't show what other runs do: record more, on other paths through the program".to_owned();
    };
    let last = stats.last_new().unwrap_or(runs);
    let expect = rounded(unseen.estimate);
    if runs < 5 {
        let rare = match incidence.once {
            0 => "every call was seen in more than one run".to_owned(),
            _ => format!("expect at least {expect} more"),
        };
        return format!(
            "{runs} runs are few: run {last} brought the last new call, {rare}; record more, on other paths through the program"
        );
    }
    if incidence.once == 0 {
        return format!(
            "run {last} of {runs} brought the last new call, and every call was seen in more than one run: runs like these bring \
             nothing new; record what they don't do: error paths, shutdown, other configurations"
        );
    }
    format!(
        "{} of {runs} runs brought a call that no other has, run {last} the last new one; expect at least {expect} more: record error \
         paths",
        stats.runs_with_unique()
    )
}

pub(crate) fn rounded(number: f64) -> String {
    format!("{number:.1}")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
