//! Finds that a quantity has moved, whatever the load does meanwhile.

use super::evidence::{Evidence, Persistence};
use super::reference::{Level, Reference, median};
use super::regime::Regime;
use super::{ACCEPTED_AFTER, DESIGN_EFFECT, EFFECT_RUNS, FEWEST_RUNS, GUARD_RUNS};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

type References = BTreeMap<Regime, Reference>;

/// One run's figure.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How loaded the runtime was.
    pub regime: Regime,
    /// Natural logarithm of the quantity, with the sign that makes more worse.
    pub badness: f64,
    /// When the run ended.
    pub at: Timestamp,
}

/// Where the quantity has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A regression.
    Worse,
    /// An improvement.
    Better,
}

/// What a run has made known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum News {
    /// The quantity has moved.
    Moved {
        /// Where to.
        direction: Direction,
        /// Since about when.
        since: Timestamp,
        /// Judged runs since then.
        runs: usize,
    },
    /// It is back.
    Returned(Direction),
    /// It has stayed there for so long that this is the reference now.
    Accepted(Direction),
}

/// A run that waits to enter its reference.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    sample: Sample,
    /// Absent where there was no reference yet.
    score: Option<f64>,
}

/// A quantity that has moved and is not back.
#[derive(Debug)]
struct Shift {
    direction: Direction,
    runs: u32,
    /// That it is back.
    back: Evidence,
    /// What will be the references if it stays.
    fresh: References,
}

/// One quantity of one probe. Memory: at most 16 references, of which those that still learn hold
/// [`REFERENCE_RUNS`](super::REFERENCE_RUNS) numbers, twice while the quantity has moved; and
/// [`GUARD_RUNS`] runs.
#[derive(Debug, Default)]
pub struct Detector {
    references: References,
    worse: Evidence,
    better: Evidence,
    persistence: Persistence,
    waiting: VecDeque<Waiting>,
    /// Residuals of the latest judged runs.
    recent: VecDeque<f64>,
    shift: Option<Shift>,
}

impl Detector {
    /// Judges a run, where its regime has a reference, and learns from it.
    pub fn observe(&mut self, sample: Sample) -> Option<News> {
        let reference = self.references.get(&sample.regime);
        let level = reference.and_then(Reference::level).copied();
        if let Some(level) = &level {
            if self.recent.len() == EFFECT_RUNS {
                self.recent.pop_front();
            }
            self.recent.push_back(level.residual(sample.badness));
        }
        match &self.shift {
            Some(_) => self.watch_shift(sample, level),
            None => self.watch_level(sample, level),
        }
    }

    /// Whether it has moved to the worse and is not back. Absent while no regime has a reference.
    pub fn is_worse(&self) -> Option<bool> {
        let learnt = self
            .references
            .values()
            .any(|reference| reference.level().is_some());
        let worse = self
            .shift
            .as_ref()
            .is_some_and(|shift| shift.direction == Direction::Worse);
        learnt.then_some(worse)
    }

    /// The level of the latest judged runs (the median of up to [`EFFECT_RUNS`]) less that of their
    /// references, in the logarithm. Absent with too few of them.
    pub fn effect(&self) -> Option<f64> {
        let mut residuals: Vec<f64> = self.recent.iter().copied().collect();
        (residuals.len() >= FEWEST_RUNS).then(|| median(&mut residuals))
    }

    fn watch_level(&mut self, sample: Sample, level: Option<Level>) -> Option<News> {
        let score = level.map(|level| level.score(sample.badness));
        self.wait(Waiting { sample, score });
        let (level, score) = (level?, score?);
        self.worse.add(self.ratio(&level, score), sample.at);
        self.better.add(self.ratio(&level, -score), sample.at);
        if self.worse.is_full() {
            return self.move_to(Direction::Worse, self.worse);
        }
        if self.better.is_full() {
            return self.move_to(Direction::Better, self.better);
        }
        None
    }

    /// Log-likelihood ratio of a level that is worse by the design effect, to the reference's. In
    /// spreads the effect is d: of a sum of scores with variance V per run it is d / V × (score − d / 2).
    fn ratio(&self, level: &Level, score: f64) -> f64 {
        let d = DESIGN_EFFECT.ln() / level.spread();
        d / self.persistence.inflation()
            * (score - d / 2.0 - level.allowance(self.persistence.inflation()))
    }

    /// A change that is not proved yet must not become its own reference.
    fn wait(&mut self, run: Waiting) {
        self.waiting.push_back(run);
        if self.waiting.len() <= GUARD_RUNS {
            return;
        }
        if let Some(run) = self.waiting.pop_front() {
            learn(&mut self.references, run.sample);
            if let Some(score) = run.score {
                self.persistence.learn(score);
            }
        }
    }

    fn move_to(&mut self, direction: Direction, evidence: Evidence) -> Option<News> {
        let since = evidence.since()?;
        let mut fresh = References::new();
        for run in self.waiting.drain(..) {
            let before = run.sample.at < since;
            let into = if before {
                &mut self.references
            } else {
                &mut fresh
            };
            learn(into, run.sample);
        }
        // Those before it do not tell its effect.
        let old = self.recent.len().saturating_sub(evidence.runs());
        self.recent.drain(..old);
        (self.worse, self.better) = Default::default();
        self.shift = Some(Shift {
            direction,
            runs: 0,
            back: Evidence::default(),
            fresh,
        });
        Some(News::Moved {
            direction,
            since,
            runs: evidence.runs(),
        })
    }

    /// The old references stand still, so that there is something to come back to.
    fn watch_shift(&mut self, sample: Sample, level: Option<Level>) -> Option<News> {
        let direction = self.shift.as_ref()?.direction;
        let back = level.map(|level| {
            let score = level.score(sample.badness);
            let away = match direction {
                Direction::Worse => score,
                Direction::Better => -score,
            };
            // The same two levels as in `ratio`, the other way round.
            let d = DESIGN_EFFECT.ln() / level.spread();
            d / self.persistence.inflation()
                * (d / 2.0 - away - level.allowance(self.persistence.inflation()))
        });
        let shift = self.shift.as_mut()?;
        shift.runs += 1;
        learn(&mut shift.fresh, sample);
        if let Some(ratio) = back {
            shift.back.add(ratio, sample.at);
        }
        if shift.back.is_full() {
            // The runs since then are the old level's.
            let old = self.recent.len().saturating_sub(shift.back.runs());
            self.recent.drain(..old);
            self.shift = None;
            return Some(News::Returned(direction));
        }
        if shift.runs >= ACCEPTED_AFTER {
            self.references = std::mem::take(&mut shift.fresh);
            self.recent.clear();
            self.shift = None;
            return Some(News::Accepted(direction));
        }
        None
    }
}

fn learn(references: &mut References, sample: Sample) {
    let reference = references.entry(sample.regime).or_default();
    reference.learn(sample.badness);
}

#[cfg(test)]
mod tests {
    use super::super::{Band, REFERENCE_RUNS};
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_distr::StandardNormal;
    use rand_pcg::Pcg64;

    /// A detector and a quantity at a level, 10 % noisy.
    struct Feed {
        detector: Detector,
        random: Pcg64,
        second: i64,
    }

    fn load(running: Band) -> Regime {
        Regime::Load {
            running,
            waiting: false,
        }
    }

    impl Feed {
        fn new() -> Self {
            Self {
                detector: Detector::default(),
                random: Pcg64::seed_from_u64(5),
                second: 0,
            }
        }

        fn run(&mut self, regime: Regime, level: f64) -> Option<News> {
            self.second += 1;
            let noise: f64 = self.random.sample(StandardNormal);
            self.detector.observe(Sample {
                regime,
                badness: level.ln() + 0.1 * noise,
                at: Timestamp::from_second(self.second).unwrap(),
            })
        }

        fn runs(&mut self, count: usize, level: f64) -> Vec<News> {
            let runs = (0..count).filter_map(|_| self.run(Regime::Unknown, level));
            runs.collect()
        }

        fn ratio(&self) -> f64 {
            self.detector.effect().unwrap().exp()
        }
    }

    #[test]
    fn a_regression_stays_reported_until_the_figures_are_back() {
        let mut feed = Feed::new();
        assert_eq!(feed.runs(300, 1.0), []);
        let found = feed.runs(60, 1.3);
        let [
            News::Moved {
                direction,
                since,
                runs,
            },
        ] = found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(direction, Direction::Worse);
        assert!((290..=305).contains(&since.as_second()), "{since}");
        assert!((FEWEST_RUNS..20).contains(&runs), "{runs}");
        assert_eq!(feed.runs(500, 1.3), [], "it has been said");
        assert_eq!(feed.detector.is_worse(), Some(true));
        assert!((feed.ratio() - 1.3).abs() < 0.08, "{}", feed.ratio());
        assert_eq!(feed.runs(60, 1.0), [News::Returned(Direction::Worse)]);
        assert_eq!(feed.detector.is_worse(), Some(false));
        assert_eq!(feed.runs(300, 1.0), [], "the old references hold");
        assert!((feed.ratio() - 1.0).abs() < 0.08, "{}", feed.ratio());
    }

    #[test]
    fn half_way_back_is_not_back() {
        let mut feed = Feed::new();
        feed.runs(300, 1.0);
        feed.runs(60, 1.6);
        assert_eq!(feed.runs(300, 1.25), []);
        assert_eq!(feed.detector.is_worse(), Some(true));
    }

    #[test]
    fn a_level_that_lasts_becomes_the_reference_and_is_judged_by_at_once() {
        let mut feed = Feed::new();
        feed.runs(300, 1.0);
        let news = feed.runs(ACCEPTED_AFTER as usize + 60, 1.3);
        assert_eq!(news.last(), Some(&News::Accepted(Direction::Worse)));
        assert_eq!(feed.detector.is_worse(), Some(false));
        assert_eq!(feed.runs(300, 1.3), []);
        assert!((feed.ratio() - 1.0).abs() < 0.08, "{}", feed.ratio());
        let again = feed.runs(60, 1.7);
        assert!(matches!(again[..], [News::Moved { .. }]), "{again:?}");
    }

    #[test]
    fn an_improvement_is_no_regression_and_becomes_what_later_runs_are_held_to() {
        let mut feed = Feed::new();
        feed.runs(300, 1.0);
        let found = feed.runs(60, 0.7);
        let better = Direction::Better;
        assert!(
            matches!(found[..], [News::Moved { direction, .. }] if direction == better),
            "{found:?}"
        );
        assert_eq!(feed.detector.is_worse(), Some(false));
        let accepted = feed.runs(ACCEPTED_AFTER as usize, 0.7);
        assert_eq!(accepted, [News::Accepted(better)]);
        feed.runs(60, 1.0);
        assert_eq!(feed.detector.is_worse(), Some(true));
    }

    #[test]
    fn nothing_is_judged_before_a_regime_is_known_and_each_is_learnt_alone() {
        let mut feed = Feed::new();
        let (idle, busy) = (load(Band::None), load(Band::Many));
        for _ in 0..GUARD_RUNS + REFERENCE_RUNS - 1 {
            feed.run(idle, 1.0);
            assert_eq!(feed.detector.is_worse(), None);
        }
        feed.run(idle, 1.0);
        assert_eq!(feed.detector.is_worse(), Some(false));
        assert_eq!(feed.detector.effect(), None);
        // Five times as slow: a load never met, and nothing more.
        let news: Vec<_> = (0..400).filter_map(|_| feed.run(busy, 5.0)).collect();
        assert_eq!(news, []);
        let both: Vec<_> = (0..60)
            .filter_map(|run| match run % 2 {
                0 => feed.run(busy, 5.0 * 1.3),
                _ => feed.run(idle, 1.3),
            })
            .collect();
        assert!(matches!(both[..], [News::Moved { .. }]), "{both:?}");
    }

    #[test]
    fn fewer_than_five_runs_prove_nothing_however_slow_they_are() {
        let mut feed = Feed::new();
        feed.runs(2000, 1.0);
        assert_eq!(feed.runs(FEWEST_RUNS - 1, 1000.0), []);
        feed.runs(100, 1.0);
        assert_eq!(feed.detector.is_worse(), Some(false));
        assert_eq!(feed.runs(FEWEST_RUNS + 2, 1000.0).len(), 1);
    }

    #[test]
    fn a_drift_slower_than_the_references_follow_is_not_reported() {
        let mut feed = Feed::new();
        feed.runs(600, 1.0);
        // Twice as slow within 14 000 runs.
        let news: Vec<_> = (0..14_000)
            .filter_map(|run| feed.run(Regime::Unknown, (f64::from(run) / 20_000.0).exp()))
            .collect();
        assert_eq!(news, []);
        assert!((feed.ratio() - 1.0).abs() < 0.1, "{}", feed.ratio());
    }
}
