//! Runs probes. A failed run is data, so running cannot fail.

use super::observation::{Observation, Trigger};
use super::outcome::Outcome;
use super::run::{Run, keep};
use super::settings::{InstrumentSettings, Probe};
use super::stream::Failed;
use crate::base::clock::wall_now;
use crate::resource::{EnergyBoard, RunMeter, ThrottleMeter};
use crate::transport::{Clocks, Wakeups};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the caller knows about a run.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// Who asks.
    pub trigger: Trigger,
    /// When it was meant to start, on the wall clock.
    pub intended_start: Timestamp,
    /// The same instant on the monotonic clock.
    pub intended: Instant,
    /// How much later than planned the daemon woke for it; absent for runs on demand.
    pub schedule_lag: Option<Duration>,
    /// Keep the answer's visible text in the observation.
    pub keep_answer: bool,
    /// When the run must have ended, besides the scenario's own limits.
    pub deadline: Option<Instant>,
    /// Ends the run as `cancelled`.
    pub cancel: CancellationToken,
}

impl RunContext {
    /// A run that is wanted now.
    pub fn on_demand(cancel: CancellationToken) -> Self {
        Self {
            trigger: Trigger::OnDemand,
            intended_start: wall_now(),
            intended: Instant::now(),
            schedule_lag: None,
            keep_answer: false,
            deadline: None,
            cancel,
        }
    }
}

/// Runs probes on one thread. Clones share its clocks.
#[derive(Clone, Debug, Default)]
pub struct Prober {
    /// Which clocks may serve, and when a run is tainted.
    pub settings: InstrumentSettings,
    /// The stamps that there are.
    pub clocks: Clocks,
    /// Where our own CPU quota is looked up.
    pub throttle: ThrottleMeter,
    /// Where it is looked up what the target's processes use; by default nowhere.
    pub meter: RunMeter,
    /// What the GPUs of this machine have drawn.
    pub energy: Option<EnergyBoard>,
}

impl Prober {
    /// For the thread whose waits these are.
    pub fn new(settings: InstrumentSettings, wakeups: Arc<Wakeups>) -> Self {
        Self {
            settings,
            clocks: Clocks::open(settings.clock, wakeups),
            throttle: ThrottleMeter::of_this_process(),
            meter: RunMeter::default(),
            energy: None,
        }
    }

    /// Runs a probe once. Whatever happens is in the observation.
    pub async fn run(&self, probe: &Probe, context: RunContext) -> Observation {
        let mut run = Run::new(self, probe, &context);
        let verdict = Self::attempt(&mut run, &context).await;
        let observation = run.conclude(&verdict);
        if verdict.is_ok() {
            Self::keep(run, probe).await;
        }
        observation
    }

    /// Runs a probe once and tells of the run by every clock that saw all of it, best first: what
    /// differs between them is the clock's doing. For self-tests.
    pub async fn run_by_every_clock(&self, probe: &Probe, context: RunContext) -> Vec<Observation> {
        let mut run = Run::new(self, probe, &context);
        let verdict = Self::attempt(&mut run, &context).await;
        let observations = run.conclude_by_every_clock(&verdict);
        if verdict.is_ok() {
            Self::keep(run, probe).await;
        }
        observations
    }

    async fn attempt(run: &mut Run<'_>, context: &RunContext) -> Result<(), Failed> {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => {
                Err(Failed::new(Outcome::Cancelled, "the daemon was told to stop"))
            }
            verdict = run.attempt() => verdict,
        }
    }

    async fn keep(run: Run<'_>, probe: &Probe) {
        if let Some(connection) = run.into_warm_connection() {
            keep(probe, connection).await;
        }
    }

    /// The record of a run that was dropped before it could end.
    pub fn aborted(&self, probe: &Probe, context: &RunContext) -> Observation {
        let failed = Failed::new(Outcome::Internal, "the run was dropped before its end");
        Run::new(self, probe, context).conclude(&Err(failed))
    }
}
