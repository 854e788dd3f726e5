//! One run in progress: connect, send, read, judge, conclude.

use super::flight::InFlight;
use super::observation::{ConnectionState, RunId};
use super::outcome::Outcome;
use super::prober::{Prober, RunContext};
use super::settings::{ConnectionPolicy, Probe};
use super::stream::{Answer, Failed, Reading};
use super::verdict::{before_head, outcome_of, within_body};
use crate::resource::ProcessLook;
use crate::runtime::{EncodeInput, EncodedRequest, head_timings};
use crate::transport::{
    Connection, DialError, DialPhases, PROBE_HEADER, RequestParts, ResponseHead, Traffic,
    build_request,
};
use crate::wire::Framing;
use crate::workload::Prompt;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until, timeout_at};

/// After the terminator, how long a warm connection may take to end its body before it is given up.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);
/// A warm connection idle for longer is replaced before the run: many servers (uvicorn: 5 s) close
/// idle ones, and a request that meets the close would fail for no fault of the runtime.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Bytes of an unsuccessful answer that are read for its message.
const ERROR_BODY_BYTES: usize = 64 * 1024;
/// How long the message of an unsuccessful answer is waited for.
const ERROR_BODY_LIMIT: Duration = Duration::from_secs(2);

/// A run in progress: what is known so far, however it ends.
pub(super) struct Run<'a> {
    pub(super) prober: &'a Prober,
    pub(super) probe: &'a Probe,
    pub(super) context: &'a RunContext,
    pub(super) run_id: RunId,
    pub(super) prompt: Option<Prompt>,
    pub(super) started: Instant,
    pub(super) dispatch: Option<Instant>,
    pub(super) ready: Option<Instant>,
    pub(super) dial: DialPhases,
    pub(super) connection: ConnectionState,
    /// The connection itself, once it stands.
    pub(super) link: Option<Connection>,
    pub(super) reused: bool,
    pub(super) status: Option<u16>,
    pub(super) answer: Option<Answer>,
    pub(super) queued: Queued,
    flight: InFlight,
    /// What the target's processes had used before the dispatch.
    pub(super) used_before: Option<ProcessLook>,
    /// What the connection had carried for earlier runs.
    pub(super) carried_before: Traffic,
}

/// The scheduler's and the quota's counts at the run's beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued {
    pub(super) at_dispatch: Option<Duration>,
    pub(super) throttled: Option<Duration>,
}

impl<'a> Run<'a> {
    pub(super) fn new(prober: &'a Prober, probe: &'a Probe, context: &'a RunContext) -> Self {
        Self {
            prober,
            probe,
            context,
            run_id: RunId::random(),
            prompt: None,
            started: Instant::now(),
            dispatch: None,
            ready: None,
            dial: DialPhases::default(),
            connection: match probe.scenario.settings.connection {
                ConnectionPolicy::Cold => ConnectionState::Cold,
                ConnectionPolicy::Warm => ConnectionState::Warm,
            },
            link: None,
            reused: false,
            status: None,
            answer: None,
            queued: Queued::default(),
            flight: probe.flights.begin(),
            used_before: None,
            carried_before: Traffic::default(),
        }
    }

    /// Makes the run.
    pub(super) async fn attempt(&mut self) -> Result<(), Failed> {
        let prompt = self.prompt().await?;
        let request = self.request(&prompt).await?;
        self.prompt = Some(prompt);
        self.used_before = self.prober.meter.look(&self.probe.labels.target);
        self.queued.throttled = self.prober.throttle.read();
        let connection = match self.connection {
            ConnectionState::Cold => {
                self.dispatched();
                self.connect().await?
            }
            ConnectionState::Warm => match self.take_idle() {
                Some(connection) => connection,
                None => self.connect().await?,
            },
        };
        let connection = self.link.insert(connection);
        if self.dispatch.is_none() {
            self.queued.at_dispatch = self.prober.clocks.run_queue_delay();
        }
        let ready = Instant::now();
        self.ready = Some(ready);
        self.dispatch.get_or_insert(ready);
        let head = {
            let (deadline, outcome) = deadline(self.probe, self.context, ready, None);
            let sent = timeout_at(deadline.into(), connection.send(request)).await;
            match sent {
                Err(_) => return Err(self.too_late(outcome)),
                Ok(Err(error)) => return Err(before_head(&error)),
                Ok(Ok(head)) => head,
            }
        };
        self.status = Some(head.status.as_u16());
        if !head.status.is_success() {
            return Err(self.refused_by_status(&head).await);
        }
        self.open_answer(&head);
        self.read().await?;
        self.judge()
    }

    fn dispatched(&mut self) {
        self.queued.at_dispatch = self.prober.clocks.run_queue_delay();
        self.dispatch = Some(Instant::now());
    }

    /// Prompts of an exact length take a tokenizer some milliseconds, which other probes on this
    /// thread must not wait for.
    async fn prompt(&self) -> Result<Prompt, Failed> {
        let scenario = self.probe.scenario.clone();
        let calibration = self.probe.calibration.clone();
        let seed = self.run_id.seed();
        let exact = scenario.tokenizer.is_some();
        let build = move || scenario.workload.next(seed, &calibration);
        if !exact {
            return Ok(build());
        }
        tokio::task::spawn_blocking(build)
            .await
            .map_err(|error| Failed::new(Outcome::Internal, error.to_string()))
    }

    async fn request(&self, prompt: &Prompt) -> Result<Request<Bytes>, Failed> {
        let target = &self.probe.target;
        let scenario = &self.probe.scenario.settings;
        let EncodedRequest {
            path,
            mut headers,
            body,
        } = target.runtime.adapter.encode(EncodeInput {
            model: &target.model,
            operation: scenario.operation,
            stream: scenario.stream,
            prompt,
            generation: &scenario.generation,
        });
        if let Ok(value) = HeaderValue::try_from(self.run_id.to_string()) {
            headers.push((PROBE_HEADER, value));
        }
        let endpoint = &target.settings.endpoint;
        let built = build_request(
            endpoint,
            RequestParts {
                method: Method::POST,
                path: &path,
                headers: &headers,
                key_header: target.runtime.adapter.key_header(),
                body,
            },
        );
        // A secret on a mount that hangs is no reason to hang.
        match tokio::time::timeout(scenario.timeouts.connect, built).await {
            Ok(Ok(request)) => Ok(request),
            Ok(Err(error)) => Err(Failed::new(Outcome::Auth, error.to_string())),
            Err(_) => Err(Failed::new(
                Outcome::Auth,
                "the secret cannot be read in time",
            )),
        }
    }

    /// The connection of the run before, if it still stands.
    fn take_idle(&mut self) -> Option<Connection> {
        let (since, mut connection) = self.probe.idle.lock().take()?;
        if since.elapsed() > MAX_IDLE || !connection.is_ready() {
            return None;
        }
        self.reused = true;
        self.carried_before = connection.traffic();
        Some(connection)
    }

    async fn connect(&mut self) -> Result<Connection, Failed> {
        let target = &self.probe.target;
        let limit = self.probe.scenario.settings.timeouts.connect;
        let limit = limit.min(self.left());
        let endpoint = &target.settings.endpoint;
        let clocks = &self.prober.clocks;
        let dial = target.dialer.dial(endpoint, clocks, &mut self.dial);
        match tokio::time::timeout(limit, dial).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let outcome = match error {
                    DialError::Dns { .. } => Outcome::Dns,
                    // Tinyproxy says 401 where others say 407.
                    DialError::Proxy {
                        status:
                            Some(
                                StatusCode::PROXY_AUTHENTICATION_REQUIRED
                                | StatusCode::UNAUTHORIZED,
                            ),
                        ..
                    } => Outcome::Auth,
                    DialError::Connect { .. } | DialError::Proxy { .. } => Outcome::Refused,
                    DialError::Tls(_) => Outcome::Tls,
                };
                Err(Failed::new(outcome, error.to_string()))
            }
            Err(_) => Err(Failed::new(
                Outcome::TimeoutConnect,
                format!(
                    "no connection to {}{} within {limit:?}",
                    endpoint.place(),
                    endpoint.through()
                ),
            )),
        }
    }

    /// Time until the caller's own deadline.
    fn left(&self) -> Duration {
        self.context.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        })
    }

    fn too_late(&self, outcome: Outcome) -> Failed {
        let timeouts = &self.probe.scenario.settings.timeouts;
        let message = match outcome {
            Outcome::TimeoutFirstToken => {
                format!("no token within {:?}", timeouts.first_token)
            }
            Outcome::Stalled => {
                let said = self.answer.as_ref().map(Answer::said);
                let tokens = said.map_or(0, |said| said.timeline.text_frames());
                format!(
                    "no further token for {:?} after {tokens} frames",
                    timeouts.stall
                )
            }
            _ => {
                let dispatch = self.dispatch.unwrap_or(self.started);
                let took = dispatch.elapsed().as_secs_f64();
                format!("not complete within {took:.1} s")
            }
        };
        Failed::new(outcome, message)
    }

    async fn refused_by_status(&mut self, head: &ResponseHead) -> Failed {
        let limit = ERROR_BODY_LIMIT.min(self.left());
        let mut body = Vec::new();
        let link = &mut self.link;
        let read = async {
            let Some(connection) = link else {
                return;
            };
            while let Ok(Some(chunk)) = connection.chunk().await {
                body.extend_from_slice(chunk.data);
                if body.len() > ERROR_BODY_BYTES {
                    break;
                }
            }
        };
        tokio::time::timeout(limit, read).await.ok();
        let said = self.probe.target.runtime.adapter.error_message(&body);
        // Without TLS it may be the proxy that says so.
        let endpoint = &self.probe.target.settings.endpoint;
        let through = endpoint.through();
        let through = if endpoint.tls.is_some() { "" } else { &through };
        let message = match said {
            Some(said) => format!("HTTP {}{through}: {said}", head.status),
            None => format!("HTTP {}{through}", head.status),
        };
        Failed::new(outcome_of(head.status), message)
    }

    fn open_answer(&mut self, head: &ResponseHead) {
        let scenario = &self.probe.scenario.settings;
        let adapter = self.probe.target.runtime.adapter;
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        // A JSON document instead of the event stream that was asked for: usually an error.
        let framing = match adapter.framing(scenario.stream) {
            Framing::Sse if is_json => Framing::WholeBody,
            framing => framing,
        };
        let wants_text = self.context.keep_answer
            || scenario.assertion.contains.is_some()
            || self.probe.scenario.tokenizer.is_some();
        self.answer = Some(Answer::new(Reading {
            decoder: framing.decoder(scenario.limits.frame_bytes),
            interpreter: adapter.interpreter(scenario.operation, scenario.stream),
            limits: scenario.limits,
            server: head_timings(
                &head.headers,
                scenario.stream && framing != Framing::WholeBody,
            ),
            keep_text: wants_text,
            native_counts: adapter.counts_natively(),
        }));
    }

    /// Reads until the terminator or the body's end.
    async fn read(&mut self) -> Result<(), Failed> {
        let (probe, context) = (self.probe, self.context);
        let dispatch = self.dispatch.unwrap_or(self.started);
        let (Some(connection), Some(answer)) = (&mut self.link, &mut self.answer) else {
            return Ok(());
        };
        let (first, _) = deadline(probe, context, dispatch, None);
        let mut alarm = pin!(sleep_until(first.into()));
        loop {
            let seen = answer.said().timeline.last_seen();
            let next = || deadline(probe, context, dispatch, seen);
            let chunk = match until(alarm.as_mut(), next, connection.chunk()).await {
                Ok(chunk) => chunk,
                Err(outcome) => return Err(self.too_late(outcome)),
            };
            match chunk {
                Ok(Some(chunk)) => {
                    answer.feed(chunk)?;
                    if let Some(at) = answer.said().timeline.last_seen() {
                        self.flight.token(at);
                    }
                }
                Ok(None) => return answer.end(Instant::now()),
                Err(error) => return Err(within_body(&error, answer.body_bytes)),
            }
            if answer.is_terminated() {
                return Ok(());
            }
        }
    }

    fn judge(&self) -> Result<(), Failed> {
        let Some(answer) = &self.answer else {
            return Ok(());
        };
        let assertion = &self.probe.scenario.settings.assertion;
        let said = answer.said();
        said.verdict(answer.body_bytes, assertion, self.count().as_ref())
    }
}

/// The next deadline, and what it means when it passes. `token`: when the latest one was seen.
fn deadline(
    probe: &Probe,
    context: &RunContext,
    dispatch: Instant,
    token: Option<Instant>,
) -> (Instant, Outcome) {
    let scenario = &probe.scenario.settings;
    let timeouts = &scenario.timeouts;
    let end = dispatch + timeouts.total;
    let end = context.deadline.map_or(end, |deadline| end.min(deadline));
    let token = match token {
        None => (dispatch + timeouts.first_token, Outcome::TimeoutFirstToken),
        Some(token) => (token + timeouts.stall, Outcome::Stalled),
    };
    match scenario.stream && token.0 < end {
        true => token,
        false => (end, Outcome::TimeoutTotal),
    }
}

/// Waits for `wanted`, but not beyond the deadline. That moves with every token; the alarm is set anew
/// only when it would ring too late, or has rung too early.
async fn until<T>(
    mut alarm: Pin<&mut Sleep>,
    next: impl Fn() -> (Instant, Outcome),
    wanted: impl Future<Output = T>,
) -> Result<T, Outcome> {
    let (at, _) = next();
    if at < alarm.deadline().into_std() {
        alarm.as_mut().reset(at.into());
    }
    let mut wanted = pin!(wanted);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = wanted.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let (at, outcome) = next();
            if at <= Instant::now() {
                return Poll::Ready(Err(outcome));
            }
            alarm.as_mut().reset(at.into());
        }
        Poll::Pending
    })
    .await
}

/// Reads the rest of the body, so that the connection can serve the next run.
pub(super) async fn keep(probe: &Probe, mut connection: Connection) {
    let drained = tokio::time::timeout(DRAIN_LIMIT, async {
        while let Ok(Some(_)) = connection.chunk().await {}
    });
    if drained.await.is_ok() && connection.is_ready() {
        *probe.idle.lock() = Some((Instant::now(), connection));
    }
}
