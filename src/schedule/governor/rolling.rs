//! Sums over a sliding time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Slots that a window is cut into.
const SLOTS: u64 = 96;

/// What was added during the last `window`, never less: an amount counts until its whole slot, a
/// ninety-sixth of the window, lies behind it.
#[derive(Debug)]
pub(super) struct Rolling {
    base: Instant,
    slot: Duration,
    amounts: VecDeque<(u64, f64)>,
}

impl Rolling {
    pub(super) fn over(window: Duration, now: Instant) -> Self {
        Self {
            base: now,
            slot: window / SLOTS as u32,
            amounts: VecDeque::new(),
        }
    }

    /// The slot of an instant.
    pub(super) fn slot(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        let slots = nanos / self.slot.as_nanos().max(1);
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    /// Adds to a slot, or takes away again.
    pub(super) fn add(&mut self, slot: u64, amount: f64) {
        let place = self.amounts.partition_point(|(known, _)| *known < slot);
        match self.amounts.get_mut(place) {
            Some((known, sum)) if *known == slot => *sum += amount,
            _ => self.amounts.insert(place, (slot, amount)),
        }
    }

    /// The sum at an instant; instants do not go back.
    pub(super) fn sum(&mut self, now: Instant) -> f64 {
        let slot = self.slot(now);
        while let Some((oldest, _)) = self.amounts.front()
            && oldest.saturating_add(SLOTS) < slot
        {
            self.amounts.pop_front();
        }
        self.amounts.iter().map(|(_, amount)| amount).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_counts_for_the_window_and_at_most_a_slot_longer() {
        let start = Instant::now();
        let window = Duration::from_secs(96);
        let mut rolling = Rolling::over(window, start);
        let slot = rolling.slot(start + Duration::from_millis(1500));
        rolling.add(slot, 5.0);
        assert_eq!(rolling.sum(start + Duration::from_secs(97)), 5.0);
        assert_eq!(rolling.sum(start + Duration::from_secs(98)), 0.0);
    }

    proptest! {
        #[test]
        fn nothing_within_the_window_is_left_out(
            steps in prop::collection::vec((0_u64..4000, 0_u32..50), 1..200),
        ) {
            let window = Duration::from_secs(10);
            let mut now = Instant::now();
            let mut rolling = Rolling::over(window, now);
            let mut added: Vec<(Instant, f64)> = Vec::new();
            for (millis, amount) in steps {
                now += Duration::from_millis(millis);
                let slot = rolling.slot(now);
                rolling.add(slot, f64::from(amount));
                added.push((now, f64::from(amount)));
                let within = |limit: Duration| -> f64 {
                    let young = added.iter().filter(|(at, _)| now.duration_since(*at) <= limit);
                    young.map(|(_, amount)| amount).sum()
                };
                let sum = rolling.sum(now);
                prop_assert!(sum >= within(window));
                prop_assert!(sum <= within(window + window.div_f64(SLOTS as f64) * 2));
            }
        }
    }
}
