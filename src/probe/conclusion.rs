//! A run that has ended, made into its record.

use super::instrument::{Beginning, Clocked, Waits, error_bound, error_limit, taint};
use super::observation::{ConnectionState, Failure, Instrument, Observation, Phases, RunResources};
use super::outcome::Outcome;
use super::run::Run;
use super::stream::{Answer, Failed};
use crate::base::clock::wall_now;
use crate::measure::attribution::Attribution;
use crate::measure::latency::{Count, Latency, Span};
use crate::measure::tokens::TokenCounts;
use crate::transport::{ClockChoice, ClockKind, Connection, Stamps};
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl Run<'_> {
    /// The record of the run, by the best clock that saw all of it.
    pub(super) fn conclude(&self, verdict: &Result<(), Failed>) -> Observation {
        let now = Instant::now();
        let stamps = self.link.as_ref().map(Connection::stamps);
        let clock = self.prober.settings.clock;
        let mut observation = self.observation(verdict, now, stamps.as_ref(), clock);
        self.learn(&observation);
        // Last of all: looking takes time, which must be in no figure.
        observation.resources = self.resources(now);
        observation
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
        let server = said.map(|said| said.server.completed()).unwrap_or_default();
        let exchange = clocked.written.filter(|_| outcome.is_success());
        let exchange = exchange.map(|written| end.saturating_duration_since(written));
        let price = self.probe.target.settings.price;
        let policy = self.probe.scenario.settings.workload.cache;
        let judged = tokens.filter(|_| outcome.is_success());
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
            inputs: self.inputs(),
            connection: self.connection,
            reused: self.reused,
            phases: self.phases(&clocked, end),
            latency,
            duration: end.saturating_duration_since(self.context.intended),
            gaps,
            tokens_per_arrival,
            tokens,
            cost_usd: price
                .zip(tokens)
                .map(|(price, tokens)| price.cost(&tokens.usage)),
            contamination: judged.and_then(|tokens| self.probe.cache.judge(policy, &tokens.usage)),
            server,
            attribution: exchange.and_then(|exchange| Attribution::of(exchange, &server)),
            finish_reason: said.and_then(|said| said.finish.clone()),
            response_model: said.and_then(|said| said.model.clone()),
            body_bytes: self.answer.as_ref().map_or(0, |answer| answer.body_bytes),
            resources: RunResources::default(),
            instrument,
            stamp_delays: stamps.map_or_else(Vec::new, |stamps| stamps.delays().collect()),
            answer: said
                .filter(|_| self.context.keep_answer)
                .map(|said| said.visible.clone()),
        }
    }

    /// Of the machine's GPUs together, and only where the runtime is on this machine.
    fn energy_joules(&self, end: Instant) -> Option<f64> {
        let host = self.probe.target.settings.endpoint.host.as_str();
        let address: Option<IpAddr> = host.parse().ok();
        let loopback = host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
        let board = self.prober.energy.as_ref();
        let board = board.filter(|_| loopback || self.used_before.is_some())?;
        board.joules_between(self.dispatch?, end)
    }

    fn resources(&self, end: Instant) -> RunResources {
        let before = self.used_before;
        let after = before.and_then(|_| self.prober.meter.look(&self.probe.labels.target));
        let looks = before.zip(after);
        let traffic = self.link.as_ref().map(Connection::traffic);
        let carried = self.carried_before;
        RunResources {
            cpu_seconds: looks.and_then(|(before, after)| after.cpu_seconds_since(&before)),
            peak_memory_bytes: looks.map(|(before, after)| after.peak_memory_bytes(&before)),
            energy_joules: self.energy_joules(end),
            received_bytes: traffic
                .map(|traffic| traffic.received.saturating_sub(carried.received)),
            sent_bytes: traffic.map(|traffic| traffic.sent.saturating_sub(carried.sent)),
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

    pub(super) fn count(&self) -> Option<TokenCounts> {
        let tokenizer = self.probe.scenario.tokenizer.as_ref();
        self.answer.as_ref()?.said().tokens(tokenizer)
    }

    /// Tells the workload how many tokens the runtime made of its words, and the next run what this one
    /// has left in the runtime's cache.
    fn learn(&self, observation: &Observation) {
        let tokens = observation.tokens;
        if let Some(tokens) = tokens.filter(|_| observation.outcome.is_success()) {
            self.probe.cache.note(&tokens.usage);
        }
        let input = tokens.and_then(|tokens| tokens.usage.input);
        if let Some((words, input)) = self.generated_words.zip(input) {
            let texts = self.inputs().unwrap_or(1).max(1);
            let each = input / u64::from(texts);
            self.probe.calibration.observe(words, each);
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
        let latency = Latency::of(&clocked.moments, span, count, streamed);
        match (self.inputs(), tokens.and_then(|tokens| tokens.usage.input)) {
            (Some(_), Some(input)) => latency.of_reading(input),
            _ => latency,
        }
    }

    /// Texts that were to be embedded or ranked.
    fn inputs(&self) -> Option<u32> {
        let retrieval = self.probe.scenario.settings.retrieval?;
        Some(retrieval.inputs)
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
