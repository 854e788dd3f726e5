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

    /// Whether the runtime has worked on tokens since the earlier look. A counter that fell was
    /// started anew, and has moved if it is not zero.
    fn moved_since(&self, earlier: &Self) -> bool {
        let moved = |now: Option<f64>, before: Option<f64>| match (now, before) {
            (Some(now), Some(before)) => now > before || (now < before && now > 0.0),
            _ => false,
        };
        moved(self.generation_tokens, earlier.generation_tokens)
            || moved(self.prompt_tokens, earlier.prompt_tokens)
    }

    /// Whether requests are being worked on, or wait. Absent where the runtime does not tell.
    pub fn is_occupied(&self) -> Option<bool> {
        match (self.running, self.waiting) {
            (None, None) => None,
            (running, waiting) => {
                Some(running.unwrap_or(0.0) > 0.0 || waiting.unwrap_or(0.0) > 0.0)
            }
        }
    }
}

/// What is known of a runtime by its own word.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// It answered the last time.
    Answers {
        /// What it said.
        state: RuntimeState,
        /// The latest look at which its token counters had moved.
        moved: Option<Instant>,
    },
    /// It has such an interface, and has not answered since then.
    Silent {
        /// The first look in vain.
        since: Instant,
    },
}

/// The latest word of every target that could be asked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RuntimeStates(Arc<RwLock<HashMap<Arc<str>, Word>>>);

impl RuntimeStates {
    /// What the target's runtime said last; absent if it has no such interface, or did not answer the
    /// last time.
    pub fn of(&self, target: &str) -> Option<RuntimeState> {
        match self.word(target)? {
            Word::Answers { state, .. } => Some(state),
            Word::Silent { .. } => None,
        }
    }

    /// The same, with what came before. Absent if the runtime has no such interface, as far as is known.
    pub fn word(&self, target: &str) -> Option<Word> {
        self.0.read().get(target).cloned()
    }

    /// A look succeeded, or, with `None`, was in vain: not to be said of a runtime without such an
    /// interface.
    pub fn set(&self, target: &Arc<str>, state: Option<RuntimeState>) {
        let mut words = self.0.write();
        let word = match (state, words.get(target)) {
            (Some(state), Some(Word::Answers { state: old, moved })) => {
                let moved = match state.moved_since(old) {
                    true => Some(state.taken),
                    false => *moved,
                };
                Word::Answers { state, moved }
            }
            (Some(state), _) => Word::Answers { state, moved: None },
            (None, Some(Word::Silent { since })) => Word::Silent { since: *since },
            (None, _) => Word::Silent {
                since: Instant::now(),
            },
        };
        words.insert(target.clone(), word);
    }

    /// It is silent since then, for tests in simulated time.
    #[cfg(test)]
    pub(crate) fn set_silent(&self, target: &Arc<str>, since: Instant) {
        self.0
            .write()
            .insert(target.clone(), Word::Silent { since });
    }

    /// Nothing is known of the target any more.
    pub fn forget(&self, target: &str) {
        self.0.write().remove(target);
    }

    /// Forgets every target but these.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.0.write().retain(|target, _| wanted(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(tokens: f64) -> RuntimeState {
        RuntimeState {
            generation_tokens: Some(tokens),
            ..RuntimeState::at(Instant::now())
        }
    }

    #[test]
    fn a_failed_look_leaves_no_old_word_behind() {
        let states = RuntimeStates::default();
        let target: Arc<str> = Arc::from("a");
        assert_eq!(states.word("a"), None);
        states.set(&target, Some(generated(1.0)));
        assert!(states.of("a").is_some());
        states.set(&target, None);
        assert_eq!(states.of("a"), None);
        let silent = states.word("a");
        states.set(&target, None);
        assert_eq!(states.word("a"), silent, "silent since the first time");
        states.retain(|name| name == "b");
        assert_eq!(states.word("a"), None);
    }

    #[test]
    fn counters_that_stand_still_keep_the_instant_at_which_they_moved() {
        let states = RuntimeStates::default();
        let target: Arc<str> = Arc::from("a");
        let moved = || match states.word("a") {
            Some(Word::Answers { moved, .. }) => moved,
            other => panic!("{other:?}"),
        };
        states.set(&target, Some(generated(5.0)));
        assert_eq!(moved(), None);
        let second = generated(6.0);
        states.set(&target, Some(second.clone()));
        states.set(&target, Some(generated(6.0)));
        assert_eq!(moved(), Some(second.taken));
        let restarted = generated(0.0);
        states.set(&target, Some(restarted));
        assert_eq!(moved(), Some(second.taken));
        let busy_again = generated(3.0);
        states.set(&target, Some(busy_again.clone()));
        assert_eq!(moved(), Some(busy_again.taken));
    }
}
