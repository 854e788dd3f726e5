//! Layer 4: takes every observation and every tick, in order, and hands them to the sinks.

mod board;
mod progress;
mod transitions;

pub use board::{Board, Standing};
pub use progress::{Progress, ProgressWatch, WatchedTarget};
pub use transitions::Transitions;

use crate::base::label::ProbeLabels;
use crate::probe::Observation;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// How many events may wait for the sinks. At 50 runs a second this is more than a minute of a
/// sink's silence; a memory of some 10 MiB at the worst.
const QUEUE: usize = 8192;

/// Why a tick was not run although nobody was in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// The daemon woke too late for it: it slept, or was starved.
    Late,
    /// The daemon was stopping.
    Shutdown,
    /// The probe was changed or removed while the tick waited for its target.
    Reload,
}

impl MissReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Late, Self::Shutdown, Self::Reload];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Shutdown => "shutdown",
            Self::Reload => "reload",
        }
    }
}

/// Why a tick was suppressed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The run before is still going on.
    Overlap,
    /// The target had its limit of runs in flight until the next tick was due.
    TargetBusy,
    /// The runtime has more requests running or waiting than `back_off` allows.
    Saturated,
    /// The day's tokens are spent.
    TokenBudget,
    /// The day's dollars are spent.
    CostBudget,
    /// Probes have had their share of what the runtime generates.
    TokenShare,
    /// The model is not in memory, and the scenario must not load it.
    ModelUnloaded,
    /// A run would keep the model in memory for longer.
    ModelIdle,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Overlap,
        Self::TargetBusy,
        Self::Saturated,
        Self::TokenBudget,
        Self::CostBudget,
        Self::TokenShare,
        Self::ModelUnloaded,
        Self::ModelIdle,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::TargetBusy => "target_busy",
            Self::Saturated => "saturated",
            Self::TokenBudget => "token_budget",
            Self::CostBudget => "cost_budget",
            Self::TokenShare => "token_share",
            Self::ModelUnloaded => "model_unloaded",
            Self::ModelIdle => "model_idle",
        }
    }

    /// Why, and what to do about it, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Overlap => "the run before is still going on",
            Self::TargetBusy => "the target has its limit of runs in flight (`max_in_flight`)",
            Self::Saturated => "the runtime has enough to do without probes (`back_off`)",
            Self::TokenBudget => "the day's tokens are spent (`budget.tokens_per_day`)",
            Self::CostBudget => "the day's dollars are spent (`budget.usd_per_day`)",
            Self::TokenShare => {
                "probes have had their share of the runtime's tokens (`budget.share`)"
            }
            Self::ModelUnloaded => {
                "the model is not in memory; with `wake: true` (or `--wake`), runs load it"
            }
            Self::ModelIdle => {
                "a run would keep the model in memory for longer; with `wake: true` (or `--wake`) runs do, with `ride_along: true` one does after each use"
            }
        }
    }
}

/// What became of a tick of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tick {
    /// It was due. A run, a miss or a skip follows.
    Scheduled,
    /// So many were due and are missed as [`MissReason::Late`].
    Late(u64),
    /// See [`MissReason`].
    Missed(MissReason),
    /// See [`SkipReason`].
    Skipped(SkipReason),
    /// When the next one is due; `None` when the schedule has ended.
    Next(Option<Timestamp>),
}

/// Takes observations and ticks. Called from one task, in order; must not block.
pub trait Sink: Send + Sync {
    /// One run has ended.
    fn observe(&self, observation: &Arc<Observation>);

    /// A tick of the schedule.
    fn tick(&self, _labels: &ProbeLabels, _tick: Tick) {}
}

enum Event {
    Run(Arc<Observation>),
    Tick(ProbeLabels, Tick),
}

impl Event {
    fn labels(&self) -> &ProbeLabels {
        match self {
            Self::Run(observation) => &observation.labels,
            Self::Tick(labels, _) => labels,
        }
    }
}

/// Which probes are recorded, and since which generation of the configuration. A run that outlives
/// its probe's removal is not counted, not even when a probe of the same name has come since.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    since: Arc<Mutex<HashMap<ProbeLabels, u64>>>,
}

impl Roster {
    /// Records exactly these from now on; those that were recorded already go on.
    pub fn set(&self, probes: &[ProbeLabels], generation: u64) {
        let mut since = self.since.lock();
        let before = std::mem::take(&mut *since);
        *since = probes
            .iter()
            .map(|labels| {
                (
                    labels.clone(),
                    before.get(labels).copied().unwrap_or(generation),
                )
            })
            .collect();
    }

    fn admits(&self, labels: &ProbeLabels, generation: u64) -> bool {
        let since = self.since.lock();
        since.get(labels).is_some_and(|since| generation >= *since)
    }
}

/// Where runs and ticks are handed in. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(u64, Event)>,
    dropped: Arc<AtomicU64>,
    generation: u64,
}

impl Recorder {
    /// Hands in a run. A full queue drops it and counts that.
    pub fn observe(&self, observation: Arc<Observation>) {
        self.push(Event::Run(observation));
    }

    /// Hands in a tick. A full queue drops it and counts that.
    pub fn tick(&self, labels: &ProbeLabels, tick: Tick) {
        self.push(Event::Tick(labels.clone(), tick));
    }

    /// A recorder for probes that a generation of the configuration has started.
    pub fn of_generation(&self, generation: u64) -> Self {
        Self {
            generation,
            ..self.clone()
        }
    }

    /// The count of events that a full queue has dropped, to be read by others.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    fn push(&self, event: Event) {
        if self.queue.try_send((self.generation, event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The other end: feeds the sinks until every [`Recorder`] is gone.
pub struct Recording {
    queue: mpsc::Receiver<(u64, Event)>,
    roster: Roster,
}

/// A connected pair. What the roster does not admit is not recorded.
pub fn channel(roster: Roster) -> (Recorder, Recording) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let recorder = Recorder {
        queue: sender,
        dropped: Arc::new(AtomicU64::new(0)),
        generation: 0,
    };
    let recording = Recording {
        queue: receiver,
        roster,
    };
    (recorder, recording)
}

impl Recording {
    /// Runs until every recorder is dropped and the queue is empty.
    pub async fn run(mut self, sinks: Vec<Arc<dyn Sink>>) {
        while let Some((generation, event)) = self.queue.recv().await {
            if !self.roster.admits(event.labels(), generation) {
                continue;
            }
            for sink in &sinks {
                match &event {
                    Event::Run(observation) => sink.observe(observation),
                    Event::Tick(labels, tick) => sink.tick(labels, *tick),
                }
            }
        }
    }
}
