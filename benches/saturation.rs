//! Saturation: how many tokens per second one prober's thread can take.
//!
//! Measured: streams of 500 tokens on warm connections, from a server on its own thread that has its bytes
//! ready and writes 16 tokens per write; every delta is parsed, every run judged and made an observation.
//! Twice: from 32 streams as fast as they are taken, where the client is at its limit and finds whole answers
//! pending at a time; and from 48 streams that write once a millisecond each, as a batch does, so that
//! every write is read by itself. For each clock: tokens per second (median of the rounds, and their
//! span), CPU time of the prober's thread per 1000 tokens, its share of the wall time, and tokens per read.
//! `bare` is what server and kernel deliver to a client that only reads, on the same one thread: at full
//! speed a ceiling that must lie well above, at a pace what is on offer.
//! Not measured: how true the stamps are under such load (`sonde selftest` tells), recording, TLS. Needs two
//! cores, one for each side. Without CAP_NET_RAW `wire` is served by `socket`.
//!
//! Plain, without criterion: rates of two threads over seconds are no samples of one function.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has no result; this one prints its own"
)]

#[path = "canned/bare.rs"]
mod bare;
#[path = "canned/plain.rs"]
mod plain;
#[path = "canned/probe.rs"]
mod probe;
#[path = "canned/server.rs"]
mod server;
#[path = "canned/sse.rs"]
mod sse;

use bare::BareClient;
use plain::{is_wanted, thread_cpu};
use server::Server;
use sonde::app::IoThread;
use sonde::probe::{InstrumentSettings, Prober};
use sonde::transport::{ClockChoice, ClockKind};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const STREAMS: usize = 32;
const TOKENS: u32 = 500;
const TOKENS_PER_WRITE: usize = 16;
/// A paced stream writes once in this time: some 750,000 tokens per second together, every write read
/// by itself as long as the client keeps up.
const PACE: Duration = Duration::from_millis(1);
const PACED_STREAMS: usize = 48;
const ROUNDS: usize = 5;
/// Of each side in each round.
const LENGTH: Duration = Duration::from_secs(1);

fn main() {
    if !is_wanted("saturation") {
        return;
    }
    println!("{TOKENS} tokens per stream, {TOKENS_PER_WRITE} tokens per write");
    table("as fast as they are taken", STREAMS, None);
    table(
        "a write per stream and millisecond",
        PACED_STREAMS,
        Some(PACE),
    );
}

fn table(title: &str, streams: usize, pace: Option<Duration>) {
    let events = sse::events(TOKENS as usize);
    let server = Server::start(&events, TOKENS_PER_WRITE, pace).unwrap();
    let waiting = tokio::runtime::Builder::new_current_thread();
    let waiting = { waiting }.build().unwrap();
    let mut sides: Vec<Side> = ClockKind::ALL.map(Some).map(Side::new).into();
    sides.push(Side::new(None));
    // Side by side in every round, so that a slow minute of the machine is nobody's alone.
    for _ in 0..ROUNDS {
        for side in &mut sides {
            let round = waiting.block_on(measure(side.clock, streams, &server));
            side.rounds.push(round);
        }
    }
    println!("\n{streams} streams, {title}");
    println!(
        "clock    served by     tokens/s  (least .. most)      CPU ms/1000  busy  tokens/read"
    );
    for side in &mut sides {
        side.print();
    }
}

/// One clock, or the bare client.
struct Side {
    clock: Option<ClockKind>,
    rounds: Vec<Round>,
}

/// What the client's thread has done between two instants.
#[derive(Default)]
struct Round {
    tokens: u64,
    reads: u64,
    took: Duration,
    cpu: Duration,
    served_by: BTreeSet<ClockKind>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.tokens as f64 / self.took.as_secs_f64()
    }
}

impl Side {
    fn new(clock: Option<ClockKind>) -> Self {
        Self {
            clock,
            rounds: Vec::new(),
        }
    }

    fn print(&mut self) {
        self.rounds.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let rate = |index: usize| self.rounds.get(index).unwrap().rate();
        let (least, median, most) = (rate(0), rate(ROUNDS / 2), rate(ROUNDS - 1));
        let sum = |what: fn(&Round) -> f64| self.rounds.iter().map(what).sum::<f64>();
        let cpu = sum(|round| round.cpu.as_secs_f64());
        let per_1000 = cpu * 1e6 / sum(|round| round.tokens as f64);
        let busy = 100.0 * cpu / sum(|round| round.took.as_secs_f64());
        let per_read = sum(|round| round.tokens as f64) / sum(|round| round.reads as f64);
        let served = self.rounds.iter().flat_map(|round| &round.served_by);
        let served: BTreeSet<_> = served.map(|clock| clock.as_str()).collect();
        let served = served.into_iter().collect::<Vec<_>>().join("+");
        let clock = self.clock.map_or("bare", ClockKind::as_str);
        print!("{clock:<8} {served:<11} {median:>10.0}  ({least:>8.0} .. {most:>8.0})  ");
        print!("{per_1000:>11.3} {busy:>4.0}%");
        match self.clock {
            Some(_) => println!("  {per_read:>11.1}"),
            None => println!("            -"),
        }
    }
}

/// One round on a thread of its own.
async fn measure(clock: Option<ClockKind>, streams: usize, server: &Server) -> Round {
    let io = IoThread::start().unwrap();
    let prober = clock.map(|clock| {
        let settings = InstrumentSettings {
            clock: ClockChoice::Best(clock),
            ..InstrumentSettings::default()
        };
        Prober::new(settings, io.wakeups())
    });
    let (address, answer_bytes) = (server.address, server.answer_bytes);
    let cpu_before = io.handle().spawn(async { thread_cpu() }).await.unwrap();
    let start = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..streams {
        match prober.clone() {
            Some(prober) => running.spawn_on(probed(prober, number, address, start), &io.handle()),
            None => running.spawn_on(read_only(address, answer_bytes, start), &io.handle()),
        };
    }
    let mut round = Round::default();
    while let Some(stream) = running.join_next().await {
        let stream = stream.unwrap();
        round.tokens += stream.tokens;
        round.reads += stream.reads;
        round.served_by.extend(stream.served_by);
    }
    round.took = start.elapsed();
    let cpu = io.handle().spawn(async { thread_cpu() }).await.unwrap();
    round.cpu = cpu.saturating_sub(cpu_before);
    io.stop();
    round
}

/// Runs, one after the other, until the time is over.
async fn probed(prober: Prober, number: usize, address: SocketAddr, start: Instant) -> Round {
    let probe = probe::probe(&format!("canned-{number}"), address, TOKENS);
    let mut stream = Round::default();
    while start.elapsed() < LENGTH {
        let observation = probe::run(&prober, &probe).await;
        let arrivals = observation.tokens_per_arrival.iter();
        stream.tokens += arrivals.map(|tokens| u64::from(*tokens)).sum::<u64>();
        stream.reads += u64::from(observation.instrument.reads);
        stream.served_by.insert(observation.instrument.clock);
    }
    stream
}

async fn read_only(address: SocketAddr, answer_bytes: usize, start: Instant) -> Round {
    let mut client = BareClient::connect(address).await.unwrap();
    let mut stream = Round::default();
    while start.elapsed() < LENGTH {
        client.exchange(answer_bytes).await.unwrap();
        stream.tokens += u64::from(TOKENS);
    }
    stream
}
