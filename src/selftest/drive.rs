//! Runs the levels: a fresh fake runtime for each, and as many streams at it as the level says.

use super::Settings;
use super::cost::{Pressure, peak_rss, thread_cpu};
use super::report::{Level, Report};
use crate::base::build::VERSION;
use crate::probe::{
    Assertion, InstrumentSettings, Limits, Observation, Probe, Prober, RunContext, Scenario,
    ScenarioSettings, Target, TargetSettings, Timeouts,
};
use crate::runtime::{Generation, Operation, find};
use crate::simulate::{Character, Distribution, RequestHistory, RuntimeFlavor, Simulator};
use crate::transport::{Dialer, Endpoint, EndpointError, TlsError, Wakeups};
use crate::workload::{CachePolicy, WorkloadError, WorkloadSettings};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The dialect of the test. What it costs to read differs little between dialects.
const DIALECT: &str = "vllm";
const MODEL: &str = "sim-selftest";
/// Between the last preparation and the first stream's start.
const LEAD: Duration = Duration::from_millis(20);
/// How much longer than planned the fake may take before a run counts as failed. Generous: a late
/// run is a finding, and a failed one has no figures.
const PATIENCE: Duration = Duration::from_secs(60);
/// Beyond the answer: room for the prompt.
const PROMPT_TOKENS: u32 = 1024;

/// Where the two sides run. Each must be a runtime of one thread, and not the other's.
#[derive(Clone, Debug)]
pub struct Threads {
    /// The fake runtime's.
    pub runtime: Handle,
    /// The prober's.
    pub prober: Handle,
    /// The prober's thread's waits for a CPU.
    pub wakeups: Arc<Wakeups>,
}

/// Why a self-test cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// No port, or no thread for the pressure.
    #[error("the system refuses what the self-test needs: {0}")]
    System(#[from] std::io::Error),
    /// A task has panicked.
    #[error("a part of the self-test has failed: {0}")]
    Task(#[from] JoinError),
    /// Our own dialect is not there.
    #[error("there is no runtime `{DIALECT}`")]
    Dialect,
    /// See [`EndpointError`].
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// See [`TlsError`].
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// See [`WorkloadError`].
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

/// Measures level after level, and hands each to `done` as soon as it is there.
///
/// # Errors
/// When the system refuses a port or a thread. Failed runs are no error: the report has them.
pub async fn run(
    settings: Settings,
    threads: &Threads,
    mut done: impl FnMut(&Level),
) -> Result<Report, SelftestError> {
    let mut levels = Vec::with_capacity(settings.concurrency.len());
    for concurrency in &settings.concurrency {
        let level = measure(&settings, threads, *concurrency).await?;
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
    threads: &Threads,
    concurrency: usize,
) -> Result<Level, SelftestError> {
    let runs = settings.runs_per_stream(concurrency);
    let character = character(settings, concurrency, runs);
    let fake = Fake::start(&threads.runtime, character).await?;
    let target = Arc::new(target(fake.address)?);
    let scenario = Arc::new(Scenario::build(scenario(settings))?);
    let prober = Prober::new(InstrumentSettings::default(), threads.wakeups.clone());
    let pressure = Pressure::start(settings.pressure)?;
    let cpu_before = threads.prober.spawn(async { thread_cpu() }).await?;
    let start = Instant::now() + LEAD;
    let mut streams = JoinSet::new();
    for number in 0..concurrency {
        let probe = Probe::new(target.clone(), scenario.clone());
        let pace = Pace {
            start: start + settings.itl.mul_f64(number as f64 / concurrency as f64),
            period: settings.itl,
        };
        streams.spawn_on(stream(prober.clone(), probe, pace, runs), &threads.prober);
    }
    let mut observations = Vec::with_capacity(concurrency * runs);
    while let Some(stream) = streams.join_next().await {
        observations.extend(stream?);
    }
    let cpu = threads.prober.spawn(async { thread_cpu() }).await?;
    drop(pressure);
    let spent = cpu.saturating_sub(cpu_before);
    let logs = fake.requests.snapshot();
    Ok(Level::of(concurrency, &observations, logs, spent))
}

/// Runs one after the other, each at its place in the spread.
async fn stream(prober: Prober, probe: Probe, pace: Pace, runs: usize) -> Vec<Observation> {
    let mut observations = Vec::with_capacity(runs);
    for _ in 0..runs {
        tokio::time::sleep_until(pace.next(Instant::now()).into()).await;
        let context = RunContext::on_demand(CancellationToken::new());
        observations.push(prober.run(&probe, context).await);
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

/// A fake runtime that ends when dropped.
struct Fake {
    address: SocketAddr,
    requests: RequestHistory,
    _stop: DropGuard,
}

impl Fake {
    async fn start(thread: &Handle, character: Character) -> Result<Self, SelftestError> {
        let stop = CancellationToken::new();
        let serve = stop.clone();
        let started = thread.spawn(async move {
            let simulator = Simulator::bind("127.0.0.1:0", character).await?;
            let told = (simulator.local_addr(), simulator.requests());
            simulator.serve(serve, &TaskTracker::new());
            std::io::Result::Ok(told)
        });
        let (address, requests) = started.await??;
        Ok(Self {
            address,
            requests,
            _stop: stop.drop_guard(),
        })
    }
}

fn character(settings: &Settings, concurrency: usize, runs: usize) -> Character {
    Character {
        name: "selftest".to_owned(),
        models: vec![MODEL.to_owned()],
        flavor: RuntimeFlavor::Vllm,
        ttft: Distribution::Constant(settings.ttft),
        itl: Distribution::Constant(settings.itl),
        output_tokens: Distribution::Constant(settings.tokens),
        context_tokens: settings.tokens.saturating_add(PROMPT_TOKENS),
        slots: concurrency,
        log_capacity: concurrency * runs,
        ..Character::default()
    }
}

fn target(address: SocketAddr) -> Result<Target, SelftestError> {
    let runtime = find(DIALECT).ok_or(SelftestError::Dialect)?;
    let endpoint = Endpoint::parse(&format!("http://{address}"))?;
    let model: Arc<str> = Arc::from(MODEL);
    Ok(Target {
        runtime,
        model: model.clone(),
        dialer: Dialer::new(&endpoint)?,
        settings: TargetSettings {
            name: Arc::from("selftest"),
            runtime: Some(runtime),
            endpoint,
            model: Some(model),
            labels: BTreeMap::new(),
            max_in_flight: 1,
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
