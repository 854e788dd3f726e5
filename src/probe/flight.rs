//! Where a probe's run in flight stands, for those who look from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No such instant.
const NONE: u64 = u64::MAX;

/// The run in flight of one probe: written by the run, read by anybody.
#[derive(Debug)]
pub struct Flights {
    base: Instant,
    dispatched: AtomicU64,
    last_token: AtomicU64,
}

/// A run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// When its request was begun.
    pub dispatched: Instant,
    /// When the latest token was read, if any was.
    pub last_token: Option<Instant>,
}

impl Flights {
    /// Nothing is in flight.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            dispatched: AtomicU64::new(NONE),
            last_token: AtomicU64::new(NONE),
        })
    }

    /// A run begins; it ends with what is returned.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.last_token.store(NONE, Ordering::Relaxed);
        self.dispatched
            .store(self.nanos(Instant::now()), Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// The run in flight, if any.
    pub fn current(&self) -> Option<Flight> {
        let at = |cell: &AtomicU64| match cell.load(Ordering::Relaxed) {
            NONE => None,
            nanos => Some(self.base + Duration::from_nanos(nanos)),
        };
        Some(Flight {
            dispatched: at(&self.dispatched)?,
            last_token: at(&self.last_token),
        })
    }

    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.base).as_nanos() as u64
    }
}

/// Ends the flight when dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Flights>);

impl InFlight {
    /// A token was read.
    pub(super) fn token(&self, at: Instant) {
        self.0.last_token.store(self.0.nanos(at), Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dispatched.store(NONE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_lasts_as_long_as_its_run() {
        let flights = Flights::none();
        assert_eq!(flights.current(), None);
        let run = flights.begin();
        assert_eq!(
            flights.current().map(|flight| flight.last_token),
            Some(None)
        );
        let at = Instant::now();
        run.token(at);
        assert_eq!(
            flights.current().and_then(|flight| flight.last_token),
            Some(at)
        );
        drop(run);
        assert_eq!(flights.current(), None);
        let again = flights.begin();
        assert_eq!(flights.current().and_then(|flight| flight.last_token), None);
        drop(again);
    }
}
