//! Probing does no harm, and knows a busy runtime from a dead one.

use crate::daemon::{Daemon, sum};
use crate::support::{Runtime, eventually, quick, simulate};
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use sonde::simulate::{Character, Distribution, RuntimeFlavor};
use sonde::transport::{Dialer, Endpoint, ask};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

fn generate() -> String {
    r#"{"model":"sim","prompt":"Hello","stream":false}"#.to_owned()
}

fn chat(tokens: u32) -> String {
    format!(
        r#"{{"model":"sim","messages":[{{"role":"user","content":"Hi"}}],"max_tokens":{tokens}}}"#
    )
}

/// When the runtime will unload the model; absent: it has.
async fn stays_until(runtime: &Runtime) -> Option<Timestamp> {
    let loaded = runtime.ask(Method::GET, "/api/ps", "").await;
    let loaded: serde_json::Value = serde_json::from_str(&loaded).unwrap();
    let end = loaded
        .pointer("/models/0")?
        .get("expires_at")
        .and_then(|end| end.as_str());
    Some(end.unwrap().parse().unwrap())
}

const WAKE: &str = "wake: true, ";
const KEEP: Duration = Duration::from_secs(4);
const PERIOD: Duration = Duration::from_secs(1);

fn ollama() -> Character {
    Character {
        flavor: RuntimeFlavor::Ollama,
        unload_after: Some(KEEP),
        ..quick()
    }
}

fn probing(wake: &str, runtime: &Runtime) -> String {
    format!(
        "
runtime_metrics: {{interval: 1s}}
scenarios:
  - {{name: chat, schedule: '@every 1s', offset: 0s, {wake}workload: {{kind: fixed, prompt: Hi, output_tokens: 12}}}}
targets:
  - {{name: t, runtime: ollama, url: '{}', model: sim}}
",
        runtime.url()
    )
}

/// How long after somebody's use the model stays, probed every second, and every end of its stay that the
/// runtime named meanwhile.
struct Stay {
    time: Duration,
    ends: BTreeSet<Timestamp>,
    daemon: Daemon,
    runtime: Runtime,
}

impl Stay {
    /// From the first end that the runtime named to the last. It computes each anew, from two clocks.
    fn put_off(&self) -> SignedDuration {
        let (first, last) = (self.ends.first(), self.ends.last());
        last.unwrap().duration_since(*first.unwrap())
    }
}

async fn stays(wake: &str) -> Stay {
    let runtime = simulate(ollama()).await;
    let daemon = Daemon::start(&probing(wake, &runtime)).await;
    if wake != WAKE {
        eventually(
            "a tick is skipped while the model is not loaded",
            async || {
                let series = daemon.metrics().await;
                (sum(&series, "llm_probe_skipped_total", &["model_unloaded"]) > 0.0).then_some(())
            },
        )
        .await;
        let loaded = stays_until(&runtime).await;
        assert_eq!(loaded, None, "a probe has loaded the model");
    }
    runtime
        .ask(Method::POST, "/api/generate", &generate())
        .await;
    let used = Instant::now();
    let limit = used + 3 * KEEP;
    let mut ends = BTreeSet::new();
    while let Some(end) = stays_until(&runtime).await
        && Instant::now() < limit
    {
        ends.insert(end);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Stay {
        time: used.elapsed(),
        ends,
        daemon,
        runtime,
    }
}

#[tokio::test]
async fn a_probe_neither_loads_a_model_nor_puts_off_its_unloading() {
    let stay = stays("").await;
    assert!(
        stay.put_off() < SignedDuration::from_millis(250),
        "{:?}",
        stay.ends
    );
    let series = stay.daemon.metrics().await;
    assert_eq!(sum(&series, "llm_probe_runs_total", &[]), 0.0);
    let idle = sum(&series, "llm_probe_skipped_total", &["model_idle"]);
    assert!(idle >= 1.0, "{idle}");
    stay.daemon.stop().await;
}

#[tokio::test]
async fn a_probe_that_rides_along_neither_loads_a_model_nor_keeps_it_when_nobody_uses_it() {
    let stay = stays("ride_along: true, ").await;
    let (stayed, daemon, runtime) = (stay.time, stay.daemon, stay.runtime);
    // One run rides along with the use, within a period of it.
    let longest = KEEP + 2 * PERIOD;
    assert!(stayed >= KEEP - PERIOD && stayed < longest, "{stayed:?}");
    let series = daemon.metrics().await;
    let runs = sum(&series, "llm_probe_runs_total", &[]);
    let idle = sum(&series, "llm_probe_skipped_total", &["model_idle"]);
    assert_eq!(runs, 1.0, "one run for one use");
    assert!(idle >= 1.0, "{idle}");
    assert_eq!(
        sum(&series, "llm_probe_failures_total", &[]),
        0.0,
        "unloaded is no failure"
    );
    runtime
        .ask(Method::POST, "/api/generate", &generate())
        .await;
    eventually("the next use is ridden along with", async || {
        let series = daemon.metrics().await;
        (sum(&series, "llm_probe_runs_total", &[]) > 1.0).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_scenario_that_may_wake_keeps_the_model() {
    let stay = stays(WAKE).await;
    assert!(stay.time >= 3 * KEEP, "{:?}", stay.time);
    assert!(
        stay.put_off() > SignedDuration::from_secs(1),
        "{:?}",
        stay.ends
    );
    stay.daemon.stop().await;
}

#[tokio::test]
async fn the_share_of_a_saturated_runtime_holds_and_every_suppressed_tick_is_counted() {
    const SHARE: f64 = 0.003;
    let runtime = simulate(Character {
        flavor: RuntimeFlavor::Vllm,
        output_tokens: Distribution::Constant(400),
        slots: 4,
        ..quick()
    })
    .await;
    let config = format!(
        "
runtime_metrics: {{interval: 1s}}
scenarios:
  - {{name: chat, schedule: '@every 1s', offset: 0s, workload: {{kind: fixed, prompt: Hi, output_tokens: 12}}}}
targets:
  - {{name: t, runtime: vllm, url: '{}', model: sim, budget: {{share: 0.3%}}}}
",
        runtime.url()
    );
    let load = async {
        let mut clients = JoinSet::new();
        for _ in 0..6 {
            let url = runtime.url();
            clients.spawn(async move {
                let endpoint = Endpoint::parse(&url).unwrap();
                let dialer = Dialer::new(&endpoint).unwrap();
                loop {
                    let body = Bytes::from(chat(400));
                    let limit = Duration::from_secs(60);
                    let path = "/v1/chat/completions";
                    ask(&endpoint, &dialer, Method::POST, path, body, limit)
                        .await
                        .ok();
                }
            });
        }
        clients
    };
    let _clients = load.await;
    // The runtime's word must be there before the first tick is judged by it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let daemon = Daemon::start(&config).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    let series = daemon.metrics().await;
    let of = |family: &str, labels: &[&str]| sum(&series, family, labels);
    let ours = of("llm_probe_tokens_total", &["\"output\""]);
    let total = of("llm_runtime_generation_tokens_total", &[]);
    let skipped = of("llm_probe_skipped_total", &["token_share"]);
    assert!(total > 500.0 && skipped > 2.0, "{total} {skipped}");
    // What was in flight before the first word of the runtime is not bounded by it.
    assert!(ours <= SHARE * total + 12.0, "{ours} of {total}");
    let accounted = of("llm_probe_runs_total", &[])
        + of("llm_probe_skipped_total", &[])
        + of("llm_probe_missed_total", &[])
        + of("llm_probe_in_flight", &[]);
    assert_eq!(of("llm_probe_scheduled_total", &[]), accounted);
    daemon.stop().await;
}

#[tokio::test]
async fn four_runtimes_in_four_states_have_the_four_verdicts() {
    let healthy = simulate(quick()).await;
    let queued = simulate(Character {
        slots: 1,
        output_tokens: Distribution::Constant(20_000),
        itl: Distribution::Constant(Duration::from_millis(20)),
        ..quick()
    })
    .await;
    let frozen = simulate(Character {
        faults: "stall:1".parse().unwrap(),
        ..quick()
    })
    .await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_url = format!("http://{}", mute.local_addr().unwrap());
    let occupy = async {
        let path = "/v1/chat/completions";
        queued.ask(Method::POST, path, &chat(20_000)).await;
    };
    let watch = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut config = "
runtime_metrics: {interval: 1s}
scenarios:
  - {name: chat, schedule: '@every 5s', workload: {kind: fixed, prompt: Hi, output_tokens: 12}, timeouts: {first_token: 60s, stall: 20s}}
targets:
"
        .to_owned();
        let urls = [healthy.url(), queued.url(), frozen.url(), mute_url];
        let names = ["healthy", "queued", "frozen", "mute"];
        for (name, url) in names.iter().zip(&urls) {
            config.push_str(&format!(
                "  - {{name: {name}, runtime: vllm, url: '{url}', model: sim}}\n"
            ));
        }
        let daemon = Daemon::start(&config).await;
        let verdict = async |name: &str| {
            let answer = daemon.get(&format!("/-/target/{name}/progress")).await;
            answer.split(':').next().unwrap_or_default().to_owned()
        };
        let first_run = Instant::now();
        for (name, wanted) in [("frozen", "stalled"), ("mute", "dead")] {
            eventually(name, async || (verdict(name).await == wanted).then_some(())).await;
        }
        // A first run within a period, and then two of them.
        let took = first_run.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        for _ in 0..10 {
            assert!(["idle", "busy"].contains(&verdict("healthy").await.as_str()));
            assert_eq!(verdict("queued").await, "busy");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let series = daemon.metrics().await;
        let state = |name: &str, state: &str| {
            let (name, state) = (format!("target=\"{name}\""), format!("state=\"{state}\""));
            sum(&series, "llm_probe_forward_progress", &[&name, &state])
        };
        assert_eq!(state("frozen", "stalled"), 1.0);
        assert_eq!(state("frozen", "busy"), 0.0);
        assert_eq!(state("mute", "dead"), 1.0);
        assert_eq!(state("queued", "busy"), 1.0);
        daemon.stop().await;
    };
    tokio::select! {
        () = occupy => panic!("the queue was to last for longer"),
        () = watch => {}
    }
}
