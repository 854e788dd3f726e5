//! How sure one can be of a ratio of good events, when bad ones come in bursts.

use super::rolling::Tally;
use serde::Serialize;

/// The standard normal's quantile at 0.975: of what is estimated, 95 % lies between the bounds.
const Z_95: f64 = 1.959_963_984_540_054;

/// Lower and upper bound of a ratio, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The ratio is hardly below.
    pub lower: f64,
    /// Nor above.
    pub upper: f64,
}

/// The 95 % score interval of Wilson (J. Am. Stat. Assoc. 22, 1927, p. 209) around a ratio that was
/// seen among so many independent events. `None` without events.
pub fn wilson(ratio: f64, events: f64) -> Option<Interval> {
    if !(events > 0.0 && (0.0..=1.0).contains(&ratio)) {
        return None;
    }
    let z2 = Z_95 * Z_95;
    let centre = ratio + z2 / (2.0 * events);
    let spread = ratio * (1.0 - ratio) / events + z2 / (4.0 * events * events);
    let half = Z_95 * spread.sqrt();
    let scale = 1.0 + z2 / events;
    // At a ratio of 0 or 1 one bound is that ratio, which rounding may miss by a hair.
    Some(Interval {
        lower: ((centre - half) / scale).clamp(0.0, ratio),
        upper: ((centre + half) / scale).clamp(ratio, 1.0),
    })
}

/// As how many independent events these count: n (1 − ρ) / (1 + ρ), with the autocorrelation ρ of
/// neighbouring events, no less than 0 (Bayley and Hammersley, J. R. Stat. Soc. Suppl. 8, 1946,
/// p. 184, for a sequence whose autocorrelation at lag k is ρᵏ). An outage of 60 runs is one event that
/// lasts, and not 60 that agree. Never less than 1 where there is any.
pub fn effective_events(events: u64, autocorrelation: f64) -> f64 {
    let events = events as f64;
    let rho = autocorrelation.clamp(0.0, 1.0);
    (events * (1.0 - rho) / (1.0 + rho)).max(events.min(1.0))
}

impl Tally {
    /// The autocorrelation at lag 1 of a chain of two states: the share of bad events after a bad one
    /// less that after a good one, for which the autocorrelation at lag k is exactly its k-th power.
    /// 0 where only one state was seen.
    pub(super) fn autocorrelation(&self) -> f64 {
        let after_bad = self.bad_after_bad + self.good_after_bad;
        let after_good = self.counts.judged() - after_bad;
        if after_bad == 0 || after_good == 0 {
            return 0.0;
        }
        let bad_after_good = self.counts.bad - self.bad_after_bad;
        self.bad_after_bad as f64 / after_bad as f64 - bad_after_good as f64 / after_good as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::Judgement;
    use rand::{Rng, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    /// `statsmodels.stats.proportion.proportion_confint(good, n, alpha=0.05, method="wilson")` of
    /// statsmodels 0.15.0; scipy 1.17.1 (`binomtest(...).proportion_ci(0.95, "wilson")`) agrees.
    const STATSMODELS: [(u64, u64, f64, f64); 8] = [
        (0, 10, 0.0, 0.277_532_799_862_889_26),
        (10, 10, 0.722_467_200_137_110_6, 1.0),
        (1, 20, 0.008_881_448_800_795_402, 0.236_131_193_446_742_1),
        (99, 100, 0.945_513_803_821_294_6, 0.998_232_567_935_859_3),
        (950, 1000, 0.934_686_179_755_749_2, 0.961_869_737_607_251_3),
        (
            86_314,
            86_400,
            0.998_771_016_521_488_7,
            0.999_193_871_892_593,
        ),
        (1, 1, 0.206_549_314_377_237_4, 1.0),
        (299, 300, 0.981_363_306_305_468_8, 0.999_411_342_278_148_8),
    ];

    #[test]
    fn bounds_are_those_of_statsmodels() {
        for (good, n, lower, upper) in STATSMODELS {
            let found = wilson(good as f64 / n as f64, n as f64).unwrap();
            assert!((found.lower - lower).abs() < 1e-12, "{good}/{n}: {found:?}");
            assert!((found.upper - upper).abs() < 1e-12, "{good}/{n}: {found:?}");
        }
        assert_eq!(wilson(1.0, 0.0), None);
        assert_eq!(wilson(f64::NAN, 10.0), None);
    }

    #[test]
    fn an_outage_counts_as_one_event_that_lasts() {
        assert_eq!(effective_events(100, 0.0), 100.0);
        assert_eq!(effective_events(100, -0.4), 100.0, "no more than there are");
        assert!((effective_events(100, 0.6) - 25.0).abs() < 1e-9);
        assert_eq!(effective_events(100, 1.0), 1.0);
        assert_eq!(effective_events(0, 0.5), 0.0);
    }

    /// Events of a chain of two states with this share of bad ones and this autocorrelation.
    fn chain(bad: f64, rho: f64, events: u64, random: &mut Pcg64Mcg) -> Tally {
        let mut tally = Tally::default();
        let mut is_bad = random.random_bool(bad);
        let mut was_bad = false;
        for _ in 0..events {
            let judgement = match is_bad {
                true => Judgement::Bad,
                false => Judgement::Good,
            };
            tally += Tally::of(judgement, was_bad);
            was_bad = is_bad;
            let kept = if was_bad { rho } else { 0.0 };
            is_bad = random.random_bool(kept + bad * (1.0 - rho));
        }
        tally
    }

    /// Shares of many chains whose bounds hold the true ratio: taken as independent, and as they are.
    fn coverage(bad: f64, rho: f64, events: u64, chains: u64) -> (f64, f64) {
        let mut random = Pcg64Mcg::seed_from_u64(20_260);
        let (mut naive, mut honest) = (0, 0);
        for _ in 0..chains {
            let tally = chain(bad, rho, events, &mut random);
            let ratio = tally.counts.good_ratio().unwrap();
            let holds = |events: f64| {
                let bounds = wilson(ratio, events).unwrap();
                u64::from((bounds.lower..=bounds.upper).contains(&(1.0 - bad)))
            };
            naive += holds(events as f64);
            honest += holds(effective_events(events, tally.autocorrelation()));
        }
        (naive as f64 / chains as f64, honest as f64 / chains as f64)
    }

    #[test]
    fn bounds_hold_the_truth_in_95_of_100_cases_of_independent_runs() {
        for (bad, events) in [
            (0.5, 100),
            (0.2, 200),
            (0.1, 500),
            (0.05, 1000),
            (0.02, 2000),
        ] {
            let (naive, honest) = coverage(bad, 0.0, events, 4000);
            println!("bad {bad}, n {events}: {naive} as independent, {honest} as found");
            for share in [naive, honest] {
                assert!((0.93..=0.97).contains(&share), "{bad} {events}: {share}");
            }
        }
    }

    /// With some fifty bursts in the window the bounds are what they say; with five they are a little
    /// narrow, and yet far from what independence would claim.
    #[test]
    fn bounds_hold_the_truth_where_bad_runs_come_in_bursts() {
        for (bad, rho, events) in [(0.05, 0.5, 4000), (0.05, 0.8, 8000), (0.2, 0.9, 5000)] {
            let (naive, honest) = coverage(bad, rho, events, 1000);
            println!("bad {bad}, rho {rho}, n {events}: {naive} as independent, {honest} as found");
            assert!(naive < 0.8, "{bad} {rho} {events}: {naive}");
            assert!(
                (0.93..=0.97).contains(&honest),
                "{bad} {rho} {events}: {honest}"
            );
        }
        let (naive, honest) = coverage(0.05, 0.8, 500, 2000);
        println!("five bursts: {naive} as independent, {honest} as found");
        assert!(naive < 0.6 && honest > 0.85, "{naive} {honest}");
    }
}
