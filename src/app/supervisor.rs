//! Holds the configuration in force: loads, validates, swaps; starts and ends probes accordingly.

use super::detection::{Found, ask_until_known};
use super::scraping::{Scraping, runtime_target};
use crate::base::shutdown::Shutdown;
use crate::config::{
    self, Environment, LoadInput, LogSettings, Problems, ScenarioPlan, ServerSettings, Settings,
    TargetPlan, Watched,
};
use crate::http::{Live, ReloadAnswer};
use crate::metrics::{ProbeShape, Store, TargetFacts};
use crate::probe::{InstrumentSettings, Probe, Target};
use crate::record::{Board, ProgressWatch, Roster, WatchedTarget};
use crate::resource::runtime_metrics::RuntimeTarget;
use crate::resource::{ProcessTarget, ProcessTargets, ResourceSettings};
use crate::runtime::RuntimeSpec;
use crate::schedule::{Cadence, Fleet, ProbePlan};
use crate::slo::ProbeObjectives;
use crate::slo::regression::RegressionWatch;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. Content is compared, so a ConfigMap's symlink swap counts and a
/// touch does not.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Looks at the file between two tries of a configuration that failed: half a minute.
const RETRY_TICKS: u32 = 15;

/// Where the configuration comes from, each time anew.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The file, read again at every reload.
    pub path: Option<PathBuf>,
    /// A text instead of the file.
    pub text: Option<String>,
    /// The environment as it was at the start.
    pub environment: Environment,
    /// What the command line sets, over everything else.
    pub overrides: Vec<(String, serde_json::Value)>,
}

impl ConfigSource {
    /// Reads and resolves everything.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load(&self) -> Result<Settings, Problems> {
        let read;
        let file = match (&self.text, &self.path) {
            (Some(text), _) => Some(text.as_str()),
            (None, Some(path)) => {
                read = config::read_file(path)?;
                Some(read.as_str())
            }
            (None, None) => None,
        };
        config::load(LoadInput {
            path: self.path.as_deref(),
            file,
            environment: &self.environment,
            overrides: self.overrides.clone(),
        })
    }
}

/// Everything that must know which probes there are.
pub(super) struct Informed {
    pub(super) store: Arc<Store>,
    pub(super) board: Arc<Board>,
    pub(super) roster: Roster,
    pub(super) scraping: Scraping,
    pub(super) live: Arc<RwLock<Arc<Live>>>,
    pub(super) processes: ProcessTargets,
    pub(super) progress: ProgressWatch,
    pub(super) regressions: RegressionWatch,
}

pub(super) struct Supervisor {
    source: ConfigSource,
    fleet: Fleet,
    informed: Informed,
    shutdown: Shutdown,
    /// What detection has found, for as long as what was asked stays the same.
    known: HashMap<Arc<str>, (crate::probe::TargetSettings, &'static RuntimeSpec, Arc<str>)>,
    pending: Vec<(String, String)>,
    generation: u64,
    stop_asking: CancellationToken,
    config_error: Option<String>,
    /// Ticks of the watch until a configuration that failed is tried again: what it misses may have
    /// come meanwhile, as a Secret does that is mounted after its ConfigMap.
    retry_in: u32,
    at_start: Option<AtStart>,
}

impl Supervisor {
    pub(super) fn new(
        source: ConfigSource,
        fleet: Fleet,
        informed: Informed,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            source,
            fleet,
            informed,
            shutdown,
            known: HashMap::new(),
            pending: Vec::new(),
            generation: 0,
            stop_asking: CancellationToken::new(),
            config_error: None,
            retry_in: 0,
            at_start: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut settings: Settings,
        mut requests: mpsc::Receiver<oneshot::Sender<ReloadAnswer>>,
    ) {
        let (found_sender, mut found) = mpsc::channel(16);
        let mut watched = self.source.path.clone().map(Watched::new);
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hangup = signal(SignalKind::hangup()).ok();
        self.at_start = Some(AtStart::of(&settings));
        self.apply(&settings, &found_sender);
        let stop = self.shutdown.token().clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(answer) = requests.recv() => {
                    answer.send(self.reload("request", &mut settings, &found_sender)).ok();
                }
                Some(()) = hung_up(&mut hangup) => {
                    self.reload("SIGHUP", &mut settings, &found_sender).ok();
                }
                Some(news) = found.recv() => self.detected(news, &settings, &found_sender),
                _ = watch.tick() => {
                    let changed = watched.as_mut().map(Watched::changed);
                    if let Some(Ok(Some(_))) = changed {
                        self.reload("changed file", &mut settings, &found_sender).ok();
                    } else if self.wants_retry() {
                        self.reload("retry", &mut settings, &found_sender).ok();
                    }
                }
            }
        }
    }

    /// Counts the ticks since a load that failed.
    fn wants_retry(&mut self) -> bool {
        self.retry_in = self.retry_in.saturating_sub(1);
        self.config_error.is_some() && self.retry_in == 0
    }

    fn reload(
        &mut self,
        cause: &str,
        settings: &mut Settings,
        found: &mpsc::Sender<Found>,
    ) -> ReloadAnswer {
        match self.source.load() {
            Ok(fresh) => {
                for warning in &fresh.warnings {
                    tracing::warn!("{warning}");
                }
                let at_start = self.at_start.as_ref();
                let note = at_start.and_then(|at_start| at_start.needs_restart(&fresh));
                *settings = fresh;
                self.config_error = None;
                self.informed.store.set_reload(true);
                self.apply(settings, found);
                self.ask_again(settings, found);
                tracing::info!(
                    cause,
                    probes = self.fleet.probes().count(),
                    "configuration reloaded"
                );
                if let Some(note) = &note {
                    tracing::warn!("{note}");
                }
                Ok(note)
            }
            Err(problems) => {
                let text = problems.to_string();
                self.retry_in = RETRY_TICKS;
                // A retry that finds the same is no news.
                if self.config_error.as_ref() != Some(&text) {
                    tracing::error!(
                        cause,
                        "configuration not reloaded, the old one stays in force: {text}"
                    );
                }
                self.informed.store.set_reload(false);
                self.config_error = Some(text.clone());
                self.publish();
                Err(text)
            }
        }
    }

    /// Starts, keeps and ends probes, so that exactly those of the settings run.
    fn apply(&mut self, settings: &Settings, found: &mpsc::Sender<Found>) {
        self.generation += 1;
        self.stop_asking.cancel();
        self.stop_asking = self.shutdown.token().child_token();
        self.pending.clear();
        let mut plans = Vec::new();
        let mut facts = Vec::new();
        let mut runtimes = Vec::new();
        for plan in &settings.targets {
            let Some((runtime, model)) = self.identity(plan) else {
                self.pending.push((
                    plan.settings.name.to_string(),
                    "asking what it is".to_owned(),
                ));
                let stop = self.stop_asking.clone();
                ask_until_known(plan, self.generation, found.clone(), &self.shutdown, stop);
                continue;
            };
            if !plan
                .scenarios
                .iter()
                .any(|scenario| suits(scenario, runtime))
            {
                let why = format!(
                    "its runtime `{}` has none of its scenarios' operations",
                    runtime.name
                );
                self.pending.push((plan.settings.name.to_string(), why));
            }
            facts.push(target_facts(plan, runtime, &model));
            let runtime_page = runtime_target(plan, runtime, &model);
            plans.extend(probe_plans(plan, runtime, model, runtime_page.as_ref()));
            runtimes.extend(runtime_page);
        }
        let shapes: Vec<_> = plans
            .iter()
            .map(|plan| {
                let shape = ProbeShape::of(&plan.probe, &settings.objectives);
                (plan.probe.labels.clone(), shape)
            })
            .collect();
        let booked = shapes
            .iter()
            .zip(&plans)
            .map(|((labels, shape), plan)| ProbeObjectives {
                labels: labels.clone(),
                objectives: shape.objectives.clone(),
                period: plan.cadence.schedule.typical_interval(),
            });
        let booked = booked.collect();
        let labels: Vec<_> = shapes.iter().map(|(labels, _)| labels.clone()).collect();
        self.informed.store.configure(settings.metrics.clone());
        self.informed.store.retain_probes(shapes);
        self.informed.store.book().retain(booked, Instant::now());
        self.informed.store.set_targets(facts);
        let processes: Vec<_> = settings.targets.iter().map(process_target).collect();
        let names = processes.iter().map(|process| process.name.clone());
        self.informed.store.retain_readings(names.collect());
        self.informed.processes.set(processes);
        self.informed.progress.set(watched_targets(&plans));
        let probes = plans.iter().map(|plan| plan.probe.as_ref());
        self.informed.regressions.retain(probes);
        self.informed.roster.set(&labels, self.generation);
        self.informed.board.retain(&labels);
        self.informed
            .scraping
            .apply(&settings.runtime_metrics, runtimes);
        self.fleet.apply(plans, self.generation);
        self.publish();
    }

    /// Asks the targets that were detected once more: what answers there may be another model now.
    /// Until it is known, they are probed as before.
    fn ask_again(&self, settings: &Settings, found: &mpsc::Sender<Found>) {
        for plan in &settings.targets {
            let detected = plan.settings.runtime.is_none() || plan.settings.model.is_none();
            if detected && self.known.contains_key(&plan.settings.name) {
                let stop = self.stop_asking.clone();
                ask_until_known(plan, self.generation, found.clone(), &self.shutdown, stop);
            }
        }
    }

    /// What a target is: as configured, or as detected under the same settings.
    fn identity(&self, plan: &TargetPlan) -> Option<(&'static RuntimeSpec, Arc<str>)> {
        if let (Some(runtime), Some(model)) = (plan.settings.runtime, &plan.settings.model) {
            return Some((runtime, model.clone()));
        }
        let (settings, runtime, model) = self.known.get(&plan.settings.name)?;
        let same = settings.endpoint == plan.settings.endpoint
            && settings.runtime == plan.settings.runtime
            && settings.model == plan.settings.model;
        same.then(|| (*runtime, model.clone()))
    }

    fn detected(&mut self, news: Found, settings: &Settings, found: &mpsc::Sender<Found>) {
        if news.generation != self.generation {
            return;
        }
        let target = news.target;
        match news.result {
            // Asked again and found away: it is probed as before, and its probes say so.
            Err(_) if self.known.contains_key(&target) => {}
            Err(why) => {
                tracing::warn!(%target, "target is not known yet: {why}");
                for entry in self.pending.iter_mut().filter(|entry| *entry.0 == *target) {
                    entry.1.clone_from(&why);
                }
                self.publish();
            }
            Ok((runtime, model)) => {
                let before = self.known.get(&target);
                if before.is_some_and(|(_, r, m)| *r == runtime && *m == model) {
                    return;
                }
                tracing::info!(%target, runtime = runtime.name, %model, "target detected");
                let plans = settings.targets.iter();
                let mut same = plans.filter(|plan| plan.settings.name == target);
                if let Some(plan) = same.next() {
                    warn_of_unsuited(plan, runtime);
                    let known = (plan.settings.clone(), runtime, model);
                    self.known.insert(target, known);
                }
                self.apply(settings, found);
            }
        }
    }

    fn publish(&self) {
        *self.informed.live.write() = Arc::new(Live {
            probes: self.fleet.probes().cloned().collect(),
            permits: self.fleet.permits(),
            governors: self.fleet.governors(),
            pending: self.pending.clone(),
            config_error: self.config_error.clone(),
        });
    }
}

/// What only a restart changes, as it was at the start.
struct AtStart {
    server: ServerSettings,
    log: LogSettings,
    resources: ResourceSettings,
    instrument: InstrumentSettings,
    selftest: Option<Cadence>,
    classic_buckets: bool,
}

impl AtStart {
    fn of(settings: &Settings) -> Self {
        Self {
            server: settings.server.clone(),
            log: settings.log.clone(),
            resources: settings.resources.clone(),
            instrument: settings.instrument,
            selftest: settings.selftest.clone(),
            classic_buckets: settings.metrics.classic_buckets,
        }
    }

    /// What a reload to these settings leaves undone.
    fn needs_restart(&self, fresh: &Settings) -> Option<String> {
        let changed = [
            ("server", self.server != fresh.server),
            ("log", self.log != fresh.log),
            ("resources", self.resources != fresh.resources),
            ("instrument", self.instrument != fresh.instrument),
            ("selftest", self.selftest != fresh.selftest),
            (
                "metrics.classic_buckets",
                self.classic_buckets != fresh.metrics.classic_buckets,
            ),
        ];
        let names: Vec<_> = changed
            .iter()
            .filter(|(_, changed)| *changed)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("the change of {names} takes effect after a restart"))
    }
}

async fn hung_up(hangup: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match hangup {
        Some(hangup) => hangup.recv().await,
        None => std::future::pending().await,
    }
}

fn target_facts(plan: &TargetPlan, runtime: &'static RuntimeSpec, model: &Arc<str>) -> TargetFacts {
    TargetFacts {
        target: plan.settings.name.clone(),
        runtime: Arc::from(runtime.name),
        model: model.clone(),
        authority: plan.settings.endpoint.authority(),
        labels: plan.settings.labels.clone(),
    }
}

fn process_target(plan: &TargetPlan) -> ProcessTarget {
    ProcessTarget {
        name: plan.settings.name.clone(),
        host: plan.settings.endpoint.host.clone(),
        port: plan.settings.endpoint.port,
        process: plan.process.clone(),
    }
}

/// Whether the runtime has the operation of a scenario. The configuration has seen to it where it names the runtime.
fn suits(plan: &ScenarioPlan, runtime: &RuntimeSpec) -> bool {
    let retrieval = plan.scenario.settings.retrieval;
    runtime.offers(retrieval.map(|settings| settings.kind))
}

/// What the configuration could not know of a target that it had to ask.
fn warn_of_unsuited(plan: &TargetPlan, runtime: &'static RuntimeSpec) {
    let target = &plan.settings.name;
    for scenario in plan.scenarios.iter().filter(|s| !suits(s, runtime)) {
        let scenario = &scenario.scenario.settings.name;
        tracing::warn!(%target, %scenario, runtime = runtime.name, "scenario is not asked: the runtime has no such operation");
    }
}

/// One plan per scenario of the target that the runtime can be asked.
fn probe_plans(
    plan: &TargetPlan,
    runtime: &'static RuntimeSpec,
    model: Arc<str>,
    runtime_page: Option<&RuntimeTarget>,
) -> impl Iterator<Item = ProbePlan> {
    let residence = runtime_page.filter(|page| page.tells_residence()).cloned();
    let target = Arc::new(Target {
        settings: plan.settings.clone(),
        runtime,
        model,
        dialer: plan.dialer.clone(),
    });
    let suiting = plan.scenarios.iter().filter(|plan| suits(plan, runtime));
    suiting.map(move |scenario| ProbePlan {
        probe: Arc::new(Probe::new(target.clone(), scenario.scenario.clone())),
        cadence: scenario.cadence.clone(),
        limits: plan.limits,
        wake: scenario.wake,
        residence: residence.clone(),
    })
}

/// Every target of these plans, with the runs of all of its probes.
fn watched_targets(plans: &[ProbePlan]) -> Vec<WatchedTarget> {
    let mut watched: BTreeMap<&Arc<str>, WatchedTarget> = BTreeMap::new();
    for plan in plans {
        let labels = &plan.probe.labels;
        let period = plan.cadence.schedule.typical_interval();
        let target = watched
            .entry(&labels.target)
            .or_insert_with(|| WatchedTarget {
                target: labels.target.clone(),
                runtime: labels.runtime.clone(),
                model: labels.model.clone(),
                flights: Vec::new(),
                period,
            });
        target.flights.push(plan.probe.flights.clone());
        target.period = target.period.min(period);
    }
    watched.into_values().collect()
}
