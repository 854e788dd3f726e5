//! One task per probe: waits for the next instant, takes a permit, asks the prober for one run, and
//! accounts for every tick.

use super::Schedule;
use super::offset::{default_spread, stable_offset};
use crate::base::clock::wall_now;
use crate::base::label::ProbeLabels;
use crate::base::shutdown::Shutdown;
use crate::probe::{Probe, Prober, RunContext, Trigger};
use crate::record::{MissReason, Recorder, SkipReason, Tick};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A tick that is older than this when we wake is missed: a user at that instant had no answer.
const MOST_GRACE: Duration = Duration::from_secs(5);
/// How long we sleep at most before we look at the wall clock again, so that a step of it is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A run that waits for its target gives up this long before the next tick, so that the two do not
/// meet.
const GIVE_WAY: Duration = Duration::from_millis(5);

/// When a probe runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cadence {
    /// The schedule.
    pub schedule: Schedule,
    /// Added to every instant; `None` takes a stable one from the probe's name, so that many probes
    /// on one schedule do not fire at once.
    pub offset: Option<Duration>,
}

impl Cadence {
    /// The offset in force for a probe.
    pub fn offset_of(&self, labels: &ProbeLabels) -> Duration {
        self.offset.unwrap_or_else(|| {
            let key = format!("{}\0{}", labels.target, labels.scenario);
            stable_offset(&key, default_spread(&self.schedule))
        })
    }
}

/// A probe with its cadence.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// What is run.
    pub probe: Arc<Probe>,
    /// When.
    pub cadence: Cadence,
}

impl ProbePlan {
    /// Whether a running task may go on for this plan.
    fn same_as(&self, other: &Self) -> bool {
        let (a, b) = (&self.probe, &other.probe);
        a.labels == b.labels
            && a.target.settings == b.target.settings
            && a.scenario.settings == b.scenario.settings
            && self.cadence == other.cadence
    }
}

/// Every probe that runs, one task each.
pub struct Fleet {
    prober: Prober,
    recorder: Recorder,
    shutdown: Shutdown,
    runtime: Handle,
    running: HashMap<ProbeLabels, Running>,
    permits: HashMap<Arc<str>, (usize, Arc<Semaphore>)>,
}

struct Running {
    plan: ProbePlan,
    stop: CancellationToken,
}

impl Fleet {
    /// An idle fleet whose tasks run on `runtime`.
    pub fn new(prober: Prober, recorder: Recorder, shutdown: Shutdown, runtime: Handle) -> Self {
        Self {
            prober,
            recorder,
            shutdown,
            runtime,
            running: HashMap::new(),
            permits: HashMap::new(),
        }
    }

    /// Makes exactly these probes run. Unchanged ones go on undisturbed; a run of a removed or
    /// changed one that is in flight comes to its end.
    pub fn apply(&mut self, plans: Vec<ProbePlan>) {
        let mut old = std::mem::take(&mut self.running);
        for plan in plans {
            let labels = plan.probe.labels.clone();
            let kept = match old.remove(&labels) {
                Some(running) if running.plan.same_as(&plan) => running,
                replaced => {
                    if let Some(replaced) = replaced {
                        replaced.stop.cancel();
                    }
                    self.start(plan)
                }
            };
            self.running.insert(labels, kept);
        }
        for removed in old.into_values() {
            removed.stop.cancel();
        }
    }

    /// The probes that run, in no order.
    pub fn probes(&self) -> impl Iterator<Item = &Arc<Probe>> {
        self.running.values().map(|running| &running.plan.probe)
    }

    /// Each target's permits for runs in flight.
    pub fn permits(&self) -> HashMap<Arc<str>, Arc<Semaphore>> {
        let permits = self.permits.iter();
        permits
            .map(|(target, (_, permits))| (target.clone(), permits.clone()))
            .collect()
    }

    fn start(&mut self, plan: ProbePlan) -> Running {
        let stop = self.shutdown.token().child_token();
        let ticker = Ticker {
            offset: plan.cadence.offset_of(&plan.probe.labels),
            plan: plan.clone(),
            prober: self.prober,
            recorder: self.recorder.clone(),
            shutdown: self.shutdown.clone(),
            permits: self.permits_of(&plan.probe),
            stop: stop.clone(),
        };
        self.shutdown
            .tracker()
            .spawn_on(ticker.run(), &self.runtime);
        Running { plan, stop }
    }

    fn permits_of(&mut self, probe: &Probe) -> Arc<Semaphore> {
        let target = &probe.target.settings;
        let fresh = || {
            (
                target.max_in_flight,
                Arc::new(Semaphore::new(target.max_in_flight)),
            )
        };
        let entry = self
            .permits
            .entry(target.name.clone())
            .or_insert_with(fresh);
        if entry.0 != target.max_in_flight {
            *entry = fresh();
        }
        entry.1.clone()
    }
}

/// The task of one probe.
struct Ticker {
    plan: ProbePlan,
    offset: Duration,
    prober: Prober,
    recorder: Recorder,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Ticker {
    async fn run(self) {
        let labels = &self.plan.probe.labels;
        let grace = MOST_GRACE.min(self.plan.cadence.schedule.typical_interval() / 2);
        let mut in_flight: Option<JoinHandle<()>> = None;
        let mut next = self.next_after(wall_now());
        while let Some(intended) = next {
            self.recorder.tick(labels, Tick::Next(Some(intended)));
            let lag = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                lag = sleep_until(intended) => lag,
            };
            self.recorder.tick(labels, Tick::Scheduled);
            next = self.next_after(intended);
            if lag > grace {
                self.recorder.tick(labels, Tick::Missed(MissReason::Late));
            } else if in_flight.as_ref().is_some_and(|run| !run.is_finished()) {
                self.recorder
                    .tick(labels, Tick::Skipped(SkipReason::Overlap));
            } else {
                in_flight = Some(self.launch(intended, lag, next));
            }
        }
        self.recorder.tick(labels, Tick::Next(None));
    }

    /// The next instant of the schedule, offset added.
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let offset = SignedDuration::try_from(self.offset).ok()?;
        let bare = after.checked_sub(offset).ok()?;
        let next = self.plan.cadence.schedule.next_after(bare)?;
        next.checked_add(offset).ok()
    }

    fn launch(
        &self,
        intended: Timestamp,
        lag: Duration,
        next: Option<Timestamp>,
    ) -> JoinHandle<()> {
        let now = Instant::now();
        let context = RunContext {
            trigger: Trigger::Schedule,
            intended_start: intended,
            intended: now.checked_sub(lag).unwrap_or(now),
            schedule_lag: Some(lag),
            keep_answer: false,
            limit: None,
            cancel: self.shutdown.token().clone(),
        };
        let give_up = next.map(|next| {
            let wait = until(next).saturating_sub(GIVE_WAY);
            tokio::time::Instant::from_std(now + wait)
        });
        let launch = Launch {
            probe: self.plan.probe.clone(),
            prober: self.prober,
            recorder: self.recorder.clone(),
            permits: self.permits.clone(),
            context,
        };
        self.shutdown.tracker().spawn(launch.run(give_up))
    }
}

/// One tick on its way to a run.
struct Launch {
    probe: Arc<Probe>,
    prober: Prober,
    recorder: Recorder,
    permits: Arc<Semaphore>,
    context: RunContext,
}

impl Launch {
    async fn run(self, give_up: Option<tokio::time::Instant>) {
        let labels = &self.probe.labels;
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
            () = busy => {
                self.recorder.tick(labels, Tick::Skipped(SkipReason::TargetBusy));
                return;
            }
        };
        let guard = RunGuard {
            launch: &self,
            done: false,
        };
        let observation = self.prober.run(&self.probe, self.context.clone()).await;
        guard.finish(observation);
        drop(permit);
    }
}

/// Sees to it that a run leaves exactly one observation, even when it is dropped or panics.
struct RunGuard<'a> {
    launch: &'a Launch,
    done: bool,
}

impl RunGuard<'_> {
    fn finish(mut self, observation: crate::probe::Observation) {
        self.done = true;
        self.launch.recorder.observe(Arc::new(observation));
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            let launch = self.launch;
            let observation = launch.prober.aborted(&launch.probe, &launch.context);
            launch.recorder.observe(Arc::new(observation));
        }
    }
}

/// Time until an instant of the wall clock; zero when it has passed.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(wall_now())).unwrap_or(Duration::ZERO)
}

/// Sleeps until an instant of the wall clock and tells how late we woke.
async fn sleep_until(at: Timestamp) -> Duration {
    loop {
        let remaining = until(at);
        if remaining.is_zero() {
            let late = wall_now().duration_since(at);
            return Duration::try_from(late).unwrap_or(Duration::ZERO);
        }
        tokio::time::sleep(remaining.min(LONGEST_SLEEP)).await;
    }
}
