//! One tick on its way to a run: it waits for its target, is governed, and leaves exactly one trace.

use super::governor::{Admission, Circumstances, Expense, Governor, Wake};
use super::scheduler::ProbePlan;
use crate::base::clock::wall_now;
use crate::measure::tokens::Usage;
use crate::probe::{Observation, Probe, Prober, RunContext};
use crate::record::{MissReason, Recorder, SkipReason, Tick};
use crate::resource::RuntimeStates;
use crate::resource::runtime_metrics::RuntimeTarget;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// After a run, how long a runtime may take to note until when it keeps the model.
const SETTLED_AFTER: Duration = Duration::from_millis(500);
/// Tokens that a run without a limit is expected to take at first.
const UNLIMITED_OUTPUT: u32 = 1024;

/// One tick on its way to a run.
pub(super) struct Launch {
    pub(super) plan: ProbePlan,
    pub(super) prober: Prober,
    pub(super) recorder: Recorder,
    pub(super) permits: Arc<Semaphore>,
    pub(super) governor: Arc<Governor>,
    pub(super) states: RuntimeStates,
    pub(super) context: RunContext,
    pub(super) stop: CancellationToken,
}

impl Launch {
    pub(super) async fn run(self, give_up: Option<tokio::time::Instant>) {
        let labels = &self.plan.probe.labels;
        let busy = async {
            match give_up {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            biased;
            permit = self.permits.acquire() => permit,
            () = self.context.cancel.cancelled() => {
                self.recorder.tick(labels, Tick::Missed(MissReason::Shutdown));
                return;
            }
            () = self.stop.cancelled() => {
                self.recorder.tick(labels, Tick::Missed(MissReason::Reload));
                return;
            }
            () = busy => {
                self.recorder.tick(labels, Tick::Skipped(SkipReason::TargetBusy));
                return;
            }
        };
        let admission = match self.ask_governor().await {
            Ok(admission) => admission,
            Err(reason) => {
                self.recorder.tick(labels, Tick::Skipped(reason));
                return;
            }
        };
        let guard = RunGuard {
            launch: &self,
            done: false,
        };
        let probe = &self.plan.probe;
        let observation = self.prober.run(probe, self.context.clone()).await;
        admission.settle(Expense::of(&observation));
        guard.finish(observation);
        drop(permit);
        self.note_residence().await;
    }

    /// What the governor says. Whether the model is in memory is looked up at this moment: a look a
    /// few seconds old would wake what has just gone.
    async fn ask_governor(&self) -> Result<Admission, SkipReason> {
        let probe = &self.plan.probe;
        let fresh = match self.residence() {
            Some(runtime) => runtime.state().await,
            None => None,
        };
        let state = fresh.or_else(|| self.states.of(&probe.labels.target));
        self.governor.admit(Circumstances {
            scenario: &probe.labels.scenario,
            guess: guess(probe),
            wake: self.plan.wake,
            state: state.as_ref(),
            now: Instant::now(),
            wall: wall_now(),
        })
    }

    /// Until when our own run keeps the model.
    async fn note_residence(&self) {
        let follows = self.plan.wake == Wake::AfterUse;
        let Some(runtime) = self.residence().filter(|_| follows) else {
            return;
        };
        let wait = tokio::time::sleep(SETTLED_AFTER);
        if self.stop.run_until_cancelled(wait).await.is_some()
            && let Some(state) = runtime.state().await
        {
            self.governor.after_run(&state);
        }
    }

    fn residence(&self) -> Option<&RuntimeTarget> {
        let residence = self.plan.residence.as_ref();
        residence.filter(|_| self.plan.wake != Wake::Always)
    }
}

/// What a run may take at most, as far as its settings tell; a prompt of unknown length by its bytes.
fn guess(probe: &Probe) -> Expense {
    let settings = &probe.scenario.settings;
    let prompt = settings.workload.prompt.as_ref().map_or(0, String::len);
    let input = settings
        .workload
        .input_tokens
        .map_or(prompt as u64, u64::from);
    let output = settings
        .generation
        .output_tokens
        .unwrap_or(UNLIMITED_OUTPUT);
    let usage = Usage {
        input: Some(input),
        output: Some(u64::from(output)),
        ..Usage::default()
    };
    Expense {
        input_tokens: input as f64,
        output_tokens: f64::from(output),
        usd: probe
            .target
            .settings
            .price
            .map_or(0.0, |price| price.cost(&usage).total),
    }
}

/// Sees to it that a run leaves exactly one observation, even when it is dropped or panics.
struct RunGuard<'a> {
    launch: &'a Launch,
    done: bool,
}

impl RunGuard<'_> {
    fn finish(mut self, observation: Observation) {
        self.done = true;
        self.launch.recorder.observe(Arc::new(observation));
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            let launch = self.launch;
            let observation = launch.prober.aborted(&launch.plan.probe, &launch.context);
            launch.recorder.observe(Arc::new(observation));
        }
    }
}
