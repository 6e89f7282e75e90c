//! Estimates how much was not seen yet, from how often runs share what they have.
//!
//! A run is a sampling unit, and a call (of an ABI) or a value of an argument a species. Ecologists' methods of counting species
//! by quadrats and trapping days apply if the runs are a fair sample of what the workload will do. Repetitions of one test are
//! not. The
//! formulas, with `T` runs, `S` calls seen, `Q1` of them in exactly one run, `Q2` in exactly two, and `U` the sum over all
//! runs of the calls in each:
//!
//! - **Chao2**, a lower bound of the number of calls that were not seen: `(T-1)/T * Q1²/(2*Q2)`; without a call in exactly
//!   two runs the bias-corrected form `(T-1)/T * Q1*(Q1-1)/2`. Chao, A. (1987) "Estimating the population size for
//!   capture-recapture data with unequal catchability", Biometrics 43, 783-791; with the factor `(T-1)/T` as in Colwell,
//!   R. K. & Coddington, J. A. (1994) "Estimating terrestrial biodiversity through extrapolation", Phil. Trans. R. Soc. B
//!   345, 101-118, and Chao, A. & Chiu, C.-H. (2016) "Species richness: estimation and comparison", Wiley `StatsRef`, eq. 11a.
//! - Its **95 % interval**, log-normal, so that it can't be below what was seen: `[f/C, f*C]` for the estimate `f`, where
//!   `C = exp(1.96 * sqrt(ln(1 + var/f²)))` (Chao 1987, p. 787). The variance is that of Chao 1987, with the factor
//!   `A = (T-1)/T`: `Q2*(A/2*r² + A²*r³ + A²/4*r⁴)`, `r = Q1/Q2`; without duplicates
//!   `A*Q1*(Q1-1)/2 + A²*Q1*(2*Q1-1)²/4 - A²*Q1⁴/(4*(S+f))`
//!   (`EstimateS` User's Guide, appendix B).
//! - **Good-Turing**: the chance that the next run brings a call that no run had is the share of runs that have one that no
//!   other run has. Good, I. J. (1953) "The population frequencies of species and the estimation of population
//!   parameters", Biometrika 40, 237-264; it is his `n1/N` where a run has one call. `Q1/T` new calls are to be expected then.
//! - **Sample coverage**, the share of all calls to come (each run's distinct ones) that were seen before:
//!   `1 - Q1/U * (T-1)*Q1 / ((T-1)*Q1 + 2*Q2)`. Chao, A. & Jost, L. (2012) "Coverage-based rarefaction and
//!   extrapolation", Ecology 93, 2533-2547, for incidences in Chao et al. (2014), Ecological Monographs 84, 45-67.

/// The normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_964;

/// How often something was seen in how many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incidence {
    /// How many runs there are (`T`).
    pub runs: u32,
    /// How many calls were seen (`S`).
    pub seen: u32,
    /// How many of them in exactly one run (`Q1`).
    pub once: u32,
    /// How many in exactly two (`Q2`).
    pub twice: u32,
    /// The sum over all runs of the calls in each (`U`).
    pub total: u64,
}

/// How many calls are still unseen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unseen {
    /// The estimate, a lower bound.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The 95 % interval; `None` where the estimate is 0, since no or only one call is rare: it has none then.
    pub interval: Option<(f64, f64)>,
}

impl Incidence {
    /// The Chao2 estimate; `None` for fewer than two runs, which can't show how runs differ.
    #[must_use]
    pub fn chao2(&self) -> Option<Unseen> {
        if self.runs < 2 {
            return None;
        }
        let [runs, seen, once, twice] =
            [self.runs, self.seen, self.once, self.twice].map(f64::from);
        let a = (runs - 1.0) / runs;
        let (estimate, variance) = if self.twice > 0 {
            let r = once / twice;
            let variance =
                twice * (a / 2.0 * r.powi(2) + a.powi(2) * r.powi(3) + a.powi(2) / 4.0 * r.powi(4));
            (a * once.powi(2) / (2.0 * twice), variance)
        } else if self.once < 2 {
            (0.0, 0.0)
        } else {
            let estimate = a * once * (once - 1.0) / 2.0;
            let variance = a * once * (once - 1.0) / 2.0
                + a.powi(2) * once * (2.0 * once - 1.0).powi(2) / 4.0
                - a.powi(2) * once.powi(4) / (4.0 * (seen + estimate));
            (estimate, variance.max(0.0))
        };
        let interval = (estimate > 0.0).then(|| {
            let factor = (Z * (1.0 + variance / estimate.powi(2)).ln().sqrt()).exp();
            (estimate / factor, estimate * factor)
        });
        Some(Unseen {
            estimate,
            standard_error: if estimate > 0.0 { variance.sqrt() } else { 0.0 },
            interval,
        })
    }

    /// How many calls that no run had the next run is expected to bring (`Q1/T`); `None` for fewer than two runs.
    #[must_use]
    pub fn expected_new(&self) -> Option<f64> {
        (self.runs >= 2).then(|| f64::from(self.once) / f64::from(self.runs))
    }

    /// The sample coverage, 0 to 1; `None` for fewer than two runs, and without any call.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        if self.runs < 2 || self.total == 0 {
            return None;
        }
        if self.once == 0 {
            return Some(1.0);
        }
        let [runs, once, twice] = [self.runs, self.once, self.twice].map(f64::from);
        #[allow(
            clippy::cast_precision_loss,
            reason = "nobody has 2^52 calls in all runs"
        )]
        let total = self.total as f64;
        // Without duplicates (Q2 = 0) one is estimated, as Chao & Jost do in the estimator's bias-corrected form.
        let fresh = if self.twice > 0 {
            (runs - 1.0) * once / ((runs - 1.0) * once + 2.0 * twice)
        } else if self.once > 1 {
            (runs - 1.0) * (once - 1.0) / ((runs - 1.0) * (once - 1.0) + 2.0)
        } else {
            1.0
        };
        Some((1.0 - once / total * fresh).clamp(0.0, 1.0))
    }
}
