//! The processes that serve targets, on the machine that runs the tests.

use crate::support;
use sonde::probe::{ConnectionPolicy, Prober, RunContext, ScenarioSettings, TargetSettings};
use sonde::resource::{
    ProcessTarget, ProcessTargets, Reading, ResourceSettings, RunMeter, SamplerReport, Samplers,
};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A process that ends with the test.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    fn simulated(listen: &str) -> (Self, SocketAddr) {
        let mut server = Self::start(
            Command::new(env!("CARGO_BIN_EXE_sonde")).args(["simulate", "--listen", listen]),
        );
        let line = server.line_with("http://");
        let (_, rest) = line.split_once("http://").unwrap();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        let address = rest.get(..end.unwrap_or(rest.len())).unwrap();
        (server, address.parse().unwrap())
    }

    fn line_with(&mut self, mark: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "no {mark}");
            if line.contains(mark) {
                return line;
            }
        }
    }

    fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn targets(address: SocketAddr) -> ProcessTargets {
    let targets = ProcessTargets::default();
    targets.set(vec![ProcessTarget {
        name: Arc::from("fake"),
        host: address.ip().to_string(),
        port: address.port(),
        socket: None,
        process: None,
    }]);
    targets
}

fn sample(samplers: &mut Samplers) -> SamplerReport {
    let mut reports = samplers.sample_all().into_iter();
    let report = reports.find(|report| report.sampler == "process").unwrap();
    assert!(report.success, "{report:?}");
    report
}

fn value(report: &SamplerReport, family: &str, label: &str) -> Option<f64> {
    let has = |reading: &&Reading| {
        let mut values = reading.labels.iter().map(|(_, value)| value);
        reading.family == family && values.any(|value| value == label)
    };
    Some(report.readings.iter().find(has)?.value)
}

#[test]
fn a_server_is_found_without_configuration_and_its_restart_seen_within_two_samples() {
    let (mut server, address) = Server::simulated("127.0.0.1:0");
    let mut samplers = Samplers::new(&ResourceSettings::default(), &targets(address));
    let report = sample(&mut samplers);
    let restarts = |report: &SamplerReport| value(report, "llm_resource_restarts_total", "fake");
    let rss = |report: &SamplerReport| value(report, "llm_resource_memory_bytes", "rss");
    assert_eq!(restarts(&report), Some(0.0));
    assert!(rss(&report).unwrap() > 1e6, "{report:?}");
    server.kill();
    let report = sample(&mut samplers);
    assert_eq!(rss(&report), None, "{report:?}");
    let none = |report: &SamplerReport| value(report, "llm_resource_sampler_info", "none");
    assert_eq!(none(&report), Some(1.0));

    let (server, again) = Server::simulated(&address.to_string());
    assert_eq!(again, address);
    let report = sample(&mut samplers);
    assert_eq!(restarts(&report), Some(1.0), "{report:?}");
    assert!(rss(&report).unwrap() > 1e6);

    // And when it is back before anybody has noticed.
    drop(server);
    let (_server, _) = Server::simulated(&address.to_string());
    assert_eq!(restarts(&sample(&mut samplers)), Some(2.0));
    assert_eq!(restarts(&sample(&mut samplers)), Some(2.0));
}

/// Not a test: the process that the next one measures. It listens, works, has memory, and tells what the
/// kernel says it has used. Run by itself it ends at once, having no input to wait for.
#[test]
#[ignore = "started by another test"]
fn a_busy_child() {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    let usage = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let cpu = usage.user_time() + usage.system_time();
        (cpu.num_microseconds() as f64 / 1e6, usage.max_rss() * 1024)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Past the harness, which keeps what is printed to itself.
    let mut out = std::io::stdout();
    writeln!(out, "\naddress {}", listener.local_addr().unwrap()).unwrap();
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    let memory = vec![1_u8; 200 << 20];
    let workers: Vec<_> = (0..2)
        .map(|seed| {
            std::thread::spawn(move || {
                let began = Instant::now();
                let mut hash = seed;
                while began.elapsed() < Duration::from_millis(1500) {
                    for _ in 0..10_000 {
                        hash = (std::hint::black_box(hash) * 31 + 7_u64) & 0xFFFF_FFFF;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let (cpu, rss) = usage();
    writeln!(out, "\nused {cpu} {rss}").unwrap();
    input.read_to_end(&mut Vec::new()).unwrap();
    drop(memory);
}

#[test]
fn what_a_busy_child_uses_agrees_with_its_own_account_within_three_percent() {
    let me = std::env::current_exe().unwrap();
    let mut child = Server::start(Command::new(me).args([
        "process::a_busy_child",
        "--exact",
        "--ignored",
        "--nocapture",
    ]));
    let address = child.line_with("address ");
    let address = address.trim().strip_prefix("address ").unwrap();
    let targets = targets(address.parse().unwrap());
    let settings = ResourceSettings::default();
    let meter = RunMeter::new(&settings, targets.clone());
    let mut samplers = Samplers::new(&settings, &targets);
    sample(&mut samplers);
    let before = meter.look("fake").unwrap();
    let mut input = child.process.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    let line = child.line_with("used ");
    let mut words = line.split_ascii_whitespace().skip(1);
    let mut number = || -> f64 { words.next().unwrap().parse().unwrap() };
    let (cpu, rss) = (number(), number());
    let after = meter.look("fake").unwrap();
    let report = sample(&mut samplers);
    let agrees = |what: &str, found: f64, expected: f64| {
        let off = found / expected - 1.0;
        println!(
            "{what}: {found} for {expected}, off by {:.2} %",
            off * 100.0
        );
        assert!(off.abs() < 0.03, "{what}: {found} for {expected}");
    };
    let family = "llm_resource_cpu_seconds_total";
    agrees("cpu", value(&report, family, "fake").unwrap(), cpu);
    let family = "llm_resource_memory_bytes";
    agrees("rss", value(&report, family, "rss").unwrap(), rss);
    let spent = after.cpu_seconds_since(&before).unwrap();
    agrees("cpu of the run", spent, cpu);
    agrees("peak of the run", after.peak_memory_bytes(&before), rss);
    drop(input);
}

/// Sleepers that end with the test.
struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The build that tests run in is some times slower than the one that is shipped. Whatever else the
/// machine does only adds, so the cheapest of some rounds counts.
#[test]
fn all_samplers_take_less_than_a_two_hundredth_of_a_core_beside_two_hundred_processes() {
    const SAMPLES: u32 = 10;
    let sleep = |_| Command::new("sleep").arg("600").spawn().unwrap();
    let _crowd = Crowd((0..200).map(sleep).collect());
    let (_server, address) = Server::simulated("127.0.0.1:0");
    let settings = ResourceSettings::default();
    let cpu = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let rounds = (0..3).map(|_| {
        let mut samplers = Samplers::new(&settings, &targets(address));
        let began = cpu();
        sample(&mut samplers);
        let search = cpu() - began;
        let began = cpu();
        for _ in 0..SAMPLES {
            sample(&mut samplers);
        }
        let steady = (cpu() - began) / f64::from(SAMPLES);
        println!("search {search:.4} s, sample {steady:.5} s");
        // There is a search every 30 samples.
        steady + search / 30.0
    });
    let share = rounds.fold(f64::INFINITY, f64::min);
    println!("{:.3} % of a core", share * 100.0);
    assert!(share < 0.005, "{share} of a core");
}

/// Passes everything on, and counts it.
async fn counting_relay(to: SocketAddr) -> (SocketAddr, JoinHandle<(u64, u64)>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let relay = async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
        let both = tokio::io::copy_bidirectional(&mut client, &mut server);
        both.await.unwrap()
    };
    (address, tokio::spawn(relay))
}

#[tokio::test]
async fn a_run_tells_what_it_took_of_the_servers_processes_and_of_the_network() {
    let runtime = support::simulate(support::quick()).await;
    let settings = ResourceSettings::default();
    let targets = targets(runtime.address);
    let mut samplers = Samplers::new(&settings, &targets);
    sample(&mut samplers);
    let prober = Prober {
        meter: RunMeter::new(&settings, targets),
        ..Prober::default()
    };
    let (address, relayed) = counting_relay(runtime.address).await;
    let target = TargetSettings {
        name: Arc::from("fake"),
        ..support::target("openai", &format!("http://{address}"))
    };
    let probe = support::probe(target, support::scenario());
    let context = RunContext::on_demand(CancellationToken::new());
    let run = prober.run(&probe, context).await;
    assert!(run.outcome.is_success(), "{:?}", run.failure);
    let used = run.resources;
    assert!(used.cpu_seconds.unwrap() < 30.0, "{used:?}");
    assert!(used.peak_memory_bytes.unwrap() > 1e6, "{used:?}");
    assert!(run.per_output_token(used.cpu_seconds).is_some());
    drop(probe);
    let (sent, received) = relayed.await.unwrap();
    assert_eq!(used.sent_bytes, Some(sent));
    // The end of the body, which no run waits for, may come later than the terminator.
    let missing = received - used.received_bytes.unwrap();
    assert!(missing <= 5, "{missing} of {received}");

    // Another target's run, of whose processes nothing is known.
    let probe = support::probe(
        support::target("openai", &runtime.url()),
        support::scenario(),
    );
    let context = RunContext::on_demand(CancellationToken::new());
    let used = prober.run(&probe, context).await.resources;
    assert_eq!((used.cpu_seconds, used.peak_memory_bytes), (None, None));
    assert!(used.received_bytes.is_some());
}

#[tokio::test]
async fn on_a_warm_connection_each_run_tells_of_its_own_bytes_only() {
    let runtime = support::simulate(support::quick()).await;
    let scenario = ScenarioSettings {
        connection: ConnectionPolicy::Warm,
        ..support::scenario()
    };
    let probe = support::probe(support::target("openai", &runtime.url()), scenario);
    let first = support::run(&probe).await;
    let second = support::run(&probe).await;
    assert!(second.reused);
    let [first, second] = [first, second].map(|run| run.resources.sent_bytes.unwrap());
    assert_eq!(first, second);
}
