//! What is normal in one regime: level and spread of a quantity's logarithm, learnt run by run.

/// Runs from which a reference is made. With fewer, the error of the level itself looks like a change.
pub const REFERENCE_RUNS: usize = 50;

/// Runs that a reference remembers: it moves to a new level within about so many runs of its regime.
pub const MEMORY_RUNS: u32 = 500;

/// Spreads below this count as this (of the natural logarithm, so about 9 %): however steady the figures, fewer than
/// [`FEWEST_RUNS`](super::FEWEST_RUNS) runs prove nothing.
const LEAST_SPREAD: f64 = 0.09;

/// Standardised residuals beyond this count as this (Huber's ψ): one run, however slow, is one run.
const CLIP: f64 = 2.0;

/// E ψ² of a standard normal variable: ∫ x² φ(x) dx from −2 to 2, and 4 times the rest.
const CLIPPED_VARIANCE: f64 = 0.920_5;

fn clipped(standardised: f64) -> f64 {
    standardised.clamp(-CLIP, CLIP)
}

/// One regime's reference.
#[derive(Clone, Debug)]
pub(super) enum Reference {
    /// Too few runs to judge by.
    Learning(Vec<f64>),
    /// Enough.
    Learnt(Level),
}

/// A level and a spread, both by Huber's second proposal (P. J. Huber, "Robust estimation of a location
/// parameter", 1964): the clipped standardised residuals have mean 0 and the variance of clipped normal
/// ones. So they do under any distribution, skewed and heavy-tailed ones too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Logarithm of the quantity.
    centre: f64,
    /// Of one run, in the logarithm.
    spread: f64,
    /// Weight of a run is 1 / this.
    runs: u32,
}

impl Default for Reference {
    fn default() -> Self {
        Self::Learning(Vec::new())
    }
}

impl Reference {
    /// Takes a run into the reference. `value` is a logarithm.
    pub(super) fn learn(&mut self, value: f64) {
        match self {
            Self::Learnt(level) => level.learn(value),
            Self::Learning(values) => {
                values.push(value);
                if values.len() >= REFERENCE_RUNS {
                    *self = Self::Learnt(Level::of(values));
                }
            }
        }
    }

    /// The reference, if there is one to judge by.
    pub(super) fn level(&self) -> Option<&Level> {
        match self {
            Self::Learning(_) => None,
            Self::Learnt(level) => Some(level),
        }
    }
}

/// Passes over the first runs of a reference; the estimates move by less than 1 % in the last.
const PASSES: usize = 20;

impl Level {
    fn of(values: &mut [f64]) -> Self {
        let centre = median(values);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
        // Of normal values, the median distance is 0.6745 spreads.
        let spread = (median(&mut distances) / 0.6745).max(LEAST_SPREAD);
        let runs = u32::try_from(values.len()).unwrap_or(MEMORY_RUNS);
        let mut level = Self {
            centre,
            spread,
            runs,
        };
        for _ in 0..PASSES {
            let scores = values.iter().map(|value| level.clipped(*value));
            let (sum, squares) = scores.fold((0.0, 0.0), |(sum, squares), score| {
                (sum + score, squares + score * score)
            });
            level.step(sum / f64::from(runs), squares / f64::from(runs), 1.0);
        }
        level
    }

    fn learn(&mut self, value: f64) {
        self.runs = (self.runs + 1).min(MEMORY_RUNS);
        let score = self.clipped(value);
        self.step(score, score * score, 1.0 / f64::from(self.runs));
    }

    fn step(&mut self, score: f64, square: f64, weight: f64) {
        self.centre += weight * self.spread * score;
        let growth = 1.0 + weight * (square / CLIPPED_VARIANCE - 1.0);
        self.spread = (self.spread * growth.sqrt()).max(LEAST_SPREAD);
    }

    fn clipped(&self, value: f64) -> f64 {
        clipped((value - self.centre) / self.spread)
    }

    /// Residual of a logarithm, as it is.
    pub(super) fn residual(&self, value: f64) -> f64 {
        value - self.centre
    }

    /// Clipped residual with mean 0 and variance 1 while nothing has changed.
    pub(super) fn score(&self, value: f64) -> f64 {
        self.clipped(value) / CLIPPED_VARIANCE.sqrt()
    }

    /// Spread of one run, in the logarithm.
    pub(super) fn spread(&self) -> f64 {
        self.spread
    }

    /// Half the standard error of the centre, in spreads, where sums vary by `inflation` more than those of
    /// independent runs: what is taken off each run's score, since an
    /// error of the reference looks like a change that all runs agree on. By simulation; with the whole
    /// of it, detection takes longer and false alarms hardly become fewer.
    pub(super) fn allowance(&self, inflation: f64) -> f64 {
        0.5 * (inflation / f64::from(self.runs)).sqrt()
    }
}

/// The middle value; sorts. 0 for none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    let lower = values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default();
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_distr::StandardNormal;
    use rand_pcg::Pcg64;

    fn learnt(values: impl IntoIterator<Item = f64>) -> Level {
        let mut reference = Reference::default();
        for value in values {
            reference.learn(value);
        }
        *reference.level().unwrap()
    }

    fn normal(count: usize) -> impl Iterator<Item = f64> {
        let mut random = Pcg64::seed_from_u64(7);
        std::iter::repeat_with(move || -1.0 + 0.2 * random.sample::<f64, _>(StandardNormal))
            .take(count)
    }

    #[test]
    fn a_reference_is_there_from_its_last_run_on_and_is_centre_and_spread_of_normal_values() {
        let mut reference = Reference::default();
        for value in normal(REFERENCE_RUNS - 1) {
            reference.learn(value);
        }
        assert!(reference.level().is_none());
        let level = learnt(normal(4000));
        assert!((level.centre + 1.0).abs() < 0.02, "{level:?}");
        assert!((level.spread - 0.2).abs() < 0.02, "{level:?}");
    }

    #[test]
    fn outliers_move_neither_centre_nor_spread_much() {
        let spiked = normal(4000).enumerate();
        let level = learnt(spiked.map(|(index, value)| match index % 50 {
            0 => value + 10.0,
            _ => value,
        }));
        assert!((level.centre + 1.0).abs() < 0.03, "{level:?}");
        assert!((level.spread - 0.2).abs() < 0.03, "{level:?}");
    }

    #[test]
    fn scores_have_mean_0_and_variance_1_under_a_skewed_distribution_too() {
        let mut random = Pcg64::seed_from_u64(11);
        let mut draw = || -> f64 { random.sample::<f64, _>(rand_distr::Exp1) };
        let level = learnt((0..2000).map(|_| draw()));
        let scores: Vec<f64> = (0..20_000).map(|_| level.score(draw())).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let variance = scores
            .iter()
            .map(|score| (score - mean).powi(2))
            .sum::<f64>()
            / scores.len() as f64;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!((variance - 1.0).abs() < 0.15, "{variance}");
    }

    #[test]
    fn values_that_are_all_the_same_have_the_least_spread() {
        let level = learnt([0.5; 200]);
        assert_eq!((level.centre, level.spread()), (0.5, LEAST_SPREAD));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
