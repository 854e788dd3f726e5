//! Whether a model is in memory, as Ollama manages it: loaded on demand, unloaded when idle.

use std::time::Duration;

use tokio::time::Instant;

/// The place of one model in memory.
#[derive(Debug)]
pub(super) struct Residence {
    /// End of the load; `None` when not loaded.
    ready_at: Option<Instant>,
    active: u32,
    idle_since: Instant,
    keep_alive: Option<Duration>,
}

impl Residence {
    /// A model that is not loaded; `keep_alive` is how long it stays after use, `None` for ever.
    pub(super) fn new(keep_alive: Option<Duration>) -> Self {
        Self {
            ready_at: None,
            active: 0,
            idle_since: Instant::now(),
            keep_alive,
        }
    }

    /// Whether the model is in memory, or being loaded, at `now`.
    pub(super) fn is_loaded(&self, now: Instant) -> bool {
        self.ready_at.is_some() && self.expires_at().is_none_or(|expiry| expiry > now)
    }

    /// When the model leaves memory, unless it is used before or stays.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.filter(|_| self.active == 0)?;
        self.idle_since.checked_add(keep_alive)
    }

    /// Begins to use the model and returns when it is ready, which may be in the past.
    pub(super) fn enter(&mut self, now: Instant, load_delay: Duration) -> Instant {
        let loaded = self.ready_at.filter(|_| self.is_loaded(now));
        let ready_at = loaded.unwrap_or(now + load_delay);
        self.ready_at = Some(ready_at);
        self.active += 1;
        ready_at
    }

    /// Ends a use; `keep_alive` replaces how long the model stays, if given.
    pub(super) fn leave(&mut self, now: Instant, keep_alive: Option<Option<Duration>>) {
        self.active = self.active.saturating_sub(1);
        self.idle_since = now;
        if let Some(keep_alive) = keep_alive {
            self.keep_alive = keep_alive;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Duration = Duration::from_secs(2);
    const KEEP: Duration = Duration::from_mins(5);

    #[tokio::test(start_paused = true)]
    async fn only_the_first_use_and_the_first_after_idling_load() {
        let start = Instant::now();
        let mut residence = Residence::new(Some(KEEP));
        assert!(!residence.is_loaded(start));
        assert_eq!(residence.enter(start, LOAD), start + LOAD);
        assert_eq!(
            residence.enter(start, LOAD),
            start + LOAD,
            "joins the load under way"
        );
        residence.leave(start + KEEP, None);
        assert!(residence.is_loaded(start + KEEP * 3), "still in use");
        residence.leave(start + KEEP, None);
        assert!(residence.is_loaded(start + KEEP));
        let later = start + KEEP * 2;
        assert!(!residence.is_loaded(later));
        assert_eq!(residence.enter(later, LOAD), later + LOAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_can_change_how_long_the_model_stays() {
        let start = Instant::now();
        let mut residence = Residence::new(Some(KEEP));
        residence.enter(start, LOAD);
        residence.leave(start, Some(Some(Duration::ZERO)));
        assert!(!residence.is_loaded(start));
        residence.enter(start, LOAD);
        residence.leave(start, Some(None));
        assert!(residence.is_loaded(start + KEEP * 100));
    }
}
