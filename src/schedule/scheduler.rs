//! One task per probe: waits for the next instant, takes a permit, asks the prober for one run, and
//! accounts for every tick.

use super::Schedule;
use super::governor::{Governor, Limits, Wake};
use super::launch::Launch;
use super::offset::{default_spread, stable_offset};
use crate::base::clock::wall_now;
use crate::base::label::ProbeLabels;
use crate::base::shutdown::Shutdown;
use crate::probe::{Probe, Prober, RunContext, Trigger};
use crate::record::{Recorder, SkipReason, Tick};
use crate::resource::RuntimeStates;
use crate::resource::runtime_metrics::RuntimeTarget;
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
/// Beyond this the clock has been set, and nobody has missed the ticks in between.
const CLOCK_SET: SignedDuration = SignedDuration::from_hours(24);
/// How many late ticks are counted before other probes get their turn.
const LATE_BATCH: u64 = 256;
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
    /// What probing may cost the target.
    pub limits: Limits,
    /// Whether runs may keep a model in memory, or load it.
    pub wake: Wake,
    /// Who tells whether the model is in memory, where the runtime unloads it when idle.
    pub residence: Option<RuntimeTarget>,
}

impl ProbePlan {
    /// Whether a running task may go on for this plan.
    fn same_as(&self, other: &Self) -> bool {
        let (a, b) = (&self.probe, &other.probe);
        a.labels == b.labels
            && a.target.settings == b.target.settings
            && a.target.dialer.same_files(&b.target.dialer)
            && a.scenario.settings == b.scenario.settings
            && self.cadence == other.cadence
            && self.wake == other.wake
            && match (&self.residence, &other.residence) {
                (Some(a), Some(b)) => a.is_same(b),
                (a, b) => a.is_none() && b.is_none(),
            }
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
    governors: HashMap<Arc<str>, Arc<Governor>>,
    states: RuntimeStates,
    generation: u64,
}

struct Running {
    plan: ProbePlan,
    stop: CancellationToken,
}

impl Fleet {
    /// An idle fleet whose tasks run on `runtime`. `states`: what the targets' runtimes say.
    pub fn new(
        prober: Prober,
        recorder: Recorder,
        shutdown: Shutdown,
        runtime: Handle,
        states: RuntimeStates,
    ) -> Self {
        Self {
            states,
            governors: HashMap::new(),
            prober,
            recorder,
            shutdown,
            runtime,
            running: HashMap::new(),
            permits: HashMap::new(),
            generation: 0,
        }
    }

    /// Makes exactly these probes run. Unchanged ones go on undisturbed; a run of a removed or
    /// changed one that is in flight comes to its end.
    /// `generation` counts the calls; what is recorded of new probes carries it.
    pub fn apply(&mut self, plans: Vec<ProbePlan>, generation: u64) {
        self.generation = generation;
        let named =
            |target: &Arc<str>| plans.iter().any(|plan| plan.probe.labels.target == *target);
        self.permits.retain(|target, _| named(target));
        self.governors.retain(|target, _| named(target));
        let mut old = std::mem::take(&mut self.running);
        for plan in plans {
            let labels = plan.probe.labels.clone();
            self.governor_of(&plan);
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

    /// Each target's governor.
    pub fn governors(&self) -> HashMap<Arc<str>, Arc<Governor>> {
        self.governors.clone()
    }

    fn start(&mut self, plan: ProbePlan) -> Running {
        let stop = self.shutdown.token().child_token();
        let ticker = Ticker {
            offset: plan.cadence.offset_of(&plan.probe.labels),
            plan: plan.clone(),
            prober: self.prober.clone(),
            recorder: self.recorder.of_generation(self.generation),
            shutdown: self.shutdown.clone(),
            permits: self.permits_of(&plan.probe),
            governor: self.governor_of(&plan),
            states: self.states.clone(),
            stop: stop.clone(),
        };
        self.shutdown
            .tracker()
            .spawn_on(ticker.run(), &self.runtime);
        Running { plan, stop }
    }

    /// The target's governor, with the limits that it has now. What was spent stays spent.
    fn governor_of(&mut self, plan: &ProbePlan) -> Arc<Governor> {
        let fresh = || Governor::new(plan.limits, Instant::now());
        let target = plan.probe.labels.target.clone();
        let governor = self.governors.entry(target).or_insert_with(fresh);
        governor.set_limits(plan.limits);
        governor.clone()
    }

    /// The target's permits, as many as it has now. Runs in flight keep theirs.
    fn permits_of(&mut self, probe: &Probe) -> Arc<Semaphore> {
        let target = &probe.target.settings;
        let wanted = target.max_in_flight;
        let fresh = || (wanted, Arc::new(Semaphore::new(wanted)));
        let entry = self
            .permits
            .entry(target.name.clone())
            .or_insert_with(fresh);
        let (size, permits) = (entry.0, entry.1.clone());
        entry.0 = wanted;
        permits.add_permits(wanted.saturating_sub(size));
        let surplus = u32::try_from(size.saturating_sub(wanted)).unwrap_or(u32::MAX);
        if surplus > 0 {
            let shrinking = permits.clone();
            let stop = self.shutdown.token().clone();
            let shrink = async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    surplus = shrinking.acquire_many(surplus) => {
                        if let Ok(surplus) = surplus {
                            surplus.forget();
                        }
                    }
                }
            };
            self.shutdown.tracker().spawn_on(shrink, &self.runtime);
        }
        permits
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
    governor: Arc<Governor>,
    states: RuntimeStates,
    stop: CancellationToken,
}

impl Ticker {
    async fn run(self) {
        let labels = &self.plan.probe.labels;
        let grace = MOST_GRACE.min(self.plan.cadence.schedule.typical_interval() / 2);
        let mut in_flight: Option<JoinHandle<()>> = None;
        let mut last = wall_now();
        let mut next = self.next_after(last);
        while let Some(intended) = next {
            self.recorder.tick(labels, Tick::Next(Some(intended)));
            let woke = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                woke = wait_for(intended, last, grace) => woke,
            };
            let Woke::Due(lag) = woke else {
                last = wall_now();
                next = self.next_after(last);
                continue;
            };
            last = intended;
            next = self.next_after(intended);
            if lag > grace {
                let (late, after) = self.count_late(intended, grace).await;
                self.recorder.tick(labels, Tick::Late(late));
                next = after;
                continue;
            }
            self.recorder.tick(labels, Tick::Scheduled);
            if in_flight.as_ref().is_some_and(|run| !run.is_finished()) {
                self.recorder
                    .tick(labels, Tick::Skipped(SkipReason::Overlap));
            } else {
                in_flight = Some(self.launch(intended, lag, next));
            }
        }
        self.recorder.tick(labels, Tick::Next(None));
    }

    /// How many ticks from `first` on are too old to be run, and the first that is not.
    async fn count_late(&self, first: Timestamp, grace: Duration) -> (u64, Option<Timestamp>) {
        let now = wall_now();
        if now.duration_since(first) > CLOCK_SET {
            return (1, self.next_after(now));
        }
        let mut late = 1;
        let mut next = self.next_after(first);
        while let Some(at) = next
            && Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > grace)
        {
            late += 1;
            next = self.next_after(at);
            if late % LATE_BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        (late, next)
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
            deadline: None,
            cancel: self.shutdown.token().clone(),
        };
        let give_up = next.map(|next| {
            let wait = until(next).saturating_sub(GIVE_WAY);
            tokio::time::Instant::from_std(now + wait)
        });
        let launch = Launch {
            plan: self.plan.clone(),
            prober: self.prober.clone(),
            recorder: self.recorder.clone(),
            permits: self.permits.clone(),
            governor: self.governor.clone(),
            states: self.states.clone(),
            context,
            stop: self.stop.clone(),
        };
        self.shutdown.tracker().spawn(launch.run(give_up))
    }
}

/// Time until an instant of the wall clock; zero when it has passed.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(wall_now())).unwrap_or(Duration::ZERO)
}

/// Why a wait has ended.
enum Woke {
    /// The instant has come; we are so late for it.
    Due(Duration),
    /// The clock went back behind the tick before: the schedule must be asked again.
    ClockWentBack,
}

/// Waits for an instant of the wall clock. `last` is the tick before.
async fn wait_for(at: Timestamp, last: Timestamp, grace: Duration) -> Woke {
    loop {
        let now = wall_now();
        let late = now.duration_since(at);
        if !late.is_negative() {
            return Woke::Due(Duration::try_from(late).unwrap_or(Duration::ZERO));
        }
        let back = Duration::try_from(last.duration_since(now));
        if back.is_ok_and(|back| back > grace) {
            return Woke::ClockWentBack;
        }
        tokio::time::sleep(until(at).min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{self, Roster};
    use jiff::tz::TimeZone;

    async fn late(schedule: &str, ago: SignedDuration) -> u64 {
        let (recorder, _recording) = record::channel(Roster::default());
        let ticker = Ticker {
            plan: ProbePlan {
                probe: Arc::new(Probe::example()),
                cadence: Cadence {
                    schedule: Schedule::parse(schedule, &TimeZone::UTC).unwrap(),
                    offset: Some(Duration::ZERO),
                },
                limits: Limits::default(),
                wake: Wake::Never,
                residence: None,
            },
            offset: Duration::ZERO,
            prober: Prober::default(),
            recorder,
            shutdown: Shutdown::new(),
            permits: Arc::new(Semaphore::new(1)),
            governor: Governor::new(Limits::default(), Instant::now()),
            states: RuntimeStates::default(),
            stop: CancellationToken::new(),
        };
        let first = wall_now().checked_sub(ago).unwrap();
        ticker.count_late(first, Duration::from_secs(1)).await.0
    }

    #[tokio::test]
    async fn every_tick_that_a_sleeping_machine_slept_through_is_counted() {
        let count = late("@every 10s", SignedDuration::from_hours(1)).await;
        assert!((359..=361).contains(&count), "{count}");
        let count = late("* * * * *", SignedDuration::from_hours(8)).await;
        assert!((479..=481).contains(&count), "{count}");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_makes_no_million_of_late_ticks() {
        assert_eq!(
            late("@every 1s", SignedDuration::from_hours(24 * 365 * 50)).await,
            1
        );
    }
}
