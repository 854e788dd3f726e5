//! Our ticks beside those of others: croniter's, kept in a golden file by `tests/oracle/cron_oracle.py`,
//! and those found by looking at every single second.

use super::Schedule;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const GOLDEN: &str = include_str!("../../tests/golden/cron.jsonl");

/// A question to which croniter's answer has ticks that ours lacks.
struct Difference {
    expr: &'static str,
    zone: &'static str,
    extra: &'static [i64],
    reason: &'static str,
}

const REPEATED: &str =
    "croniter runs a time of day again in the repeated hour, as Kubernetes does; we run it once";
const STEPPED_GAP: &str = "croniter takes a stepped hour for a time of day and carries it to the end of the gap; \
    to Vixie cron and to us it is an interval, and Kubernetes does not run it either";
const EQUAL_RANGE: &str =
    "croniter takes a range of one value for the whole field; Kubernetes takes it for that value";

const DIFFERENCES: &[Difference] = &[
    Difference {
        expr: "7-7 * * * *",
        zone: "UTC",
        extra: &[
            1704067260, 1704067320, 1704067380, 1704067440, 1704067500, 1704067560, 1704067680,
            1704067740, 1704067800,
        ],
        reason: EQUAL_RANGE,
    },
    Difference {
        expr: "0 */2 * * *",
        zone: "Europe/Berlin",
        extra: &[1743296400],
        reason: STEPPED_GAP,
    },
    Difference {
        expr: "30 2 * * *",
        zone: "Europe/Berlin",
        extra: &[1761442200],
        reason: REPEATED,
    },
    Difference {
        expr: "15,45 2 * * *",
        zone: "Europe/Berlin",
        extra: &[1761441300, 1761443100],
        reason: REPEATED,
    },
    Difference {
        expr: "0 */2 * * *",
        zone: "America/New_York",
        extra: &[1741503600],
        reason: STEPPED_GAP,
    },
    Difference {
        expr: "30 1 * * *",
        zone: "America/New_York",
        extra: &[1762065000],
        reason: REPEATED,
    },
    Difference {
        expr: "13/10,19,56-58/4,55 2,1 * * *",
        zone: "America/New_York",
        extra: &[
            1762063980, 1762064340, 1762064580, 1762065180, 1762065780, 1762066380, 1762066500,
            1762066560,
        ],
        reason: REPEATED,
    },
    Difference {
        expr: "30 1 * * *",
        zone: "Australia/Lord_Howe",
        extra: &[1743865200],
        reason: REPEATED,
    },
    Difference {
        expr: "0 */2 * * *",
        zone: "Australia/Lord_Howe",
        extra: &[1759591800],
        reason: STEPPED_GAP,
    },
];

/// One line of the golden file.
#[derive(serde::Deserialize)]
struct Question {
    expr: String,
    zone: String,
    start: i64,
    next: Vec<i64>,
}

impl Question {
    fn our_ticks(&self) -> Vec<i64> {
        let schedule = schedule(&self.expr, &self.zone);
        let start = Timestamp::from_second(self.start).unwrap();
        let ticks = std::iter::successors(schedule.next_after(start), |&tick| {
            schedule.next_after(tick)
        });
        ticks
            .take(self.next.len())
            .map(Timestamp::as_second)
            .collect()
    }

    fn matches(&self, difference: &Difference, extra: &[i64]) -> bool {
        (self.expr.as_str(), self.zone.as_str(), extra)
            == (difference.expr, difference.zone, difference.extra)
    }
}

fn schedule(expr: &str, zone: &str) -> Schedule {
    let zone = TimeZone::get(zone).unwrap();
    Schedule::parse(expr, &zone).unwrap_or_else(|error| panic!("`{expr}`: {error}"))
}

/// Those of `ticks` up to `horizon` that are not among `others`.
fn missing_from(others: &[i64], ticks: &[i64], horizon: i64) -> Vec<i64> {
    let missing = ticks
        .iter()
        .filter(|tick| **tick <= horizon && !others.contains(tick));
    missing.copied().collect()
}

#[test]
fn croniter_sees_the_same_ticks_but_for_the_listed_ones() {
    let mut agreed = 0;
    let mut listed: Vec<&Difference> = DIFFERENCES.iter().collect();
    for line in GOLDEN.lines() {
        let question: Question = serde_json::from_str(line).unwrap();
        let ours = question.our_ticks();
        if ours == question.next {
            agreed += 1;
            continue;
        }
        let horizon = (*ours.last().unwrap()).min(*question.next.last().unwrap());
        let only_ours = missing_from(&question.next, &ours, horizon);
        assert!(only_ours.is_empty(), "only we see {only_ours:?}: {line}");
        let extra = missing_from(&ours, &question.next, horizon);
        let position = listed
            .iter()
            .position(|difference| question.matches(difference, &extra));
        let position = position.unwrap_or_else(|| panic!("only croniter sees {extra:?}: {line}"));
        listed.remove(position);
    }
    assert_eq!(agreed, GOLDEN.lines().count() - DIFFERENCES.len());
    let stale: Vec<_> = listed
        .iter()
        .map(|difference| (difference.expr, difference.zone, difference.reason))
        .collect();
    assert!(stale.is_empty(), "no longer differ: {stale:?}");
}

/// What one expression means, said without a parser.
struct Meaning {
    expr: &'static str,
    /// Real time, or times of day.
    interval: bool,
    matches: fn(DateTime) -> bool,
}

const MEANINGS: &[Meaning] = &[
    Meaning {
        expr: "*/7 1-3 * * *",
        interval: true,
        matches: |at| at.second() == 0 && at.minute() % 7 == 0 && (1..=3).contains(&at.hour()),
    },
    Meaning {
        expr: "*/40 * * * * *",
        interval: true,
        matches: |at| at.second() == 0 || at.second() == 40,
    },
    Meaning {
        expr: "59 */2 * * *",
        interval: true,
        matches: |at| at.second() == 0 && at.minute() == 59 && at.hour() % 2 == 0,
    },
    Meaning {
        expr: "*/60 */24 * * *",
        interval: true,
        matches: |at| at.second() == 0 && at.minute() == 0 && at.hour() == 0,
    },
    Meaning {
        expr: "30 2 * * *",
        interval: false,
        matches: |at| at.second() == 0 && at.minute() == 30 && at.hour() == 2,
    },
    Meaning {
        expr: "15 0,10,45 0-3 * * *",
        interval: false,
        matches: |at| at.second() == 15 && [0, 10, 45].contains(&at.minute()) && at.hour() <= 3,
    },
    Meaning {
        expr: "0 0 * * *",
        interval: false,
        matches: |at| at.second() == 0 && at.minute() == 0 && at.hour() == 0,
    },
    Meaning {
        expr: "0 12 30 * mon",
        interval: false,
        matches: |at| {
            let day = at.day() == 30 || at.weekday() == Weekday::Monday;
            day && at.second() == 0 && at.minute() == 0 && at.hour() == 12
        },
    },
];

/// A day and a half around a clock change each; in Cairo the clock changes at midnight.
const WINDOWS: &[(&str, &str)] = &[
    ("UTC", "2025-06-29T00:00:00Z"),
    ("Europe/Berlin", "2025-03-29T00:00:00Z"),
    ("Europe/Berlin", "2025-10-25T00:00:00Z"),
    ("America/New_York", "2025-03-08T06:00:00Z"),
    ("America/New_York", "2025-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2025-04-04T12:00:00Z"),
    ("Australia/Lord_Howe", "2025-10-03T12:00:00Z"),
    ("Africa/Cairo", "2025-04-24T00:00:00Z"),
    ("Africa/Cairo", "2025-10-30T00:00:00Z"),
];

const WINDOW_SECONDS: i64 = 36 * 3600;

/// What the wall clock shows at the start and at every second of the window.
fn wall_clock(zone: &str, start: Timestamp) -> Vec<DateTime> {
    let zone = TimeZone::get(zone).unwrap();
    let seconds = start.as_second()..=start.as_second() + WINDOW_SECONDS;
    seconds
        .map(|second| zone.to_datetime(Timestamp::from_second(second).unwrap()))
        .collect()
}

/// The seconds of the window, its start left out, in which looking at the wall clock finds a tick.
fn scan(meaning: &Meaning, wall_clock: &[DateTime]) -> Vec<usize> {
    // The reading that has been passed; what a repeated hour shows again is not later.
    let mut passed = wall_clock[0];
    let mut ticks = Vec::new();
    for (second, now) in wall_clock.iter().enumerate().skip(1) {
        let mut matched = meaning.interval && (meaning.matches)(*now);
        while passed < *now {
            passed += SignedDuration::from_secs(1);
            matched |= !meaning.interval && (meaning.matches)(passed);
        }
        if matched {
            ticks.push(second);
        }
    }
    ticks
}

#[test]
fn walking_from_tick_to_tick_loses_none_and_invents_none() {
    for (zone, start) in WINDOWS {
        let start: Timestamp = start.parse().unwrap();
        let wall_clock = wall_clock(zone, start);
        for meaning in MEANINGS {
            let schedule = schedule(meaning.expr, zone);
            let mut walked = Vec::new();
            let mut at = start;
            loop {
                at = schedule.next_after(at).unwrap();
                let second = at.duration_since(start).as_secs();
                if second > WINDOW_SECONDS {
                    break;
                }
                walked.push(usize::try_from(second).unwrap());
            }
            assert_eq!(
                walked,
                scan(meaning, &wall_clock),
                "`{}` in {zone} from {start}",
                meaning.expr
            );
        }
    }
}

#[test]
fn any_instant_between_two_ticks_leads_to_the_second() {
    // Every 307 seconds, and off the whole second, through each window: no other start may change the answer.
    for (zone_name, start) in WINDOWS {
        let start: Timestamp = start.parse().unwrap();
        for meaning in MEANINGS {
            let schedule = schedule(meaning.expr, zone_name);
            let mut expected = schedule.next_after(start).unwrap();
            for step in 0..WINDOW_SECONDS / 307 {
                let at = Timestamp::new(start.as_second() + step * 307, 500_000_000).unwrap();
                while expected <= at {
                    expected = schedule.next_after(expected).unwrap();
                }
                assert_eq!(
                    schedule.next_after(at),
                    Some(expected),
                    "`{}` in {zone_name} at {at}",
                    meaning.expr
                );
            }
        }
    }
}
