//! One run in progress: connect, send, read, judge, conclude.

use super::instrument::{Beginning, Clocked, Waits, error_bound, error_limit, taint};
use super::observation::{ConnectionState, Failure, Instrument, Observation, Phases, RunId};
use super::outcome::Outcome;
use super::prober::{Prober, RunContext};
use super::settings::{ConnectionPolicy, Probe};
use super::stream::{Answer, Failed, Reading};
use super::verdict::{before_head, outcome_of, within_body};
use crate::base::clock::wall_now;
use crate::measure::latency::{Count, Latency, Span};
use crate::measure::tokens::TokenCounts;
use crate::runtime::{EncodeInput, EncodedRequest};
use crate::transport::{
    ClockChoice, ClockKind, Connection, DialError, DialPhases, PROBE_HEADER, ResponseHead, Stamps,
    build_request,
};
use crate::wire::Framing;
use crate::workload::Prompt;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
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
    prober: &'a Prober,
    probe: &'a Probe,
    context: &'a RunContext,
    run_id: RunId,
    prompt: Option<Prompt>,
    started: Instant,
    dispatch: Option<Instant>,
    ready: Option<Instant>,
    dial: DialPhases,
    connection: ConnectionState,
    /// The connection itself, once it stands.
    link: Option<Connection>,
    reused: bool,
    status: Option<u16>,
    answer: Option<Answer>,
    queued: Queued,
}

/// The scheduler's and the quota's counts at the run's beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Queued {
    at_dispatch: Option<Duration>,
    throttled: Option<Duration>,
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
        }
    }

    /// Makes the run.
    pub(super) async fn attempt(&mut self) -> Result<(), Failed> {
        let prompt = self.prompt().await?;
        let request = self.request(&prompt).await?;
        self.prompt = Some(prompt);
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
    fn take_idle(&mut self) -> Option<Connection> {
        let (since, mut connection) = self.probe.idle.lock().take()?;
        if since.elapsed() > MAX_IDLE || !connection.is_ready() {
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
        let clocks = &self.prober.clocks;
        let dial = target.dialer.dial(endpoint, clocks, &mut self.dial);
        match tokio::time::timeout(limit, dial).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let outcome = match error {
                    DialError::Dns { .. } => Outcome::Dns,
                    DialError::Connect { .. } => Outcome::Refused,
                    DialError::Tls(_) => Outcome::Tls,
                };
                Err(Failed::new(outcome, error.to_string()))
            }
            Err(_) => Err(Failed::new(
                Outcome::TimeoutConnect,
                format!("no connection to {} within {limit:?}", endpoint.authority()),
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
                Ok(Some(chunk)) => answer.feed(chunk)?,
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

    /// The record of the run, by the best clock that saw all of it.
    pub(super) fn conclude(&self, verdict: &Result<(), Failed>) -> Observation {
        let now = Instant::now();
        let stamps = self.link.as_ref().map(Connection::stamps);
        self.learn(self.count());
        self.observation(verdict, now, stamps.as_ref(), self.prober.settings.clock)
    }

    /// The same run by each clock that saw all of it: what differs is the clock's doing.
    pub(super) fn conclude_by_every_clock(&self, verdict: &Result<(), Failed>) -> Vec<Observation> {
        let now = Instant::now();
        let stamps = self.link.as_ref().map(Connection::stamps);
        let by = |clock| {
            let choice = ClockChoice::Best(clock);
            let observation = self.observation(verdict, now, stamps.as_ref(), choice);
            (observation.instrument.clock == clock).then_some(observation)
        };
        ClockKind::ALL.into_iter().filter_map(by).collect()
    }

    /// Its connection, if that may serve the next run.
    pub(super) fn into_warm_connection(self) -> Option<Connection> {
        self.link
            .filter(|_| self.connection == ConnectionState::Warm)
    }

    fn observation(
        &self,
        verdict: &Result<(), Failed>,
        now: Instant,
        stamps: Option<&Stamps<'_>>,
        choice: ClockChoice,
    ) -> Observation {
        let (outcome, failure) = match verdict {
            Ok(()) => (Outcome::Success, None),
            Err(failed) => {
                let status = failed.status.or(self.status);
                let message = failed.message.clone();
                (failed.outcome, Some(Failure { message, status }))
            }
        };
        let tokens = self.count();
        let beginning = self.beginning();
        let mut clocked = Clocked::best(beginning, self.answer.as_ref(), stamps, choice);
        // A good answer ends with its last byte, a failure when it is known to be one.
        let end = match outcome.is_success() {
            true => clocked.end.unwrap_or(now),
            false => now,
        };
        let latency = self.latency(&clocked, end, tokens);
        let instrument = self.instrument(&clocked, stamps, outcome, &latency);
        let streamed = self.probe.scenario.settings.stream;
        let (gaps, tokens_per_arrival) = match streamed {
            true => (
                std::mem::take(&mut clocked.moments.gaps),
                std::mem::take(&mut clocked.moments.tokens_per_arrival),
            ),
            false => (Vec::new(), Vec::new()),
        };
        let said = self.answer.as_ref().map(Answer::said);
        Observation {
            run_id: self.run_id,
            labels: self.probe.labels.clone(),
            trigger: self.context.trigger,
            intended_start: self.context.intended_start,
            ended: wall_now(),
            dispatched: clocked.start,
            outcome,
            failure,
            streamed,
            connection: self.connection,
            reused: self.reused,
            phases: self.phases(&clocked, end),
            latency,
            duration: end.saturating_duration_since(self.context.intended),
            gaps,
            tokens_per_arrival,
            tokens,
            server: said.map(|said| said.server).unwrap_or_default(),
            finish_reason: said.and_then(|said| said.finish.clone()),
            response_model: said.and_then(|said| said.model.clone()),
            body_bytes: self.answer.as_ref().map_or(0, |answer| answer.body_bytes),
            instrument,
            stamp_delays: stamps.map_or_else(Vec::new, |stamps| stamps.delays().collect()),
            answer: said
                .filter(|_| self.context.keep_answer)
                .map(|said| said.visible.clone()),
        }
    }

    fn beginning(&self) -> Beginning {
        Beginning {
            dispatch: self.dispatch.unwrap_or(self.started),
            before_connection: self.dial.dns.unwrap_or_default() + self.dial.refused,
            cold: self.connection == ConnectionState::Cold,
            ready: self.ready,
            written: self.link.as_ref().and_then(Connection::request_written),
        }
    }

    fn instrument(
        &self,
        clocked: &Clocked,
        stamps: Option<&Stamps<'_>>,
        outcome: Outcome,
        latency: &Latency,
    ) -> Instrument {
        let beginning = self.beginning();
        let settings = &self.prober.settings;
        let since = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?));
        let at_dispatch = self.queued.at_dispatch;
        let at_written = self.link.as_ref().and_then(Connection::queued_at_written);
        let waits = Waits {
            before_written: since(at_dispatch, at_written),
            run_queue: since(at_dispatch, self.prober.clocks.run_queue_delay()),
            throttled: since(self.queued.throttled, self.prober.throttle.read()),
        };
        let answer = self.answer.as_ref();
        let error_bound = match outcome {
            Outcome::Success => Some(error_bound(clocked.clock, beginning, answer, stamps, waits)),
            // Late ourselves, we may have given up on a runtime that was in time.
            outcome if outcome.is_of_time() => waits.run_queue.or(waits.throttled),
            _ => None,
        };
        let figure = latency.first_token.filter(|_| outcome.is_success());
        let limit = error_limit(settings, figure.unwrap_or(latency.inference));
        let mut instrument = Instrument {
            clock: clocked.clock,
            schedule_lag: self.context.schedule_lag,
            error_bound,
            error_limit: error_bound.map(|_| limit),
            run_queue_delay: waits.run_queue,
            throttled: waits.throttled,
            reads: stamps.map_or(0, |stamps| stamps.reads() as u32),
            merged_reads: merged_reads(answer, stamps),
            taint: None,
        };
        instrument.taint = taint(&instrument, settings, limit);
        instrument
    }

    fn count(&self) -> Option<TokenCounts> {
        let tokenizer = self.probe.scenario.tokenizer.as_ref();
        self.answer.as_ref()?.said().tokens(tokenizer)
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

    fn latency(&self, clocked: &Clocked, end: Instant, tokens: Option<TokenCounts>) -> Latency {
        let span = Span {
            dispatch: clocked.start,
            first_byte: clocked.first_byte,
            end,
        };
        let said = self.answer.as_ref().map(Answer::said);
        let count = said.map_or(Count::default(), |said| said.count(tokens));
        let streamed = self.probe.scenario.settings.stream;
        Latency::of(&clocked.moments, span, count, streamed)
    }

    fn phases(&self, clocked: &Clocked, end: Instant) -> Phases {
        let between =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let ready = self.ready.map(|ready| match self.connection {
            ConnectionState::Warm => clocked.start,
            ConnectionState::Cold => ready,
        });
        Phases {
            schedule: Some(
                self.started
                    .saturating_duration_since(self.context.intended),
            ),
            dns: self.dial.dns,
            connect: self.dial.connect,
            tls: self.dial.tls,
            send: between(ready, clocked.written),
            wait: between(clocked.written, clocked.first_byte),
            stream: between(clocked.first_byte, Some(end)),
        }
    }
}

/// Reads that brought several events with tokens: between those the kernel's stamps cannot tell.
fn merged_reads(answer: Option<&Answer>, stamps: Option<&Stamps<'_>>) -> u32 {
    let (Some(answer), Some(stamps)) = (answer, stamps) else {
        return 0;
    };
    let mut merged = 0;
    let mut last = None;
    let mut counted = None;
    for position in answer.said().timeline.positions() {
        let read = Some(stamps.read_index(position));
        if read == last && counted != read {
            merged += 1;
            counted = read;
        }
        last = read;
    }
    merged
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
