//! A runtime whose load wanders and whose figures are noisy, and a detector that reads it. Shared by the
//! tests and by `benches/regression.rs`.

use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Exp1, StandardNormal, StudentT};
use rand_pcg::Pcg64;
use sonde::slo::regression::{Band, Detector, Direction, News, Regime, Sample};
use std::fmt;
use std::ops::RangeInclusive;

/// What each load makes of TTFT: up to four times as much.
const LOADS: [(Band, bool, f64); 6] = [
    (Band::None, false, 1.0),
    (Band::One, false, 1.2),
    (Band::Few, false, 1.5),
    (Band::Some, false, 2.0),
    (Band::Many, false, 2.8),
    (Band::Most, true, 4.0),
];

/// Runs before anything changes.
pub const NORMAL_RUNS: u32 = 2000;

/// Distribution of the logarithm of TTFT around its level.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    /// Normal.
    Lognormal,
    /// Normal, and 2 % of the runs take three times as long.
    Outliers,
    /// Student's t with 3 degrees of freedom.
    HeavyTailed,
    /// A gamma distribution of shape 4: skewed to the slow side.
    Skewed,
    /// Normal, and 15 % of the runs take twice as long: two modes.
    Bimodal,
    /// As `Outliers`, the normal part an autoregression of order 1.
    Persistent(f64),
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lognormal => f.write_str("lognormal"),
            Self::Outliers => f.write_str("lognormal, 2 % ×3"),
            Self::HeavyTailed => f.write_str("log-t, 3 degrees of freedom"),
            Self::Skewed => f.write_str("skewed (log-gamma, shape 4)"),
            Self::Bimodal => f.write_str("bimodal, 15 % ×2"),
            Self::Persistent(phi) => write!(f, "2 % ×3, AR(1) {phi}"),
        }
    }
}

/// One simulated runtime.
pub struct World {
    random: Pcg64,
    noise: Noise,
    sigma: f64,
    autoregression: f64,
    load: usize,
    /// Loads that occur, as indices of [`LOADS`].
    pub loads: RangeInclusive<usize>,
    /// Probability that the next run meets the same load.
    pub stays: f64,
    /// What becomes of every TTFT.
    pub slowdown: f64,
    second: i64,
}

impl World {
    pub fn new(seed: u64, noise: Noise, sigma: f64) -> Self {
        Self {
            random: Pcg64::seed_from_u64(seed),
            noise,
            sigma,
            autoregression: 0.0,
            load: 0,
            loads: 0..=5,
            stays: 0.9,
            slowdown: 1.0,
            second: 0,
        }
    }

    /// The next run, half a minute later.
    pub fn run(&mut self) -> Sample {
        if self.random.random::<f64>() > self.stays {
            self.load = match self.random.random::<bool>() {
                true => self.load + 1,
                false => self.load.saturating_sub(1),
            };
        }
        self.load = self.load.clamp(*self.loads.start(), *self.loads.end());
        let (running, waiting, factor) = *LOADS.get(self.load).unwrap();
        self.second += 30;
        Sample {
            regime: Regime::Load { running, waiting },
            badness: (0.2 * factor * self.slowdown).ln() + self.error(),
            at: Timestamp::from_second(self.second).unwrap(),
        }
    }

    fn error(&mut self) -> f64 {
        let sigma = self.sigma;
        let normal: f64 = self.random.sample(StandardNormal);
        let chance: f64 = self.random.random();
        let seldom = |share: f64, factor: f64| if chance < share { factor.ln() } else { 0.0 };
        match self.noise {
            Noise::Lognormal => sigma * normal,
            Noise::Outliers => sigma * normal + seldom(0.02, 3.0),
            Noise::HeavyTailed => sigma * self.random.sample(StudentT::new(3.0).unwrap()),
            Noise::Skewed => {
                let sum: f64 = (0..4).map(|_| self.random.sample::<f64, _>(Exp1)).sum();
                sigma * (sum - 4.0) / 2.0
            }
            Noise::Bimodal => sigma * normal + seldom(0.15, 2.0),
            Noise::Persistent(phi) => {
                let fresh = (1.0 - phi * phi).sqrt() * normal;
                self.autoregression = phi * self.autoregression + fresh;
                sigma * self.autoregression + seldom(0.02, 3.0)
            }
        }
    }
}

/// Whether the run has made a regression known.
pub fn finds_regression(detector: &mut Detector, sample: Sample) -> bool {
    let news = detector.observe(sample);
    matches!(
        news,
        Some(News::Moved {
            direction: Direction::Worse,
            ..
        })
    )
}

/// Of so many runtimes that become slower after [`NORMAL_RUNS`], the number of runs until that is found, in
/// ascending order. Those that already count as slower (a false alarm) are left out; 10 000 is never.
pub fn delays(noise: Noise, sigma: f64, slowdown: f64, runtimes: u64) -> Vec<u32> {
    let mut delays: Vec<u32> = (0..runtimes)
        .filter_map(|seed| {
            let mut world = World::new(seed, noise, sigma);
            let mut detector = Detector::default();
            for _ in 0..NORMAL_RUNS {
                detector.observe(world.run());
            }
            world.slowdown = slowdown;
            let normal = detector.is_worse() == Some(false);
            let mut found = (1..10_000).filter(|_| finds_regression(&mut detector, world.run()));
            normal.then(|| found.next().unwrap_or(10_000))
        })
        .collect();
    delays.sort_unstable();
    delays
}

/// Share of the delays that are at most `limit`, 0 to 1.
pub fn share_within(delays: &[u32], limit: u32) -> f64 {
    let within = delays.partition_point(|delay| *delay <= limit);
    within as f64 / delays.len() as f64
}

/// Regressions found in runtimes that do not change, over so many runs of each: loads from steady for hundreds
/// of runs to different at every second.
pub fn false_alarms(noise: Noise, sigma: f64, runtimes: u64, runs: u32) -> u32 {
    let stays = [0.5, 0.9, 0.98, 0.995];
    (0..runtimes)
        .zip(stays.into_iter().cycle())
        .map(|(seed, stays)| {
            let mut world = World::new(1_000_000 + seed, noise, sigma);
            world.stays = stays;
            let mut detector = Detector::default();
            let found = (0..runs).filter(|_| finds_regression(&mut detector, world.run()));
            u32::try_from(found.count()).unwrap()
        })
        .sum()
}
