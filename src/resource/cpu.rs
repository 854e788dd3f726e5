//! CPU time as a counter, and as cores in use between two samples.

use super::subject::Subject;
use super::{Reading, families};
use std::time::Instant;

/// Remembers the counter of the sample before.
#[derive(Debug)]
pub(super) struct CpuMeter {
    subject: Subject,
    last: Option<(Instant, f64)>,
}

impl CpuMeter {
    /// One that has seen nothing yet.
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            last: None,
        }
    }

    /// The counter, and the cores in use since the call before. A first call, a counter that went
    /// backwards (another control group, a restarted count) and two calls at one instant have no
    /// usage.
    pub(super) fn readings(&mut self, at: Instant, seconds: f64) -> Vec<Reading> {
        let mut readings = vec![families::CPU_SECONDS.of(&self.subject, &[], seconds)];
        if let Some((before, spent)) = self.last {
            let elapsed = at.saturating_duration_since(before).as_secs_f64();
            if elapsed > 0.0 && seconds >= spent {
                let cores = (seconds - spent) / elapsed;
                readings.push(families::CPU_USAGE.of(&self.subject, &[], cores));
            }
        }
        self.last = Some((at, seconds));
        readings
    }

    /// Forgets the counter, after a sample that has none.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn usage_is_the_difference_over_the_time_and_absent_without_one() {
        let mut meter = CpuMeter::new(Subject::node());
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let usage = |readings: Vec<Reading>| readings.get(1).map(|reading| reading.value);
        assert_eq!(usage(meter.readings(start, 10.0)), None);
        assert_eq!(usage(meter.readings(later, 13.0)), Some(1.5));
        assert_eq!(usage(meter.readings(later, 14.0)), None);
        assert_eq!(
            usage(meter.readings(later + Duration::from_secs(1), 2.0)),
            None
        );
    }
}
