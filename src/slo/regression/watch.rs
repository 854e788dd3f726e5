//! Watches every probe for regressions, and says when one is found and when it ends.

use super::detector::{Detector, Direction, News, Sample};
use super::regime::Regime;
use crate::base::label::ProbeLabels;
use crate::probe::{Observation, Probe, ScenarioSettings, Trigger};
use crate::record::Sink;
use crate::resource::RuntimeStates;
use crate::transport::Endpoint;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What may regress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Time to the first token of any kind.
    Ttft,
    /// Decode tokens per second.
    Tps,
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 2] = [Self::Ttft, Self::Tps];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tps => "tps",
        }
    }

    /// The run's figure, as a logarithm of which more is worse. Absent where the run has none, and
    /// where the prefix cache took away what a TTFT is to measure.
    fn badness(self, run: &Observation) -> Option<f64> {
        let figure = match self {
            Self::Ttft => {
                let time = run.latency.first_token.filter(|_| !run.skipped_prefill());
                time?.as_secs_f64()
            }
            Self::Tps => run.latency.decode_tps?,
        };
        let badness = self.sign() * figure.ln();
        badness.is_finite().then_some(badness)
    }

    /// From a difference of badness to a ratio of figures.
    fn ratio(self, effect: f64) -> f64 {
        (self.sign() * effect).exp()
    }

    fn sign(self) -> f64 {
        match self {
            Self::Ttft => 1.0,
            Self::Tps => -1.0,
        }
    }
}

/// How a quantity of a probe stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The probe.
    pub probe: ProbeLabels,
    /// What of it.
    pub quantity: Quantity,
    /// Whether a regression is found and has not ended. Absent while no regime has a reference.
    pub regressed: Option<bool>,
    /// Level of the latest runs ÷ reference, at equal load; of a change that is found, of its runs only.
    pub ratio: Option<f64>,
}

/// One probe under watch.
#[derive(Debug)]
struct Watched {
    /// What its figures depend on besides the runtime: of another prompt there is nothing to compare.
    endpoint: Endpoint,
    scenario: ScenarioSettings,
    detectors: [Detector; Quantity::ALL.len()],
}

impl Watched {
    fn of(probe: &Probe) -> Self {
        Self {
            endpoint: probe.target.settings.endpoint.clone(),
            scenario: probe.scenario.settings.clone(),
            detectors: Default::default(),
        }
    }

    fn is_of(&self, probe: &Probe) -> bool {
        self.endpoint == probe.target.settings.endpoint && self.scenario == probe.scenario.settings
    }
}

/// Watches every probe. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub struct RegressionWatch {
    states: RuntimeStates,
    probes: Arc<Mutex<BTreeMap<ProbeLabels, Watched>>>,
}

impl RegressionWatch {
    /// Nobody is watched yet. How loaded a runtime is, it says there itself.
    pub fn new(states: RuntimeStates) -> Self {
        Self {
            states,
            probes: Arc::default(),
        }
    }

    /// Watches exactly these. Of those that are asked the same at the same place, what is known is kept.
    pub fn retain<'a>(&self, probes: impl IntoIterator<Item = &'a Probe>) {
        let mut watched = self.probes.lock();
        let mut old = std::mem::take(&mut *watched);
        for probe in probes {
            let before = old.remove(&probe.labels).filter(|old| old.is_of(probe));
            let entry = before.unwrap_or_else(|| Watched::of(probe));
            watched.insert(probe.labels.clone(), entry);
        }
    }

    /// How everything stands, in order of labels.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let probes = self.probes.lock();
        let verdicts = probes.iter().flat_map(|(probe, watched)| {
            let pairs = Quantity::ALL.iter().zip(&watched.detectors);
            pairs.map(|(quantity, detector)| Verdict {
                probe: probe.clone(),
                quantity: *quantity,
                regressed: detector.is_worse(),
                ratio: detector.effect().map(|effect| quantity.ratio(effect)),
            })
        });
        verdicts.collect()
    }

    /// One that knows what is normal for the probe, for tests.
    #[cfg(test)]
    pub(crate) fn example(probe: &Probe) -> Self {
        let watch = Self::default();
        watch.retain([probe]);
        let run = Arc::new(tests::run(probe));
        for _ in 0..tests::LEARNT_AFTER {
            watch.observe(&run);
        }
        watch
    }

    /// The load that the run met, as far as the runtime's latest word tells.
    fn regime(&self, run: &Observation) -> Regime {
        let state = self.states.of(&run.labels.target);
        let end = run.dispatched + run.latency.inference;
        let within = |taken| run.dispatched <= taken && taken <= end;
        let own = state.as_ref().is_some_and(|state| within(state.taken));
        Regime::of(state.as_ref(), own)
    }
}

/// Whether the run's figures say something of the runtime at the times that the schedule chose: who asks by
/// hand may do so because it is slow.
fn counts(run: &Observation) -> bool {
    run.trigger == Trigger::Schedule && run.outcome.is_success() && !run.is_tainted()
}

impl Sink for RegressionWatch {
    fn observe(&self, run: &Arc<Observation>) {
        if !counts(run) {
            return;
        }
        let regime = self.regime(run);
        let mut probes = self.probes.lock();
        let Some(watched) = probes.get_mut(&run.labels) else {
            return;
        };
        for (quantity, detector) in Quantity::ALL.into_iter().zip(&mut watched.detectors) {
            let Some(badness) = quantity.badness(run) else {
                continue;
            };
            let sample = Sample {
                regime,
                badness,
                at: run.ended,
            };
            if let Some(news) = detector.observe(sample) {
                let effect = detector.effect().map(|effect| quantity.ratio(effect));
                say(&run.labels, quantity, &news, effect, regime);
            }
        }
    }
}

/// One line for each change of what `llm_probe_regression` tells, and one for an improvement.
fn say(probe: &ProbeLabels, of: Quantity, news: &News, effect: Option<f64>, regime: Regime) {
    let quantity = of.as_str();
    let effect = effect.map(|ratio| format!("{:+.0} %", (ratio - 1.0) * 100.0));
    let effect = effect.as_deref().unwrap_or("unknown");
    match news {
        News::Moved {
            direction,
            since,
            runs,
        } => say_moved(probe, quantity, *direction, effect, (*since, *runs), regime),
        News::Returned(Direction::Worse) => {
            tracing::info!(%probe, quantity, effect, %regime, "the regression is over: figures are back at equal load");
        }
        News::Accepted(Direction::Worse) => {
            tracing::warn!(%probe, quantity, "the regression has lasted so long that its level is the reference now");
        }
        News::Returned(Direction::Better) => {
            tracing::info!(%probe, quantity, effect, %regime, "the improvement is over: figures are back at equal load");
        }
        News::Accepted(Direction::Better) => {
            tracing::info!(%probe, quantity, "the improvement has lasted so long that its level is the reference now");
        }
    }
}

fn say_moved(
    probe: &ProbeLabels,
    quantity: &str,
    direction: Direction,
    effect: &str,
    (since, runs): (Timestamp, usize),
    regime: Regime,
) {
    match direction {
        Direction::Worse => {
            tracing::warn!(%probe, quantity, effect, %since, runs, %regime, "a regression is found at equal load");
        }
        Direction::Better => {
            tracing::info!(%probe, quantity, effect, %since, runs, %regime, "an improvement is found at equal load");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FEWEST_RUNS, GUARD_RUNS, REFERENCE_RUNS};
    use super::*;
    use crate::probe::{Contamination, Outcome, Prober, RunContext, Taint};
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    /// Judged runs, so that there is an effect too, included.
    pub(super) const LEARNT_AFTER: usize = GUARD_RUNS + REFERENCE_RUNS + FEWEST_RUNS;

    pub(super) fn run(probe: &Probe) -> Observation {
        let context = RunContext {
            trigger: Trigger::Schedule,
            ..RunContext::on_demand(CancellationToken::new())
        };
        let mut run = Prober::default().aborted(probe, &context);
        run.outcome = Outcome::Success;
        run.latency.first_token = Some(Duration::from_millis(200));
        run.latency.decode_tps = Some(50.0);
        run
    }

    fn regressed(watch: &RegressionWatch) -> [Option<bool>; 2] {
        let verdicts = watch.verdicts();
        [verdicts[0].regressed, verdicts[1].regressed]
    }

    /// What the watch knows after so many runs of this kind as make a reference.
    fn after(change: impl Fn(&mut Observation)) -> [Option<bool>; 2] {
        let probe = Probe::example();
        let watch = RegressionWatch::default();
        watch.retain([&probe]);
        let mut run = run(&probe);
        change(&mut run);
        let run = Arc::new(run);
        for _ in 0..LEARNT_AFTER {
            watch.observe(&run);
        }
        regressed(&watch)
    }

    #[test]
    fn only_good_scheduled_and_untainted_runs_count() {
        assert_eq!(after(|_| {}), [Some(false); 2]);
        assert_eq!(after(|run| run.outcome = Outcome::Truncated), [None; 2]);
        assert_eq!(after(|run| run.trigger = Trigger::OnDemand), [None; 2]);
        let taint = |run: &mut Observation| run.instrument.taint = Some(Taint::RunQueue);
        assert_eq!(after(taint), [None; 2]);
    }

    #[test]
    fn a_cache_hit_that_flatters_ttft_does_not_count_for_it_and_a_miss_does() {
        let hit = Some(Contamination::UnexpectedCacheHit);
        assert_eq!(after(|run| run.contamination = hit), [None, Some(false)]);
        let miss = Some(Contamination::UnexpectedCacheMiss);
        assert_eq!(after(|run| run.contamination = miss), [Some(false); 2]);
    }

    #[test]
    fn a_figure_that_is_absent_or_zero_does_not_count() {
        let none = |run: &mut Observation| run.latency.decode_tps = None;
        assert_eq!(after(none), [Some(false), None]);
        let zero = |run: &mut Observation| run.latency.first_token = Some(Duration::ZERO);
        assert_eq!(after(zero), [None, Some(false)]);
    }

    #[test]
    fn what_is_known_survives_a_reload_but_not_another_prompt() {
        let probe = Probe::example();
        let watch = RegressionWatch::example(&probe);
        watch.retain([&Probe::example()]);
        assert_eq!(regressed(&watch), [Some(false); 2]);
        let mut settings = probe.scenario.settings.clone();
        settings.workload.prompt = Some("Another".to_owned());
        let scenario = crate::probe::Scenario::build(settings).unwrap();
        watch.retain([&Probe::new(probe.target.clone(), Arc::new(scenario))]);
        assert_eq!(regressed(&watch), [None; 2]);
        watch.retain([]);
        watch.observe(&Arc::new(run(&probe)));
        assert_eq!(watch.verdicts(), []);
    }

    #[test]
    fn a_look_taken_during_the_run_counts_the_run_itself_out() {
        let states = RuntimeStates::default();
        let watch = RegressionWatch::new(states.clone());
        let probe = Probe::example();
        let mut run = run(&probe);
        run.latency.inference = Duration::from_secs(2);
        let regime = |taken| {
            let state = crate::resource::RuntimeState {
                running: Some(1.0),
                ..crate::resource::RuntimeState::at(taken)
            };
            states.set(&run.labels.target, Some(state));
            watch.regime(&run).to_string()
        };
        let second = Duration::from_secs(1);
        assert_eq!(regime(run.dispatched + second), "0 running, none waiting");
        let later = run.dispatched + 3 * second;
        assert_eq!(regime(later), "1 running, none waiting");
    }
}
