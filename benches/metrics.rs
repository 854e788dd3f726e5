//! Exposition: how long a scrape holds the store.
//!
//! Measured: `Store::encode` into memory in each of the three formats, for 1, 10 and 100 probes of which each
//! has seen the same 10 runs, so that histograms, native ones included, are filled as in operation. One
//! element is one series as the text has it; protobuf, which has a histogram in one metric, is counted
//! by the same number.
//! Not measured: HTTP, compression, the samplers' families, the wait for the store's lock.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has no result"
)]

#[path = "canned/probe.rs"]
mod probe;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sonde::metrics::encode::Format;
use sonde::metrics::{MetricsSettings, ProbeShape, Store};
use sonde::probe::{Observation, Prober};
use sonde::record::Sink;
use sonde::simulate::{Character, Distribution, RuntimeFlavor, Simulator};
use sonde::slo::{Conditions, Objective, ProbeObjectives, Selector};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const RUNS: usize = 10;
const TOKENS: u32 = 64;

/// Runs against the in-process fake, whose latencies are spread as a runtime's are.
fn observations() -> Vec<Observation> {
    let character = Character {
        models: vec!["Qwen/Qwen3-8B".to_owned()],
        flavor: RuntimeFlavor::Vllm,
        ttft: Distribution::LogNormal {
            median: Duration::from_millis(20),
            sigma: 0.4,
        },
        itl: Distribution::LogNormal {
            median: Duration::from_millis(2),
            sigma: 0.4,
        },
        output_tokens: Distribution::Constant(TOKENS),
        ..Character::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let fake = Simulator::bind("127.0.0.1:0", character).await.unwrap();
        let probe = probe::probe("observed", fake.local_addr(), TOKENS);
        let stop = CancellationToken::new();
        fake.serve(stop.clone(), &TaskTracker::new());
        let prober = Prober::default();
        let mut observations = Vec::new();
        for _ in 0..RUNS {
            observations.push(probe::run(&prober, &probe).await);
        }
        stop.cancel();
        observations
    })
}

/// A store in which each of so many probes has made these runs.
fn store(probes: usize, runs: &[Observation]) -> Store {
    let objective = Objective {
        name: "first-token".to_owned(),
        selector: Selector::default(),
        objective: 0.99,
        window: Duration::from_secs(30 * 86_400),
        conditions: Conditions {
            first_token_under: Some(Duration::from_millis(800)),
            ..Conditions::default()
        },
    };
    let store = Store::new(MetricsSettings::default(), Arc::default());
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let probes: Vec<_> = (0..probes)
        .map(|number| probe::probe(&format!("target-{number}"), nobody, TOKENS))
        .collect();
    let shape = |probe| ProbeShape::of(probe, std::slice::from_ref(&objective));
    store.retain_probes(
        probes
            .iter()
            .map(|p| (p.labels.clone(), shape(p)))
            .collect(),
    );
    let booked = probes.iter().map(|probe| ProbeObjectives {
        labels: probe.labels.clone(),
        objectives: vec![objective.clone()],
        period: Duration::from_secs(30),
    });
    store.book().retain(booked.collect(), Instant::now());
    for probe in &probes {
        for run in runs {
            let mut run = run.clone();
            run.labels = probe.labels.clone();
            store.observe(&Arc::new(run));
        }
    }
    store
}

fn encode(store: &Store, format: Format, out: &mut Vec<u8>) {
    out.clear();
    store.encode(format, out, |_| true).unwrap();
}

fn metrics(criterion: &mut Criterion) {
    let runs = observations();
    let mut group = criterion.benchmark_group("metrics");
    for probes in [1, 10, 100] {
        let store = store(probes, &runs);
        let mut out = Vec::new();
        encode(&store, Format::Text, &mut out);
        let lines = out.split(|byte| *byte == b'\n');
        let series = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        group.throughput(Throughput::Elements(series.count() as u64));
        for (name, format) in [
            ("text", Format::Text),
            ("open_metrics", Format::OpenMetrics),
            ("protobuf", Format::Protobuf),
        ] {
            group.bench_function(BenchmarkId::new(name, probes), |bencher| {
                bencher.iter(|| encode(&store, format, &mut out));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = metrics
}
criterion_main!(benches);
