//! Scheduling: how long it takes to compute a probe's next tick.
//!
//! Measured: `Schedule::next_after`, from each tick to the one after it, so that the calendar is walked and
//! clock changes are met as often as they come.
//! Not measured: parsing, the stable offset, timers and the scheduler's own bookkeeping.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has no result"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sonde::schedule::Schedule;
use std::time::Duration;

/// 2026-01-01T00:00:00Z.
const ORIGIN: Timestamp = Timestamp::constant(1_767_225_600, 0);

fn schedule(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule");
    for (name, text, zone) in [
        ("every_30s", "@every 30s", "UTC"),
        ("every_10_minutes_utc", "*/10 * * * *", "UTC"),
        ("every_10_minutes_berlin", "*/10 * * * *", "Europe/Berlin"),
        ("time_of_day_berlin", "30 2 * * *", "Europe/Berlin"),
        (
            "working_hours_berlin",
            "*/5 8-18 * * mon-fri",
            "Europe/Berlin",
        ),
    ] {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(text, &zone).unwrap();
        group.bench_function(name, |bencher| {
            let mut tick = ORIGIN;
            bencher.iter(|| {
                tick = schedule.next_after(tick).unwrap_or(ORIGIN);
                tick
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = schedule
}
criterion_main!(benches);
