//! The clocks that stamp a run, and how the kernel's time becomes ours.

use crate::base::clock::wall_now;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Pairs of readings of which the closest counts.
const READINGS: usize = 5;

/// Which clock made a run's stamps. Both ends of an interval come from the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// A packet tap on the probe's own connection.
    Wire,
    /// The kernel's receive stamps, read with the bytes.
    Socket,
    /// The monotonic clock right after the read.
    User,
}

impl ClockKind {
    /// Every clock, best first.
    pub const ALL: [Self; 3] = [Self::Wire, Self::Socket, Self::User];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Socket => "socket",
            Self::User => "user",
        }
    }
}

/// Which clocks may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockChoice {
    /// The best that is available, run by run.
    #[default]
    Auto,
    /// This one, and where a run cannot have it the next after it, visibly.
    Best(ClockKind),
}

impl ClockChoice {
    /// The values of `instrument.clock`.
    pub const NAMES: [&str; 4] = ["auto", "wire", "socket", "user"];

    /// Reads one of [`Self::NAMES`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            other => {
                let named = ClockKind::ALL.into_iter().find(|c| c.as_str() == other);
                named.map(Self::Best)
            }
        }
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Best(clock) => clock.as_str(),
        }
    }

    /// The clocks that may serve, best first.
    pub fn candidates(self) -> impl Iterator<Item = ClockKind> {
        let first = match self {
            Self::Auto => ClockKind::Wire,
            Self::Best(clock) => clock,
        };
        ClockKind::ALL.into_iter().filter(move |c| *c >= first)
    }
}

/// A stamp of the kernel: nanoseconds of CLOCK_REALTIME since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelTime(pub i64);

/// One instant on both clocks. The kernel stamps packets by the wall clock only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alignment {
    monotonic: Instant,
    wall: i64,
}

impl Alignment {
    /// Reads both clocks as close together as it can: within a microsecond unless preempted.
    pub(super) fn now() -> Self {
        let readings = std::iter::repeat_with(|| {
            let before = Instant::now();
            let wall = wall_now().as_nanosecond();
            let took = before.elapsed();
            let alignment = Self {
                monotonic: before + took / 2,
                wall: i64::try_from(wall).unwrap_or(i64::MAX),
            };
            (took, alignment)
        });
        let closest = readings.take(READINGS).min_by_key(|(took, _)| *took);
        closest.map_or_else(
            || Self {
                monotonic: Instant::now(),
                wall: 0,
            },
            |(_, alignment)| alignment,
        )
    }

    /// The kernel's stamp on the monotonic clock; absent where the wall clock is out of its mind.
    pub(super) fn instant(&self, at: KernelTime) -> Option<Instant> {
        let ahead = at.0.checked_sub(self.wall)?;
        let distance = Duration::from_nanos(ahead.unsigned_abs());
        match ahead >= 0 {
            true => self.monotonic.checked_add(distance),
            false => self.monotonic.checked_sub(distance),
        }
    }

    /// By how much the wall clock was set between the two.
    pub(super) fn step(&self, later: &Self) -> Duration {
        let passed = later.monotonic.saturating_duration_since(self.monotonic);
        let passed = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        let wall = later.wall.saturating_sub(self.wall);
        Duration::from_nanos(wall.saturating_sub(passed).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_time_and_ours_are_the_same_time() {
        let alignment = Alignment::now();
        let wall = i64::try_from(wall_now().as_nanosecond()).unwrap();
        let apart = alignment.instant(KernelTime(wall)).unwrap().elapsed();
        assert!(apart < Duration::from_millis(100), "{apart:?}");
        for nanos in [-1_500_000_000, 0, 3_000_000_000] {
            let at = alignment
                .instant(KernelTime(alignment.wall + nanos))
                .unwrap();
            let back = match at.checked_duration_since(alignment.monotonic) {
                Some(ahead) => ahead.as_nanos() as i64,
                None => -(alignment.monotonic.duration_since(at).as_nanos() as i64),
            };
            assert_eq!(back, nanos);
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_one_that_was_not_is_left_alone() {
        let start = Instant::now();
        let at = |ms: u64, wall_ms: i64| Alignment {
            monotonic: start + Duration::from_millis(ms),
            wall: 1_000_000_000 + wall_ms * 1_000_000,
        };
        assert_eq!(at(0, 0).step(&at(70, 70)), Duration::ZERO);
        assert_eq!(at(0, 0).step(&at(70, 90)), Duration::from_millis(20));
        assert_eq!(at(0, 0).step(&at(70, -30)), Duration::from_millis(100));
    }

    #[test]
    fn a_choice_falls_to_worse_clocks_and_never_to_better_ones() {
        let names = |choice: &str| -> Vec<&str> {
            let choice = ClockChoice::parse(choice).unwrap();
            choice.candidates().map(ClockKind::as_str).collect()
        };
        assert_eq!(names("auto"), ["wire", "socket", "user"]);
        assert_eq!(names("wire"), ["wire", "socket", "user"]);
        assert_eq!(names("socket"), ["socket", "user"]);
        assert_eq!(names("user"), ["user"]);
        assert_eq!(ClockChoice::parse("best"), None);
        for name in ClockChoice::NAMES {
            assert_eq!(ClockChoice::parse(name).unwrap().as_str(), name);
        }
    }
}
