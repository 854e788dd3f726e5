//! Instants as numbers that the kernel and other processes of this machine understand.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// One moment on two clocks: that of [`Instant`] and one of the kernel's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    instant: Instant,
    nanos: u64,
}

impl Anchor {
    /// Reads both clocks close together. It is off by half of what that took, in the tightest of
    /// three tries: some 50 ns.
    pub(super) fn take(clock: ClockId) -> Self {
        let (first, second, third) = (pair(clock), pair(clock), pair(clock));
        let tightest = |one: (Duration, Self), other: (Duration, Self)| {
            if other.0 < one.0 { other } else { one }
        };
        tightest(tightest(first, second), third).1
    }

    /// The reading of the kernel's clock at an instant, in nanoseconds.
    pub(super) fn nanos(self, at: Instant) -> u64 {
        match at.checked_duration_since(self.instant) {
            Some(after) => self.nanos.saturating_add(as_nanos(after)),
            None => self
                .nanos
                .saturating_sub(as_nanos(self.instant.duration_since(at))),
        }
    }

    /// The instant of a reading; absent where an [`Instant`] cannot be so early or so late.
    pub(super) fn instant(self, nanos: u64) -> Option<Instant> {
        match nanos.checked_sub(self.nanos) {
            Some(after) => self.instant.checked_add(Duration::from_nanos(after)),
            None => self
                .instant
                .checked_sub(Duration::from_nanos(self.nanos - nanos)),
        }
    }
}

/// Both clocks, and how long it took to read them.
fn pair(clock: ClockId) -> (Duration, Anchor) {
    let before = Instant::now();
    let time = clock_gettime(clock);
    let spread = before.elapsed();
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let anchor = Anchor {
        instant: before + spread / 2,
        nanos: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
    };
    (spread, anchor)
}

fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_and_after_the_anchor_come_back_exactly() {
        let anchor = Anchor::take(ClockId::Monotonic);
        let now = Instant::now();
        for at in [now, now + Duration::from_nanos(7), anchor.instant] {
            assert_eq!(anchor.instant(anchor.nanos(at)), Some(at));
        }
        let earlier = anchor.instant.checked_sub(Duration::from_nanos(3)).unwrap();
        assert_eq!(anchor.nanos(earlier), anchor.nanos - 3);
        assert_eq!(anchor.instant(anchor.nanos - 3), Some(earlier));
    }

    #[test]
    fn two_anchors_of_one_clock_agree() {
        let at = Instant::now();
        let nanos = [(); 2].map(|()| Anchor::take(ClockId::Monotonic).nanos(at));
        // Far more than they are off, and far less than what anybody measures with them.
        assert!(nanos[0].abs_diff(nanos[1]) < 100_000, "{nanos:?}");
    }
}
