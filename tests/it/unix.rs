//! A runtime behind a Unix socket, as beside it in the same pod.

use crate::daemon::{Daemon, sum};
use crate::support::{Runtime, eventually, probe, quick, run, scenario, simulate, target};
use parking_lot::Mutex;
use sonde::probe::{Observation, Outcome};
use sonde::transport::ClockKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// A Unix socket that leads to a simulated runtime.
struct Neighbour {
    path: PathBuf,
    /// What requests began with.
    heads: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
    _runtime: Runtime,
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.accepting.abort();
        std::fs::remove_file(&self.path).ok();
    }
}

impl Neighbour {
    async fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sonde-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::remove_file(&path).ok();
        let runtime = simulate(quick()).await;
        let listener = UnixListener::bind(&path).unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (address, told) = (runtime.address, heads.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(address).await.unwrap();
                    let mut first = vec![0; 16 * 1024];
                    let length = near.read(&mut first).await.unwrap();
                    let first = first.get(..length).unwrap();
                    told.lock()
                        .push(String::from_utf8_lossy(first).to_lowercase());
                    far.write_all(first).await.unwrap();
                    copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Self {
            path,
            heads,
            accepting,
            _runtime: runtime,
        }
    }

    fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    async fn probe(&self) -> Observation {
        run(&probe(target("openai", &self.url()), scenario())).await
    }
}

#[tokio::test]
async fn a_unix_socket_is_probed_like_any_server_by_the_user_clock() {
    let neighbour = Neighbour::start().await;
    let observation = neighbour.probe().await;
    assert_eq!(observation.outcome, Outcome::Success, "{observation:?}");
    assert_eq!(observation.instrument.clock, ClockKind::User);
    assert!(
        observation.stamp_delays.is_empty(),
        "the kernel stamps none"
    );
    assert!(observation.phases.connect.is_some() && observation.phases.dns.is_none());
    let heads = neighbour.heads.lock();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].contains("\r\nhost: localhost\r\n"), "{}", heads[0]);
}

/// What a run says that found nobody.
fn refused(observation: Observation, neighbour: &Neighbour, why: &str) {
    assert_eq!(observation.outcome, Outcome::Refused);
    let message = observation.failure.unwrap().message;
    let expected = format!("cannot connect to `{}`: {why}", neighbour.path.display());
    assert!(message.starts_with(&expected), "{message}");
}

#[tokio::test]
async fn a_socket_without_a_listener_or_a_file_is_refused_and_named() {
    let neighbour = Neighbour::start().await;
    neighbour.accepting.abort();
    eventually("the listener's end", async || {
        neighbour.accepting.is_finished().then_some(())
    })
    .await;
    refused(neighbour.probe().await, &neighbour, "Connection refused");
    std::fs::remove_file(&neighbour.path).unwrap();
    refused(
        neighbour.probe().await,
        &neighbour,
        "No such file or directory",
    );
}

#[tokio::test]
async fn a_socket_that_we_may_not_write_to_is_refused_and_named() {
    let neighbour = Neighbour::start().await;
    let nobody = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&neighbour.path, nobody).unwrap();
    let url = neighbour.url();
    // Permissions bind root only where it gives its rights to files up, which is a thread's own affair.
    let asked = std::thread::spawn(move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .unwrap()
            .block_on(run(&probe(target("openai", &url), scenario())))
    });
    refused(asked.join().unwrap(), &neighbour, "Permission denied");
}

#[tokio::test]
async fn the_daemon_finds_out_what_a_unix_socket_speaks_and_who_serves_it() {
    let neighbour = Neighbour::start().await;
    let config = format!(
        "defaults: {{schedule: '@every 1s', wake: true}}\ntargets: [{{url: '{}'}}]",
        neighbour.url()
    );
    let daemon = Daemon::start(&config).await;
    let name = format!("target=\"unix:{}\"", neighbour.path.display());
    let metrics = eventually("a run, a sample and a scrape", async || {
        let metrics = daemon.metrics().await;
        let many = |family: &str| sum(&metrics, family, &[&name]) > 0.0;
        let all = many("llm_probe_runs_total")
            && many("llm_resource_memory_bytes")
            && many("llm_runtime_last_scrape_timestamp_seconds");
        all.then_some(metrics)
    })
    .await;
    assert_eq!(sum(&metrics, "llm_probe_failures_total", &[]), 0.0);
    let by_clock = sum(
        &metrics,
        "llm_probe_runs_by_clock_total",
        &[&name, "clock=\"user\""],
    );
    assert_eq!(by_clock, sum(&metrics, "llm_probe_runs_total", &[&name]));
    let host = format!("url_host=\"unix:{}\"", neighbour.path.display());
    assert_eq!(sum(&metrics, "llm_probe_target_info", &[&name, &host]), 1.0);
    daemon.stop().await;
}
