//! Runs probes. A failed run is data, so running cannot fail.

use super::observation::{Observation, Trigger};
use super::outcome::Outcome;
use super::run::{Run, keep};
use super::settings::Probe;
use super::stream::Failed;
use crate::base::clock::wall_now;
use jiff::Timestamp;
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

/// Runs probes.
#[derive(Clone, Copy, Debug)]
pub struct Prober {
    /// A run that the daemon woke for later than this is tainted: whoever sleeps late stamps late.
    pub max_schedule_lag: Duration,
}

impl Default for Prober {
    /// 50 ms: far above a healthy daemon's lag (under 2 ms), and at the size of a starved one's
    /// stamp errors.
    fn default() -> Self {
        Self {
            max_schedule_lag: Duration::from_millis(50),
        }
    }
}

impl Prober {
    /// Runs a probe once. Whatever happens is in the observation.
    pub async fn run(&self, probe: &Probe, context: RunContext) -> Observation {
        let mut run = Run::new(probe, &context);
        let attempt = run.attempt();
        let verdict = tokio::select! {
            biased;
            () = context.cancel.cancelled() => {
                Err(Failed::new(Outcome::Cancelled, "the daemon was told to stop"))
            }
            verdict = attempt => verdict,
        };
        let (verdict, connection) = match verdict {
            Ok(connection) => (Ok(()), connection),
            Err(failed) => (Err(failed), None),
        };
        let observation = run.conclude(verdict, self.max_schedule_lag);
        if let Some(connection) = connection {
            keep(probe, connection).await;
        }
        observation
    }

    /// The record of a run that was dropped before it could end.
    pub fn aborted(&self, probe: &Probe, context: &RunContext) -> Observation {
        let failed = Failed::new(Outcome::Internal, "the run was dropped before its end");
        Run::new(probe, context).conclude(Err(failed), self.max_schedule_lag)
    }
}
