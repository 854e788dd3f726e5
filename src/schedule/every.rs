//! `@every 30s`: a fixed interval, whatever the calendar says.

use super::ScheduleError;
use crate::base::units::{format_duration, parse_duration};
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// The shortest interval: what Kubernetes' parser rounds shorter ones up to. A probe that runs more often is load
/// and no longer a measurement beside it.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// A fixed interval in real time.
///
/// Its ticks are the whole multiples of the interval since the Unix epoch, so they do not depend on
/// when the daemon was started: a restart neither shifts them nor runs a probe twice. robfig/cron, which
/// Kubernetes uses, counts from the start instead, and cuts fractions of a second off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EverySchedule {
    interval: Duration,
}

impl EverySchedule {
    /// Reads what follows `@every`: blanks and a duration such as `90s` or `1h30m`.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let trimmed = text.trim();
        if !text.is_empty() && !text.starts_with(char::is_whitespace) {
            return Err(ScheduleError::Shorthand {
                text: format!("@every{text}"),
            });
        }
        let interval = parse_duration(trimmed).map_err(|source| ScheduleError::Interval {
            text: trimmed.to_owned(),
            source,
        })?;
        if interval < MIN_INTERVAL {
            return Err(ScheduleError::TooOften {
                text: trimmed.to_owned(),
            });
        }
        Ok(Self { interval })
    }

    /// Tick to tick.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let interval = i128::try_from(self.interval.as_nanos()).ok()?;
        let passed = after.as_nanosecond().div_euclid(interval);
        let next = passed.checked_add(1)?.checked_mul(interval)?;
        Timestamp::from_nanosecond(next).ok()
    }
}

impl fmt::Display for EverySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@every {}", format_duration(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(interval: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let schedule = EverySchedule::parse(&format!(" {interval}")).unwrap();
        schedule.next_after(after).unwrap().to_string()
    }

    #[test]
    fn ticks_lie_on_the_grid_of_the_epoch() {
        assert_eq!(next("30s", "2024-05-01T12:00:00Z"), "2024-05-01T12:00:30Z");
        assert_eq!(
            next("30s", "2024-05-01T12:00:29.999Z"),
            "2024-05-01T12:00:30Z"
        );
        assert_eq!(
            next("1.5s", "1970-01-01T00:00:00Z"),
            "1970-01-01T00:00:01.5Z"
        );
        assert_eq!(next("7m", "1970-01-01T00:20:59Z"), "1970-01-01T00:21:00Z");
        assert_eq!(next("1h", "1969-12-31T22:59:59.5Z"), "1969-12-31T23:00:00Z");
    }

    #[test]
    fn a_second_is_the_shortest_interval() {
        assert!(EverySchedule::parse(" 1s").is_ok());
        assert!(matches!(
            EverySchedule::parse(" 999ms"),
            Err(ScheduleError::TooOften { .. })
        ));
        assert!(matches!(
            EverySchedule::parse("30s"),
            Err(ScheduleError::Shorthand { .. })
        ));
    }

    #[test]
    fn the_end_of_the_calendar_is_the_end() {
        let schedule = EverySchedule::parse(" 1000000d").unwrap();
        assert_eq!(schedule.next_after(Timestamp::MAX), None);
    }
}
