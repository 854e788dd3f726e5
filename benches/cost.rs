//! Cost: CPU time per 1000 tokens of streams at a human pace, beside that of a client that measures nothing.
//!
//! Measured: 64 and 256 streams at the fake runtime (vLLM's dialect, TTFT 200 ms, ITL 20 ms, 64 tokens, one
//! token a write, spread evenly), on warm connections and one thread; CPU time of that thread per 1000 tokens,
//! beside that of hyper's client on a plain tokio runtime in the same round, which only `reads` the body, or
//! `parses` each event with serde_json and takes the time. Nearly every token is a wake-up of its own, and what
//! that costs is the machine's (10 µs and 20, on two of one make): the ratio is what tells of Sonde.
//! Not measured: TLS, recording, the fake (a thread of its own). Without CAP_NET_RAW
//! `wire` is served by `socket`, as the last line says.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has no result; this one prints its own"
)]

#[path = "canned/plain.rs"]
mod plain;
#[path = "canned/probe.rs"]
mod probe;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use plain::{is_wanted, thread_cpu};
use sonde::app::IoThread;
use sonde::probe::{InstrumentSettings, Probe, Prober};
use sonde::simulate::{Character, Distribution, Simulator};
use sonde::transport::{ClockChoice, ClockKind};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const ITL: Duration = Duration::from_millis(20);
const TOKENS: u32 = 64;
const MODEL: &str = "Qwen/Qwen3-8B";
const LEVELS: [usize; 2] = [64, 256];
/// Runs of every stream in a round; the first of each, which dials, is not counted.
const RUNS: usize = 2;
const ROUNDS: usize = 5;

fn main() {
    if !is_wanted("cost") {
        return;
    }
    let waiting = Builder::new_current_thread().enable_all().build().unwrap();
    let mut fake = Builder::new_multi_thread();
    let fake = fake.worker_threads(1).enable_all().build().unwrap();
    let address = serve(&fake);
    // The kernel goes on stamping while anybody listens.
    let _listening = Prober::default();
    for streams in LEVELS {
        println!(
            "\n{streams} streams: CPU ms per 1000 tokens, round by round; median ratio to `parses`"
        );
        let mut costs = SIDES.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (side, costs) in SIDES.iter().zip(&mut costs) {
                costs.push(waiting.block_on(measure(*side, streams, address)));
            }
        }
        let [_, plain, ..] = &costs;
        for (side, costs) in SIDES.iter().zip(&costs) {
            let mut ratios: Vec<f64> = costs.iter().zip(plain).map(|(a, b)| a / b).collect();
            ratios.sort_by(f64::total_cmp);
            let rounds: Vec<_> = costs.iter().map(|cost| format!("{cost:6.1}")).collect();
            let (rounds, ratio) = (rounds.concat(), ratios[ROUNDS / 2]);
            println!("{:<8}{rounds}  {ratio:5.2}", side.name());
        }
    }
    let other = OTHER_CLOCK.load(Ordering::Relaxed);
    println!("\nruns by another clock than their side's: {other}");
}

/// Who reads the streams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// hyper's client, which looks at nothing.
    Reading,
    /// The same, and parses each event.
    Parsing,
    Sonde(ClockKind),
}

const SIDES: [Side; 5] = [
    Side::Reading,
    Side::Parsing,
    Side::Sonde(ClockKind::Wire),
    Side::Sonde(ClockKind::Socket),
    Side::Sonde(ClockKind::User),
];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Reading => "reads",
            Self::Parsing => "parses",
            Self::Sonde(clock) => clock.as_str(),
        }
    }
}

fn serve(fake: &Runtime) -> SocketAddr {
    let character = Character {
        models: vec![MODEL.to_owned()],
        flavor: "vllm".parse().unwrap(),
        ttft: Distribution::Constant(Duration::from_millis(200)),
        itl: Distribution::Constant(ITL),
        output_tokens: Distribution::Constant(TOKENS),
        slots: 1024,
        ..Character::default()
    };
    fake.block_on(async {
        let simulator = Simulator::bind((Ipv4Addr::LOCALHOST, 0), character).await;
        let simulator = simulator.unwrap();
        let address = simulator.local_addr();
        simulator.serve(CancellationToken::new(), &TaskTracker::new());
        address
    })
}

/// Runs that were served by another clock than the side's.
static OTHER_CLOCK: AtomicUsize = AtomicUsize::new(0);

/// A client on its connection.
enum Client {
    Hyper(SendRequest<Full<Bytes>>, bool),
    Sonde(Prober, Box<Probe>),
}

impl Client {
    async fn run(&mut self) {
        match self {
            Self::Sonde(prober, probe) => {
                let observation = probe::run(prober, probe).await;
                if prober.settings.clock != ClockChoice::Best(observation.instrument.clock) {
                    OTHER_CLOCK.fetch_add(1, Ordering::Relaxed);
                }
            }
            Self::Hyper(sender, parses) => {
                let body = format!(
                    r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hi"}}],"stream":true,"max_tokens":{TOKENS}}}"#
                );
                let request = Request::post("/v1/chat/completions")
                    .header("host", "localhost")
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(body)));
                sender.ready().await.unwrap();
                let answer = sender.send_request(request.unwrap()).await.unwrap();
                assert!(answer.status().is_success());
                let mut body = answer.into_body();
                let mut pending = Vec::new();
                while let Some(frame) = body.frame().await {
                    let data = frame.unwrap().into_data().unwrap();
                    if *parses {
                        pending.extend_from_slice(&data);
                        take_events(&mut pending);
                    }
                }
            }
        }
    }
}

/// Takes the complete events off, and says when and with what text each token came.
fn take_events(pending: &mut Vec<u8>) {
    let mut start = 0;
    while let Some(length) = memchr::memmem::find(&pending[start..], b"\n\n") {
        let event = &pending[start..start + length];
        start += length + 2;
        if let Some(json) = event.strip_prefix(b"data: ").filter(|json| json[0] == b'{') {
            let value: serde_json::Value = serde_json::from_slice(json).unwrap();
            let text = value["choices"][0]["delta"]["content"].as_str();
            black_box((Instant::now(), text));
        }
    }
    pending.drain(..start);
}

/// One round of one side, on a thread of its own: CPU ms per 1000 tokens.
async fn measure(side: Side, streams: usize, address: SocketAddr) -> f64 {
    let Side::Sonde(clock) = side else {
        let (thread, stop) = plain_thread();
        let mut clients = Vec::new();
        for _ in 0..streams {
            let connect = async move {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
                TaskTracker::new().spawn(connection);
                sender
            };
            clients.push(Client::Hyper(
                thread.spawn(connect).await.unwrap(),
                side == Side::Parsing,
            ));
        }
        let cost = cost(&thread, clients).await;
        stop.cancel();
        return cost;
    };
    let io = IoThread::start().unwrap();
    let settings = InstrumentSettings {
        clock: ClockChoice::Best(clock),
        ..InstrumentSettings::default()
    };
    let prober = Prober::new(settings, io.wakeups());
    let client = |number| {
        let probe = probe::probe(&format!("cost-{number}"), address, TOKENS);
        Client::Sonde(prober.clone(), Box::new(probe))
    };
    let cost = cost(&io.handle(), (0..streams).map(client).collect()).await;
    io.stop();
    cost
}

/// A runtime without the hooks of the prober's.
fn plain_thread() -> (Handle, CancellationToken) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
    let stopped = stop.clone();
    std::thread::spawn(move || runtime.block_on(stopped.cancelled()));
    (handle, stop)
}

/// Every client runs once for itself, which dials and warms; then what all of them cost side by side.
async fn cost(thread: &Handle, clients: Vec<Client>) -> f64 {
    let streams = clients.len();
    let ready = Arc::new(Barrier::new(streams + 1));
    let mut running = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let ready = ready.clone();
        let stream = async move {
            client.run().await;
            ready.wait().await;
            tokio::time::sleep(ITL.mul_f64(number as f64 / streams as f64)).await;
            for _ in 0..RUNS {
                client.run().await;
            }
        };
        running.spawn_on(stream, thread);
    }
    ready.wait().await;
    let before = thread.spawn(async { thread_cpu() }).await.unwrap();
    while let Some(stream) = running.join_next().await {
        stream.unwrap();
    }
    let after = thread.spawn(async { thread_cpu() }).await.unwrap();
    let tokens = streams * RUNS * TOKENS as usize;
    (after - before).as_secs_f64() * 1e6 / tokens as f64
}
