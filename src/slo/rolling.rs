//! Counts over the last so much time, in a memory that has a bound.

use super::objective::Judgement;
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

/// Parts in which events leave a window: its length holds to one per cent.
const SLOTS: u64 = 100;

/// Events by judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// See [`Judgement::Good`].
    pub good: u64,
    /// See [`Judgement::Bad`].
    pub bad: u64,
    /// See [`Judgement::Excluded`].
    pub excluded: u64,
}

impl Counts {
    /// Those that say something about the runtime: good and bad ones.
    pub fn judged(&self) -> u64 {
        self.good + self.bad
    }

    /// Those of one judgement.
    pub fn of(&self, judgement: Judgement) -> u64 {
        match judgement {
            Judgement::Good => self.good,
            Judgement::Bad => self.bad,
            Judgement::Excluded => self.excluded,
        }
    }

    /// Share of good ones among those judged; absent without any.
    pub fn good_ratio(&self) -> Option<f64> {
        (self.judged() > 0).then(|| self.good as f64 / self.judged() as f64)
    }

    /// Share of bad ones among those judged; absent without any.
    pub fn bad_ratio(&self) -> Option<f64> {
        (self.judged() > 0).then(|| self.bad as f64 / self.judged() as f64)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.good += more.good;
        self.bad += more.bad;
        self.excluded += more.excluded;
    }
}

/// Events, and how they follow each other. The judged event before one may have left the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// Bad ones whose judged predecessor was bad.
    pub(super) bad_after_bad: u64,
    /// Good ones whose judged predecessor was bad.
    pub(super) good_after_bad: u64,
}

impl Tally {
    /// A single event.
    pub(super) fn of(judgement: Judgement, after_bad: bool) -> Self {
        let mut one = Self::default();
        match judgement {
            Judgement::Good => {
                one.counts.good = 1;
                one.good_after_bad = u64::from(after_bad);
            }
            Judgement::Bad => {
                one.counts.bad = 1;
                one.bad_after_bad = u64::from(after_bad);
            }
            Judgement::Excluded => one.counts.excluded = 1,
        }
        one
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.counts += more.counts;
        self.bad_after_bad += more.bad_after_bad;
        self.good_after_bad += more.good_after_bad;
    }
}

/// The events of the last `window`. Instants are spans since one origin of the caller's.
#[derive(Debug)]
pub(super) struct Rolling {
    window: Duration,
    begun: Duration,
    /// Those slots that have events, by number, rising.
    slots: VecDeque<(u64, Tally)>,
}

impl Rolling {
    /// Empty, and watching from now on.
    pub(super) fn new(window: Duration, now: Duration) -> Self {
        Self {
            window,
            begun: now,
            slots: VecDeque::new(),
        }
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// For how much of the window there has been anybody to count.
    pub(super) fn covered(&self, now: Duration) -> Duration {
        now.saturating_sub(self.begun).min(self.window)
    }

    /// Counts. An event that comes late, after a later one, counts as if it came with that one.
    pub(super) fn add(&mut self, at: Duration, event: Tally) {
        let slot = self.slot(at);
        match self.slots.back_mut() {
            Some((last, tally)) if *last >= slot => *tally += event,
            _ => self.slots.push_back((slot, event)),
        }
        let newest = self.slots.back().map_or(slot, |(last, _)| *last);
        while self
            .slots
            .front()
            .is_some_and(|(first, _)| first + SLOTS <= newest)
        {
            self.slots.pop_front();
        }
    }

    /// All that have not left the window.
    pub(super) fn sum(&self, now: Duration) -> Tally {
        let now = self.slot(now);
        let mut sum = Tally::default();
        for (_, tally) in self.slots.iter().filter(|(slot, _)| slot + SLOTS > now) {
            sum += *tally;
        }
        sum
    }

    fn slot(&self, at: Duration) -> u64 {
        let length = (self.window.as_nanos() / u128::from(SLOTS)).max(1);
        u64::try_from(at.as_nanos() / length).unwrap_or(u64::MAX - SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(1000);
    const SLOT: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    proptest! {
        /// What is younger than the window less one slot is in it; what is older than the window is not.
        #[test]
        fn a_window_forgets_what_is_too_old_and_nothing_else(
            steps in prop::collection::vec((0..150_u64, 0..3_usize), 0..300),
            later in 0..1500_u64,
        ) {
            let mut rolling = Rolling::new(WINDOW, Duration::ZERO);
            let mut events = Vec::new();
            let mut now = 0;
            for (step, judgement) in steps {
                now += step;
                rolling.add(at(now), Tally::of(Judgement::ALL[judgement], false));
                events.push((at(now), judgement));
            }
            prop_assert!(rolling.slots.len() as u64 <= SLOTS);
            let now = at(now + later);
            let sum = rolling.sum(now).counts;
            for (index, judgement) in Judgement::ALL.into_iter().enumerate() {
                let younger = |age: Duration| {
                    let young = events.iter().filter(|(at, kind)| *kind == index && now - *at < age);
                    young.count() as u64
                };
                prop_assert!(sum.of(judgement) >= younger(WINDOW - SLOT));
                prop_assert!(sum.of(judgement) <= younger(WINDOW));
            }
        }
    }

    #[test]
    fn an_event_that_comes_late_is_counted_all_the_same() {
        let mut rolling = Rolling::new(WINDOW, Duration::ZERO);
        rolling.add(at(500), Tally::of(Judgement::Good, false));
        rolling.add(at(100), Tally::of(Judgement::Bad, false));
        assert_eq!(rolling.sum(at(500)).counts.judged(), 2);
        assert_eq!(rolling.slots.len(), 1);
    }

    #[test]
    fn a_window_says_for_how_much_of_it_anybody_counted() {
        let rolling = Rolling::new(WINDOW, at(50));
        assert_eq!(rolling.covered(at(80)), at(30));
        assert_eq!(rolling.covered(at(8000)), WINDOW);
    }
}
