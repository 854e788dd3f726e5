//! A whole run: prompt, request, exchange, decoding, judgement, observation.
//!
//! Measured: time per run of 64 tokens on a warm connection, on the prober's own thread, by each of the clocks,
//! against a server that has its bytes ready and writes one token per write without a delay. `bare` is the
//! same exchange by a client that only reads. The server's 67 writes are inside both and most of it: what the
//! difference shows is what Sonde's work adds where it does not hide behind them, and what a tap costs each
//! packet. Without CAP_NET_RAW `wire` is served by `socket`.
//! Not measured: CPU time (see `saturation`), dialling, TLS, recording, a real runtime's pauses.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has no result"
)]

#[path = "canned/bare.rs"]
mod bare;
#[path = "canned/probe.rs"]
mod probe;
#[path = "canned/server.rs"]
mod server;
#[path = "canned/sse.rs"]
mod sse;

use bare::BareClient;
use criterion::{Criterion, criterion_group, criterion_main};
use server::Server;
use sonde::app::IoThread;
use sonde::probe::{InstrumentSettings, Prober};
use sonde::transport::{ClockChoice, ClockKind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const TOKENS: u32 = 64;

/// Runs it on the prober's thread and waits.
fn on<T: Send + 'static>(io: &IoThread, work: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = channel();
    io.handle().spawn(async move { done.send(work.await) });
    result.recv().unwrap()
}

fn runs(criterion: &mut Criterion) {
    let server = Server::start(&sse::events(TOKENS as usize), 1, None).unwrap();
    let (address, answer_bytes) = (server.address, server.answer_bytes);
    let mut group = criterion.benchmark_group("run");
    for clock in ClockKind::ALL {
        let io = IoThread::start().unwrap();
        let settings = InstrumentSettings {
            clock: ClockChoice::Best(clock),
            ..InstrumentSettings::default()
        };
        let prober = Prober::new(settings, io.wakeups());
        let probe = Arc::new(probe::probe("canned", address, TOKENS));
        group.bench_function(format!("64_tokens/{}", clock.as_str()), |bencher| {
            bencher.iter_custom(|runs| {
                let (prober, probe) = (prober.clone(), probe.clone());
                on(&io, async move {
                    let start = Instant::now();
                    for _ in 0..runs {
                        probe::run(&prober, &probe).await;
                    }
                    start.elapsed()
                })
            });
        });
        io.stop();
    }
    let io = IoThread::start().unwrap();
    group.bench_function("64_tokens/bare", |bencher| {
        bencher.iter_custom(|runs| {
            on(&io, async move {
                let mut client = BareClient::connect(address).await.unwrap();
                let start = Instant::now();
                for _ in 0..runs {
                    client.exchange(answer_bytes).await.unwrap();
                }
                start.elapsed()
            })
        });
    });
    io.stop();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4));
    targets = runs
}
criterion_main!(benches);
