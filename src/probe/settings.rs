//! What a probe is made of.

use crate::base::label::{ProbeLabels, UserLabels};
use crate::runtime::{Generation, Operation, RuntimeSpec};
use crate::transport::{Dialer, Endpoint};
use crate::workload::{CachePolicy, Calibration, Workload};
use std::sync::Arc;
use std::time::Duration;

/// One model behind one endpoint.
#[derive(Debug)]
pub struct Target {
    /// Unique.
    pub name: Arc<str>,
    /// The dialect spoken there.
    pub runtime: &'static RuntimeSpec,
    /// Where it is.
    pub endpoint: Endpoint,
    /// How to get there.
    pub dialer: Dialer,
    /// The model asked for.
    pub model: Arc<str>,
    /// The user's own labels, for `llm_probe_target_info`.
    pub labels: UserLabels,
    /// Runs that may be in flight at once.
    pub max_in_flight: usize,
    /// Learns how many tokens this model makes of our words.
    pub calibration: Calibration,
}

/// Which connection a run uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionPolicy {
    /// A new one for every run, its set-up inside TTFT.
    Cold,
    /// One that stands already when the run is dispatched.
    #[default]
    Warm,
}

/// How long each part of a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// Dispatch to first token.
    pub first_token: Duration,
    /// One token to the next.
    pub stall: Duration,
    /// Dispatch to end.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 5 s, 60 s, 20 s and 180 s: a model may load within a minute, but a stream that has begun
    /// and says nothing for 20 s is stuck.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            stall: Duration::from_secs(20),
            total: Duration::from_secs(180),
        }
    }
}

/// Beyond these, an answer is `oversized`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one line or frame.
    pub frame_bytes: usize,
    /// Bytes of one body.
    pub body_bytes: u64,
}

impl Default for Limits {
    /// 1 MiB a frame, 64 MiB a body: a thousand times what a probe's answer needs.
    fn default() -> Self {
        Self {
            frame_bytes: 1 << 20,
            body_bytes: 64 << 20,
        }
    }
}

/// What an answer must be, besides complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assertion {
    /// Text that the visible answer must contain.
    pub contains: Option<String>,
    /// Fewest output tokens.
    pub min_output_tokens: Option<u64>,
}

/// What is sent, and by which rules it is judged.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique.
    pub name: Arc<str>,
    /// Yields the prompts.
    pub workload: Arc<dyn Workload>,
    /// Cold or warm prefix cache.
    pub cache: CachePolicy,
    /// Cold or warm connection.
    pub connection: ConnectionPolicy,
    /// Chat or completion.
    pub operation: Operation,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Length and temperature of the answer.
    pub generation: Generation,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Sizes.
    pub limits: Limits,
    /// See [`Assertion`].
    pub assertion: Assertion,
}

/// A target × scenario.
#[derive(Debug)]
pub struct Probe {
    /// The labels of every series.
    pub labels: ProbeLabels,
    /// Whom to ask.
    pub target: Arc<Target>,
    /// What to ask.
    pub scenario: Arc<Scenario>,
}

impl Probe {
    /// Pairs a target with a scenario.
    pub fn new(target: Arc<Target>, scenario: Arc<Scenario>) -> Self {
        let labels = ProbeLabels {
            target: target.name.clone(),
            runtime: Arc::from(target.runtime.name),
            model: target.model.clone(),
            scenario: scenario.name.clone(),
        };
        Self {
            labels,
            target,
            scenario,
        }
    }
}
