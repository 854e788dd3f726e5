//! What a sequence of scores says for and against a change.

use super::THRESHOLD;
use jiff::Timestamp;

/// Page's cumulative sum of log-likelihood ratios (E. S. Page, "Continuous inspection schemes", 1954).
/// Without a change it takes at least exp([`THRESHOLD`]) runs on average until it is full (G. Lorden,
/// "Procedures for reacting to a change in distribution", 1971).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    sum: f64,
    since: Option<Timestamp>,
    runs: u32,
}

impl Evidence {
    /// Adds one run's log-likelihood ratio.
    pub(super) fn add(&mut self, ratio: f64, at: Timestamp) {
        if self.sum <= 0.0 {
            *self = Self {
                sum: 0.0,
                since: Some(at),
                runs: 0,
            };
        }
        self.sum = (self.sum + ratio).max(0.0);
        self.runs = self.runs.saturating_add(1);
    }

    /// Whether it is enough.
    pub(super) fn is_full(&self) -> bool {
        self.sum >= THRESHOLD
    }

    /// When the change most likely was: the first run since the sum last was 0.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Judged runs since then.
    pub(super) fn runs(&self) -> usize {
        self.runs as usize
    }
}

/// Runs whose scores are summed to see whether neighbours agree more than chance lets them.
const BATCH: u32 = 16;
/// Batches that are remembered.
const BATCH_MEMORY: f64 = 128.0;
/// What is assumed before anything is known, and the number of batches that this counts as.
const ASSUMED: (f64, f64) = (1.5, 8.0);
/// The most that one batch may claim, in what it should be: a chi-squared variable with one degree of freedom
/// exceeds it once in 370 times.
const BATCH_LIMIT: f64 = 9.0;

/// By how much sums of scores vary more than those of independent ones (the ratio of the long-run variance to
/// that of one run), since load and caches make neighbours alike: variance of batch means, as of
/// simulations (A. M. Law, "Simulation modeling and analysis", section 9.5.3).
#[derive(Clone, Debug)]
pub(super) struct Persistence {
    inflation: f64,
    batches: f64,
    sum: f64,
    scores: u32,
}

impl Default for Persistence {
    fn default() -> Self {
        let (inflation, batches) = ASSUMED;
        Self {
            inflation,
            batches,
            sum: 0.0,
            scores: 0,
        }
    }
}

impl Persistence {
    /// Takes the next score.
    pub(super) fn learn(&mut self, score: f64) {
        self.sum += score;
        self.scores += 1;
        if self.scores < BATCH {
            return;
        }
        let found = (self.sum * self.sum / f64::from(BATCH)).min(BATCH_LIMIT * self.inflation());
        self.batches = (self.batches + 1.0).min(BATCH_MEMORY);
        self.inflation += (found - self.inflation) / self.batches;
        (self.sum, self.scores) = (0.0, 0);
    }

    /// The ratio, at least 1.
    pub(super) fn inflation(&self) -> f64 {
        self.inflation.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_distr::StandardNormal;
    use rand_pcg::Pcg64;

    #[test]
    fn evidence_begins_anew_where_nothing_is_left_of_it() {
        let mut evidence = Evidence::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        for (second, ratio) in [(1, 2.0), (2, -3.0), (3, -1.0), (4, 1.0), (5, THRESHOLD)] {
            assert!(!evidence.is_full());
            evidence.add(ratio, at(second));
        }
        assert!(evidence.is_full());
        assert_eq!((evidence.since(), evidence.runs()), (Some(at(4)), 2));
    }

    /// The long-run variance of an autoregression of order 1 is (1 + φ) / (1 − φ) that of one value.
    #[test]
    fn neighbours_that_agree_inflate_the_variance_of_sums() {
        let inflation = |phi: f64| {
            let mut random = Pcg64::seed_from_u64(3);
            let (mut persistence, mut value) = (Persistence::default(), 0.0);
            for _ in 0..40_000 {
                let noise: f64 = random.sample(StandardNormal);
                value = phi * value + (1.0 - phi * phi).sqrt() * noise;
                persistence.learn(value);
            }
            persistence.inflation()
        };
        assert!((1.0..1.3).contains(&inflation(0.0)), "{}", inflation(0.0));
        assert!((2.0..3.5).contains(&inflation(0.5)), "{}", inflation(0.5));
    }
}
