//! Runs of now against runs of a baseline, figure by figure.

use super::verdict::{Reason, Verdict};
use crate::measure::rank_test::{RankTest, holm, mann_whitney, median};
use serde::Serialize;

/// Probability, over all figures together, of calling a difference one that is none.
const ALPHA: f64 = 0.05;

/// A figure that is compared. Decode speed is no figure of its own here: it is 1 / TPOT, and ranks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// TTFT, any token.
    TimeToFirstToken,
    /// TPOT.
    TimePerOutputToken,
    /// E2E.
    Inference,
}

impl Quantity {
    /// Every figure.
    pub const ALL: [Self; 3] = [
        Self::TimeToFirstToken,
        Self::TimePerOutputToken,
        Self::Inference,
    ];

    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimeToFirstToken => "time to first token",
            Self::TimePerOutputToken => "time per output token",
            Self::Inference => "inference time",
        }
    }
}

/// Two samples of one figure of one probe, in seconds.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The target's name, as it is now.
    pub target: String,
    /// The scenario's name.
    pub scenario: String,
    /// The figure.
    pub quantity: Quantity,
    /// Then.
    pub baseline: Vec<f64>,
    /// Now.
    pub now: Vec<f64>,
}

/// What became of a figure since the baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The target's name.
    pub target: String,
    /// The scenario's name.
    pub scenario: String,
    /// The figure.
    pub quantity: Quantity,
    /// READY where it has not become worse by what matters.
    #[serde(flatten)]
    pub reason: Reason,
    /// Runs of the baseline that have the figure.
    pub baseline_runs: usize,
    /// Runs of now that have it.
    pub runs: usize,
    /// The baseline's median, in seconds.
    pub baseline_median_seconds: Option<f64>,
    /// The median now, in seconds.
    pub median_seconds: Option<f64>,
    /// Hodges and Lehmann's shift ÷ the baseline's median: 0.1 is 10 % slower.
    pub shift_ratio: Option<f64>,
    /// Cliff's delta: 1 where every run of now is slower than every run then, −1 where faster.
    pub cliffs_delta: Option<f64>,
    /// Mann and Whitney's p, two-sided.
    pub p: Option<f64>,
    /// The same, corrected by Holm for the number of figures.
    pub p_corrected: Option<f64>,
}

/// Compares every figure; `relevant` is the least change that matters, as a share of the baseline's median.
/// A figure that neither side has, as TTFT without a stream, is left out.
pub fn compare(comparisons: &[Comparison], relevant: f64) -> Vec<Compared> {
    let known: Vec<_> = comparisons
        .iter()
        .filter(|one| !(one.baseline.is_empty() && one.now.is_empty()))
        .map(|one| (one, mann_whitney(&one.baseline, &one.now)))
        .collect();
    let tests = || known.iter().filter_map(|(_, test)| *test);
    let p: Vec<_> = tests().map(|test| test.p).collect();
    let mut corrected = holm(&p).into_iter();
    known
        .iter()
        .map(|(one, test)| {
            let sides = Sides {
                one,
                before: median_of(&one.baseline),
                after: median_of(&one.now),
            };
            match test {
                None => sides.one_is_missing(),
                Some(test) => {
                    // One corrected value per test, in the same order.
                    let corrected = corrected.next().unwrap_or(1.0);
                    sides.compared(*test, corrected, relevant)
                }
            }
        })
        .collect()
}

struct Sides<'a> {
    one: &'a Comparison,
    before: Option<f64>,
    after: Option<f64>,
}

impl Sides<'_> {
    fn one_is_missing(&self) -> Compared {
        let (has, lacks) = match self.one.baseline.is_empty() {
            true => ("now", "the baseline"),
            false => ("the baseline", "now"),
        };
        let text = format!(
            "no good run of {lacks} has it, those of {has} do: there is nothing to compare"
        );
        self.told(Verdict::Undecided, &text, None)
    }

    fn compared(&self, test: RankTest, corrected: f64, relevant: f64) -> Compared {
        let before = self.before.unwrap_or_default();
        // A median of 0 would be a clock that stands still.
        let shift = test.shift / before.max(f64::MIN_POSITIVE);
        let (then, now) = (self.one.baseline.len(), self.one.now.len());
        let facts = format!(
            "{} then, {} now: {:+.1} % (medians of {then} and {now} runs, p {}, least change that matters {:.0} %)",
            human(before),
            human(self.after.unwrap_or_default()),
            shift * 100.0,
            probability(corrected),
            relevant * 100.0
        );
        let (verdict, text) = if test.least_p >= ALPHA {
            let text = format!("{facts}: so few runs can prove no change");
            (Verdict::Undecided, text)
        } else if shift < relevant {
            (Verdict::Ready, facts)
        } else if corrected < ALPHA {
            (Verdict::Degraded, facts)
        } else {
            let text = format!("{facts}: it may be chance, more runs would tell");
            (Verdict::Undecided, text)
        };
        self.told(verdict, &text, Some((test, corrected, shift)))
    }

    fn told(&self, verdict: Verdict, text: &str, test: Option<(RankTest, f64, f64)>) -> Compared {
        let one = self.one;
        let text = format!(
            "{} of {}/{}: {text}",
            one.quantity.as_str(),
            one.target,
            one.scenario
        );
        Compared {
            target: one.target.clone(),
            scenario: one.scenario.clone(),
            quantity: one.quantity,
            reason: Reason::new(verdict, text),
            baseline_runs: one.baseline.len(),
            runs: one.now.len(),
            baseline_median_seconds: self.before,
            median_seconds: self.after,
            shift_ratio: test.map(|(_, _, shift)| shift),
            cliffs_delta: test.map(|(test, _, _)| test.delta),
            p: test.map(|(test, _, _)| test.p),
            p_corrected: test.map(|(_, corrected, _)| corrected),
        }
    }
}

fn median_of(values: &[f64]) -> Option<f64> {
    let mut ascending = values.to_vec();
    ascending.sort_by(f64::total_cmp);
    median(&ascending)
}

fn human(seconds: f64) -> String {
    match seconds < 1.0 {
        true => format!("{:.1} ms", seconds * 1e3),
        false => format!("{seconds:.2} s"),
    }
}

fn probability(p: f64) -> String {
    match p < 0.001 {
        true => "below 0.001".to_owned(),
        false => format!("{p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_pcg::Pcg64;

    fn sample(rng: &mut Pcg64, runs: usize, centre: f64) -> Vec<f64> {
        (0..runs)
            .map(|_| centre * rng.random_range(0.96..1.04))
            .collect()
    }

    fn one(quantity: Quantity, baseline: Vec<f64>, now: Vec<f64>) -> Comparison {
        Comparison {
            target: "t".to_owned(),
            scenario: "chat".to_owned(),
            quantity,
            baseline,
            now,
        }
    }

    fn verdicts(compared: &[Compared]) -> Vec<Verdict> {
        compared.iter().map(|one| one.reason.verdict).collect()
    }

    #[test]
    fn what_is_slower_by_chance_or_by_little_does_not_degrade() {
        let mut rng = Pcg64::seed_from_u64(3);
        let mut against = |factor: f64| {
            let (then, now) = (
                sample(&mut rng, 20, 0.2),
                sample(&mut rng, 20, 0.2 * factor),
            );
            compare(&[one(Quantity::TimeToFirstToken, then, now)], 0.1).remove(0)
        };
        assert_eq!(against(1.0).reason.verdict, Verdict::Ready);
        // Surely slower, but not by what matters.
        let little = against(1.06);
        assert_eq!(little.reason.verdict, Verdict::Ready);
        assert!(little.p_corrected.unwrap() < 0.05, "{little:?}");
        assert_eq!(against(0.5).reason.verdict, Verdict::Ready);
        let much = against(1.3);
        assert_eq!(much.reason.verdict, Verdict::Degraded);
        assert!((much.shift_ratio.unwrap() - 0.3).abs() < 0.05, "{much:?}");
    }

    #[test]
    fn few_runs_prove_nothing_and_several_figures_share_the_doubt() {
        let three = |centre: f64| vec![centre, centre * 1.01, centre * 1.02];
        let found = compare(&[one(Quantity::Inference, three(1.0), three(2.0))], 0.1);
        assert_eq!(verdicts(&found), [Verdict::Undecided]);
        // Four against four: p is 2/70 for each, below 0.05 alone and above it as one of three.
        let four = |centre: f64| [1.0, 1.01, 1.02, 1.03].map(|f| centre * f).to_vec();
        let slower = |quantity| one(quantity, four(1.0), four(2.0));
        let alone = compare(&[slower(Quantity::Inference)], 0.1);
        assert_eq!(verdicts(&alone), [Verdict::Degraded]);
        let together = compare(&Quantity::ALL.map(slower), 0.1);
        assert_eq!(verdicts(&together), [Verdict::Undecided; 3]);
        assert!((together[0].p_corrected.unwrap() - 6.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn a_figure_that_one_side_lacks_cannot_be_compared() {
        let lacking = one(Quantity::TimeToFirstToken, vec![1.0; 20], Vec::new());
        let neither = one(Quantity::TimePerOutputToken, Vec::new(), Vec::new());
        let found = compare(&[lacking, neither], 0.1);
        assert_eq!(verdicts(&found), [Verdict::Undecided]);
        let text = &found[0].reason.text;
        assert!(text.contains("no good run of now has it"), "{text}");
    }
}
