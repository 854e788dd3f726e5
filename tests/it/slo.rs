//! The account of objectives: nothing is missing, whatever happens.

use crate::daemon::{series, sum};
use crate::support::{probe, scenario, target};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sonde::metrics::{MetricsSettings, ProbeShape, Store, encode};
use sonde::probe::{Observation, Outcome, Probe, Prober, RunContext, Taint};
use sonde::record::{self, Board, MissReason, Recorder, Roster, Sink, SkipReason, Tick};
use sonde::slo::{Conditions, Objective, ProbeObjectives, Selector};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const RUNS: usize = 10_000;
const PERIOD: Duration = Duration::from_secs(30);

/// Everything between a scheduler and a scrape, with a scheduler that a seed drives.
struct Simulation {
    random: Pcg64Mcg,
    /// One for all runs: to open its clocks takes a while.
    prober: Prober,
    store: Arc<Store>,
    board: Arc<Board>,
    roster: Roster,
    recorder: Recorder,
    generation: u64,
    all: Vec<Arc<Probe>>,
    /// Those that run, with the recorder of the generation that started them.
    running: Vec<(Arc<Probe>, Recorder)>,
    in_flight: Vec<(Arc<Probe>, Recorder)>,
    /// Runs of a probe that ended before an objective was there: by target and objective.
    before: HashMap<(String, String), f64>,
    now: Instant,
    ended: usize,
}

fn objective(name: &str, selector: Selector, first_token: Option<u64>) -> Objective {
    Objective {
        name: name.to_owned(),
        selector,
        objective: 0.95,
        window: Duration::from_secs(86_400),
        conditions: Conditions {
            first_token_under: first_token.map(Duration::from_millis),
            ..Conditions::default()
        },
    }
}

impl Simulation {
    fn new(seed: u64) -> (Self, record::Recording) {
        let roster = Roster::default();
        let (recorder, recording) = record::channel(roster.clone());
        let all = ["a", "b", "c"].map(|name| {
            let mut target = target("openai", "http://127.0.0.1:1");
            target.name = Arc::from(name);
            let tier = if name == "a" { "gold" } else { "iron" };
            target.labels.insert("tier".to_owned(), tier.to_owned());
            Arc::new(probe(target, scenario()))
        });
        let simulation = Self {
            random: Pcg64Mcg::seed_from_u64(seed),
            prober: Prober::default(),
            store: Arc::new(Store::new(MetricsSettings::default(), recorder.dropped())),
            board: Arc::new(Board::default()),
            roster,
            recorder,
            generation: 0,
            all: all.into(),
            running: Vec::new(),
            in_flight: Vec::new(),
            before: HashMap::new(),
            now: Instant::now(),
            ended: 0,
        };
        (simulation, recording)
    }

    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut out = Vec::new();
        let format = encode::Format::Text;
        self.store.encode(format, &mut out, |_| true).unwrap();
        series(&String::from_utf8(out).unwrap())
    }

    /// Other probes, other objectives, in the order in which the daemon tells everybody.
    fn reload(&mut self) {
        self.generation += 1;
        let mut objectives = vec![
            objective("any", Selector::default(), None),
            objective(
                "ttft",
                Selector::default(),
                Some(self.random.random_range(100..900)),
            ),
        ];
        if self.random.random_bool(0.5) {
            let mut gold = Selector::default();
            gold.labels.insert("tier".to_owned(), "gold".to_owned());
            objectives.push(objective("gold", gold, Some(500)));
        }
        let wanted: Vec<_> = self.all.clone();
        let wanted = wanted.into_iter().filter(|_| self.random.random_bool(0.9));
        let wanted: Vec<_> = wanted.collect();
        let shapes: Vec<_> = wanted
            .iter()
            .map(|probe| (probe.labels.clone(), ProbeShape::of(probe, &objectives)))
            .collect();
        let booked = shapes.iter().map(|(labels, shape)| ProbeObjectives {
            labels: labels.clone(),
            objectives: shape.objectives.clone(),
            period: PERIOD,
        });
        let booked = booked.collect();
        let labels: Vec<_> = shapes.iter().map(|(labels, _)| labels.clone()).collect();
        self.store.retain_probes(shapes);
        self.store.book().retain(booked, self.now);
        self.roster.set(&labels, self.generation);
        self.board.retain(&labels);
        let mut before = std::mem::take(&mut self.running);
        for probe in wanted {
            let same = before
                .iter()
                .position(|(old, _)| old.labels == probe.labels);
            let fresh = self.recorder.of_generation(self.generation);
            let recorder = same.map_or(fresh, |index| before.swap_remove(index).1);
            self.running.push((probe, recorder));
        }
        // Objectives that are there for the first time know nothing of the runs before them.
        let metrics = self.metrics();
        let known = std::mem::take(&mut self.before);
        for standing in self.store.book().standings(self.now) {
            let target = standing.labels.target.to_string();
            let label = format!("target=\"{target}\"");
            let runs = sum(&metrics, "llm_probe_runs_total", &[&label]);
            let key = (target, standing.objective.name.clone());
            let counts = standing.total;
            let missing = runs - (counts.good + counts.bad + counts.excluded) as f64;
            let missing = known.get(&key).copied().unwrap_or(missing);
            self.before.insert(key, missing);
        }
    }

    fn tick(&mut self) {
        self.now += PERIOD / 3;
        let Some((probe, recorder)) = self.running.choose(&mut self.random).cloned() else {
            return;
        };
        let labels = &probe.labels;
        if self.random.random_bool(0.01) {
            recorder.tick(labels, Tick::Late(self.random.random_range(1..40)));
            return;
        }
        recorder.tick(labels, Tick::Scheduled);
        match self.random.random_range(0..10) {
            0 => {
                let reason = MissReason::ALL.choose(&mut self.random);
                recorder.tick(labels, Tick::Missed(*reason.unwrap()));
            }
            1 => {
                let reason = SkipReason::ALL.choose(&mut self.random);
                recorder.tick(labels, Tick::Skipped(*reason.unwrap()));
            }
            _ => self.in_flight.push((probe, recorder)),
        }
    }

    fn end_one(&mut self, forced: Option<Outcome>) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.in_flight.len());
        let (probe, recorder) = self.in_flight.swap_remove(index);
        let mut run = self.observation(&probe);
        if let Some(outcome) = forced {
            run.outcome = outcome;
        }
        recorder.observe(Arc::new(run));
        self.ended += 1;
    }

    fn observation(&mut self, probe: &Probe) -> Observation {
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = self.prober.aborted(probe, &context);
        run.dispatched = self.now;
        let success = self.random.random_bool(0.7);
        run.outcome = match success {
            true => Outcome::Success,
            false => *Outcome::ALL.choose(&mut self.random).unwrap(),
        };
        let first_token = Duration::from_millis(self.random.random_range(1..1000));
        run.latency.first_token = Some(first_token);
        if self.random.random_bool(0.05) {
            run.instrument.taint = Taint::ALL.choose(&mut self.random).copied();
        }
        run
    }

    fn check(&self) {
        let metrics = self.metrics();
        let standings = self.store.book().standings(self.now);
        assert_eq!(standings.is_empty(), self.running.is_empty());
        for standing in standings {
            let target = format!("target=\"{}\"", standing.labels.target);
            let slo = format!("slo=\"{}\"", standing.objective.name);
            let of = |family: &str| sum(&metrics, family, &[&target]);
            let in_flight = of("llm_probe_in_flight");
            let missed = of("llm_probe_missed_total");
            let skipped = of("llm_probe_skipped_total");
            let runs = of("llm_probe_scheduled_total") - missed - skipped - in_flight;
            assert_eq!(runs, of("llm_probe_runs_total"));
            let key = (
                standing.labels.target.to_string(),
                standing.objective.name.clone(),
            );
            let events = sum(&metrics, "llm_probe_slo_events_total", &[&target, &slo]);
            let before = self.before.get(&key).copied().unwrap();
            assert_eq!(events + before, runs, "{key:?}");
            let total = standing.total;
            assert_eq!((total.good + total.bad + total.excluded) as f64, events);
        }
    }
}

async fn simulate(seed: u64) {
    let (mut simulation, recording) = Simulation::new(seed);
    let sinks: Vec<Arc<dyn Sink>> = vec![simulation.store.clone(), simulation.board.clone()];
    let recorded = tokio::task::spawn_local(recording.run(sinks));
    simulation.reload();
    while simulation.ended < RUNS {
        match simulation.random.random_range(0..1000) {
            0 => simulation.reload(),
            1..500 => simulation.tick(),
            _ => simulation.end_one(None),
        }
        // Now and then the sinks get their turn, so reloads meet full queues and empty ones.
        if simulation.random.random_bool(0.01) {
            tokio::task::yield_now().await;
            simulation.check();
        }
    }
    // Shutdown: what is in flight is cancelled, or dropped with its task.
    while !simulation.in_flight.is_empty() {
        let forced = match simulation.random.random_bool(0.8) {
            true => Outcome::Cancelled,
            false => Outcome::Internal,
        };
        simulation.end_one(Some(forced));
    }
    let dropped = simulation.recorder.dropped();
    let idle = record::channel(Roster::default()).0;
    drop(std::mem::replace(&mut simulation.recorder, idle));
    let running: Vec<_> = simulation
        .running
        .drain(..)
        .map(|(probe, _)| probe)
        .collect();
    recorded.await.unwrap();
    let idle = simulation.recorder.clone();
    simulation.running = running
        .into_iter()
        .map(|probe| (probe, idle.clone()))
        .collect();
    simulation.check();
    assert_eq!(sum(&simulation.metrics(), "llm_probe_in_flight", &[]), 0.0);
    assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn every_run_of_ten_thousand_is_good_bad_or_excluded_whatever_happens() {
    for seed in 0..3 {
        tokio::task::LocalSet::new().run_until(simulate(seed)).await;
    }
}
