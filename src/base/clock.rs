//! The wall clock, for schedules and logs only. Everything that is measured uses
//! [`std::time::Instant`].

use jiff::Timestamp;

/// The present instant of the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn wall_now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MAX)
}

/// Seconds since the Unix epoch, as Prometheus wants timestamps.
pub fn unix_seconds(at: Timestamp) -> f64 {
    at.as_nanosecond() as f64 / 1e9
}
