//! Holds the configuration in force: loads, validates, swaps; starts and ends probes accordingly.

use super::detection::{Found, ask_until_known};
use crate::base::shutdown::Shutdown;
use crate::config::{self, Environment, LoadInput, Problems, Settings, TargetPlan, Watched};
use crate::http::{Live, ReloadAnswer};
use crate::metrics::{ProbeShape, Store, TargetFacts};
use crate::probe::{Probe, Target};
use crate::record::{Board, Roster};
use crate::runtime::RuntimeSpec;
use crate::schedule::{Fleet, ProbePlan};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. Content is compared, so a ConfigMap's symlink swap counts and a
/// touch does not.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

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
    pub(super) live: Arc<RwLock<Arc<Live>>>,
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
                    }
                }
            }
        }
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
                let note = needs_restart(settings, &fresh);
                *settings = fresh;
                self.config_error = None;
                self.informed.store.set_reload(true);
                self.apply(settings, found);
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
                tracing::error!(
                    cause,
                    "configuration not reloaded, the old one stays in force: {text}"
                );
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
            facts.push(target_facts(plan, runtime, &model));
            plans.extend(probe_plans(plan, runtime, model));
        }
        let shapes: Vec<_> = plans
            .iter()
            .map(|plan| {
                let shape = ProbeShape::of(&plan.probe, &settings.objectives);
                (plan.probe.labels.clone(), shape)
            })
            .collect();
        let labels: Vec<_> = shapes.iter().map(|(labels, _)| labels.clone()).collect();
        self.informed.store.configure(settings.metrics.clone());
        self.informed.store.retain_probes(shapes);
        self.informed.store.set_targets(facts);
        self.informed.roster.set(&labels, self.generation);
        self.informed.board.retain(&labels);
        self.fleet.apply(plans, self.generation);
        self.publish();
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
            Err(why) => {
                tracing::warn!(%target, "target is not known yet: {why}");
                for entry in self.pending.iter_mut().filter(|entry| *entry.0 == *target) {
                    entry.1.clone_from(&why);
                }
                self.publish();
            }
            Ok((runtime, model)) => {
                tracing::info!(%target, runtime = runtime.name, %model, "target detected");
                let plans = settings.targets.iter();
                let mut same = plans.filter(|plan| plan.settings.name == target);
                if let Some(plan) = same.next() {
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
            pending: self.pending.clone(),
            config_error: self.config_error.clone(),
        });
    }
}

/// What a reload does not do.
fn needs_restart(old: &Settings, fresh: &Settings) -> Option<String> {
    let changed = [
        ("server", old.server != fresh.server),
        ("log", old.log != fresh.log),
        ("resources", old.resources != fresh.resources),
        (
            "metrics.classic_buckets",
            old.metrics.classic_buckets != fresh.metrics.classic_buckets,
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

/// One plan per scenario of the target.
fn probe_plans(
    plan: &TargetPlan,
    runtime: &'static RuntimeSpec,
    model: Arc<str>,
) -> impl Iterator<Item = ProbePlan> {
    let target = Arc::new(Target {
        settings: plan.settings.clone(),
        runtime,
        model,
        dialer: plan.dialer.clone(),
    });
    plan.scenarios.iter().map(move |scenario| ProbePlan {
        probe: Arc::new(Probe::new(target.clone(), scenario.scenario.clone())),
        cadence: scenario.cadence.clone(),
    })
}
