//! What each target's runtime says of itself, latest word: written by whoever scrapes it, read by the
//! governor and by the verdict on forward progress.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// One look at a runtime. What it does not tell is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeState {
    /// When the look began.
    pub taken: Instant,
    /// Requests being worked on.
    pub running: Option<f64>,
    /// Requests that wait for a place.
    pub waiting: Option<f64>,
    /// Share of the key-value cache in use, 0 to 1.
    pub kv_cache_usage: Option<f64>,
    /// Tokens generated since the runtime started.
    pub generation_tokens: Option<f64>,
    /// Prompt tokens worked on since the runtime started.
    pub prompt_tokens: Option<f64>,
    /// Whether the target's model is in memory.
    pub model_loaded: Option<bool>,
    /// When the runtime will unload the model if nobody asks for it, on the wall clock.
    pub unloads_at: Option<jiff::Timestamp>,
}

impl RuntimeState {
    /// A look that has found nothing yet.
    pub fn at(taken: Instant) -> Self {
        Self {
            taken,
            running: None,
            waiting: None,
            kv_cache_usage: None,
            generation_tokens: None,
            prompt_tokens: None,
            model_loaded: None,
            unloads_at: None,
        }
    }
}

/// The latest state of every target that could be asked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RuntimeStates(Arc<RwLock<HashMap<Arc<str>, RuntimeState>>>);

impl RuntimeStates {
    /// What the target's runtime said last; absent if it has no such interface, or did not answer the
    /// last time.
    pub fn of(&self, target: &str) -> Option<RuntimeState> {
        self.0.read().get(target).cloned()
    }

    /// A look succeeded, or, with `None`, failed.
    pub fn set(&self, target: &Arc<str>, state: Option<RuntimeState>) {
        let mut states = self.0.write();
        match state {
            Some(state) => states.insert(target.clone(), state),
            None => states.remove(target),
        };
    }

    /// Forgets every target but these.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.0.write().retain(|target, _| wanted(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_look_leaves_no_old_word_behind() {
        let states = RuntimeStates::default();
        let target: Arc<str> = Arc::from("a");
        states.set(&target, Some(RuntimeState::at(Instant::now())));
        assert!(states.of("a").is_some());
        states.set(&target, None);
        assert_eq!(states.of("a"), None);
        states.set(&target, Some(RuntimeState::at(Instant::now())));
        states.retain(|name| name == "b");
        assert_eq!(states.of("a"), None);
    }
}
