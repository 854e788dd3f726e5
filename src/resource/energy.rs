//! How much energy all GPUs together have drawn, at any instant of the last minute.

use super::SamplerReport;
use super::families::{GPU_ENERGY, GPU_POWER};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far back it can be asked.
pub const ENERGY_MEMORY: Duration = Duration::from_secs(60);

/// How many sampling intervals the last power reading may stand for what came after it.
const EXTRAPOLATED_INTERVALS: u32 = 2;

/// Samples further apart than so many intervals say nothing of the time between them: the energy
/// may have gone to its beginning or to its end. One that came late, or one that is missing, is
/// forgiven.
const LONGEST_GAP_INTERVALS: u32 = 3;

/// The energy of every GPU, as sampled. Clones share it.
///
/// A GPU's own energy counter is read where it has one, else its power is integrated. A counter
/// that stands still has not been updated, so only its steps count as samples: of a source that
/// looks at its GPUs less often than we look at it, nothing can be said within a run, and nothing
/// is.
#[derive(Clone, Debug)]
pub struct EnergyBoard {
    interval: Duration,
    tracks: Arc<Mutex<BTreeMap<String, Track>>>,
}

impl EnergyBoard {
    /// An empty one. `interval` is the time between two samples.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            tracks: Arc::default(),
        }
    }

    /// Takes what the samplers said, as often as it is published: the same report counts once.
    pub fn take(&self, reports: &[SamplerReport]) {
        let longest_gap = self.interval * LONGEST_GAP_INTERVALS;
        let mut tracks = self.tracks.lock();
        for (report, uuid, look) in reports.iter().flat_map(looks) {
            let track = tracks.entry(uuid.to_owned()).or_insert_with(|| Track {
                source: report.sampler,
                seen: report.taken,
                samples: VecDeque::new(),
            });
            track.take(report, look, longest_gap);
        }
        let newest = tracks.values().map(|track| track.seen).max();
        let forgotten = |track: &Track| newest.is_some_and(|now| track.seen + ENERGY_MEMORY < now);
        tracks.retain(|_, track| !forgotten(track));
    }

    /// Joules that all GPUs together have drawn until `at`, counted from an origin of no meaning:
    /// only differences count, and only where no GPU came or went between. Absent where one of
    /// them is not known at that instant, and where there is no GPU.
    ///
    /// Between two samples it is interpolated; after the last one the GPU's power is taken to go
    /// on for at most two sampling intervals.
    pub fn joules_at(&self, at: Instant) -> Option<f64> {
        let reach = self.reach();
        let tracks = self.tracks.lock();
        sum(tracks.values().map(|track| track.joules_at(at, reach)))
    }

    /// Joules that all GPUs together drew between two instants. Absent where one of them is not
    /// known at one of the two: it came or went meanwhile, or was not sampled.
    pub fn joules_between(&self, start: Instant, end: Instant) -> Option<f64> {
        if end < start {
            return None;
        }
        let reach = self.reach();
        let tracks = self.tracks.lock();
        sum(tracks.values().map(|track| {
            let begun = track.joules_at(start, reach)?;
            Some(track.joules_at(end, reach)? - begun)
        }))
    }

    fn reach(&self) -> Reach {
        Reach {
            extrapolated: self.interval * EXTRAPOLATED_INTERVALS,
            longest_gap: self.interval * LONGEST_GAP_INTERVALS,
        }
    }
}

/// How far around its samples a track is trusted.
#[derive(Clone, Copy)]
struct Reach {
    extrapolated: Duration,
    longest_gap: Duration,
}

/// The sum, absent where there is nothing to add or a part is absent.
fn sum(parts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut parts = parts.peekable();
    parts.peek()?;
    parts.sum()
}

/// What one report says of one GPU.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    counter: Option<f64>,
    watts: Option<f64>,
}

/// The looks that a report holds, by the GPU's uuid.
fn looks(report: &SamplerReport) -> impl Iterator<Item = (&SamplerReport, &str, Look)> {
    let mut found: BTreeMap<&str, Look> = BTreeMap::new();
    for reading in &report.readings {
        let counts = reading.family == GPU_ENERGY.name;
        if !counts && reading.family != GPU_POWER.name {
            continue;
        }
        let uuid = reading.labels.iter().find(|(name, _)| *name == "uuid");
        let Some((_, uuid)) = uuid else {
            continue;
        };
        let look = found.entry(uuid).or_default();
        match counts {
            true => look.counter = Some(reading.value),
            false => look.watts = Some(reading.value),
        }
    }
    found
        .into_iter()
        .map(move |(uuid, look)| (report, uuid, look))
}

/// The last minute of one GPU.
#[derive(Debug)]
struct Track {
    /// The sampler whose word is taken, while it gives one: two may know the same GPU.
    source: &'static str,
    /// When it was last looked at.
    seen: Instant,
    /// Oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    taken: Instant,
    joules: f64,
    counted: bool,
    watts: Option<f64>,
}

impl Track {
    fn take(&mut self, report: &SamplerReport, look: Look, longest_gap: Duration) {
        let taken = report.taken;
        if report.sampler != self.source {
            if taken.saturating_duration_since(self.seen) <= longest_gap {
                return;
            }
            self.source = report.sampler;
            self.samples.clear();
        }
        let first = self.samples.is_empty();
        if taken <= self.seen && !first {
            return;
        }
        self.seen = taken;
        if let Some(last) = self.samples.back() {
            let near = taken.saturating_duration_since(last.taken) <= longest_gap;
            match look.counter {
                // It began anew, or there was none before.
                Some(counter) if !last.counted || counter < last.joules => self.samples.clear(),
                Some(_) => {}
                // A counter that could not be read this once will tell what it missed.
                None if last.counted && near => return,
                None if last.counted || !near => self.samples.clear(),
                None => {}
            }
        }
        let last = self.samples.back().copied();
        let joules = match (look.counter, look.watts, last) {
            (Some(counter), _, Some(last)) if counter == last.joules => return,
            (Some(counter), _, _) => counter,
            (None, Some(_), None) => 0.0,
            (None, Some(watts), Some(last)) => {
                let seconds = taken.duration_since(last.taken).as_secs_f64();
                last.joules + (last.watts.unwrap_or(watts) + watts) / 2.0 * seconds
            }
            (None, None, _) => return,
        };
        self.samples.push_back(Sample {
            taken,
            joules,
            counted: look.counter.is_some(),
            watts: look.watts,
        });
        while (self.samples.front()).is_some_and(|oldest| oldest.taken + ENERGY_MEMORY < taken) {
            self.samples.pop_front();
        }
    }

    fn joules_at(&self, at: Instant, reach: Reach) -> Option<f64> {
        let after = self.samples.partition_point(|sample| sample.taken <= at);
        let before = self.samples.get(after.checked_sub(1)?)?;
        let since = at.duration_since(before.taken);
        if since.is_zero() {
            return Some(before.joules);
        }
        let Some(next) = self.samples.get(after) else {
            let extrapolated = before.watts.filter(|_| since <= reach.extrapolated);
            return extrapolated.map(|watts| before.joules + watts * since.as_secs_f64());
        };
        let gap = next.taken.duration_since(before.taken);
        if gap > reach.longest_gap {
            return None;
        }
        let share = since.as_secs_f64() / gap.as_secs_f64();
        Some(before.joules + (next.joules - before.joules) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Reading, ResourceFamily};

    const SECOND: Duration = Duration::from_secs(1);

    struct Machine {
        board: EnergyBoard,
        start: Instant,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                board: EnergyBoard::new(SECOND),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: f64) -> Instant {
            self.start + Duration::from_secs_f64(seconds)
        }

        /// GPUs by uuid, counter and power.
        fn look(&self, seconds: f64, gpus: &[(&str, Option<f64>, Option<f64>)]) {
            self.look_by("gpu", seconds, gpus);
        }

        fn look_by(
            &self,
            sampler: &'static str,
            seconds: f64,
            gpus: &[(&str, Option<f64>, Option<f64>)],
        ) {
            let reading = |family: &ResourceFamily, uuid: &str, value| {
                family.reading(["0", uuid, "n", sampler].map(str::to_owned), value)
            };
            let mut readings: Vec<Reading> = Vec::new();
            for (uuid, counter, watts) in gpus {
                readings.extend(counter.map(|value| reading(&GPU_ENERGY, uuid, value)));
                readings.extend(watts.map(|value| reading(&GPU_POWER, uuid, value)));
            }
            self.board.take(&[SamplerReport {
                sampler,
                supported: true,
                success: true,
                duration: Duration::ZERO,
                taken: self.at(seconds),
                readings,
                errors_total: 0,
            }]);
        }

        fn between(&self, start: f64, end: f64) -> Option<f64> {
            let joules = self.board.joules_between(self.at(start), self.at(end));
            joules.map(|joules| (joules * 1e6).round() / 1e6)
        }
    }

    #[test]
    fn without_a_gpu_there_is_no_energy_rather_than_none() {
        let machine = Machine::new();
        assert_eq!(machine.board.joules_at(machine.at(0.0)), None);
        assert_eq!(machine.between(0.0, 1.0), None);
        machine.look(0.0, &[]);
        assert_eq!(machine.between(0.0, 0.0), None);
    }

    #[test]
    fn a_counter_is_interpolated_between_its_samples() {
        let machine = Machine::new();
        machine.look(0.0, &[("a", Some(1000.0), Some(100.0))]);
        machine.look(1.0, &[("a", Some(1100.0), Some(300.0))]);
        machine.look(2.0, &[("a", Some(1400.0), Some(300.0))]);
        assert_eq!(machine.between(0.5, 1.5), Some(200.0));
        assert_eq!(machine.between(1.0, 1.0), Some(0.0));
        assert_eq!(machine.board.joules_at(machine.at(2.0)), Some(1400.0));
        let before = machine.start.checked_sub(SECOND).unwrap();
        assert_eq!(machine.board.joules_between(before, machine.at(1.0)), None);
        assert_eq!(machine.between(1.0, 0.5), None, "backwards");
    }

    #[test]
    fn the_last_power_goes_on_for_two_intervals_and_no_longer() {
        let machine = Machine::new();
        machine.look(0.0, &[("a", Some(0.0), Some(100.0))]);
        machine.look(1.0, &[("a", Some(100.0), Some(200.0))]);
        assert_eq!(machine.between(0.0, 2.5), Some(400.0));
        assert_eq!(machine.between(0.0, 3.0), Some(500.0));
        assert_eq!(machine.between(0.0, 3.1), None);
        machine.look(2.0, &[("a", Some(300.0), None)]);
        assert_eq!(machine.between(0.0, 2.0), Some(300.0));
        assert_eq!(machine.between(0.0, 2.1), None, "its power is unknown");
    }

    #[test]
    fn power_is_integrated_where_there_is_no_counter() {
        let machine = Machine::new();
        for (seconds, watts) in [(0.0, 100.0), (1.0, 200.0), (2.0, 200.0)] {
            machine.look(seconds, &[("a", None, Some(watts))]);
        }
        assert_eq!(machine.between(0.0, 2.0), Some(350.0));
        machine.look(9.0, &[("a", None, Some(50.0))]);
        machine.look(10.0, &[("a", None, Some(50.0))]);
        assert_eq!(machine.between(0.0, 10.0), None, "who knows, in between");
        assert_eq!(machine.between(9.0, 10.0), Some(50.0));
    }

    #[test]
    fn a_counter_or_a_power_that_could_not_be_read_once_is_forgiven_but_not_for_long() {
        let machine = Machine::new();
        let both = |seconds: f64, counter: Option<f64>, watts: Option<f64>| {
            machine.look(seconds, &[("a", counter, Some(100.0)), ("b", None, watts)]);
        };
        both(0.0, Some(0.0), Some(50.0));
        both(1.0, None, None);
        both(2.0, Some(200.0), Some(50.0));
        assert_eq!(machine.between(0.0, 2.0), Some(300.0));
        for seconds in [3.0, 4.0, 5.0, 6.0] {
            both(seconds, Some(100.0 * seconds), None);
        }
        both(7.0, Some(700.0), Some(50.0));
        assert_eq!(machine.between(2.0, 7.0), None);
    }

    #[test]
    fn all_gpus_count_in_and_one_that_is_not_known_makes_the_sum_unknown() {
        let machine = Machine::new();
        for second in 0..3 {
            let seconds = f64::from(second);
            let counted = ("a", Some(100.0 * seconds), Some(100.0));
            machine.look(seconds, &[counted, ("b", None, Some(50.0))]);
        }
        assert_eq!(machine.between(0.0, 2.0), Some(300.0));
        for second in 3..8 {
            let seconds = f64::from(second);
            machine.look(seconds, &[("a", Some(100.0 * seconds), Some(100.0))]);
        }
        assert_eq!(machine.between(0.0, 4.0), Some(600.0), "b goes on for two");
        assert_eq!(machine.between(0.0, 5.0), None);
        for second in 8..70 {
            let seconds = f64::from(second);
            machine.look(seconds, &[("a", Some(100.0 * seconds), Some(100.0))]);
        }
        assert_eq!(machine.between(20.0, 30.0), Some(1000.0), "b is forgotten");
    }

    #[test]
    fn a_counter_that_began_anew_has_no_past() {
        let machine = Machine::new();
        machine.look(0.0, &[("a", Some(5000.0), Some(100.0))]);
        machine.look(1.0, &[("a", Some(10.0), Some(100.0))]);
        machine.look(2.0, &[("a", Some(110.0), Some(100.0))]);
        assert_eq!(machine.between(0.0, 2.0), None);
        assert_eq!(machine.between(1.0, 2.0), Some(100.0));
    }

    #[test]
    fn a_counter_that_is_updated_rarely_tells_nothing_within_its_steps() {
        let machine = Machine::new();
        for second in 0..=30 {
            let seconds = f64::from(second);
            let counter = if second < 30 { 1000.0 } else { 4000.0 };
            machine.look(seconds, &[("a", Some(counter), Some(100.0))]);
        }
        assert_eq!(machine.between(10.0, 12.0), None);
        assert_eq!(machine.between(0.0, 30.0), Some(3000.0), "step to step");
    }

    #[test]
    fn a_report_that_is_published_again_and_a_second_source_change_nothing() {
        let machine = Machine::new();
        for _ in 0..2 {
            machine.look(0.0, &[("a", Some(0.0), Some(100.0))]);
        }
        machine.look(1.0, &[("a", Some(100.0), Some(100.0))]);
        machine.look_by("dcgm", 1.5, &[("a", Some(7000.0), Some(100.0))]);
        machine.look(2.0, &[("a", Some(200.0), Some(100.0))]);
        assert_eq!(machine.between(0.0, 2.0), Some(200.0));
        machine.look_by("dcgm", 6.0, &[("a", Some(8000.0), Some(100.0))]);
        machine.look_by("dcgm", 7.0, &[("a", Some(8100.0), Some(100.0))]);
        assert_eq!(machine.between(6.0, 7.0), Some(100.0), "the first is gone");
    }

    #[test]
    fn it_remembers_a_minute_and_no_more() {
        let machine = Machine::new();
        for second in 0..200 {
            let seconds = f64::from(second);
            machine.look(seconds, &[("a", Some(seconds), Some(1.0))]);
        }
        assert_eq!(machine.between(139.0, 199.0), Some(60.0));
        assert_eq!(machine.between(138.5, 199.0), None);
        let kept = machine.board.tracks.lock()["a"].samples.len();
        assert!(kept <= 61, "{kept}");
    }
}
