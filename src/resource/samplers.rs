//! Asks each sampler, and keeps the three answers apart.

use super::{ProcessTargets, Reading, ResourceSettings, SAMPLERS, SampleError, Sampler};
use std::time::{Duration, Instant};

/// How long a sampler that is unsupported here is left alone before it is asked again. Cheap
/// enough to notice a driver that was installed after us, rare enough not to matter.
pub const UNSUPPORTED_RETRY: Duration = Duration::from_secs(60);

/// What one sampler said last, for the exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerReport {
    /// The sampler's name.
    pub sampler: &'static str,
    /// Whether there is anything to read here. If not, no series of the sampler should exist.
    pub supported: bool,
    /// Whether everything could be read. True of an unsupported sampler, which has not failed.
    pub success: bool,
    /// How long the sample took; zero where an unsupported sampler was left alone.
    pub duration: Duration,
    /// When the sample began.
    pub taken: Instant,
    /// What was read in this very sample: empty after a failure, never the last good values.
    pub readings: Vec<Reading>,
    /// Failed samples so far.
    pub errors_total: u64,
}

/// Every sampler of [`SAMPLERS`], with what it said before.
#[derive(Debug)]
pub struct Samplers {
    pub(super) slots: Vec<Slot>,
}

impl Samplers {
    /// Builds them; none when sampling is disabled. Nothing is read yet.
    /// `targets`: whose processes are to be found, for as long as the samplers live.
    pub fn new(settings: &ResourceSettings, targets: &ProcessTargets) -> Self {
        let specs = if settings.enabled { SAMPLERS } else { &[] };
        Self {
            slots: specs
                .iter()
                .map(|spec| Slot::new((spec.build)(settings, targets)))
                .collect(),
        }
    }

    /// Asks each in turn, on the caller's thread: for a single look. [`super::run`] gives each
    /// sampler its own thread instead, so that none waits for another.
    pub fn sample_all(&mut self) -> Vec<SamplerReport> {
        self.slots.iter_mut().map(Slot::sample).collect()
    }
}

/// How a sampler did last, to log what changes rather than every repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Unknown,
    Working,
    Failing,
    Unsupported { until: Instant },
}

/// One sampler and its past.
pub(super) struct Slot {
    sampler: Box<dyn Sampler>,
    condition: Condition,
    errors_total: u64,
}

impl Slot {
    pub(super) fn new(sampler: Box<dyn Sampler>) -> Self {
        Self {
            sampler,
            condition: Condition::Unknown,
            errors_total: 0,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.sampler.name()
    }

    pub(super) fn sample(&mut self) -> SamplerReport {
        self.sample_at(Instant::now())
    }

    fn sample_at(&mut self, now: Instant) -> SamplerReport {
        let mut report = SamplerReport {
            sampler: self.name(),
            supported: true,
            success: true,
            duration: Duration::ZERO,
            taken: now,
            readings: Vec::new(),
            errors_total: self.errors_total,
        };
        if let Condition::Unsupported { until } = self.condition
            && now < until
        {
            report.supported = false;
            return report;
        }
        let began = Instant::now();
        let answer = self.sampler.sample();
        report.duration = began.elapsed();
        match answer {
            Ok(readings) => {
                self.works();
                report.readings = readings;
            }
            Err(SampleError::Unsupported(reason)) => {
                self.is_unsupported(&reason, now);
                report.supported = false;
            }
            Err(SampleError::Failed(problem)) => {
                self.fails(&problem);
                report.success = false;
            }
            Err(SampleError::Partial { readings, problem }) => {
                self.fails(&problem);
                report.success = false;
                report.readings = readings;
            }
        }
        report.errors_total = self.errors_total;
        report
    }

    fn works(&mut self) {
        match self.condition {
            Condition::Working => {}
            Condition::Unknown => tracing::debug!(sampler = self.name(), "sampler works"),
            Condition::Failing | Condition::Unsupported { .. } => {
                tracing::info!(sampler = self.name(), "sampler works now");
            }
        }
        self.condition = Condition::Working;
    }

    fn is_unsupported(&mut self, reason: &str, now: Instant) {
        if !matches!(self.condition, Condition::Unsupported { .. }) {
            tracing::info!(
                sampler = self.name(),
                reason,
                "sampler is not available here"
            );
        }
        let until = now + UNSUPPORTED_RETRY;
        self.condition = Condition::Unsupported { until };
    }

    fn fails(&mut self, problem: &str) {
        self.errors_total += 1;
        if self.condition != Condition::Failing {
            tracing::warn!(sampler = self.name(), problem, "sampler fails");
        }
        self.condition = Condition::Failing;
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.name(), self.condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::families::GPU_POWER;
    use std::collections::VecDeque;

    type Answer = Result<Vec<Reading>, SampleError>;

    /// Says what it was told to, in order.
    struct Scripted(VecDeque<Answer>);

    impl Sampler for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn sample(&mut self) -> Answer {
            self.0.pop_front().unwrap()
        }
    }

    fn slot(answers: impl IntoIterator<Item = Answer>) -> Slot {
        Slot::new(Box::new(Scripted(answers.into_iter().collect())))
    }

    fn reading(watts: f64) -> Reading {
        GPU_POWER.reading(["0", "u", "n", "nvml"].map(str::to_owned), watts)
    }

    #[test]
    fn after_a_failure_the_last_good_values_are_gone() {
        let failed = || Err(SampleError::Failed("no".to_owned()));
        let mut slot = slot([Ok(vec![reading(1.0)]), failed(), failed(), Ok(Vec::new())]);
        assert_eq!(slot.sample().readings.len(), 1);
        let report = slot.sample();
        assert!(report.supported && !report.success && report.readings.is_empty());
        assert_eq!(slot.sample().errors_total, 2);
        let report = slot.sample();
        assert!(report.success);
        assert_eq!(report.errors_total, 2);
    }

    #[test]
    fn what_other_devices_say_survives_a_partial_failure() {
        let problem = "gpu 1 is lost".to_owned();
        let readings = vec![reading(2.0)];
        let mut slot = slot([Err(SampleError::Partial { readings, problem })]);
        let report = slot.sample();
        assert!(!report.success);
        assert_eq!((report.readings.len(), report.errors_total), (1, 1));
    }

    #[test]
    fn an_unsupported_sampler_has_not_failed_and_is_asked_again_rarely() {
        let unsupported = || Err(SampleError::Unsupported("no driver".to_owned()));
        let mut slot = slot([unsupported(), unsupported(), Ok(Vec::new())]);
        let start = Instant::now();
        for _ in 0..3 {
            let report = slot.sample_at(start);
            assert!(!report.supported && report.success && report.errors_total == 0);
        }
        let retry = start + UNSUPPORTED_RETRY;
        assert!(!slot.sample_at(retry).supported);
        assert!(!slot.sample_at(retry).supported);
        assert!(slot.sample_at(retry + UNSUPPORTED_RETRY).supported);
    }

    #[test]
    fn disabled_sampling_has_no_samplers() {
        let settings = ResourceSettings {
            enabled: false,
            ..ResourceSettings::default()
        };
        assert!(
            Samplers::new(&settings, &ProcessTargets::default())
                .sample_all()
                .is_empty()
        );
    }
}
