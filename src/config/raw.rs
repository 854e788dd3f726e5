//! The file as typed: a mirror for serde. Every field is optional, so that a bad value can be
//! reported, taken out, and the rest still read. What the values mean is `resolve`'s concern.
//!
//! The comments on fields are the descriptions in the JSON Schema and in the README's reference.

mod auth;
mod slo;
mod target;

pub use auth::{RawAuth, RawAws, RawGoogle};
pub use slo::RawSlo;
pub use target::{RawBackOff, RawBudget, RawPrice, RawProcess, RawTarget, RawTls};

use super::defaults;
use super::scalar::{DurationText, GpuText, RatioText};
use crate::workload::WORKLOADS;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A list whose bad elements become `None`, so that the others keep their index.
pub type Items<T> = Option<Vec<Option<T>>>;

/// The configuration of Sonde. Relative paths in the file start at its folder. Every key can also
/// be set by the environment: `SONDE__SERVER__LISTEN`, `SONDE__TARGETS__0__URL`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
#[schemars(title = "Sonde configuration")]
pub struct RawConfig {
    /// Where Sonde itself answers.
    pub server: Option<RawServer>,
    /// What Sonde says about itself, on stderr.
    pub log: Option<RawLog>,
    /// What holds for every scenario and target that does not say otherwise.
    pub defaults: Option<RawDefaults>,
    /// What is sent and when. Without any, there is one by the name of `chat`.
    #[schemars(with = "Option<Vec<RawScenario>>")]
    pub scenarios: Items<RawScenario>,
    /// Who is asked: one model behind one endpoint each. At least one is needed.
    #[schemars(with = "Option<Vec<RawTarget>>")]
    pub targets: Items<RawTarget>,
    /// What was promised. Each run is judged once and exactly, not by bucket.
    #[schemars(with = "Option<Vec<RawSlo>>")]
    pub slos: Items<RawSlo>,
    /// What is exposed.
    pub metrics: Option<RawMetrics>,
    /// What is sampled of the machine underneath.
    pub resources: Option<RawResources>,
    /// What the runtimes are asked about themselves, beside the probes.
    pub runtime_metrics: Option<RawRuntimeMetrics>,
    /// How runs are stamped, and how far their figures may be off.
    pub instrument: Option<RawInstrument>,
    /// Sonde measures its own error on this machine, now and then.
    pub selftest: Option<RawSelftest>,
}

/// See [`RawConfig::server`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawServer {
    /// Address and port of `/metrics` and everything else over HTTP.
    #[schemars(extend("default" = defaults::LISTEN))]
    pub listen: Option<String>,
    /// File in the exporter-toolkit's format, for TLS and basic authentication.
    pub web_config_file: Option<String>,
}

/// See [`RawConfig::log`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawLog {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or directives such as `sonde=debug,info`.
    #[schemars(extend("default" = defaults::LOG_LEVEL))]
    pub level: Option<String>,
    /// Lines for people or one JSON object a line for collectors.
    #[schemars(extend("default" = "text"))]
    pub format: Option<RawLogFormat>,
}

/// See [`RawLog::format`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLogFormat {
    Text,
    Json,
}

/// See [`RawConfig::defaults`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawDefaults {
    /// When scenarios run: `@every 30s`, five crontab fields as in a Kubernetes CronJob, six with
    /// leading seconds, or `@hourly` and its like.
    #[schemars(extend("default" = defaults::SCHEDULE))]
    pub schedule: Option<String>,
    /// IANA name of the timezone in which crontab fields are read.
    #[schemars(extend("default" = defaults::TIMEZONE))]
    pub timezone: Option<String>,
    /// Runs start so long after the schedule's instants. `auto`: a stable offset of each probe's
    /// own, so that they do not all start at once.
    #[schemars(extend("default" = "auto"))]
    pub offset: Option<String>,
    /// How long each part of a run may take.
    pub timeouts: Option<RawTimeouts>,
    /// Runs that may be in flight at once, per target.
    #[schemars(extend("default" = defaults::MAX_IN_FLIGHT, "minimum" = 1))]
    pub max_in_flight: Option<usize>,
    /// Whether runs may load a model that is not in memory, and keep it there. Without it a model that
    /// the runtime would unload when idle (Ollama) is left alone, so that probes change nothing.
    #[schemars(extend("default" = false))]
    pub wake: Option<bool>,
    /// Whether one run may follow each use of such a model by somebody else. It puts off the unloading
    /// by one period at most.
    #[schemars(extend("default" = false))]
    pub ride_along: Option<bool>,
}

/// See [`RawDefaults::timeouts`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawTimeouts {
    /// DNS, TCP and TLS together.
    #[schemars(extend("default" = "5s"))]
    pub connect: Option<DurationText>,
    /// Dispatch to first token.
    #[schemars(extend("default" = "60s"))]
    pub first_token: Option<DurationText>,
    /// One token to the next.
    #[schemars(extend("default" = "20s"))]
    pub stall: Option<DurationText>,
    /// Dispatch to end. The others are cut to it where they are only inherited.
    #[schemars(extend("default" = "180s"))]
    pub total: Option<DurationText>,
}

/// One entry of [`RawConfig::scenarios`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawScenario {
    /// Unique; the value of the label `scenario`. Required.
    pub name: Option<String>,
    /// As in `defaults`.
    pub schedule: Option<String>,
    /// As in `defaults`.
    pub timezone: Option<String>,
    /// As in `defaults`.
    pub offset: Option<String>,
    /// What is sent.
    pub workload: Option<RawWorkload>,
    /// What the runtime's prefix cache sees: `cold` puts a nonce in front of every prompt, `warm`
    /// repeats the same prompt.
    #[schemars(extend("default" = "cold"))]
    pub cache: Option<RawTemperature>,
    /// `cold` opens a connection for every run, inside its TTFT; `warm` has one standing.
    #[schemars(extend("default" = "warm"))]
    pub connection: Option<RawTemperature>,
    /// As in `defaults`.
    pub wake: Option<bool>,
    /// As in `defaults`.
    pub ride_along: Option<bool>,
    /// Messages in, message out; text in, text out; or vectors or ranks of texts instead of an answer.
    #[schemars(extend("default" = "chat"))]
    pub operation: Option<RawOperation>,
    /// Whether the answer is streamed. Without a stream there is no TTFT. Vectors and ranks never are.
    #[schemars(extend("default" = true))]
    pub stream: Option<bool>,
    /// Sampling temperature; 0 is greedy. Absent: the runtime's own.
    #[schemars(extend("minimum" = 0))]
    pub temperature: Option<f64>,
    /// Fields put into the request body as they are, over Sonde's own.
    pub body: Option<Map<String, Value>>,
    /// As in `defaults`.
    pub timeouts: Option<RawTimeouts>,
    /// Beyond these, an answer is `oversized`.
    pub limits: Option<RawLimits>,
    /// What an answer must be, besides complete.
    pub expect: Option<RawExpect>,
}

/// See [`RawScenario::workload`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawWorkload {
    /// `synthetic`: generated prose of a wanted length. `fixed`: your own prompt, word for word.
    /// Absent: `fixed` where there is a `prompt`, else `synthetic`.
    #[schemars(extend("enum" = workload_kinds()))]
    pub kind: Option<String>,
    /// `fixed`: the prompt.
    pub prompt: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// `synthetic`: length of the prompt in the model's tokens, system message included.
    #[schemars(extend("default" = defaults::INPUT_TOKENS, "minimum" = 1))]
    pub input_tokens: Option<u32>,
    /// Texts in one request for embeddings (1 where absent), or documents for `rerank` (10). Each is as long
    /// as `input_tokens` says, or is the `prompt`.
    #[schemars(extend("minimum" = 1))]
    pub inputs: Option<u32>,
    /// Most tokens of the answer.
    #[schemars(extend("default" = defaults::OUTPUT_TOKENS, "minimum" = 1))]
    pub output_tokens: Option<u32>,
    /// The model's `tokenizer.json`, for exact lengths and for runtimes that count no tokens.
    pub tokenizer_file: Option<String>,
}

/// See [`RawScenario::cache`] and [`RawScenario::connection`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawTemperature {
    Cold,
    Warm,
}

/// See [`RawScenario::operation`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawOperation {
    Chat,
    Completion,
    Embeddings,
    Rerank,
}

/// See [`RawScenario::limits`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawLimits {
    /// Bytes of one line or frame.
    #[schemars(extend("default" = 1_048_576, "minimum" = 1))]
    pub frame_bytes: Option<usize>,
    /// Bytes of one body.
    #[schemars(extend("default" = 67_108_864, "minimum" = 1))]
    pub body_bytes: Option<u64>,
}

/// See [`RawScenario::expect`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawExpect {
    /// Text that the visible answer must contain.
    pub contains: Option<String>,
    /// Fewest tokens of the answer.
    pub min_output_tokens: Option<u64>,
    /// Numbers that each vector must have.
    #[schemars(extend("minimum" = 1))]
    pub dimensions: Option<u32>,
}

/// See [`RawConfig::metrics`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawMetrics {
    /// Whether histograms have classic buckets beside the native ones. Without them a scraper
    /// must ask for the protobuf format.
    #[schemars(extend("default" = true))]
    pub classic_buckets: Option<bool>,
    /// Metric families that are not exposed at all.
    #[schemars(with = "Option<Vec<String>>")]
    pub disabled_families: Items<String>,
}

/// See [`RawConfig::resources`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawResources {
    /// Whether anything is sampled at all.
    #[schemars(extend("default" = true))]
    pub enabled: Option<bool>,
    /// Time between two samples.
    #[schemars(extend("default" = "1s"))]
    pub interval: Option<DurationText>,
    /// Whether NVML is asked for GPUs. Absent: unless there is a `dcgm_url`, which tells of the same ones.
    pub nvml: Option<bool>,
    /// The NVML library, where it is not in one of the usual places.
    pub nvml_library: Option<String>,
    /// The node's dcgm-exporter: `http://127.0.0.1:9400/metrics`. It should collect as often as Sonde
    /// samples (`--collect-interval 1000`), or a run's energy is not known.
    pub dcgm_url: Option<String>,
    /// Only these of dcgm-exporter's GPUs, by UUID or index.
    #[schemars(with = "Option<Vec<GpuText>>")]
    pub dcgm_gpus: Items<GpuText>,
    /// Only the GPUs of this pod, `name` or `namespace/name`. Absent, and without `dcgm_gpus`: Sonde's
    /// own, from `POD_NAME` and `POD_NAMESPACE` or else `HOSTNAME`, where dcgm-exporter names pods.
    pub dcgm_pod: Option<String>,
}

/// See [`RawConfig::runtime_metrics`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawRuntimeMetrics {
    /// Whether any runtime is asked at all.
    #[schemars(extend("default" = true))]
    pub enabled: Option<bool>,
    /// Time between two questions to one target.
    #[schemars(extend("default" = "5s"))]
    pub interval: Option<DurationText>,
}

fn workload_kinds() -> Vec<Value> {
    let names = WORKLOADS.iter().map(|spec| Value::from(spec.name));
    names.chain([Value::Null]).collect()
}

/// See [`RawConfig::instrument`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawInstrument {
    /// The best clock that may stamp runs: `wire` is a packet tap on the probes' own connections and needs
    /// CAP_NET_RAW, `socket` the kernel's receive stamps, `user` the time after each read. `auto` takes
    /// the best that is there. Where a run cannot have a clock, the next one serves, and it says so.
    #[schemars(extend("default" = "auto"))]
    pub clock: Option<RawClock>,
    /// A run is tainted, and kept out of latencies and SLIs, when its error bar exceeds this and
    /// `max_error_ratio` of its TTFT.
    #[schemars(extend("default" = "5ms"))]
    pub max_error: Option<DurationText>,
    /// See `max_error`.
    #[schemars(extend("default" = "5%"))]
    pub max_error_ratio: Option<RatioText>,
    /// A run that Sonde wakes for later than this is tainted, unless the tap saw it.
    #[schemars(extend("default" = "50ms"))]
    pub max_schedule_lag: Option<DurationText>,
}

/// See [`RawInstrument::clock`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawClock {
    Auto,
    Wire,
    Socket,
    User,
}

/// See [`RawConfig::selftest`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawSelftest {
    /// When, as in `defaults`, in UTC. Each takes some two seconds and a fake runtime of its own on
    /// loopback. Absent: never.
    pub schedule: Option<String>,
}
