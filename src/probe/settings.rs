//! What a probe is made of.

use super::contamination::CacheMemory;
use super::flight::Flights;
use crate::base::label::{ProbeLabels, UserLabels};
use crate::measure::cost::Price;
use crate::runtime::{Generation, Operation, Retrieval, RuntimeSpec};
use crate::transport::{ClockChoice, Connection, Dialer, Endpoint};
use crate::workload::{Calibration, Tokenizer, Workload, WorkloadError, WorkloadSettings};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A target as configured: comparable, so that a reload knows what has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSettings {
    /// Unique.
    pub name: Arc<str>,
    /// The dialect spoken there; `None` means `auto`: ask the endpoint.
    pub runtime: Option<&'static RuntimeSpec>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The model asked for; `None` means the first that the endpoint offers.
    pub model: Option<Arc<str>>,
    /// The user's own labels, for `llm_probe_target_info`.
    pub labels: UserLabels,
    /// Runs that may be in flight at once; 1 unless told otherwise.
    pub max_in_flight: usize,
    /// What its tokens cost.
    pub price: Option<Price>,
}

/// One model behind one endpoint, ready to be asked.
#[derive(Debug)]
pub struct Target {
    /// As configured.
    pub settings: TargetSettings,
    /// The dialect spoken there, detected where it was not configured.
    pub runtime: &'static RuntimeSpec,
    /// The model asked for, detected where it was not configured.
    pub model: Arc<str>,
    /// How to get there.
    pub dialer: Dialer,
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

/// How runs are stamped, and how large their error bars may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstrumentSettings {
    /// Which clocks may serve.
    pub clock: ClockChoice,
    /// A run whose error bar exceeds this, and its share of the figure, is tainted.
    pub max_error: Duration,
    /// Share of TTFT (of the inference time, without a stream) that an error bar may have, 0 to 1.
    pub max_error_ratio: f64,
    /// A run that the daemon woke for later than this is tainted: whoever sleeps late stamps late.
    pub max_schedule_lag: Duration,
}

impl Default for InstrumentSettings {
    /// 5 ms or 5 %, whichever is larger: what a user would not notice. 50 ms of lag: far above a healthy
    /// daemon's (under 3 ms), and at the size of a starved one's stamp errors.
    fn default() -> Self {
        Self {
            clock: ClockChoice::Auto,
            max_error: Duration::from_millis(5),
            max_error_ratio: 0.05,
            max_schedule_lag: Duration::from_millis(50),
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

/// A request for vectors or ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrievalSettings {
    /// Which of them.
    pub kind: Retrieval,
    /// Texts of one request: what is embedded or ranked. At least one.
    pub inputs: u32,
    /// Numbers that each vector must have.
    pub dimensions: Option<u32>,
}

/// A scenario as configured: comparable, so that a reload knows what has changed. Its schedule is
/// kept beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioSettings {
    /// Unique.
    pub name: Arc<str>,
    /// What is sent.
    pub workload: WorkloadSettings,
    /// Cold or warm connection.
    pub connection: ConnectionPolicy,
    /// Chat or completion.
    pub operation: Operation,
    /// Set where it asks for vectors or ranks instead of text. Then `operation` and `generation` but for its
    /// `extra_body` mean nothing, and `stream` is false.
    pub retrieval: Option<RetrievalSettings>,
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

/// What is sent and by which rules it is judged, ready to be used.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// As configured.
    pub settings: ScenarioSettings,
    /// Yields the prompts.
    pub workload: Arc<dyn Workload>,
    /// Counts the tokens of answers whose runtime does not.
    pub tokenizer: Option<Tokenizer>,
}

impl Scenario {
    /// Builds the workload and loads the tokenizer.
    ///
    /// # Errors
    /// When the workload's settings do not suit its kind or the tokenizer cannot be loaded.
    pub fn build(settings: ScenarioSettings) -> Result<Self, WorkloadError> {
        let file = settings.workload.tokenizer_file.as_deref();
        Ok(Self {
            workload: crate::workload::build(&settings.workload)?,
            tokenizer: file.map(Tokenizer::load).transpose()?,
            settings,
        })
    }
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
    /// Learns how many tokens this model makes of our words.
    pub(super) calibration: Arc<Calibration>,
    /// The run in flight.
    pub flights: Arc<Flights>,
    /// Knows what the runtime's prefix cache should hold.
    pub(super) cache: CacheMemory,
    /// The connection of the run before, and since when it is idle.
    pub(super) idle: Mutex<Option<(Instant, Connection)>>,
}

impl Probe {
    /// A probe at nobody, for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let endpoint = Endpoint::parse("http://127.0.0.1:9").unwrap();
        let target = Target {
            runtime: crate::runtime::find("openai").unwrap(),
            model: Arc::from("m"),
            dialer: Dialer::new(&endpoint).unwrap(),
            settings: TargetSettings {
                name: Arc::from("t"),
                runtime: None,
                endpoint,
                model: None,
                labels: UserLabels::default(),
                max_in_flight: 1,
                price: None,
            },
        };
        let scenario = ScenarioSettings {
            name: Arc::from("s"),
            workload: WorkloadSettings {
                kind: "fixed".to_owned(),
                cache: crate::workload::CachePolicy::Warm,
                system: None,
                prompt: Some("Hi".to_owned()),
                input_tokens: None,
                tokenizer_file: None,
            },
            connection: ConnectionPolicy::Cold,
            operation: Operation::Chat,
            retrieval: None,
            stream: true,
            generation: Generation::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            assertion: Assertion::default(),
        };
        Self::new(
            Arc::new(target),
            Arc::new(Scenario::build(scenario).unwrap()),
        )
    }

    /// Pairs a target with a scenario.
    pub fn new(target: Arc<Target>, scenario: Arc<Scenario>) -> Self {
        let labels = ProbeLabels {
            target: target.settings.name.clone(),
            runtime: Arc::from(target.runtime.name),
            model: target.model.clone(),
            scenario: scenario.settings.name.clone(),
        };
        Self {
            labels,
            target,
            scenario,
            calibration: Arc::default(),
            flights: Flights::none(),
            cache: CacheMemory::default(),
            idle: Mutex::new(None),
        }
    }
}
