//! When a scenario runs, and how long each part of a run may take: its own word over the
//! defaults'.

use super::defaults;
use super::problem::{Problem, suggestion};
use super::raw::{RawDefaults, RawScenario, RawTimeouts};
use super::resolve::Context;
use super::scalar::DurationText;
use crate::base::units::{format_duration, parse_duration};
use crate::probe::Timeouts;
use crate::schedule::{Cadence, Schedule};
use jiff::tz::TimeZone;
use std::time::Duration;

/// The three keys that make a cadence, as typed at one place of the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CadenceText<'a> {
    pub(super) schedule: Option<&'a str>,
    pub(super) timezone: Option<&'a str>,
    pub(super) offset: Option<&'a str>,
}

impl<'a> CadenceText<'a> {
    pub(super) fn of_defaults(raw: &'a RawDefaults) -> Self {
        Self {
            schedule: raw.schedule.as_deref(),
            timezone: raw.timezone.as_deref(),
            offset: raw.offset.as_deref(),
        }
    }

    pub(super) fn of_scenario(raw: &'a RawScenario) -> Self {
        Self {
            schedule: raw.schedule.as_deref(),
            timezone: raw.timezone.as_deref(),
            offset: raw.offset.as_deref(),
        }
    }
}

/// A text and the key to blame for it.
struct Blamed<'a> {
    text: &'a str,
    key: String,
}

fn pick<'a>(
    place: &str,
    field: &str,
    own: Option<&'a str>,
    inherited: Option<&'a str>,
    default: &'a str,
) -> Blamed<'a> {
    match own {
        Some(text) => Blamed {
            text,
            key: format!("{place}.{field}"),
        },
        None => Blamed {
            text: inherited.unwrap_or(default),
            key: format!("defaults.{field}"),
        },
    }
}

/// The cadence at `place`, where `inherited` fills what `own` leaves open.
pub(super) fn cadence(
    place: &str,
    own: CadenceText<'_>,
    inherited: CadenceText<'_>,
    context: &mut Context<'_>,
) -> Option<Cadence> {
    let zone = pick(
        place,
        "timezone",
        own.timezone,
        inherited.timezone,
        defaults::TIMEZONE,
    );
    let schedule = pick(
        place,
        "schedule",
        own.schedule,
        inherited.schedule,
        defaults::SCHEDULE,
    );
    let offset = pick(place, "offset", own.offset, inherited.offset, "auto");
    let offset = read_offset(&offset, context);
    let zone = read_zone(&zone, context);
    // A schedule is checked even where its timezone is not known.
    let known_zone = zone.clone().unwrap_or(TimeZone::UTC);
    let schedule = match Schedule::parse(schedule.text, &known_zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            let remedy = "write `@every 30s`, or crontab fields such as `*/5 * * * *`";
            let problem = Problem::new(schedule.key, error, remedy);
            context.findings.add(problem);
            None
        }
    };
    zone?;
    Some(Cadence {
        schedule: schedule?,
        offset: offset?,
    })
}

fn read_zone(zone: &Blamed<'_>, context: &mut Context<'_>) -> Option<TimeZone> {
    let found = TimeZone::get(zone.text).ok();
    if found.is_none() {
        let names: Vec<_> = jiff::tz::db()
            .available()
            .map(|name| name.to_string())
            .collect();
        let close = super::problem::nearest(zone.text, names.iter().map(String::as_str));
        let remedy = match close {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write an IANA name such as `UTC` or `Europe/Berlin`".to_owned(),
        };
        let problem = Problem::new(&zone.key, "is no timezone", remedy).found(zone.text);
        context.findings.add(problem);
    }
    found
}

/// The outer `None` is a problem, the inner one `auto`.
fn read_offset(offset: &Blamed<'_>, context: &mut Context<'_>) -> Option<Option<Duration>> {
    if offset.text == "auto" {
        return Some(None);
    }
    match parse_duration(offset.text) {
        Ok(duration) => Some(Some(duration)),
        Err(error) => {
            let remedy = suggestion(offset.text, ["auto"], "write a duration, or");
            let problem = Problem::new(&offset.key, format!("is {error}"), remedy);
            context.findings.add(problem.found(offset.text));
            None
        }
    }
}

/// The deadlines at `place`. What is set there must suit the total; what is only inherited is cut
/// to it, so that a short `total` needs no other word.
pub(super) fn timeouts(
    place: &str,
    own: &RawTimeouts,
    inherited: &RawTimeouts,
    context: &mut Context<'_>,
) -> Timeouts {
    let standard = Timeouts::default();
    let total = merged(own.total, inherited.total, standard.total);
    let mut check = |field: &str, own: Option<DurationText>| {
        let Some(DurationText(duration)) = own else {
            return;
        };
        let key = format!("{place}.timeouts.{field}");
        let shown = format_duration(duration);
        if duration.is_zero() {
            let problem =
                Problem::new(key, "leaves no time at all", "leave it out for the default");
            context.findings.add(problem.found(shown));
        } else if duration > total {
            let rule = format!(
                "is longer than `total`, which is `{}`",
                format_duration(total)
            );
            let problem = Problem::new(key, rule, "shorten it, or lengthen `total`");
            context.findings.add(problem.found(shown));
        }
    };
    check("connect", own.connect);
    check("first_token", own.first_token);
    check("stall", own.stall);
    check("total", own.total);
    Timeouts {
        connect: merged(own.connect, inherited.connect, standard.connect).min(total),
        first_token: merged(own.first_token, inherited.first_token, standard.first_token)
            .min(total),
        stall: merged(own.stall, inherited.stall, standard.stall).min(total),
        total,
    }
}

fn merged(
    own: Option<DurationText>,
    inherited: Option<DurationText>,
    standard: Duration,
) -> Duration {
    own.or(inherited)
        .map_or(standard, |DurationText(duration)| duration)
}
