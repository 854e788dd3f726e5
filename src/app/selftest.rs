//! The daemon measures its own error now and then: a small self-test on the thread that probes, under the
//! circumstances that it probes in.

use crate::base::clock::wall_now;
use crate::base::shutdown::Shutdown;
use crate::metrics::{InstrumentError, SelftestState, Store};
use crate::probe::ConnectionPolicy;
use crate::schedule::Cadence;
use crate::selftest::{
    ClockErrors, FakeSource, Figure, Pressing, ProberThread, Report, Settings, run,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Streams at the same time.
const STREAMS: usize = 4;
/// Enough for a median that one late wake-up does not move; the 99th percentile is the maximum.
const RUNS: usize = 40;
const TTFT: Duration = Duration::from_millis(50);
const ITL: Duration = Duration::from_millis(5);
const TOKENS: u32 = 16;
/// The median TTFT error that fails it: as `sonde selftest` has it.
const MAX_ERROR: Duration = Duration::from_millis(1);
/// A test that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs a test at every instant of the cadence, until shutdown.
pub(super) async fn repeat(
    cadence: Cadence,
    thread: ProberThread,
    store: Arc<Store>,
    shutdown: Shutdown,
) {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            tracing::error!(%error, "no self-tests: the program does not find itself");
            return;
        }
    };
    let stop = shutdown.token().clone();
    while let Some(at) = cadence.schedule.next_after(wall_now()) {
        let wait = at.duration_since(wall_now()).unsigned_abs();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let test = tokio::time::timeout(LONGEST, run(settings(program.clone()), &thread, |_| {}));
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = test => match outcome {
                Ok(Ok(report)) => store.set_selftest(judged(&report)),
                Ok(Err(error)) => failed(&store, &error.to_string()),
                Err(_) => failed(&store, "it did not end in time"),
            },
        }
    }
}

fn settings(program: PathBuf) -> Settings {
    Settings {
        fake: FakeSource::Spawn(program),
        concurrency: vec![STREAMS],
        runs: RUNS,
        ttft: TTFT,
        itl: ITL,
        tokens: TOKENS,
        connection: ConnectionPolicy::Warm,
        tls: false,
        pressure: Pressing::default(),
    }
}

fn failed(store: &Store, why: &str) {
    tracing::warn!("the self-test failed: {why}");
    store.set_selftest(SelftestState {
        at: wall_now(),
        passed: false,
        errors: Vec::new(),
    });
}

fn judged(report: &Report) -> SelftestState {
    let problems = report.problems(MAX_ERROR);
    for problem in &problems {
        tracing::warn!("the self-test failed: {problem}");
    }
    let clocks = report.levels.iter().flat_map(|level| &level.clocks);
    SelftestState {
        at: wall_now(),
        passed: problems.is_empty(),
        errors: clocks.flat_map(errors).collect(),
    }
}

fn errors(clock: &ClockErrors) -> Vec<InstrumentError> {
    let figures = [
        ("ttft", Figure::Ttft),
        ("itl", Figure::Itl),
        ("tpot", Figure::Tpot),
        ("e2e", Figure::E2e),
    ];
    let known = figures.into_iter().filter_map(|(quantity, figure)| {
        let summary = clock.errors.get(&figure)?;
        let stats = [
            ("mean", summary.mean),
            ("p50", summary.p50),
            ("p99", summary.p99),
            ("max", summary.max),
        ];
        Some(stats.map(|(stat, seconds)| InstrumentError {
            clock: clock.clock,
            quantity,
            stat,
            seconds,
        }))
    });
    known.flatten().collect()
}
