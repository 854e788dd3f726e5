//! The immutable record of one run.

use super::contamination::Contamination;
use super::outcome::Outcome;
use crate::base::label::ProbeLabels;
use crate::measure::attribution::Attribution;
use crate::measure::cost::Cost;
use crate::measure::delta::{FinishReason, ServerTimings};
use crate::measure::latency::Latency;
use crate::measure::tokens::TokenCounts;
use crate::transport::ClockKind;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// 128 random bits, written as 32 hexadecimal digits: the form of a W3C trace id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(u128);

impl RunId {
    /// A fresh one.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The seed that the run's workload draws from.
    pub fn seed(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who asked for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule.
    Schedule,
    /// `/probe` or `sonde probe`.
    OnDemand,
}

/// What the run's connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Set up inside TTFT.
    Cold,
    /// Stood before dispatch.
    Warm,
}

impl ConnectionState {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Where the time went. A phase that did not happen is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// Intended start to our first act: the wait for the target's permit, and our lateness.
    pub schedule: Option<Duration>,
    /// Name to addresses.
    pub dns: Option<Duration>,
    /// TCP handshake.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// Connection ready to request fully written.
    pub send: Option<Duration>,
    /// Request written to first body byte.
    pub wait: Option<Duration>,
    /// First body byte to end.
    pub stream: Option<Duration>,
}

impl Phases {
    /// Names and values, those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("schedule", self.schedule),
            ("dns", self.dns),
            ("connect", self.connect),
            ("tls", self.tls),
            ("send", self.send),
            ("wait", self.wait),
            ("stream", self.stream),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Why a run's numbers cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Taint {
    /// The daemon woke so late for it that its stamps are in doubt too.
    ScheduleLag,
    /// Our CPU quota held us back while tokens came.
    Throttled,
    /// We waited for a CPU while tokens came.
    RunQueue,
    /// Reads brought several segments, and nothing tells closely enough when the earlier ones came.
    MergedReads,
}

impl Taint {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::ScheduleLag,
        Self::Throttled,
        Self::RunQueue,
        Self::MergedReads,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScheduleLag => "schedule_lag",
            Self::Throttled => "throttled",
            Self::RunQueue => "run_queue",
            Self::MergedReads => "merged_reads",
        }
    }
}

/// How far the instrument itself can be trusted in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instrument {
    /// The clock that made the stamps.
    pub clock: ClockKind,
    /// How much later than planned the daemon woke for the run.
    pub schedule_lag: Option<Duration>,
    /// The run's error bar: by how much its latencies may be too large. Absent for a run that failed
    /// for a reason that has nothing to do with time.
    pub error_bound: Option<Duration>,
    /// What the error bar may be.
    pub error_limit: Option<Duration>,
    /// Time that our thread waited for a CPU during the run; absent where the scheduler does not tell.
    pub run_queue_delay: Option<Duration>,
    /// Time for which our CPU quota held us back during the run; absent without a quota.
    pub throttled: Option<Duration>,
    /// Reads of the socket.
    pub reads: u32,
    /// Reads that brought more than one event with a token.
    pub merged_reads: u32,
    /// Set when the error bar exceeds its limit.
    pub taint: Option<Taint>,
}

#[cfg(test)]
impl Instrument {
    /// A good run's, by the user clock.
    pub(crate) fn example() -> Self {
        Self {
            clock: ClockKind::User,
            schedule_lag: None,
            error_bound: Some(Duration::from_micros(180)),
            error_limit: Some(Duration::from_millis(5)),
            run_queue_delay: None,
            throttled: None,
            reads: 1,
            merged_reads: 0,
            taint: None,
        }
    }
}

/// What the run used. Absent where it cannot be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RunResources {
    /// CPU time that the processes which serve the target spent during the run, on whatever else they
    /// did as well. In steps of 10 ms.
    pub cpu_seconds: Option<f64>,
    /// Resident memory of those processes: the more of two looks, before the dispatch and after the end.
    pub peak_memory_bytes: Option<f64>,
    /// Energy that the target's GPUs drew during the run.
    pub energy_joules: Option<f64>,
    /// Bytes received on the run's own connection, its handshakes included.
    pub received_bytes: Option<u64>,
    /// Bytes sent on it.
    pub sent_bytes: Option<u64>,
}

/// What went wrong, for people. Never a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
}

/// One run. Times are on the monotonic clock but for the two wall-clock instants, which serve
/// reading and sorting only.
#[derive(Clone, Debug, Serialize)]
pub struct Observation {
    /// Identifies the run in exemplars, logs and the `x-llm-probe` header.
    pub run_id: RunId,
    /// The probe.
    #[serde(flatten)]
    pub labels: ProbeLabels,
    /// Who asked.
    pub trigger: Trigger,
    /// When it was meant to start (wall clock).
    pub intended_start: Timestamp,
    /// When it ended (wall clock).
    pub ended: Timestamp,
    /// The instant that every latency counts from: we began to connect or, on a warm connection, to
    /// write. Means nothing outside this process.
    #[serde(skip)]
    pub dispatched: Instant,
    /// The verdict.
    pub outcome: Outcome,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// Whether the stream was asked for.
    pub streamed: bool,
    /// Texts that were to be embedded, or documents to be ranked; absent where text was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<u32>,
    /// Cold or warm.
    pub connection: ConnectionState,
    /// Whether an earlier run's connection was used again.
    pub reused: bool,
    /// Where the time went.
    pub phases: Phases,
    /// The figures.
    pub latency: Latency,
    /// End of stream − intended start: what a punctual user waited.
    pub duration: Duration,
    /// Gaps between arrivals, in order.
    pub gaps: Vec<Duration>,
    /// Tokens per arrival, in order.
    pub tokens_per_arrival: Vec<u32>,
    /// Token counts; absent where the answer had none.
    pub tokens: Option<TokenCounts>,
    /// What the tokens cost; absent where the target has no price or nothing was counted.
    pub cost_usd: Option<Cost>,
    /// Set when the runtime's cache did not do what the scenario means.
    pub contamination: Option<Contamination>,
    /// The runtime's own durations.
    pub server: ServerTimings,
    /// Where the exchange's time went; absent where the runtime tells no total, and after a failure.
    pub attribution: Option<Attribution>,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// The model that answered, in the runtime's words.
    pub response_model: Option<String>,
    /// Body bytes.
    pub body_bytes: u64,
    /// What the run used.
    pub resources: RunResources,
    /// The instrument's own state.
    pub instrument: Instrument,
    /// From the kernel's stamp to the return of our read, read by read; empty where the kernel stamps
    /// nothing.
    #[serde(skip)]
    pub stamp_delays: Vec<Duration>,
    /// The answer's visible text, kept only where the caller asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl Observation {
    /// Whether the run's figures may enter latency histograms and SLIs.
    pub fn is_tainted(&self) -> bool {
        self.instrument.taint.is_some()
    }

    /// Whether the run says anything about the runtime, be it good or bad: not where its figures are in
    /// doubt, nor where we ended it or broke it ourselves.
    pub fn tells_of_runtime(&self) -> bool {
        !self.is_tainted() && !matches!(self.outcome, Outcome::Cancelled | Outcome::Internal)
    }

    /// Whether the prefix cache took away prefill that the scenario wants in its TTFT. What a cache
    /// fails to do is the runtime's own slowness, and no reason to look away.
    pub fn skipped_prefill(&self) -> bool {
        self.contamination == Some(Contamination::UnexpectedCacheHit)
    }

    /// What one output token took of it. Absent unless the run was a success with tokens.
    pub fn per_output_token(&self, used: Option<f64>) -> Option<f64> {
        let tokens = self.tokens.filter(|_| self.outcome.is_success())?;
        let count = tokens.usage.output.filter(|count| *count > 0)?;
        Some(used? / count as f64)
    }
}
