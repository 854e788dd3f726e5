//! One lock around everything that is exposed. The recorder's task writes in microseconds; a scrape
//! holds it while it encodes, and what happens meanwhile waits in the recorder's queue. So every
//! scrape is a consistent picture, and no run ever waits for one.

use super::family::FamilySpec;
use super::instrument::SelftestState;
use super::series::{ProbeSeries, ProbeShape};
use super::{catalogue, encode};
use crate::base::clock::{unix_seconds, wall_now};
use crate::base::label::{ProbeLabels, UserLabels};
use crate::probe::Observation;
use crate::record::{ProgressWatch, Sink, Tick};
use crate::resource::runtime_metrics::RuntimeReport;
use crate::resource::{Reading, SamplerReport};
use crate::slo::regression::RegressionWatch;
use crate::slo::{SloBook, Standing};
use crate::transport::ClockStatus;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What of the exposition can be switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Classic buckets beside the native ones. Without them, only scrapers that read protobuf see
    /// more than count and sum.
    pub classic_buckets: bool,
    /// Names of families that are not exposed.
    pub disabled_families: Vec<String>,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            classic_buckets: true,
            disabled_families: Vec::new(),
        }
    }
}

/// What `llm_probe_target_info` tells of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// The target's name.
    pub target: Arc<str>,
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// The model asked for.
    pub model: Arc<str>,
    /// `host:port` of its URL.
    pub authority: String,
    /// The user's own labels.
    pub labels: UserLabels,
}

/// How the last reload of the configuration went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReloadState {
    /// Whether it succeeded.
    pub successful: bool,
    /// When one last did.
    pub last_success: Timestamp,
}

/// Everything that is exposed, under the store's lock.
pub struct State {
    pub(super) started: Timestamp,
    pub(super) probes: BTreeMap<ProbeLabels, ProbeSeries>,
    pub(super) targets: Vec<TargetFacts>,
    /// What each sampler said, and when (Unix time).
    pub(super) samplers: Vec<(SamplerReport, f64)>,
    /// What each target's runtime said of itself, by target.
    pub(super) runtimes: BTreeMap<Arc<str>, RuntimeReport>,
    /// Whose readings are wanted; absent: everybody's.
    sampled: Option<Vec<Arc<str>>>,
    pub(super) reload: ReloadState,
    pub(super) dropped_events: u64,
    pub(super) clocks: Option<ClockStatus>,
    pub(super) selftest: Option<SelftestState>,
    pub(super) progress: ProgressWatch,
    /// How every objective stands, as of this encoding.
    pub(super) standings: Vec<Standing>,
    pub(super) regressions: RegressionWatch,
    settings: MetricsSettings,
}

/// The store. Clones of its `Arc` are handed to the recorder, the samplers and HTTP.
pub struct Store {
    state: Mutex<State>,
    dropped: Arc<AtomicU64>,
    book: Arc<SloBook>,
}

impl Store {
    /// An empty store. `dropped` counts the events that never came to it.
    pub fn new(settings: MetricsSettings, dropped: Arc<AtomicU64>) -> Self {
        let now = wall_now();
        Self {
            dropped,
            book: Arc::default(),
            state: Mutex::new(State {
                started: now,
                probes: BTreeMap::new(),
                targets: Vec::new(),
                samplers: Vec::new(),
                runtimes: BTreeMap::new(),
                sampled: None,
                reload: ReloadState {
                    successful: true,
                    last_success: now,
                },
                dropped_events: 0,
                clocks: None,
                selftest: None,
                progress: ProgressWatch::default(),
                standings: Vec::new(),
                regressions: RegressionWatch::default(),
                settings,
            }),
        }
    }

    /// Takes new settings. Buckets of probes that are there already stay as they are.
    pub fn configure(&self, settings: MetricsSettings) {
        self.state.lock().settings = settings;
    }

    /// The settings in force.
    pub fn settings(&self) -> MetricsSettings {
        self.state.lock().settings.clone()
    }

    /// Makes the store hold exactly these probes: series of others end, those of the same shape go
    /// on; where objectives or the connection have changed, counters go on and histograms begin anew.
    pub fn retain_probes(&self, probes: Vec<(ProbeLabels, ProbeShape)>) {
        let mut state = self.state.lock();
        let classic = state.settings.classic_buckets;
        let mut old = std::mem::take(&mut state.probes);
        for (labels, shape) in probes {
            let before = old.remove(&labels);
            let series = match before {
                Some(series) if series.shape == shape => series,
                before => {
                    let mut fresh = ProbeSeries::new(labels.clone(), shape, classic, wall_now());
                    if let Some(before) = before {
                        fresh.inherit(before);
                    }
                    fresh
                }
            };
            state.probes.insert(labels, series);
        }
    }

    /// Makes the store know exactly these targets.
    pub fn set_targets(&self, targets: Vec<TargetFacts>) {
        self.state.lock().targets = targets;
    }

    /// Has the samplers' readings of every other target end at once: a sampler may have begun to look at
    /// them before it heard.
    pub fn retain_readings(&self, targets: Vec<Arc<str>>) {
        let mut state = self.state.lock();
        state.sampled = Some(targets);
        state.end_readings();
    }

    /// The account of the objectives. Fed by the store, so that a scrape counts the same runs everywhere.
    pub fn book(&self) -> &Arc<SloBook> {
        &self.book
    }

    /// Notes which clocks there are.
    pub fn set_clocks(&self, clocks: ClockStatus) {
        self.state.lock().clocks = Some(clocks);
    }

    /// Takes the verdicts on forward progress from there.
    pub fn set_progress(&self, progress: ProgressWatch) {
        self.state.lock().progress = progress;
    }

    /// Takes the verdicts on regressions from there.
    pub fn set_regressions(&self, regressions: RegressionWatch) {
        self.state.lock().regressions = regressions;
    }

    /// Notes what a self-test found.
    pub fn set_selftest(&self, found: SelftestState) {
        self.state.lock().selftest = Some(found);
    }

    /// Notes how a reload went.
    pub fn set_reload(&self, successful: bool) {
        let mut state = self.state.lock();
        state.reload.successful = successful;
        if successful {
            state.reload.last_success = wall_now();
        }
    }

    /// Replaces what the samplers said.
    pub fn set_samplers(&self, reports: Vec<SamplerReport>) {
        let now = unix_seconds(wall_now());
        let dated = reports.into_iter().map(|report| {
            let taken = now - report.taken.elapsed().as_secs_f64();
            (report, taken)
        });
        let dated = dated.collect();
        let mut state = self.state.lock();
        state.samplers = dated;
        state.end_readings();
    }

    /// Replaces what a target's runtime said of itself.
    pub fn set_runtime(&self, report: RuntimeReport) {
        let target = report.labels.target.clone();
        self.state.lock().runtimes.insert(target, report);
    }

    /// Forgets the runtimes of every target but these.
    pub fn retain_runtimes(&self, wanted: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        state.runtimes.retain(|target, _| wanted(target));
    }

    /// Writes the families that `wanted` picks and that have samples.
    ///
    /// # Errors
    /// What the writer says.
    pub fn encode(
        &self,
        format: encode::Format,
        out: &mut dyn io::Write,
        wanted: impl Fn(&FamilySpec) -> bool,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        state.dropped_events = self.dropped.load(Ordering::Relaxed);
        state.standings = self.book.standings(Instant::now());
        for spec in catalogue() {
            let disabled = state
                .settings
                .disabled_families
                .iter()
                .any(|name| name == spec.name);
            if !disabled && wanted(spec) {
                encode::write_family(format, spec, &state, out)?;
            }
        }
        encode::finish(format, out)
    }
}

impl Sink for Store {
    fn observe(&self, observation: &Arc<Observation>) {
        let mut state = self.state.lock();
        if let Some(series) = state.probes.get_mut(&observation.labels) {
            series.observe(observation);
        }
        // Under the same lock.
        self.book.observe(observation);
    }

    fn tick(&self, labels: &ProbeLabels, tick: Tick) {
        if let Some(series) = self.state.lock().probes.get_mut(labels) {
            series.tick(tick);
        }
    }
}

impl State {
    fn end_readings(&mut self) {
        let Some(targets) = &self.sampled else {
            return;
        };
        let is_wanted = |reading: &Reading| {
            let mut labels = reading.labels.iter();
            labels.all(|(name, value)| {
                *name != "target" || value.is_empty() || targets.iter().any(|one| **one == **value)
            })
        };
        for (report, _) in &mut self.samplers {
            report.readings.retain(is_wanted);
        }
    }

    pub(super) fn reload_success_seconds(&self) -> f64 {
        unix_seconds(self.reload.last_success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::attribution::Attribution;
    use crate::measure::cost::Cost;
    use crate::measure::delta::ServerTimings;
    use crate::measure::tokens::{TokenCounts, TokenSource, Usage};
    use crate::probe::{Contamination, Outcome, Probe, Prober, RunContext};
    use crate::slo::{Conditions, Objective, ProbeObjectives, Selector};
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    fn exposition(store: &Store) -> String {
        let mut out = Vec::new();
        store
            .encode(encode::Format::Text, &mut out, |_| true)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_tainted_run_is_excluded_everywhere_and_blames_nobody() {
        let probe = Probe::example();
        let objective = Objective {
            name: "o".to_owned(),
            selector: Selector::default(),
            objective: 0.9,
            window: Duration::from_secs(86_400),
            conditions: Conditions::default(),
        };
        let store = Store::new(MetricsSettings::default(), Arc::default());
        let shape = ProbeShape::of(&probe, &[objective]);
        let booked = ProbeObjectives {
            labels: probe.labels.clone(),
            objectives: shape.objectives.clone(),
            period: Duration::from_secs(30),
        };
        store.retain_probes(vec![(probe.labels.clone(), shape)]);
        store.book().retain(vec![booked], Instant::now());
        let late = RunContext {
            schedule_lag: Some(Duration::from_secs(1)),
            ..RunContext::on_demand(CancellationToken::new())
        };
        let run = Prober::default().aborted(&probe, &late);
        store.observe(&Arc::new(run));
        let text = exposition(&store);
        let probe = r#"target="t",runtime="openai",model="m",scenario="s""#;
        for line in [
            format!("llm_probe_runs_total{{{probe}}} 1"),
            format!("llm_probe_tainted_total{{{probe},reason=\"schedule_lag\"}} 1"),
            format!("llm_probe_failures_total{{{probe},reason=\"internal\"}} 0"),
            format!("llm_probe_slo_events_total{{{probe},slo=\"o\",result=\"excluded\"}} 1"),
            format!("llm_probe_slo_events_total{{{probe},slo=\"o\",result=\"bad\"}} 0"),
            format!("llm_probe_inference_seconds_count{{{probe},result=\"failure\"}} 0"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("llm_probe_success"), "{text}");
    }

    #[test]
    fn what_the_runtime_says_of_a_run_is_counted_and_a_flattering_ttft_is_not() {
        let probe = Probe::example();
        let store = Store::new(MetricsSettings::default(), Arc::default());
        let shape = ProbeShape {
            priced: true,
            ..ProbeShape::of(&probe, &[])
        };
        store.retain_probes(vec![(probe.labels.clone(), shape)]);
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&probe, &context);
        run.outcome = Outcome::Success;
        run.latency.first_token = Some(Duration::from_millis(100));
        run.cost_usd = Some(Cost {
            input: Some(0.5),
            cached: None,
            output: Some(0.25),
            total: 0.75,
        });
        store.observe(&Arc::new(run.clone()));
        run.contamination = Some(Contamination::UnexpectedCacheMiss);
        run.attribution = Attribution::of(
            Duration::from_millis(100),
            &ServerTimings {
                total: Some(Duration::from_millis(101)),
                ..ServerTimings::default()
            },
        );
        store.observe(&Arc::new(run.clone()));
        run.contamination = Some(Contamination::UnexpectedCacheHit);
        store.observe(&Arc::new(run));
        let text = exposition(&store);
        let probe = r#"target="t",runtime="openai",model="m",scenario="s""#;
        let cold = r#"connection="cold""#;
        for line in [
            format!("llm_probe_contaminated_total{{{probe},reason=\"unexpected_cache_hit\"}} 1"),
            format!("llm_probe_contaminated_total{{{probe},reason=\"unexpected_cache_miss\"}} 1"),
            format!("llm_probe_time_to_first_token_seconds_count{{{probe},kind=\"any\",{cold}}} 2"),
            format!("llm_probe_inference_seconds_count{{{probe},result=\"success\"}} 3"),
            format!("llm_probe_unattributed_seconds_count{{{probe}}} 2"),
            format!("llm_probe_unattributed_seconds_sum{{{probe}}} 0"),
            format!("llm_probe_server_overclaims_total{{{probe}}} 2"),
            format!("llm_probe_cost_usd_total{{{probe},token_type=\"input\"}} 1.5"),
            format!("llm_probe_cost_usd_total{{{probe},token_type=\"output\"}} 0.75"),
            format!("llm_probe_cost_usd_total{{{probe},token_type=\"cached\"}} 0"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let last = "llm_probe_last_time_to_first_token_seconds{";
        assert!(!text.contains(last), "no figure that flatters");
    }

    #[test]
    fn what_a_run_takes_is_summed_and_per_token_only_of_a_success() {
        let probe = Probe::example();
        let store = Store::new(MetricsSettings::default(), Arc::default());
        let shape = ProbeShape::of(&probe, &[]);
        store.retain_probes(vec![(probe.labels.clone(), shape)]);
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&probe, &context);
        store.observe(&Arc::new(run.clone()));
        assert!(!exposition(&store).contains("cpu_seconds"));
        run.resources.cpu_seconds = Some(0.5);
        run.outcome = Outcome::Success;
        run.tokens = Some(TokenCounts {
            usage: Usage {
                output: Some(5),
                ..Usage::default()
            },
            source: TokenSource::Usage,
        });
        store.observe(&Arc::new(run.clone()));
        let text = exposition(&store);
        let probe = r#"target="t",runtime="openai",model="m",scenario="s""#;
        assert!(text.contains(&format!("llm_probe_cpu_seconds_per_token{{{probe}}} 0.1\n")));
        assert!(!text.contains("energy"));
        run.outcome = Outcome::Truncated;
        store.observe(&Arc::new(run));
        let text = exposition(&store);
        assert!(text.contains(&format!("llm_probe_cpu_seconds_total{{{probe}}} 1\n")));
        assert!(!text.contains("cpu_seconds_per_token"));
    }

    /// Names, types and labels of everything, without what differs from run to run. A change here is
    /// a change of the interface: users' dashboards and alerts read these.
    #[test]
    fn the_exposition_is_as_it_was_agreed() {
        let probe = Probe::example();
        let store = Store::new(MetricsSettings::default(), Arc::default());
        let shape = ProbeShape::of(&probe, &[]);
        store.retain_probes(vec![(probe.labels.clone(), shape)]);
        let context = RunContext::on_demand(CancellationToken::new());
        let run = Prober::default().aborted(&probe, &context);
        store.observe(&Arc::new(run));
        store.set_regressions(RegressionWatch::example(&probe));
        let found: String = exposition(&store)
            .lines()
            .map(|line| match line.starts_with('#') {
                true => format!("{line}\n"),
                false => format!("{}\n", line.rsplit_once(' ').map_or(line, |(name, _)| name)),
            })
            .collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/exposition.txt");
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        let updating = crate::config::Environment::process()
            .get("SONDE_UPDATE")
            .is_some();
        if updating {
            std::fs::write(path, &found).unwrap();
        } else {
            assert_eq!(found, golden, "run the tests once with SONDE_UPDATE=1");
        }
    }

    #[test]
    fn labels_that_sonde_sets_itself_are_refused_from_users() {
        let info = catalogue()
            .iter()
            .find(|spec| spec.name == "llm_probe_target_info");
        for label in info.unwrap().labels {
            assert!(crate::base::label::check_name(label).is_err(), "{label}");
        }
    }
}
