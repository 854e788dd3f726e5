//! Regression sense: by simulation, and from runs at a runtime to the exposition.

mod world;

use crate::support::{Runtime, probe, quick, scenario, simulate, target};
use sonde::metrics::encode::Format;
use sonde::metrics::{MetricsSettings, ProbeShape, Store};
use sonde::probe::{InstrumentSettings, Observation, Probe, Prober, RunContext, Trigger};
use sonde::record::{Roster, Sink, channel};
use sonde::resource::{RuntimeState, RuntimeStates};
use sonde::simulate::Distribution;
use sonde::slo::regression::{Detector, Quantity, RegressionWatch};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use world::{NORMAL_RUNS, Noise, World, delays, false_alarms, finds_regression, share_within};

#[test]
fn a_slowdown_of_15_percent_is_found_within_60_runs_while_the_load_wanders() {
    for sigma in [0.1, 0.15] {
        let delays = delays(Noise::Outliers, sigma, 1.15, 300);
        let share = share_within(&delays, 60);
        assert!(share >= 0.95, "sigma {sigma}: {share}");
        assert!(delays.len() >= 290, "sigma {sigma}: false alarms before");
    }
}

#[test]
fn noise_of_a_fifth_takes_longer_and_is_found_all_the_same() {
    let delays = delays(Noise::Outliers, 0.2, 1.15, 100);
    assert!(share_within(&delays, 60) >= 0.65);
    assert!(share_within(&delays, 300) >= 0.98);
}

#[test]
fn false_alarms_are_rarer_than_one_in_5000_runs_whatever_the_noise() {
    let mut runs = 0;
    for noise in [
        Noise::Lognormal,
        Noise::Outliers,
        Noise::HeavyTailed,
        Noise::Skewed,
        Noise::Bimodal,
        Noise::Persistent(0.5),
    ] {
        for sigma in [0.1, 0.2] {
            let alarms = false_alarms(noise, sigma, 20, 2500);
            runs += 50_000;
            assert!(alarms < 10, "{noise}, sigma {sigma}: {alarms} in 50 000");
        }
    }
    assert!(runs >= 500_000);
}

#[test]
fn load_alone_is_no_regression_even_where_it_was_never_met_before() {
    let (mut alarms, mut before, mut after) = (0, 0.0, 0.0);
    for seed in 0..100 {
        let mut world = World::new(seed, Noise::Outliers, 0.1);
        let mut detector = Detector::default();
        world.loads = 0..=1;
        for _ in 0..NORMAL_RUNS {
            let sample = world.run();
            before += sample.badness;
            alarms += u32::from(finds_regression(&mut detector, sample));
        }
        world.loads = 1..=5;
        for _ in 0..NORMAL_RUNS {
            let sample = world.run();
            after += sample.badness;
            alarms += u32::from(finds_regression(&mut detector, sample));
        }
    }
    let slower = ((after - before) / (100.0 * f64::from(NORMAL_RUNS))).exp();
    assert!(slower > 1.8, "the load must tell: {slower}");
    assert!(alarms < 80, "{alarms} in 400 000 runs");
}

/// Everything between a run's end and the exposition.
struct Bench {
    store: Arc<Store>,
    watch: RegressionWatch,
    states: RuntimeStates,
}

impl Bench {
    fn of(probe: &Probe) -> Self {
        let states = RuntimeStates::default();
        let watch = RegressionWatch::new(states.clone());
        watch.retain([probe]);
        let store = Arc::new(Store::new(MetricsSettings::default(), Arc::default()));
        store.retain_probes(vec![(probe.labels.clone(), ProbeShape::of(probe, &[]))]);
        store.set_regressions(watch.clone());
        Self {
            store,
            watch,
            states,
        }
    }

    /// What a scrape shows; absent where it shows nothing.
    fn scraped(&self, family: &str, quantity: Quantity) -> Option<f64> {
        let mut out = Vec::new();
        let wanted = |spec: &sonde::metrics::FamilySpec| spec.name == family;
        self.store.encode(Format::Text, &mut out, wanted).unwrap();
        let text = String::from_utf8(out).unwrap();
        let label = format!("quantity=\"{}\"", quantity.as_str());
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| line.contains(&label))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn regressed(&self, quantity: Quantity) -> Option<f64> {
        self.scraped("llm_probe_regression", quantity)
    }

    fn ratio(&self, quantity: Quantity) -> Option<f64> {
        self.scraped("llm_probe_regression_effect_ratio", quantity)
    }
}

fn probe_at(runtime: &Runtime) -> Probe {
    probe(target("openai", &runtime.url()), scenario())
}

async fn fake(first_token: Duration) -> Runtime {
    let mut character = quick();
    character.ttft = Distribution::Constant(first_token);
    character.itl = Distribution::Constant(Duration::from_millis(1));
    character.output_tokens = Distribution::Constant(4);
    simulate(character).await
}

/// A busy machine must not taint what is to be judged.
fn prober() -> Prober {
    Prober {
        settings: InstrumentSettings {
            max_error: Duration::from_secs(1),
            ..InstrumentSettings::default()
        },
        ..Prober::default()
    }
}

async fn scheduled_run(prober: &Prober, probe: &Probe) -> Observation {
    let context = RunContext {
        trigger: Trigger::Schedule,
        ..RunContext::on_demand(CancellationToken::new())
    };
    prober.run(probe, context).await
}

#[tokio::test]
async fn a_runtime_that_becomes_slower_is_reported_from_its_runs_to_the_scrape_and_until_it_is_back()
 {
    let (normal, slow) = (
        fake(Duration::from_millis(10)).await,
        fake(Duration::from_millis(60)).await,
    );
    let bench = Bench::of(&probe_at(&normal));
    let roster = Roster::default();
    roster.set(&[probe_at(&normal).labels], 0);
    let (recorder, recording) = channel(roster);
    let sinks: Vec<Arc<dyn Sink>> = vec![bench.store.clone(), Arc::new(bench.watch.clone())];
    let recording = tokio::task::spawn(recording.run(sinks));
    let prober = prober();
    let shown = || bench.regressed(Quantity::Ttft);
    assert_eq!(shown(), None, "nothing is known yet");
    for (runtime, wanted) in [(&normal, 0.0), (&slow, 1.0), (&normal, 0.0)] {
        // To the detector both are one target: what answers at an address is the runtime's affair.
        let probe = probe_at(runtime);
        let mut runs = 0;
        while shown() != Some(wanted) {
            runs += 1;
            assert!(runs < 600, "never {wanted}");
            let run = scheduled_run(&prober, &probe).await;
            assert!(run.outcome.is_success(), "{:?}", run.failure);
            recorder.observe(Arc::new(run));
            tokio::task::yield_now().await;
        }
        if wanted == 1.0 {
            let ratio = bench.ratio(Quantity::Ttft).unwrap();
            assert!(ratio > 2.0, "{ratio}");
        }
    }
    drop(recorder);
    recording.await.unwrap();
}

/// One run of a real exchange, made as slow as wanted.
fn with_figures(template: &Observation, factor: f64) -> Arc<Observation> {
    let mut run = template.clone();
    run.latency.first_token = Some(Duration::from_secs_f64(0.2 * factor));
    run.latency.decode_tps = Some(50.0 / factor);
    Arc::new(run)
}

#[tokio::test]
async fn load_that_the_runtime_tells_is_taken_off_and_what_remains_is_the_regression() {
    let runtime = fake(Duration::from_millis(1)).await;
    let template = scheduled_run(&prober(), &probe_at(&runtime)).await;
    let bench = Bench::of(&probe_at(&runtime));
    let observe = |index: u32, slowdown: f64| {
        let busy = index.is_multiple_of(3);
        let (running, factor) = if busy { (9.0, 3.0) } else { (0.0, 1.0) };
        let state = RuntimeState {
            running: Some(running),
            waiting: Some(0.0),
            ..RuntimeState::at(Instant::now())
        };
        bench.states.set(&template.labels.target, Some(state));
        bench
            .watch
            .observe(&with_figures(&template, factor * slowdown));
    };
    (0..600).for_each(|index| observe(index, 1.0));
    for quantity in Quantity::ALL {
        assert_eq!(bench.regressed(quantity), Some(0.0));
        assert!((bench.ratio(quantity).unwrap() - 1.0).abs() < 0.01);
    }
    (0..60).for_each(|index| observe(index, 1.25));
    for (quantity, ratio) in [(Quantity::Ttft, 1.25), (Quantity::Tps, 0.8)] {
        assert_eq!(bench.regressed(quantity), Some(1.0));
        assert!((bench.ratio(quantity).unwrap() - ratio).abs() < 0.01);
    }
    (0..60).for_each(|index| observe(index, 1.0));
    assert_eq!(bench.regressed(Quantity::Ttft), Some(0.0));
}
