//! Crontab expressions: the fields are read here, the calendar is walked by croner.

use super::ScheduleError;
use super::field::{DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, MINUTE, MONTH, SECOND};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::fmt;
use std::sync::Arc;

/// `@hourly` and its like, as robfig/cron writes them out.
const SHORTHANDS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The most days that each month has.
const MONTH_LENGTHS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A crontab expression in a time zone.
///
/// # What is read
/// Five fields exactly as a Kubernetes CronJob reads them (robfig/cron v3, its standard parser), and six with seconds
/// in front. A day matches when either day field names it, or, where one of them is left open by `*`, `?` or `*/1`,
/// when the other does. Croner's own extensions are refused. Deliberate differences:
/// - 7 is Sunday as well, for Kubernetes an error;
/// - an expression that never comes (`0 0 30 2 *`, a field of only `,`) is an error, and so are `*-5` and `+5`, which
///   Kubernetes reads as `*` and `5`.
///
/// # Clock changes
/// As in Vixie cron, two kinds of expression are told apart:
/// - with a `*` or `?` (stepped or not) among second, minute and hour, it is an **interval**: it follows real time. Ticks
///   that the clock skips in spring are not made up for, and in the hour that autumn repeats it runs both times.
/// - without, it names **times of day**: each comes once a day. A time that spring skips runs at the first instant after
///   the gap (several of them once), and a time that autumn repeats runs the first time.
///
/// Kubernetes makes no such difference: it drops a daily job that falls into the gap, and runs one in the repeated hour
/// twice.
#[derive(Clone, Debug)]
pub struct CronSchedule {
    text: String,
    zone: TimeZone,
    cron: Arc<Cron>,
    interval: bool,
}

impl CronSchedule {
    pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        if text.starts_with('@') {
            let shorthand = SHORTHANDS.iter().find(|(name, _)| *name == text);
            let (_, fields) =
                shorthand.ok_or_else(|| ScheduleError::Shorthand { text: text.clone() })?;
            words = fields.split_whitespace().collect();
        }
        let fields = Fields::parse(&words)?;
        Ok(Self {
            text,
            zone: zone.clone(),
            cron: Arc::new(fields.to_cron()?),
            interval: fields.is_interval(),
        })
    }

    /// The time zone that the fields are read in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn in_utc(&self) -> Self {
        Self {
            zone: TimeZone::UTC,
            ..self.clone()
        }
    }

    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        if self.interval {
            self.next_in_real_time(after)
        } else {
            self.next_time_of_day(after)
        }
    }

    /// Walks real time: a wall clock time that comes twice is found twice, one that is skipped not at all.
    fn next_in_real_time(&self, after: Timestamp) -> Option<Timestamp> {
        let start = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&start, false).ok()?;
        Some(next.timestamp())
    }

    /// Walks the wall clock, where every time comes once, and asks the zone when each is.
    fn next_time_of_day(&self, after: Timestamp) -> Option<Timestamp> {
        let mut wall = self.zone.to_datetime(after);
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            let instant = self.instant_of(wall)?;
            // In the second pass through a repeated hour, its times have been run.
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// The first of a repeated hour; the end of the gap for a time that is skipped.
    fn instant_of(&self, wall: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_the_change = after.to_timestamp(wall).ok()?;
                let change = self.zone.following(before_the_change).next()?;
                Some(change.timestamp())
            }
        }
    }
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for CronSchedule {}

impl fmt::Display for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The fields, read.
struct Fields {
    second: Field,
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

impl Fields {
    fn parse(words: &[&str]) -> Result<Self, ScheduleError> {
        let (second, minute, hour, day_of_month, month, day_of_week) = match *words {
            [minute, hour, day, month, weekday] => ("0", minute, hour, day, month, weekday),
            [second, minute, hour, day, month, weekday] => {
                (second, minute, hour, day, month, weekday)
            }
            _ => return Err(ScheduleError::FieldCount { found: words.len() }),
        };
        let fields = Self {
            second: SECOND.parse(second)?,
            minute: MINUTE.parse(minute)?,
            hour: HOUR.parse(hour)?,
            day_of_month: DAY_OF_MONTH.parse(day_of_month)?,
            month: MONTH.parse(month)?,
            day_of_week: DAY_OF_WEEK.parse(day_of_week)?,
        };
        if !fields.comes() {
            return Err(ScheduleError::Never {
                days: day_of_month.to_owned(),
            });
        }
        Ok(fields)
    }

    /// Whether any date matches. A day of the week comes in every month, so only days of the month
    /// that stand alone can miss.
    fn comes(&self) -> bool {
        if self.day_of_month.unrestricted || !self.day_of_week.unrestricted {
            return true;
        }
        let first_day = self.day_of_month.values().next();
        let mut months = (1..)
            .zip(MONTH_LENGTHS)
            .filter(|(month, _)| self.month.contains(*month));
        months.any(|(_, length)| first_day.is_some_and(|day| day <= length))
    }

    fn is_interval(&self) -> bool {
        self.second.wildcard || self.minute.wildcard || self.hour.wildcard
    }

    fn to_cron(&self) -> Result<Cron, ScheduleError> {
        let fields = [
            self.second,
            self.minute,
            self.hour,
            self.day_of_month,
            self.month,
            self.day_of_week,
        ];
        let plain = fields.map(Field::to_plain).join(" ");
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let mut cron = parser
            .parse(&plain)
            .map_err(|error| ScheduleError::Unsupported {
                reason: error.to_string(),
            })?;
        // Croner decides by this whether a time that comes twice runs twice.
        cron.pattern.hours.from_wildcard |= self.is_interval();
        Ok(cron)
    }
}
