//! One run in progress: connect, send, read, judge, conclude.

use super::observation::{ConnectionState, Failure, Instrument, Observation, Phases, RunId, Taint};
use super::outcome::Outcome;
use super::prober::RunContext;
use super::settings::{ConnectionPolicy, Probe};
use super::stream::{Answer, Failed, Reading};
use super::verdict::{before_head, outcome_of, within_body};
use crate::base::clock::wall_now;
use crate::measure::delta::ServerTimings;
use crate::measure::latency::{Count, Latency, Span};
use crate::measure::timeline::Timeline;
use crate::measure::tokens::TokenCounts;
use crate::runtime::{EncodeInput, EncodedRequest};
use crate::transport::{
    ClockKind, Connection, DialError, DialPhases, PROBE_HEADER, ResponseHead, build_request,
};
use crate::wire::Framing;
use crate::workload::Prompt;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

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
    probe: &'a Probe,
    context: &'a RunContext,
    run_id: RunId,
    prompt: Option<Prompt>,
    started: Instant,
    dispatch: Option<Instant>,
    ready: Option<Instant>,
    written: Option<Instant>,
    dial: DialPhases,
    connection: ConnectionState,
    reused: bool,
    status: Option<u16>,
    answer: Option<Answer>,
    end: Option<Instant>,
}

impl<'a> Run<'a> {
    pub(super) fn new(probe: &'a Probe, context: &'a RunContext) -> Self {
        Self {
            probe,
            context,
            run_id: RunId::random(),
            prompt: None,
            started: Instant::now(),
            dispatch: None,
            ready: None,
            written: None,
            dial: DialPhases::default(),
            connection: match probe.scenario.settings.connection {
                ConnectionPolicy::Cold => ConnectionState::Cold,
                ConnectionPolicy::Warm => ConnectionState::Warm,
            },
            reused: false,
            status: None,
            answer: None,
            end: None,
        }
    }

    /// Makes the run. A good one gives its connection back, if that may serve the next.
    pub(super) async fn attempt(&mut self) -> Result<Option<Connection>, Failed> {
        let prompt = self.prompt().await?;
        let request = self.request(&prompt).await?;
        self.prompt = Some(prompt);
        let mut connection = match self.connection {
            ConnectionState::Cold => {
                self.dispatch = Some(Instant::now());
                self.connect().await?
            }
            ConnectionState::Warm => match self.take_idle().await {
                Some(connection) => connection,
                None => self.connect().await?,
            },
        };
        let ready = Instant::now();
        self.ready = Some(ready);
        self.dispatch.get_or_insert(ready);
        let (head, mut connection) = {
            let (deadline, outcome) = self.deadline();
            let sent = timeout_at(deadline.into(), connection.send(request)).await;
            self.written = connection.request_written();
            match sent {
                Err(_) => return Err(self.too_late(outcome)),
                Ok(Err(error)) => return Err(before_head(&error)),
                Ok(Ok(head)) => (head, connection),
            }
        };
        self.status = Some(head.status.as_u16());
        if !head.status.is_success() {
            return Err(self.refused_by_status(&head, &mut connection).await);
        }
        self.open_answer(&head);
        self.read(&mut connection).await?;
        self.judge()?;
        let warm = self.connection == ConnectionState::Warm;
        Ok(warm.then_some(connection))
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

    async fn request(&self, prompt: &Prompt) -> Result<Request<Full<Bytes>>, Failed> {
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
        let built = build_request(endpoint, Method::POST, path, &headers, body);
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
    async fn take_idle(&mut self) -> Option<Connection> {
        let (since, mut connection) = self.probe.idle.lock().take()?;
        if since.elapsed() > MAX_IDLE || !connection.is_ready().await {
            return None;
        }
        self.reused = true;
        Some(connection)
    }

    async fn connect(&mut self) -> Result<Connection, Failed> {
        let target = &self.probe.target;
        let limit = self.probe.scenario.settings.timeouts.connect;
        let limit = limit.min(self.left());
        let endpoint = &target.settings.endpoint;
        let dial = target.dialer.dial(endpoint, &mut self.dial);
        match tokio::time::timeout(limit, dial).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let outcome = match error {
                    DialError::Dns { .. } => Outcome::Dns,
                    DialError::Connect { .. } => Outcome::Refused,
                    DialError::Tls(_) => Outcome::Tls,
                    DialError::Http(_) => Outcome::Malformed,
                };
                Err(Failed::new(outcome, error.to_string()))
            }
            Err(_) => Err(Failed::new(
                Outcome::TimeoutConnect,
                format!("no connection to {} within {limit:?}", endpoint.authority()),
            )),
        }
    }

    /// The next deadline, and what it means when it passes.
    fn deadline(&self) -> (Instant, Outcome) {
        let timeouts = &self.probe.scenario.settings.timeouts;
        let dispatch = self.dispatch.unwrap_or(self.started);
        let mut end = dispatch + timeouts.total;
        if let Some(deadline) = self.context.deadline {
            end = end.min(deadline);
        }
        let mut next = (end, Outcome::TimeoutTotal);
        if self.probe.scenario.settings.stream {
            let last = self
                .answer
                .as_ref()
                .and_then(|answer| answer.timeline.last_token());
            let token = match last {
                None => (dispatch + timeouts.first_token, Outcome::TimeoutFirstToken),
                Some(last) => (last + timeouts.stall, Outcome::Stalled),
            };
            if token.0 < next.0 {
                next = token;
            }
        }
        next
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
                let tokens = self.answer.as_ref().map_or(0, |a| a.timeline.text_frames());
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

    async fn refused_by_status(&self, head: &ResponseHead, connection: &mut Connection) -> Failed {
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = connection.chunk().await {
                body.extend_from_slice(&chunk.data);
                if body.len() > ERROR_BODY_BYTES {
                    break;
                }
            }
        };
        let limit = ERROR_BODY_LIMIT.min(self.left());
        tokio::time::timeout(limit, read).await.ok();
        let said = self.probe.target.runtime.adapter.error_message(&body);
        let message = match said {
            Some(said) => format!("HTTP {}: {said}", head.status),
            None => format!("HTTP {}", head.status),
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
            keep_text: wants_text,
            native_counts: adapter.counts_natively(),
        }));
    }

    /// Reads until the terminator or the body's end.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        loop {
            let (deadline, outcome) = self.deadline();
            let read = timeout_at(deadline.into(), connection.chunk()).await;
            let Some(answer) = &mut self.answer else {
                return Ok(());
            };
            match read {
                Err(_) => return Err(self.too_late(outcome)),
                Ok(Ok(Some(chunk))) => {
                    let at = chunk.stamps.user;
                    self.end = Some(at);
                    answer.feed(&chunk.data, at)?;
                    if answer.terminated.is_some() {
                        return Ok(());
                    }
                }
                Ok(Ok(None)) => {
                    let at = self.end.unwrap_or_else(Instant::now);
                    return answer.end(at);
                }
                Ok(Err(error)) => return Err(within_body(&error, answer.body_bytes)),
            }
        }
    }

    fn judge(&self) -> Result<(), Failed> {
        let Some(answer) = &self.answer else {
            return Ok(());
        };
        let scenario = &self.probe.scenario;
        answer.verdict(&scenario.settings.assertion, self.count().as_ref())
    }

    pub(super) fn conclude(
        mut self,
        verdict: Result<(), Failed>,
        max_lag: Duration,
    ) -> Observation {
        let now = Instant::now();
        // A good answer ends with its last byte, a failure when it is known to be one.
        let end = match &verdict {
            Ok(()) => self.end.unwrap_or(now),
            Err(_) => now,
        };
        let (outcome, failure) = match verdict {
            Ok(()) => (Outcome::Success, None),
            Err(failed) => {
                let status = failed.status.or(self.status);
                let message = failed.message;
                (failed.outcome, Some(Failure { message, status }))
            }
        };
        let streamed = self.probe.scenario.settings.stream;
        let tokens = self.count();
        self.learn(tokens);
        let lag = self.context.schedule_lag;
        let mut observation = Observation {
            run_id: self.run_id,
            labels: self.probe.labels.clone(),
            trigger: self.context.trigger,
            intended_start: self.context.intended_start,
            ended: wall_now(),
            dispatched: self.dispatch.unwrap_or(self.started),
            outcome,
            failure,
            streamed,
            connection: self.connection,
            reused: self.reused,
            phases: self.phases(end),
            latency: self.latency(end, tokens),
            duration: end.saturating_duration_since(self.context.intended),
            gaps: Vec::new(),
            tokens_per_arrival: Vec::new(),
            tokens,
            server: ServerTimings::default(),
            finish_reason: None,
            response_model: None,
            body_bytes: 0,
            instrument: Instrument {
                clock: ClockKind::User,
                schedule_lag: lag,
                taint: lag.filter(|lag| *lag > max_lag).map(|_| Taint::ScheduleLag),
            },
            answer: None,
        };
        if let Some(answer) = self.answer.take() {
            observation.server = answer.server;
            observation.finish_reason = answer.finish;
            observation.response_model = answer.model;
            observation.body_bytes = answer.body_bytes;
            observation.answer = self.context.keep_answer.then_some(answer.visible);
            if streamed {
                (observation.gaps, observation.tokens_per_arrival) = answer.timeline.into_lists();
            }
        }
        observation
    }

    fn count(&self) -> Option<TokenCounts> {
        let tokenizer = self.probe.scenario.tokenizer.as_ref();
        self.answer
            .as_ref()
            .and_then(|answer| answer.tokens(tokenizer))
    }

    /// Tells the workload how many tokens the runtime made of its words.
    fn learn(&self, tokens: Option<TokenCounts>) {
        let words = self
            .prompt
            .as_ref()
            .and_then(|prompt| prompt.generated_words);
        let input = tokens.and_then(|tokens| tokens.usage.input);
        if let Some((words, input)) = words.zip(input) {
            self.probe.calibration.observe(words, input);
        }
    }

    fn latency(&self, end: Instant, tokens: Option<TokenCounts>) -> Latency {
        let span = Span {
            dispatch: self.dispatch.unwrap_or(self.started),
            first_byte: self.first_byte(),
            end,
        };
        let empty = Timeline::default();
        let timeline = self
            .answer
            .as_ref()
            .map_or(&empty, |answer| &answer.timeline);
        let count = self
            .answer
            .as_ref()
            .map_or(Count::default(), |answer| answer.count(tokens));
        Latency::of(timeline, span, count, self.probe.scenario.settings.stream)
    }

    fn first_byte(&self) -> Option<Instant> {
        self.answer.as_ref().and_then(|answer| answer.first_byte)
    }

    fn phases(&self, end: Instant) -> Phases {
        let first_byte = self.first_byte();
        let between =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let written = self
            .written
            .zip(self.ready)
            .map(|(written, ready)| written.max(ready));
        Phases {
            schedule: Some(
                self.started
                    .saturating_duration_since(self.context.intended),
            ),
            dns: self.dial.dns,
            connect: self.dial.connect,
            tls: self.dial.tls,
            send: between(self.ready, written),
            wait: between(written, first_byte),
            stream: between(first_byte, Some(end)),
        }
    }
}

/// Reads the rest of the body, so that the connection can serve the next run.
pub(super) async fn keep(probe: &Probe, mut connection: Connection) {
    let drained = tokio::time::timeout(DRAIN_LIMIT, async {
        while let Ok(Some(_)) = connection.chunk().await {}
        connection.is_ready().await
    });
    if drained.await == Ok(true) {
        *probe.idle.lock() = Some((Instant::now(), connection));
    }
}
