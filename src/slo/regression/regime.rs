//! How loaded a runtime was, in steps coarse enough that each is met again.

use crate::resource::RuntimeState;
use std::fmt;

/// Runs are compared with runs of the same regime only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Regime {
    /// The runtime does not tell how many requests it has.
    Unknown,
    /// The model was not in memory: the run loads it.
    Unloaded,
    /// It tells.
    Load {
        /// Requests being worked on.
        running: Band,
        /// Whether any waits for a place.
        waiting: bool,
    },
}

/// Numbers of requests that count as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Not told; what waits is.
    Untold,
    /// None.
    None,
    /// 1.
    One,
    /// 2 and 3.
    Few,
    /// 4 to 7.
    Some,
    /// 8 to 15.
    Many,
    /// 16 and more.
    Most,
}

impl Band {
    fn of(running: Option<f64>) -> Self {
        match running {
            None => Self::Untold,
            Some(running) if running < 1.0 => Self::None,
            Some(running) if running < 2.0 => Self::One,
            Some(running) if running < 4.0 => Self::Few,
            Some(running) if running < 8.0 => Self::Some,
            Some(running) if running < 16.0 => Self::Many,
            Some(_) => Self::Most,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Untold => "unknown",
            Self::None => "0",
            Self::One => "1",
            Self::Few => "2 to 3",
            Self::Some => "4 to 7",
            Self::Many => "8 to 15",
            Self::Most => "16 or more",
        }
    }
}

impl Regime {
    /// The regime by the runtime's own word. `own` says that the look was taken during a run of ours,
    /// which is one of the requests that it counts.
    pub fn of(state: Option<&RuntimeState>, own: bool) -> Self {
        let Some(state) = state else {
            return Self::Unknown;
        };
        if state.model_loaded == Some(false) && !own {
            return Self::Unloaded;
        }
        let (mut running, mut waiting) = (state.running, state.waiting);
        if running.is_none() && waiting.is_none() {
            return Self::Unknown;
        }
        if own {
            // Ours runs or waits; which of them, the counts do not tell.
            let counted = if running.is_some_and(|count| count >= 1.0) {
                &mut running
            } else {
                &mut waiting
            };
            *counted = counted.map(|count| (count - 1.0).max(0.0));
        }
        Self::Load {
            running: Band::of(running),
            waiting: waiting.is_some_and(|count| count > 0.0),
        }
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown load"),
            Self::Unloaded => f.write_str("model not loaded"),
            Self::Load { running, waiting } => {
                let waiting = if *waiting { "some" } else { "none" };
                write!(f, "{} running, {waiting} waiting", running.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn told(running: Option<f64>, waiting: Option<f64>) -> RuntimeState {
        RuntimeState {
            running,
            waiting,
            ..RuntimeState::at(Instant::now())
        }
    }

    fn regime(running: f64, waiting: f64, own: bool) -> String {
        Regime::of(Some(&told(Some(running), Some(waiting))), own).to_string()
    }

    #[test]
    fn loads_of_about_the_same_size_are_one_regime() {
        assert_eq!(regime(0.0, 0.0, false), "0 running, none waiting");
        assert_eq!(regime(2.0, 0.0, false), regime(3.0, 0.0, false));
        assert_ne!(regime(3.0, 0.0, false), regime(4.0, 0.0, false));
        assert_eq!(regime(16.0, 3.0, false), regime(200.0, 90.0, false));
        assert_ne!(regime(16.0, 0.0, false), regime(16.0, 1.0, false));
    }

    #[test]
    fn our_own_request_is_no_load() {
        assert_eq!(regime(1.0, 0.0, true), "0 running, none waiting");
        assert_eq!(regime(0.0, 1.0, true), "0 running, none waiting");
        assert_eq!(regime(16.0, 1.0, true), "8 to 15 running, some waiting");
        assert_eq!(regime(0.0, 0.0, true), "0 running, none waiting");
    }

    #[test]
    fn what_is_not_told_is_a_regime_of_its_own() {
        assert_eq!(Regime::of(None, false), Regime::Unknown);
        assert_eq!(Regime::of(Some(&told(None, None)), true), Regime::Unknown);
        let waiting = Regime::of(Some(&told(None, Some(2.0))), false);
        assert_eq!(waiting.to_string(), "unknown running, some waiting");
        let unloaded = RuntimeState {
            model_loaded: Some(false),
            ..told(None, None)
        };
        assert_eq!(Regime::of(Some(&unloaded), false), Regime::Unloaded);
    }
}
