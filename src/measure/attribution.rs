//! Where an exchange's time went, by the runtime's own word.

use super::delta::ServerTimings;
use serde::Serialize;
use std::time::Duration;

/// An exchange beside the runtime's own total of it. Durations only, each by one clock, so that skew
/// between ours and the runtime's cannot matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attribution {
    /// End − request written, by the run's clock: the interval in which all of the runtime's work lies.
    /// Connecting is outside, since no runtime counts it.
    pub exchange: Duration,
    /// The runtime's total.
    pub server: Duration,
    /// Exchange − server, 0 at least: network, proxies and whatever queue the runtime does not count.
    pub unattributed: Duration,
    /// Server − exchange, where the runtime says more than there was, else 0. Some microseconds are
    /// rounding; more means that the runtime counts something else than this exchange.
    pub excess: Duration,
}

impl Attribution {
    /// `None` where the runtime tells no total.
    pub fn of(exchange: Duration, server: &ServerTimings) -> Option<Self> {
        let told = server.total?;
        Some(Self {
            exchange,
            server: told,
            unattributed: exchange.saturating_sub(told),
            excess: told.saturating_sub(exchange),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn total(total: Option<Duration>) -> ServerTimings {
        ServerTimings {
            total,
            ..ServerTimings::default()
        }
    }

    #[test]
    fn what_the_runtime_does_not_claim_is_unattributed() {
        let split = Attribution::of(80 * MS, &total(Some(50 * MS))).unwrap();
        assert_eq!(
            (split.unattributed, split.excess),
            (30 * MS, Duration::ZERO)
        );
        assert_eq!(Attribution::of(80 * MS, &total(None)), None);
    }

    #[test]
    fn a_runtime_that_claims_more_than_there_was_leaves_nothing_and_is_seen_to() {
        let split = Attribution::of(80 * MS, &total(Some(81 * MS))).unwrap();
        assert_eq!((split.unattributed, split.excess), (Duration::ZERO, MS));
    }
}
