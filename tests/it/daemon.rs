//! The daemon as its users meet it: over HTTP, with real files.

use crate::support::{Runtime, eventually, quick, simulate};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use sonde::app::{ConfigSource, ServeOptions, serve};
use sonde::base::shutdown::Shutdown;
use sonde::config::Environment;
use sonde::transport::{Dialer, Endpoint, ask};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A daemon in this process, on a free port, with its configuration in a folder of its own.
pub struct Daemon {
    address: SocketAddr,
    folder: PathBuf,
    pub file: PathBuf,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), sonde::app::AppError>>,
}

fn folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sonde-daemon-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Daemon {
    pub async fn start(config: &str) -> Self {
        let folder = folder();
        let file = folder.join("sonde.yaml");
        std::fs::write(&file, config).unwrap();
        Self::start_at(folder, file).await
    }

    async fn start_at(folder: PathBuf, file: PathBuf) -> Self {
        let shutdown = Shutdown::new();
        let (bound_sender, bound) = oneshot::channel();
        let source = ConfigSource {
            path: Some(file.clone()),
            text: None,
            environment: Environment::from_pairs::<&str, &str>([]),
            overrides: vec![("server.listen".to_owned(), "127.0.0.1:0".into())],
        };
        let options = ServeOptions {
            shutdown: shutdown.clone(),
            bound: Some(bound_sender),
            simulated: true,
            embedded: true,
        };
        let task = tokio::task::spawn(serve(source, options));
        let address = match bound.await {
            Ok(address) => address,
            Err(_) => panic!("{}", task.await.unwrap().unwrap_err()),
        };
        Self {
            address,
            folder,
            file,
            shutdown,
            task,
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
    ) -> (StatusCode, String) {
        self.request_with(method, path, &[(ACCEPT, accept)]).await
    }

    async fn request_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &'static str)],
    ) -> (StatusCode, String) {
        let mut endpoint = Endpoint::parse(&format!("http://{}", self.address)).unwrap();
        for (name, value) in headers {
            endpoint
                .headers
                .push((name.clone(), HeaderValue::from_static(value)));
        }
        let dialer = Dialer::new(&endpoint).unwrap();
        let limit = Duration::from_secs(10);
        let (head, body) = ask(&endpoint, &dialer, method, path, Bytes::new(), limit)
            .await
            .unwrap();
        (head.status, String::from_utf8_lossy(&body).into_owned())
    }

    pub async fn get(&self, path: &str) -> String {
        self.request(Method::GET, path, "*/*").await.1
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.request(Method::GET, path, "*/*").await.0.as_u16()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        series(&self.get("/metrics").await)
    }

    pub async fn reload(&self) -> (StatusCode, String) {
        self.request(Method::POST, "/-/reload", "*/*").await
    }

    pub async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Series of a text exposition.
pub fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let line = line.split(" # ").next().unwrap_or(line);
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The sum of a family's series whose labels contain all of these.
pub fn sum(series: &BTreeMap<String, f64>, family: &str, labels: &[&str]) -> f64 {
    let of_family = series
        .iter()
        .filter(|(name, _)| name.split('{').next() == Some(family));
    of_family
        .filter(|(name, _)| labels.iter().all(|label| name.contains(label)))
        .map(|(_, value)| value)
        .sum()
}

fn accounts(series: &BTreeMap<String, f64>, target: &str) -> (f64, f64) {
    let label = format!("target=\"{target}\"");
    let of = |family: &str| sum(series, family, &[&label]);
    let ended = of("llm_probe_runs_total")
        + of("llm_probe_missed_total")
        + of("llm_probe_skipped_total")
        + of("llm_probe_in_flight");
    (of("llm_probe_scheduled_total"), ended)
}

fn config(targets: &[(&str, &Runtime)]) -> String {
    let mut text = "
scenarios:
  - {name: chat, schedule: '@every 1s', workload: {kind: synthetic, input_tokens: 32, output_tokens: 8}}
slos:
  - {name: fast, scenario: chat, objective: 90%, window: 1d, first_token_under: 333ms}
targets:
"
    .to_owned();
    for (name, runtime) in targets {
        text.push_str(&format!(
            "  - {{name: {name}, runtime: openai, url: '{}', model: sim, labels: {{tier: gold}}}}\n",
            runtime.url()
        ));
    }
    text
}

pub fn write_atomically(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

#[tokio::test]
async fn runs_are_exposed_and_every_tick_is_accounted_for() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server)])).await;
    let metrics = eventually("three runs", async || {
        let metrics = daemon.metrics().await;
        (sum(&metrics, "llm_probe_runs_total", &[]) >= 3.0).then_some(metrics)
    })
    .await;
    let (scheduled, ended) = accounts(&metrics, "a");
    assert_eq!(scheduled, ended);
    assert_eq!(sum(&metrics, "llm_probe_failures_total", &[]), 0.0);
    let failures = metrics
        .keys()
        .filter(|name| name.starts_with("llm_probe_failures_total"));
    assert_eq!(
        failures.count(),
        20,
        "the zero series of every reason exist"
    );
    let runs = sum(&metrics, "llm_probe_runs_total", &[]);
    let judged = sum(&metrics, "llm_probe_slo_events_total", &["slo=\"fast\""]);
    assert_eq!(judged, runs);
    let ttft = "llm_probe_time_to_first_token_seconds_bucket";
    assert!(
        sum(&metrics, ttft, &["kind=\"any\"", "le=\"0.333\""]) >= 3.0,
        "a threshold is an edge"
    );
    for gauge in [
        "llm_probe_success",
        "llm_probe_last_run_timestamp_seconds",
        "llm_probe_next_run_timestamp_seconds",
        "llm_probe_last_output_tokens_per_second",
        "llm_resource_memory_bytes",
        "sonde_build_info",
    ] {
        assert!(sum(&metrics, gauge, &[]) > 0.0, "{gauge}");
    }
    assert_eq!(
        sum(&metrics, "llm_probe_target_info", &["tier=\"gold\""]),
        1.0
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_targets_processes_are_exposed_and_what_runs_take_of_them() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server)])).await;
    let metrics = eventually("a run beside a sample", async || {
        let metrics = daemon.metrics().await;
        let counted = "llm_probe_cpu_seconds_total";
        let counted = metrics.keys().any(|name| name.starts_with(counted));
        counted.then_some(metrics)
    })
    .await;
    let rss = r#"llm_resource_memory_bytes{scope="process",target="a",kind="rss"}"#;
    assert!(metrics[rss] > 1e6);
    let restarts = r#"llm_resource_restarts_total{scope="process",target="a"}"#;
    assert_eq!(metrics[restarts], 0.0);
    assert!(metrics.contains_key(r#"llm_resource_cpu_limit_cores{scope="node"}"#));
    let per_token = metrics.keys();
    let mut per_token =
        per_token.filter(|name| name.starts_with("llm_probe_cpu_seconds_per_token{"));
    assert!(per_token.next().is_some());

    // Its series end with the target.
    std::fs::write(&daemon.file, config(&[("b", &server)])).unwrap();
    assert_eq!(daemon.reload().await.0, StatusCode::OK);
    let left = daemon.get("/metrics").await;
    assert!(!left.contains("target=\"a\""), "{left}");
    eventually("the series of the new target", async || {
        let metrics = daemon.metrics().await;
        let info = sum(&metrics, "llm_resource_sampler_info", &["target=\"b\""]);
        (info == 1.0).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn openmetrics_has_an_exemplar_with_the_run_id() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server)])).await;
    let text = eventually("a run", async || {
        let accept = "application/openmetrics-text;version=1.0.0";
        let (_, text) = daemon.request(Method::GET, "/metrics", accept).await;
        text.contains("# {run_id=").then_some(text)
    })
    .await;
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE llm_probe_runs counter\n"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_counters_of_unchanged_probes_and_ends_series_of_removed_ones() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server), ("b", &server)])).await;
    let before = eventually("runs of both", async || {
        let metrics = daemon.metrics().await;
        let of = |target| sum(&metrics, "llm_probe_runs_total", &[target]);
        (of("target=\"a\"") >= 2.0 && of("target=\"b\"") >= 1.0).then_some(metrics)
    })
    .await;
    write_atomically(&daemon.file, &config(&[("a", &server)]));
    assert_eq!(daemon.reload().await.0, StatusCode::OK);
    let after = daemon.metrics().await;
    assert!(
        !after.keys().any(|name| name.contains("target=\"b\"")),
        "b has ended"
    );
    let of_a =
        |metrics: &BTreeMap<String, f64>| sum(metrics, "llm_probe_runs_total", &["target=\"a\""]);
    assert!(of_a(&after) >= of_a(&before), "a goes on");

    write_atomically(
        &daemon.file,
        "targets: [{name: a, url: 'ftp://nowhere', modle: x}]",
    );
    let (status, problems) = daemon.reload().await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        problems.contains("targets[0].url") && problems.contains("modle"),
        "{problems}"
    );
    let still = daemon.metrics().await;
    assert_eq!(sum(&still, "sonde_config_last_reload_successful", &[]), 0.0);
    assert!(of_a(&still) >= of_a(&after));
    assert!(
        daemon.get("/").await.contains("targets[0].url"),
        "the page says why"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn reloads_in_a_loop_lose_no_tick_and_no_counter() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server)])).await;
    let mut last = 0.0;
    for _ in 0..60 {
        assert_eq!(daemon.reload().await.0, StatusCode::OK);
        let metrics = daemon.metrics().await;
        let (scheduled, ended) = accounts(&metrics, "a");
        assert_eq!(scheduled, ended);
        let of = |family: &str| sum(&metrics, family, &[]);
        assert_eq!(of("llm_probe_slo_events_total"), of("llm_probe_runs_total"));
        assert!(scheduled >= last, "a counter went back");
        last = scheduled;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = daemon.metrics().await;
    assert!(last >= 3.0, "{last} ticks in three seconds");
    assert_eq!(sum(&metrics, "llm_probe_missed_total", &[]), 0.0);
    assert_eq!(sum(&metrics, "llm_probe_skipped_total", &[]), 0.0);
    eventually(
        "nothing is in flight, and every tick became a run",
        async || {
            let metrics = daemon.metrics().await;
            let of = |family: &str| sum(&metrics, family, &[]);
            (of("llm_probe_scheduled_total") == of("llm_probe_runs_total")).then_some(())
        },
    )
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_run_that_outlives_its_probe_is_not_counted_by_the_next_of_its_name() {
    let slow = sonde::simulate::Character {
        ttft: sonde::simulate::Distribution::Constant(Duration::from_millis(1500)),
        ..quick()
    };
    let server = simulate(slow).await;
    let daemon = Daemon::start(&config(&[("a", &server), ("b", &server)])).await;
    eventually("a run of a is in flight", async || {
        let metrics = daemon.metrics().await;
        let in_flight = sum(&metrics, "llm_probe_in_flight", &["target=\"a\""]);
        (in_flight >= 1.0).then_some(())
    })
    .await;
    for targets in [&[("b", &server)][..], &[("a", &server), ("b", &server)]] {
        write_atomically(&daemon.file, &config(targets));
        assert_eq!(daemon.reload().await.0, StatusCode::OK);
    }
    for _ in 0..40 {
        let metrics = daemon.metrics().await;
        let of = |family: &str| sum(&metrics, family, &["target=\"a\""]);
        let ended = of("llm_probe_runs_total") + of("llm_probe_skipped_total");
        assert!(ended <= of("llm_probe_scheduled_total"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_config_maps_symlink_swap_is_noticed() {
    let server = simulate(quick()).await;
    let folder = folder();
    for (version, targets) in [("1", &[("a", &server)]), ("2", &[("c", &server)])] {
        let data = folder.join(version);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("sonde.yaml"), config(targets)).unwrap();
    }
    let data = folder.join("..data");
    std::os::unix::fs::symlink("1", &data).unwrap();
    std::os::unix::fs::symlink("..data/sonde.yaml", folder.join("sonde.yaml")).unwrap();
    let daemon = Daemon::start_at(folder.clone(), folder.join("sonde.yaml")).await;
    std::os::unix::fs::symlink("2", folder.join("..fresh")).unwrap();
    std::fs::rename(folder.join("..fresh"), &data).unwrap();
    eventually("target c", async || {
        let metrics = daemon.metrics().await;
        metrics
            .keys()
            .any(|name| name.contains("target=\"c\""))
            .then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_run_on_demand_answers_with_its_own_metrics() {
    let server = simulate(quick()).await;
    let daemon = Daemon::start(&config(&[("a", &server)])).await;
    let timeout = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
    let headers = [(timeout, "5")];
    let (status, text) = daemon
        .request_with(Method::GET, "/probe?target=a&scenario=chat", &headers)
        .await;
    assert_eq!(status, StatusCode::OK);
    let metrics = series(&text);
    assert_eq!(sum(&metrics, "llm_probe_success", &[]), 1.0, "{text}");
    assert_eq!(sum(&metrics, "llm_probe_runs_total", &[]), 1.0);
    let (status, text) = daemon.request(Method::GET, "/probe?target=z", "*/*").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("`z`") && text.contains("hint:"), "{text}");
    let groups: serde_json::Value = serde_json::from_str(&daemon.get("/sd").await).unwrap();
    assert_eq!(groups[0]["targets"][0], "a");
    assert_eq!(groups[0]["labels"]["__meta_sonde_scenario"], "chat");
    daemon.stop().await;
}

#[tokio::test]
async fn an_unknown_target_is_probed_as_soon_as_it_answers_and_readiness_never_waits() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = format!(
        "scenarios: [{{name: chat, schedule: '@every 1s', wake: true, workload: {{kind: fixed, prompt: Hi, output_tokens: 4}}}}]\ntargets: [{{name: late, url: 'http://{address}'}}]\n"
    );
    let daemon = Daemon::start(&text).await;
    assert_eq!(
        daemon.request(Method::GET, "/-/ready", "*/*").await.0,
        StatusCode::OK
    );
    assert_eq!(
        daemon.request(Method::GET, "/-/healthy", "*/*").await.0,
        StatusCode::OK
    );
    eventually("the page says why", async || {
        daemon
            .get("/")
            .await
            .contains("does not answer")
            .then_some(())
    })
    .await;
    let simulator = sonde::simulate::Simulator::bind(address, quick())
        .await
        .unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    simulator.serve(stop.clone(), &tokio_util::task::TaskTracker::new());
    eventually("a run", async || {
        let metrics = daemon.metrics().await;
        (sum(&metrics, "llm_probe_runs_total", &["target=\"late\""]) >= 1.0).then_some(())
    })
    .await;
    stop.cancel();
    daemon.stop().await;
}
