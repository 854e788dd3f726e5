//! Runs the levels: as many streams at the fake runtime as the level says.

use super::cost::{Pressure, peak_rss, thread_cpu};
use super::fake::Fake;
use super::report::{Level, Report};
use super::{SelftestError, Settings};
use crate::base::build::VERSION;
use crate::probe::{
    Assertion, Limits, Observation, Probe, Prober, RunContext, Scenario, ScenarioSettings, Target,
    TargetSettings, Timeouts,
};
use crate::runtime::{Generation, Operation, find};
use crate::workload::{CachePolicy, WorkloadSettings};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The dialect of the test. What it costs to read differs little between dialects.
const DIALECT: &str = "vllm";
const MODEL: &str = "sim-selftest";
/// Between the last preparation and the first stream's start.
const LEAD: Duration = Duration::from_millis(20);
/// How much longer than planned the fake may take before a run counts as failed. Generous: a late
/// run is a finding, and a failed one has no figures.
const PATIENCE: Duration = Duration::from_secs(60);

/// The prober, and the runtime of one thread that it is made for.
#[derive(Clone, Debug)]
pub struct ProberThread {
    /// Where to run.
    pub handle: Handle,
    /// What is tested.
    pub prober: Prober,
}

/// Measures level after level, and hands each to `done` as soon as it is there.
///
/// # Errors
/// When the system refuses a process or a thread. Failed runs are no error: the report has them.
pub async fn run(
    settings: Settings,
    thread: &ProberThread,
    mut done: impl FnMut(&Level),
) -> Result<Report, SelftestError> {
    let fake = Fake::start(&settings, MODEL).await?;
    let mut levels = Vec::with_capacity(settings.concurrency.len());
    for concurrency in &settings.concurrency {
        let level = measure(&settings, &fake, thread, *concurrency).await?;
        done(&level);
        levels.push(level);
    }
    let cpus = std::thread::available_parallelism();
    Ok(Report {
        version: VERSION,
        cpus: cpus.ok().map(usize::from),
        settings,
        levels,
        peak_rss_bytes: peak_rss(),
    })
}

async fn measure(
    settings: &Settings,
    fake: &Fake,
    thread: &ProberThread,
    concurrency: usize,
) -> Result<Level, SelftestError> {
    fake.forget().await?;
    let runs = settings.runs_per_stream(concurrency);
    let target = Arc::new(target(fake)?);
    let scenario = Arc::new(Scenario::build(scenario(settings))?);
    let pressure = Pressure::start(settings.pressure)?;
    let cpu_before = thread.handle.spawn(async { thread_cpu() }).await?;
    let start = Instant::now() + LEAD;
    let mut streams = JoinSet::new();
    for number in 0..concurrency {
        let probe = Probe::new(target.clone(), scenario.clone());
        let pace = Pace {
            start: start + settings.itl.mul_f64(number as f64 / concurrency as f64),
            period: settings.itl,
        };
        streams.spawn_on(
            stream(thread.prober.clone(), probe, pace, runs),
            &thread.handle,
        );
    }
    let mut observations = Vec::with_capacity(concurrency * runs);
    while let Some(stream) = streams.join_next().await {
        observations.extend(stream?);
    }
    let cpu = thread.handle.spawn(async { thread_cpu() }).await?;
    drop(pressure);
    let spent = cpu.saturating_sub(cpu_before);
    let logs = fake.requests(observations.len()).await?;
    Ok(Level::of(concurrency, &observations, logs, spent))
}

/// Runs one after the other, each at its place in the spread; each as every clock saw it.
async fn stream(prober: Prober, probe: Probe, pace: Pace, runs: usize) -> Vec<Vec<Observation>> {
    let mut observations = Vec::with_capacity(runs);
    for _ in 0..runs {
        tokio::time::sleep_until(pace.next(Instant::now()).into()).await;
        let context = RunContext::on_demand(CancellationToken::new());
        observations.push(prober.run_by_every_clock(&probe, context).await);
    }
    observations
}

/// When a stream may start: the streams of a level lie evenly over one gap between tokens, so that
/// their tokens do not all come at once.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: Instant,
    period: Duration,
}

impl Pace {
    /// The first of its instants that is not before `now`.
    fn next(self, now: Instant) -> Instant {
        let late = now.saturating_duration_since(self.start).as_nanos();
        let periods = late.div_ceil(self.period.as_nanos().max(1));
        // As long as the process may run, this fits.
        let nanos = periods.saturating_mul(self.period.as_nanos());
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

fn target(fake: &Fake) -> Result<Target, SelftestError> {
    let runtime = find(DIALECT).ok_or(SelftestError::Dialect(DIALECT))?;
    let model: Arc<str> = Arc::from(MODEL);
    Ok(Target {
        runtime,
        model: model.clone(),
        dialer: fake.dialer(),
        settings: TargetSettings {
            name: Arc::from("selftest"),
            runtime: Some(runtime),
            endpoint: fake.endpoint.clone(),
            model: Some(model),
            labels: BTreeMap::new(),
            max_in_flight: 1,
            price: None,
        },
    })
}

fn scenario(settings: &Settings) -> ScenarioSettings {
    ScenarioSettings {
        name: Arc::from("selftest"),
        workload: WorkloadSettings {
            kind: "fixed".to_owned(),
            cache: CachePolicy::Cold,
            system: None,
            prompt: Some("Say something.".to_owned()),
            input_tokens: None,
            tokenizer_file: None,
        },
        connection: settings.connection,
        operation: Operation::Chat,
        retrieval: None,
        stream: true,
        generation: Generation {
            output_tokens: Some(settings.tokens),
            ..Generation::default()
        },
        timeouts: Timeouts {
            connect: PATIENCE,
            first_token: settings.ttft + PATIENCE,
            stall: settings.itl + PATIENCE,
            total: settings.ttft + settings.itl * settings.tokens + PATIENCE,
        },
        limits: Limits::default(),
        assertion: Assertion {
            contains: None,
            min_output_tokens: Some(u64::from(settings.tokens)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_keeps_its_place_in_the_spread() {
        let start = Instant::now();
        let ms = |millis: u64| start + Duration::from_millis(millis);
        let pace = Pace {
            start: ms(5),
            period: Duration::from_millis(20),
        };
        for (now, next) in [
            (0, 5),
            (5, 5),
            (6, 25),
            (25, 25),
            (1464, 1465),
            (1466, 1485),
        ] {
            assert_eq!(pace.next(ms(now)), ms(next), "{now}");
        }
    }
}
