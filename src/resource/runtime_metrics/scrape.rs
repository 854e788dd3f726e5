//! Asks one target's runtime at a steady pace.

use super::Quantity;
use super::fetch::{ScrapeError, ScrapeFailure};
use super::target::{RuntimeLabels, RuntimeTarget};
use crate::base::clock::wall_now;
use crate::resource::{RuntimeState, UNSUPPORTED_RETRY};
use http::StatusCode;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// What scraping one target has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeReport {
    /// Whose.
    pub labels: RuntimeLabels,
    /// Whether there is anything to ask. If not, no series should exist.
    pub supported: bool,
    /// Whether the runtime answered the last time.
    pub up: bool,
    /// How long the last scrape took.
    pub duration: Duration,
    /// When the runtime last answered; absent before the first time.
    pub answered: Option<Timestamp>,
    /// What it told the last time: empty after a failure, never the last good values.
    pub values: BTreeMap<Quantity, f64>,
    /// Why the last scrape failed, if it did.
    pub failed: Option<ScrapeFailure>,
    /// Failed scrapes so far, by reason.
    pub failures: BTreeMap<ScrapeFailure, u64>,
    /// Since when these are counted.
    pub since: Timestamp,
}

/// How it went last, to log what changes rather than every repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Unknown,
    Working,
    Failing(ScrapeFailure),
    Unsupported { until: Instant },
}

/// Asks until it is dropped, at once and then every `interval`, and hands out what came of each
/// scrape; the state is absent where the runtime did not answer. A runtime without such an interface
/// is asked again every [`UNSUPPORTED_RETRY`] only.
pub async fn scrape(
    target: RuntimeTarget,
    interval: Duration,
    publish: impl Fn(&RuntimeReport, Option<RuntimeState>),
) {
    let mut scraper = Scraper::new(target);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Condition::Unsupported { until } = scraper.condition
            && Instant::now() < until
        {
            continue;
        }
        let state = scraper.once().await;
        publish(&scraper.report, state);
    }
}

/// One target and its past.
struct Scraper {
    target: RuntimeTarget,
    condition: Condition,
    report: RuntimeReport,
}

impl Scraper {
    fn new(target: RuntimeTarget) -> Self {
        Self {
            report: RuntimeReport {
                labels: target.labels().clone(),
                supported: true,
                up: false,
                duration: Duration::ZERO,
                answered: None,
                values: BTreeMap::new(),
                failed: None,
                failures: BTreeMap::new(),
                since: wall_now(),
            },
            target,
            condition: Condition::Unknown,
        }
    }

    async fn once(&mut self) -> Option<RuntimeState> {
        let taken = Instant::now();
        let answer = self.target.look().await;
        let report = &mut self.report;
        report.duration = taken.elapsed();
        report.up = answer.is_ok();
        report.supported = true;
        report.values.clear();
        report.failed = None;
        match answer {
            Ok(look) => {
                report.answered = Some(wall_now());
                report.values.clone_from(&look.values);
                self.works();
                Some(look.state(taken))
            }
            Err(ScrapeError::Status(status)) if self.is_unsupported_by(status) => {
                self.is_unsupported(status);
                None
            }
            Err(error) => {
                self.fails(&error);
                None
            }
        }
    }

    /// Whether such an answer means that there is no page. Where somebody said that there is one, it
    /// means that the page is gone. llama.cpp's server says 501 unless it was started with `--metrics`.
    fn is_unsupported_by(&self, status: StatusCode) -> bool {
        let none = [
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::NOT_IMPLEMENTED,
        ];
        none.contains(&status) && !self.target.is_promised()
    }

    fn works(&mut self) {
        let target = &*self.report.labels.target;
        match self.condition {
            Condition::Working => {}
            Condition::Unknown => tracing::debug!(target, "the runtime's own metrics are there"),
            Condition::Failing(_) | Condition::Unsupported { .. } => {
                tracing::info!(target, "the runtime's own metrics are there now");
            }
        }
        self.condition = Condition::Working;
    }

    fn fails(&mut self, error: &ScrapeError) {
        let failure = error.failure();
        *self.report.failures.entry(failure).or_default() += 1;
        self.report.failed = Some(failure);
        if self.condition != Condition::Failing(failure) {
            let target = &*self.report.labels.target;
            tracing::warn!(target, "the runtime's own metrics cannot be read: {error}");
        }
        self.condition = Condition::Failing(failure);
    }

    fn is_unsupported(&mut self, status: StatusCode) {
        self.report.supported = false;
        if !matches!(self.condition, Condition::Unsupported { .. }) {
            let target = &*self.report.labels.target;
            let runtime = &*self.report.labels.runtime;
            tracing::info!(
                target,
                runtime,
                "the runtime has no metrics of its own at `{}` (HTTP {status})",
                self.target.place(),
            );
        }
        let until = Instant::now() + UNSUPPORTED_RETRY;
        self.condition = Condition::Unsupported { until };
    }
}

#[cfg(test)]
mod tests {
    use super::super::fetch::SIZE_LIMIT;
    use super::super::target::PageSource;
    use super::super::target::tests::{at, labels, usual};
    use super::*;
    use crate::simulate::{Character, RuntimeFlavor, Simulator};
    use crate::transport::{Dialer, Endpoint};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    /// Answers every connection with these bytes, after it has read a request, and tells the requests.
    async fn server(answer: impl Into<Vec<u8>>) -> (String, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = answer.into();
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        TaskTracker::new().spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = socket.read(&mut request).await.unwrap();
                request.truncate(length);
                sender.try_send(String::from_utf8(request).unwrap()).ok();
                socket.write_all(&answer).await.ok();
                socket.shutdown().await.ok();
            }
        });
        (url, requests)
    }

    fn response(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    async fn once(runtime: &str, url: &str) -> (RuntimeReport, Option<RuntimeState>) {
        let mut scraper = Scraper::new(usual(runtime, url).unwrap());
        let state = scraper.once().await;
        (scraper.report, state)
    }

    #[tokio::test]
    async fn a_good_page_is_told_and_a_failure_leaves_nothing_of_it() {
        let page = "vllm:num_requests_running 2\nvllm:generation_tokens_total 7\n";
        let (url, mut requests) = server(response("200 OK", page)).await;
        let mut scraper = Scraper::new(usual("vllm", &url).unwrap());
        let state = scraper.once().await.unwrap();
        assert_eq!(
            (state.running, state.generation_tokens),
            (Some(2.0), Some(7.0))
        );
        assert_eq!((state.waiting, state.model_loaded), (None, None));
        let report = scraper.report.clone();
        assert!(report.up && report.supported && report.answered.is_some());
        assert_eq!(report.values.len(), 2);
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("GET /metrics HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("accept: text/plain;version=0.0.4,"),
            "{request}"
        );

        let (away, _) = server(response("500 Internal Server Error", "")).await;
        scraper.target = usual("vllm", &away).unwrap();
        assert_eq!(scraper.once().await, None);
        assert!(!scraper.report.up && scraper.report.values.is_empty());
        assert_eq!(scraper.report.answered, report.answered, "when it last did");
        assert_eq!(scraper.report.failures, [(ScrapeFailure::Status, 1)].into());
    }

    #[tokio::test]
    async fn a_runtime_without_a_page_is_no_failure_unless_one_was_promised() {
        for status in ["404 Not Found", "501 Not Implemented"] {
            let (url, _) = server(response(status, "")).await;
            let (report, state) = once("llamacpp", &url).await;
            assert!(!report.supported && state.is_none(), "{status}");
            assert!(report.failures.is_empty(), "{status}");
            let endpoint = Endpoint::parse(&url).unwrap();
            let dialer = Dialer::new(&endpoint).unwrap();
            let source = at(&url, "/metrics");
            let promised = RuntimeTarget::new(labels("llamacpp"), &endpoint, &dialer, &source);
            let mut scraper = Scraper::new(promised.unwrap());
            scraper.once().await;
            assert_eq!(scraper.report.failures, [(ScrapeFailure::Status, 1)].into());
        }
    }

    #[tokio::test]
    async fn every_failure_has_its_reason() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let long = response("200 OK", &"#".repeat(SIZE_LIMIT + 1));
        let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        let cases = [
            (refused, ScrapeFailure::Refused),
            (server("").await.0, ScrapeFailure::Closed),
            (server("SSH-2.0\r\n").await.0, ScrapeFailure::Closed),
            (
                server(response("401 Unauthorized", "")).await.0,
                ScrapeFailure::Auth,
            ),
            (server(moved).await.0, ScrapeFailure::Status),
            (server(long).await.0, ScrapeFailure::Oversized),
            (
                server(response("200 OK", "<html>")).await.0,
                ScrapeFailure::Malformed,
            ),
        ];
        for (url, failure) in cases {
            let (report, state) = once("vllm", &url).await;
            assert_eq!(report.failures, [(failure, 1)].into(), "{failure:?}");
            assert!(!report.up && report.supported && state.is_none());
        }
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_answer_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let (report, _) = once("vllm", &url).await;
        assert_eq!(report.failures, [(ScrapeFailure::Timeout, 1)].into());
        let least = super::super::fetch::TIME_LIMIT;
        assert!(report.duration >= least && report.duration < least * 2);
    }

    #[tokio::test]
    async fn proof_and_headers_of_the_target_go_with_the_scrape() {
        let (url, mut requests) = server(response("200 OK", "")).await;
        let mut endpoint = Endpoint::parse(&url).unwrap();
        let secret = crate::base::secret::Secret::new("s3cret");
        endpoint.auth =
            crate::transport::Auth::Bearer(crate::transport::SecretSource::Value(secret));
        let team = http::HeaderName::from_static("x-team");
        endpoint.headers = vec![(team, http::HeaderValue::from_static("a"))];
        let dialer = Dialer::new(&endpoint).unwrap();
        let target = RuntimeTarget::new(labels("vllm"), &endpoint, &dialer, &PageSource::Usual);
        let mut scraper = Scraper::new(target.unwrap());
        let state = scraper.once().await.unwrap();
        assert_eq!(
            state.running, None,
            "an empty page tells nothing, and is one"
        );
        let request = requests.recv().await.unwrap();
        assert!(
            request.contains("authorization: Bearer s3cret\r\n"),
            "{request}"
        );
        assert!(request.contains("x-team: a\r\n"), "{request}");
    }

    #[tokio::test]
    async fn the_fake_runtimes_pages_are_read() {
        for (flavor, runtime, least) in [
            (RuntimeFlavor::Vllm, "vllm", 8),
            (RuntimeFlavor::LlamaCpp, "llamacpp", 4),
            (RuntimeFlavor::Ollama, "ollama", 1),
        ] {
            let character = Character {
                models: vec!["m".to_owned()],
                flavor,
                ..Character::default()
            };
            let simulator = Simulator::bind("127.0.0.1:0", character).await.unwrap();
            let url = format!("http://{}", simulator.local_addr());
            let stop = CancellationToken::new();
            simulator.serve(stop.clone(), &TaskTracker::new());
            let (report, _) = once(runtime, &url).await;
            assert!(report.values.len() >= least, "{runtime}: {report:?}");
            stop.cancel();
        }
    }
}
