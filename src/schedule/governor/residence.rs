//! Whether a run would load a model, or keep it in memory for longer.
//!
//! A request to Ollama puts off the unloading of its model by the whole of the session's length. To send a
//! shorter `keep_alive` would be worse: it stays in force for the requests of others. So a model that will be
//! unloaded is left alone, unless its scenario wakes it or rides along: one run after each use by
//! somebody else, and none while only the own last run still holds the model.

use crate::record::SkipReason;
use crate::resource::RuntimeState;
use jiff::{SignedDuration, Timestamp};

/// A model that stays for longer than this stays for ever, and no run puts anything off.
const FOR_EVER: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How exactly two looks agree on the end of the same session.
const SAME: SignedDuration = SignedDuration::from_millis(500);

/// Whether a run may keep a model in memory that the runtime would unload, or load it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wake {
    /// Neither: probing changes nothing.
    #[default]
    Never,
    /// Keep it, by one run after each use by somebody else.
    AfterUse,
    /// Both.
    Always,
}

/// What is remembered of a model's place in memory.
#[derive(Debug, Default)]
pub(super) struct Residence {
    /// When it was to be unloaded, by a look right after our own last run.
    ours: Option<Timestamp>,
}

impl Residence {
    /// Whether a run does no more than it may now.
    pub(super) fn allows(
        &self,
        state: &RuntimeState,
        wake: Wake,
        now: Timestamp,
    ) -> Result<(), SkipReason> {
        if wake == Wake::Always {
            return Ok(());
        }
        if state.model_loaded == Some(false) {
            return Err(SkipReason::ModelUnloaded);
        }
        let ends = state
            .unloads_at
            .filter(|at| at.duration_since(now) < FOR_EVER);
        let Some(ends) = ends else {
            return Ok(());
        };
        let is_ours = |ours: Timestamp| ends.duration_since(ours).abs() <= SAME;
        match wake == Wake::Never || self.ours.is_some_and(is_ours) {
            true => Err(SkipReason::ModelIdle),
            false => Ok(()),
        }
    }

    /// A look right after our run.
    pub(super) fn after_run(&mut self, state: &RuntimeState) {
        self.ours = state.unloads_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn loaded(unloads_at: Timestamp) -> RuntimeState {
        RuntimeState {
            model_loaded: Some(true),
            unloads_at: Some(unloads_at),
            ..RuntimeState::at(Instant::now())
        }
    }

    #[test]
    fn a_probe_rides_along_once_after_each_use_by_somebody_else() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let mut residence = Residence::default();
        let unloaded = RuntimeState {
            model_loaded: Some(false),
            ..RuntimeState::at(Instant::now())
        };
        assert_eq!(
            residence.allows(&unloaded, Wake::AfterUse, at(0)),
            Err(SkipReason::ModelUnloaded)
        );
        assert_eq!(
            residence.allows(&loaded(at(300)), Wake::AfterUse, at(10)),
            Ok(())
        );
        residence.after_run(&loaded(at(311)));
        assert_eq!(
            residence.allows(&loaded(at(311)), Wake::AfterUse, at(40)),
            Err(SkipReason::ModelIdle)
        );
        assert_eq!(
            residence.allows(&loaded(at(350)), Wake::AfterUse, at(70)),
            Ok(()),
            "used by somebody"
        );
    }

    #[test]
    fn a_model_that_stays_for_ever_may_always_be_asked() {
        let now = Timestamp::UNIX_EPOCH;
        let far = now + SignedDuration::from_hours(24 * 365 * 100);
        let mut residence = Residence::default();
        residence.after_run(&loaded(far));
        for wake in [Wake::Never, Wake::AfterUse, Wake::Always] {
            assert_eq!(residence.allows(&loaded(far), wake, now), Ok(()));
        }
    }

    #[test]
    fn a_model_that_will_be_unloaded_is_left_alone_unless_the_scenario_wakes_it() {
        let now = Timestamp::UNIX_EPOCH;
        let soon = loaded(now + SignedDuration::from_secs(300));
        let residence = Residence::default();
        let idle = Err(SkipReason::ModelIdle);
        assert_eq!(residence.allows(&soon, Wake::Never, now), idle);
        assert_eq!(residence.allows(&soon, Wake::Always, now), Ok(()));
        let unloaded = RuntimeState {
            model_loaded: Some(false),
            ..RuntimeState::at(Instant::now())
        };
        assert_eq!(residence.allows(&unloaded, Wake::Always, now), Ok(()));
    }
}
