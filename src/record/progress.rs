//! Whether a runtime makes progress: told from the stream of the run in flight, from how the last runs ended,
//! and from the runtime's own counters. A busy runtime is not dead, and a hung one is not healthy.

use super::Sink;
use crate::probe::{Flight, Flights, Observation, Outcome};
use crate::resource::{ProcessLook, RunMeter, RuntimeStates, Word};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The verdict on a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It answers, and nobody waits.
    Idle,
    /// It works on requests, or they wait while its counters move.
    Busy,
    /// It talks, or did, but a request gets nowhere and no counter moves.
    Stalled,
    /// Nothing answers.
    Dead,
    /// There is no telling: not asked yet, or no evidence either way.
    Unknown,
}

impl Progress {
    /// Every verdict.
    pub const ALL: [Self; 5] = [
        Self::Idle,
        Self::Busy,
        Self::Stalled,
        Self::Dead,
        Self::Unknown,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Stalled => "stalled",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }

    /// The verdict in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Idle => "it answers, and nobody waits",
            Self::Busy => "it works; who waits will be served",
            Self::Stalled => "a request gets nowhere, and no counter of the runtime moves",
            Self::Dead => "nothing answers",
            Self::Unknown => "not asked yet, or no evidence either way",
        }
    }

    /// Whether a restart is good advice.
    pub fn wants_restart(self) -> bool {
        matches!(self, Self::Stalled | Self::Dead)
    }
}

/// What the end of a run says of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It answered, be it with an error.
    Alive,
    /// The stream stopped and went on no more.
    Frozen,
    /// It took the request and said nothing.
    Silent,
    /// It could not be reached.
    Unreachable,
}

impl Sign {
    /// Absent for a run that says nothing about the runtime.
    fn of(run: &Observation) -> Option<Self> {
        match run.outcome {
            Outcome::Cancelled | Outcome::Internal => None,
            Outcome::Refused | Outcome::Dns | Outcome::TimeoutConnect => Some(Self::Unreachable),
            Outcome::Stalled => Some(Self::Frozen),
            Outcome::TimeoutFirstToken => Some(Self::Silent),
            Outcome::TimeoutTotal if run.tokens_per_arrival.is_empty() => Some(Self::Silent),
            _ => Some(Self::Alive),
        }
    }
}

/// One target under watch.
#[derive(Clone, Debug)]
pub struct WatchedTarget {
    /// Its name.
    pub target: Arc<str>,
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// The model asked for.
    pub model: Arc<str>,
    /// The runs in flight of its probes.
    pub flights: Vec<Arc<Flights>>,
    /// The shortest time between two runs of one of its probes.
    pub period: Duration,
}

#[derive(Debug)]
struct Record {
    watched: WatchedTarget,
    last: Option<Sign>,
    /// How many runs in a row have ended with that sign.
    streak: u32,
    work: Work,
}

/// The CPU time of the processes that serve a target, as evidence that they do something: a runtime that
/// computes may have no time for its metrics.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    looked: Option<(Instant, ProcessLook)>,
    /// The latest look at which they had worked.
    seen: Option<Instant>,
}

impl Work {
    fn look(&mut self, now: Instant, look: Option<ProcessLook>) {
        let Some(look) = look else {
            *self = Self::default();
            return;
        };
        let Some((before, last)) = self.looked else {
            self.looked = Some((now, look));
            return;
        };
        let passed = now.saturating_duration_since(before);
        if passed < LOOK_AGAIN {
            return;
        }
        self.looked = Some((now, look));
        let spent = look.cpu_seconds_since(&last);
        if spent.is_some_and(|spent| spent > WORKING_CORES * passed.as_secs_f64()) {
            self.seen = Some(now);
        }
    }
}

/// Cores in use from which on a runtime counts as working.
const WORKING_CORES: f64 = 0.2;
/// Between two looks at the CPU time, which comes in steps of 10 ms.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Watches every target. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub struct ProgressWatch {
    states: RuntimeStates,
    meter: RunMeter,
    records: Arc<Mutex<BTreeMap<Arc<str>, Record>>>,
}

impl ProgressWatch {
    /// Nobody is watched yet.
    pub fn new(states: RuntimeStates, meter: RunMeter) -> Self {
        Self {
            states,
            meter,
            records: Arc::default(),
        }
    }

    /// Watches exactly these. What is known of those that stay is kept.
    pub fn set(&self, targets: Vec<WatchedTarget>) {
        let mut records = self.records.lock();
        let mut old = std::mem::take(&mut *records);
        for watched in targets {
            let before = old.remove(&watched.target);
            let record = match before {
                Some(before) => Record { watched, ..before },
                None => Record {
                    watched,
                    last: None,
                    streak: 0,
                    work: Work::default(),
                },
            };
            records.insert(record.watched.target.clone(), record);
        }
    }

    /// The verdict on every target, in order of their names.
    pub fn verdicts(&self, now: Instant) -> Vec<(WatchedTarget, Progress)> {
        let mut records = self.records.lock();
        let judged = records.values_mut().map(|record| {
            let verdict = self.evidence(record, now).judge(now);
            (record.watched.clone(), verdict)
        });
        judged.collect()
    }

    /// The verdict on one target; absent if it is not watched.
    pub fn verdict(&self, target: &str, now: Instant) -> Option<Progress> {
        let mut records = self.records.lock();
        let record = records.get_mut(target)?;
        Some(self.evidence(record, now).judge(now))
    }

    fn evidence(&self, record: &mut Record, now: Instant) -> Evidence {
        let look = self.meter.look(&record.watched.target);
        record.work.look(now, look);
        let flights = record.watched.flights.iter();
        Evidence {
            flights: flights.filter_map(|flights| flights.current()).collect(),
            last: record.last,
            streak: record.streak,
            word: self.states.word(&record.watched.target),
            worked: record.work.seen,
            patience: record.watched.period.max(SHORTEST_PATIENCE),
        }
    }
}

/// A token may be this late without a word said about it.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(5);

impl Sink for ProgressWatch {
    fn observe(&self, run: &Arc<Observation>) {
        let Some(sign) = Sign::of(run) else {
            return;
        };
        if let Some(record) = self.records.lock().get_mut(&run.labels.target) {
            record.streak = match record.last == Some(sign) {
                true => record.streak.saturating_add(1),
                false => 1,
            };
            record.last = Some(sign);
        }
    }
}

/// Everything that a verdict is founded on.
#[derive(Clone, Debug)]
struct Evidence {
    flights: Vec<Flight>,
    last: Option<Sign>,
    streak: u32,
    word: Option<Word>,
    /// When its processes were last seen at work.
    worked: Option<Instant>,
    /// How long nothing may happen.
    patience: Duration,
}

impl Evidence {
    /// The verdict. In order of strength: tokens that flow; a stream that stopped; a request that waits; the
    /// end of the last run; the runtime's own word.
    fn judge(&self, now: Instant) -> Progress {
        let recent = |at: Instant| now.saturating_duration_since(at) < self.patience;
        let (answers, moving, occupied) = match &self.word {
            Some(Word::Answers { state, moved }) => (
                true,
                moved.is_some_and(recent),
                state.is_occupied() == Some(true),
            ),
            _ => (false, false, false),
        };
        let moving = moving || self.worked.is_some_and(recent);
        let speechless = match &self.word {
            Some(Word::Silent { since }) => !recent(*since),
            _ => false,
        };
        let tokens = || self.flights.iter().filter_map(|flight| flight.last_token);
        if tokens().any(recent) {
            return Progress::Busy;
        }
        let waits = |flight: &Flight| flight.last_token.is_none() && !recent(flight.dispatched);
        let frozen = tokens().next().is_some() || self.last == Some(Sign::Frozen);
        let silent = self.flights.iter().any(waits) || self.last == Some(Sign::Silent);
        let unreachable = self.last == Some(Sign::Unreachable);
        if frozen || silent || unreachable {
            return match (frozen, self.last) {
                _ if moving => Progress::Busy,
                _ if unreachable && !answers => Progress::Dead,
                _ if speechless => Progress::Dead,
                (true, _) => Progress::Stalled,
                // It was given all the time that the scenario has, and no counter moved meanwhile.
                (false, Some(Sign::Silent)) if answers || self.streak >= 2 => Progress::Stalled,
                _ if occupied => Progress::Busy,
                _ => Progress::Unknown,
            };
        }
        match (self.last, answers) {
            (None, false) => Progress::Unknown,
            _ if occupied || !self.flights.is_empty() => Progress::Busy,
            _ => Progress::Idle,
        }
    }
}

#[cfg(test)]
mod tests;
