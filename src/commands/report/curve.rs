//! The curve of calls over runs, in the coordinates of an SVG.

use std::fmt::Write as _;

use sc_record::review::Stats;

use super::super::input::count;

/// A drawing. Lengths are in units of the SVG.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
    pub(super) inner_width: u32,
    /// The number of calls at the top.
    pub(super) most: u32,
    pub(super) runs: usize,
    /// The curve.
    pub(super) path: String,
    /// The height of the estimate of all calls.
    pub(super) estimate: Option<String>,
    /// Its interval, as far as it fits.
    pub(super) band: Option<Band>,
    pub(super) caption: String,
}

#[derive(Debug)]
pub(super) struct Band {
    pub(super) top: String,
    pub(super) height: String,
}

const WIDTH: u32 = 640;
const HEIGHT: u32 = 220;
const LEFT: u32 = 48;
const RIGHT: u32 = 630;
const TOP: u32 = 10;
const BOTTOM: u32 = 196;

impl Curve {
    pub(super) fn of(stats: &Stats) -> Curve {
        let seen = stats.incidence.seen;
        let unseen = stats
            .incidence
            .chao2()
            .filter(|unseen| unseen.estimate > 0.0);
        // An estimate of many more calls than were seen must not make the curve flat.
        let limit = f64::from(seen) * 2.0;
        let all = unseen.map(|unseen| f64::from(seen) + unseen.estimate);
        let high = unseen.and_then(|unseen| Some(f64::from(seen) + unseen.interval?.1));
        let most = [all, high]
            .into_iter()
            .flatten()
            .map(|value| value.min(limit));
        let most = most.fold(f64::from(seen), f64::max).max(1.0).ceil();
        let down = |value: f64| {
            let share = (value / most).min(1.0);
            f64::from(BOTTOM) - share * f64::from(BOTTOM - TOP)
        };
        let band = unseen
            .and_then(|unseen| unseen.interval)
            .map(|(low, high)| {
                let [top, bottom] = [high, low].map(|value| down(f64::from(seen) + value));
                Band {
                    top: length(top),
                    height: length(bottom - top),
                }
            });
        let caption = all.map_or_else(String::new, |all| {
            format!(". The dashed line is the estimate of all calls (Chao2: at least {all:.1}), with its 95 % interval")
        });
        let runs = count(stats.steps.len(), "run");
        Curve {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: RIGHT,
            bottom: BOTTOM,
            inner_width: RIGHT - LEFT,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and twice a u32"
            )]
            most: most as u32,
            runs: stats.steps.len(),
            path: path(stats, down),
            estimate: all.filter(|&all| all <= most).map(|all| length(down(all))),
            band,
            caption: format!(
                "Calls over runs, in the order they were recorded: {seen} calls in {runs}{caption}."
            ),
        }
    }
}

/// Steps: each run has the calls of those before.
fn path(stats: &Stats, down: impl Fn(f64) -> f64) -> String {
    let steps = stats.steps.len().max(1);
    let mut path = format!("M{LEFT} {BOTTOM}");
    for (index, step) in stats.steps.iter().enumerate() {
        if index > 0 && step.new.is_empty() && index + 1 < stats.steps.len() {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 runs")]
        let across =
            |index: usize| f64::from(LEFT) + f64::from(RIGHT - LEFT) * index as f64 / steps as f64;
        let height = down(f64::from(u32::try_from(step.seen).unwrap_or(u32::MAX)));
        let _ = write!(path, "H{}V{}", length(across(index)), length(height));
        if index + 1 == stats.steps.len() {
            let _ = write!(path, "H{RIGHT}");
        }
    }
    path
}

fn length(value: f64) -> String {
    format!("{value:.1}")
}
