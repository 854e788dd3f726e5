//! Layer 5: when a probe runs. Schedules are pure: from an instant they compute the next one.

use crate::base::units::UnitError;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use std::time::Duration;

mod cron;
mod every;
mod field;
mod governor;
mod launch;
mod offset;
#[cfg(test)]
mod oracle;
mod scheduler;

pub use cron::CronSchedule;
pub use every::{EverySchedule, MIN_INTERVAL};
pub use governor::{Admission, Circumstances, Expense, Governor, Limits, Wake};
pub use offset::{default_spread, stable_offset};
pub use scheduler::{Cadence, Fleet, ProbePlan};

/// Ticks over which [`Schedule::typical_interval`] looks for the shortest gap: a year of Fridays.
const TYPICAL_TICKS: usize = 64;

/// 2024-01-01T00:00:00Z, from where [`Schedule::typical_interval`] counts: any fixed instant will do.
const TYPICAL_REFERENCE: Timestamp = Timestamp::constant(1_704_067_200, 0);

/// When a probe runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// A crontab expression in a time zone.
    Cron(CronSchedule),
    /// `@every 30s`.
    Every(EverySchedule),
}

impl Schedule {
    /// Reads a schedule: five crontab fields as a Kubernetes CronJob reads them, six with leading
    /// seconds, `@hourly` and its like, or `@every` and a duration. See [`CronSchedule`] and
    /// [`EverySchedule`] for what each of them promises. The zone is that of the crontab fields.
    ///
    /// # Errors
    /// When the text is none of these, or no instant would ever match it.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ScheduleError::Empty);
        }
        for prefix in ["CRON_TZ=", "TZ="] {
            if text.starts_with(prefix) {
                return Err(ScheduleError::Zone { prefix });
            }
        }
        if let Some(interval) = text.strip_prefix("@every") {
            return EverySchedule::parse(interval).map(Self::Every);
        }
        CronSchedule::parse(text, zone).map(Self::Cron)
    }

    /// The first instant of this schedule that comes after the given one. None at the end of the
    /// calendar: the year 5000 for crontab fields, 9999 for `@every`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Every(every) => every.next_after(after),
        }
    }

    /// The shortest gap among the next 64 ticks after a fixed instant, clock changes left out.
    pub fn typical_interval(&self) -> Duration {
        match self {
            Self::Cron(cron) => shortest_gap(&cron.in_utc()),
            Self::Every(every) => every.interval(),
        }
    }
}

impl fmt::Display for Schedule {
    /// As it is written in a configuration, without the time zone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(every) => every.fmt(f),
        }
    }
}

fn shortest_gap(cron: &CronSchedule) -> Duration {
    let ticks = std::iter::successors(cron.next_after(TYPICAL_REFERENCE), |&tick| {
        cron.next_after(tick)
    });
    let mut shortest = Duration::MAX;
    let mut last = None;
    for tick in ticks.take(TYPICAL_TICKS) {
        if let Some(last) = last.replace(tick) {
            shortest = shortest
                .min(Duration::try_from(tick.duration_since(last)).unwrap_or(Duration::MAX));
        }
    }
    shortest
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There is nothing.
    #[error(
        "the schedule is empty\nhint: write five fields such as `*/5 * * * *`, or `@every 30s`"
    )]
    Empty,
    /// A time zone in front of the fields.
    #[error(
        "`{prefix}` sets a time zone inside the schedule, where Kubernetes refuses it too\nhint: name the zone under \
         the key `timezone`"
    )]
    Zone {
        /// How it begins.
        prefix: &'static str,
    },
    /// Not `@hourly` or the like.
    #[error(
        "`{text}` is not one of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly` and \
         `@every`\nhint: they are written in lower case and stand alone"
    )]
    Shorthand {
        /// What there is.
        text: String,
    },
    /// What follows `@every` is no duration.
    #[error("`{text}` after `@every` is {source}\nhint: write `@every 30s`")]
    Interval {
        /// What there is.
        text: String,
        /// What it should be.
        source: UnitError,
    },
    /// `@every` with less than [`MIN_INTERVAL`].
    #[error(
        "`@every {text}` is too often\nhint: the shortest interval is `1s`; a load run is the tool for more than one \
         request a second"
    )]
    TooOften {
        /// The duration.
        text: String,
    },
    /// Neither five fields nor six.
    #[error(
        "a crontab schedule has 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in \
         front, not {found}\nhint: write `*` for a field that does not matter"
    )]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// A field is wrong.
    #[error(
        "`{part}` in the {field} field {problem}\nhint: {field} is {allowed}, in lists (`,`), ranges (`-`) and steps (`/`), or `*`"
    )]
    Field {
        /// Its name.
        field: &'static str,
        /// The part of it that is wrong.
        part: String,
        /// What is wrong.
        problem: FieldProblem,
        /// What the field may hold.
        allowed: &'static str,
    },
    /// The 31st of June and its like.
    #[error(
        "none of these months has the day of month `{days}`, so this schedule would never run\nhint: check both fields, or name the days in the day of week field"
    )]
    Never {
        /// The day of month field.
        days: String,
    },
    /// The evaluator and this parser disagree, which is a defect of ours.
    #[error("cannot evaluate the schedule: {reason}\nhint: please report this schedule as a bug")]
    Unsupported {
        /// What the evaluator says.
        reason: String,
    },
}

/// What is wrong with a part of a crontab field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// Neither a number nor one of the field's names.
    #[error("is no value of it")]
    Value,
    /// A Quartz or Jenkins extension.
    #[error("is an extension (`L`, `W`, `#`, `H`, `R`, `~`) that Kubernetes does not read")]
    Extension,
    /// A number beyond the field's bounds.
    #[error("is out of range")]
    OutOfRange,
    /// `5-1`.
    #[error("runs backwards: split it, as `fri-sun` into `fri-sat,sun`")]
    Backwards,
    /// `*/0`.
    #[error("has a step of zero")]
    ZeroStep,
    /// More than one `-` or `/`, or a bound on `*`.
    #[error("has too many `-` or `/`")]
    Syntax,
    /// Only commas.
    #[error("selects nothing")]
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Schedule {
        Schedule::parse(text, &TimeZone::UTC).unwrap()
    }

    fn message(text: &str) -> String {
        Schedule::parse(text, &TimeZone::UTC)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_schedule_reads_and_writes_itself() {
        for text in [
            "*/5 * * * *",
            "0 30 2 * JAN-mar ?",
            "@hourly",
            "@every 1m30s",
        ] {
            assert_eq!(utc(text).to_string(), text);
            assert_eq!(utc(&format!("  {text} ")), utc(text));
        }
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_ne!(
            Schedule::parse("@daily", &berlin),
            Schedule::parse("@daily", &TimeZone::UTC)
        );
        assert_eq!(
            Schedule::parse("@every 1h", &berlin),
            Schedule::parse("@every 1h", &TimeZone::UTC)
        );
    }

    #[test]
    fn the_typical_interval_is_the_shortest_that_recurs() {
        for (text, seconds) in [
            ("* * * * *", 60),
            ("*/30 * * * * *", 30),
            ("0,1 * * * *", 60),
            ("0 9-17 * * 1-5", 3600),
            ("0 0 13 * 5", 86_400),
            ("@monthly", 28 * 86_400),
            ("0 0 29 2 *", 1461 * 86_400),
            ("@every 45s", 45),
        ] {
            assert_eq!(
                utc(text).typical_interval(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let weekly = Schedule::parse("0 12 * * SUN", &berlin).unwrap();
        assert_eq!(
            weekly.typical_interval(),
            Duration::from_secs(7 * 86_400),
            "no clock change in it"
        );
    }

    #[test]
    fn errors_name_the_part_the_rule_and_a_remedy() {
        let minutes = "minute is 0 to 59, in lists (`,`), ranges (`-`) and steps (`/`), or `*`";
        assert_eq!(
            message("61 * * * *"),
            format!("`61` in the minute field is out of range\nhint: {minutes}")
        );
        assert_eq!(
            message("5,x 1 * * *"),
            format!("`x` in the minute field is no value of it\nhint: {minutes}")
        );
        assert_eq!(
            message("0 0 * * fri-sun"),
            "`fri-sun` in the day of week field runs backwards: split it, as `fri-sun` into `fri-sat,sun`\nhint: day of \
             week is 0 to 7 (0 and 7 are Sunday) or SUN to SAT, in lists (`,`), ranges (`-`) and steps (`/`), or `*`"
        );
        assert_eq!(
            message("0 0 L * *"),
            "`L` in the day of month field is an extension (`L`, `W`, `#`, `H`, `R`, `~`) that Kubernetes does not \
             read\nhint: day of month is 1 to 31, in lists (`,`), ranges (`-`) and steps (`/`), or `*`"
        );
        assert_eq!(
            message("* * * *"),
            "a crontab schedule has 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in \
             front, not 4\nhint: write `*` for a field that does not matter"
        );
        assert_eq!(
            message("CRON_TZ=Europe/Berlin 0 0 * * *"),
            "`CRON_TZ=` sets a time zone inside the schedule, where Kubernetes refuses it too\nhint: name the zone \
             under the key `timezone`"
        );
        assert_eq!(
            message("@Hourly"),
            "`@Hourly` is not one of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly` \
             and `@every`\nhint: they are written in lower case and stand alone"
        );
        assert_eq!(
            message("@every 5"),
            "`5` after `@every` is not a duration such as `500ms`, `30s`, `1h30m` or `30d`\nhint: write `@every 30s`"
        );
        assert_eq!(
            message("@every 100ms"),
            "`@every 100ms` is too often\nhint: the shortest interval is `1s`; a load run is the tool for more than \
             one request a second"
        );
        assert_eq!(
            message("0 0 31 4,6 *"),
            "none of these months has the day of month `31`, so this schedule would never run\nhint: check both \
             fields, or name the days in the day of week field"
        );
        assert_eq!(
            message(" "),
            "the schedule is empty\nhint: write five fields such as `*/5 * * * *`, or `@every 30s`"
        );
    }

    #[test]
    fn the_calendar_has_two_ends() {
        for text in ["* * * * *", "0 0 * * *", "0 0 29 2 *", "@every 1h"] {
            assert_eq!(utc(text).next_after(Timestamp::MAX), None, "{text}");
            assert!(utc(text).next_after(Timestamp::MIN).is_some(), "{text}");
        }
    }

    const ZONES: &[&str] = &[
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ];

    prop_compose! {
        fn schedules()(
            text in prop_oneof![
                "(\\*|\\*/[1-9]|[0-9]|[0-5][0-9]|[0-9],[1-5][0-9]) (\\*|\\*/[1-9]|[0-9]|1[0-9]|0-[5-9]/2|1,2,3) (\\*|\\?|[1-9]|\\*/3) (\\*|[1-9]|mar,oct) (\\*|[0-7]|mon-fri|sun)",
                "(\\*/[1-9]|[0-5][0-9]) (\\*|[0-9]) (\\*|[1-3]) \\* \\* \\*",
                "@every ([1-9][0-9]{0,4}s|[1-9]h|1\\.5s|[1-9]m7s)",
            ],
            zone in prop::sample::select(ZONES),
        ) -> Schedule {
            Schedule::parse(&text, &TimeZone::get(zone).unwrap()).unwrap()
        }
    }

    proptest! {
        #[test]
        fn ticks_come_after_their_instant_and_strictly_increase(
            schedule in schedules(),
            // From 2023 to 2027.
            seconds in 1_672_531_200_i64..1_800_000_000,
            nanoseconds in 0_i32..1_000_000_000,
        ) {
            let mut at = Timestamp::new(seconds, nanoseconds).unwrap();
            for _ in 0..20 {
                let next = schedule.next_after(at).unwrap();
                prop_assert!(next > at, "{next} after {at}");
                at = next;
            }
        }

        #[test]
        fn from_any_instant_before_a_tick_that_tick_is_next(
            schedule in schedules(),
            seconds in 1_672_531_200_i64..1_800_000_000,
            share in 0.0..1.0,
        ) {
            let start = Timestamp::from_second(seconds).unwrap();
            let first = schedule.next_after(start).unwrap();
            let between = start + start.duration_until(first).mul_f64(share);
            prop_assume!(between < first);
            prop_assert_eq!(schedule.next_after(between), Some(first));
        }

        #[test]
        fn a_text_that_is_read_comes_at_some_time_and_none_panics(text in "[@*?/,0-9a-zA-Z# -]{0,20}") {
            if let Ok(schedule) = Schedule::parse(&text, &TimeZone::UTC) {
                prop_assert!(schedule.next_after(Timestamp::UNIX_EPOCH).is_some(), "{schedule} never comes");
            }
        }
    }
}
