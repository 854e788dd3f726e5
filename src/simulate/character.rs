//! What one simulated runtime is like.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::aws::AwsKey;
use super::distribution::Distribution;
use super::fault::{Fault, FaultPlan, FaultTuning};
use super::google::GoogleKey;
use super::timing_headers::TimingHeaders;

/// Idle time after which Ollama unloads a model.
const OLLAMA_KEEP_ALIVE: Duration = Duration::from_mins(5);

/// Which runtime a simulator passes for: it decides which endpoints answer and how chunks look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeFlavor {
    /// vLLM: `/version`, `/health`, `/metrics` and the OpenAI endpoints.
    Vllm,
    /// llama.cpp's server: `/completion`, `/props`, `/health`, `/metrics` and the OpenAI endpoints.
    LlamaCpp,
    /// Ollama: `/api/…` and the OpenAI endpoints.
    Ollama,
    /// Text Generation Inference: `/generate`, `/generate_stream`, `/info`, `/health` and the OpenAI endpoints.
    Tgi,
    /// Text Embeddings Inference: `/embed`, `/rerank`, `/info`, `/health` and the OpenAI API's embeddings. It writes no text.
    Tei,
    /// SGLang: `/generate`, `/get_server_info`, `/health` and the OpenAI endpoints.
    Sglang,
    /// TensorRT-LLM's `trtllm-serve`: `/version`, `/health` and the OpenAI endpoints.
    TensorRtLlm,
    /// LlamaEdge: `/v1/info` and the OpenAI endpoints, whose streams end without a reason.
    LlamaEdge,
    /// Triton Inference Server: `/v2/…` and nothing of the OpenAI API.
    Triton,
    /// Everything at once, with chunks as vLLM writes them. No real runtime is like this.
    #[default]
    All,
}

impl RuntimeFlavor {
    /// Every flavor with its name as typed.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Vllm, "vllm"),
        (Self::LlamaCpp, "llamacpp"),
        (Self::Ollama, "ollama"),
        (Self::Tgi, "tgi"),
        (Self::Tei, "tei"),
        (Self::Sglang, "sglang"),
        (Self::TensorRtLlm, "tensorrt-llm"),
        (Self::LlamaEdge, "llamaedge"),
        (Self::Triton, "triton"),
        (Self::All, "all"),
    ];

    /// The `Server` response header: what the real one sends, if anything, then `sonde-simulate`.
    pub fn server_header(self) -> &'static str {
        match self {
            Self::Vllm | Self::Sglang | Self::TensorRtLlm => "uvicorn sonde-simulate",
            Self::LlamaCpp => "llama.cpp sonde-simulate",
            Self::Ollama | Self::Tgi | Self::Tei | Self::LlamaEdge | Self::Triton | Self::All => {
                "sonde-simulate"
            }
        }
    }
}

impl fmt::Display for RuntimeFlavor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(flavor, _)| flavor == self);
        out.write_str(name.map_or("unnamed", |(_, name)| name))
    }
}

/// No [`RuntimeFlavor`] has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown runtime flavor `{0}`: use vllm, llamacpp, ollama, tgi, tei, sglang, tensorrt-llm, llamaedge, triton or all"
)]
pub struct FlavorError(String);

impl FromStr for RuntimeFlavor {
    type Err = FlavorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(flavor, _)| *flavor)
            .ok_or_else(|| FlavorError(text.to_owned()))
    }
}

/// Everything that shapes a simulated runtime. Start from [`Character::default`] or a preset.
#[derive(Clone, Debug, PartialEq)]
pub struct Character {
    /// Name for people; not sent on the wire.
    pub name: String,
    /// Models it serves. A request for any other is answered with 404, but by the own
    /// dialects of TGI, llama.cpp and SGLang, where the first of them answers as there.
    pub models: Vec<String>,
    /// The runtime that it passes for.
    pub flavor: RuntimeFlavor,
    /// Equal seeds give equal texts, lengths, delays and faults for the nth request.
    pub seed: u64,
    /// When set, generation endpoints want `Authorization: Bearer` with it, or the API's own header.
    pub api_key: Option<String>,
    /// When set, Amazon's endpoints want requests signed with it, or `api_key` as `Authorization: Bearer`.
    pub aws_key: Option<AwsKey>,
    /// When set, Vertex AI wants a token of this service account, which `/token` gives for an assertion of its key, and
    /// the metadata server, on the same port, to whoever asks.
    pub google_key: Option<GoogleKey>,
    /// From the start of work on a request to its first token, without load and per-token prefill.
    pub ttft: Distribution<Duration>,
    /// Extra time to the first token for each prompt token that no cache holds.
    pub prefill_per_token: Duration,
    /// From each frame with tokens to the next.
    pub itl: Distribution<Duration>,
    /// Tokens in each frame after the first, which has one, as with speculative decoding; 0 counts as 1.
    pub tokens_per_frame: Distribution<u32>,
    /// Tokens after which the model stops by itself, reasoning included; a request's limit cuts it.
    pub output_tokens: Distribution<u32>,
    /// Tokens of hidden reasoning before the visible text; 0 for a model that does not reason.
    pub reasoning_tokens: u32,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: u32,
    /// Requests worked on at once; more wait in order of arrival. 0 counts as 1.
    pub slots: usize,
    /// Whether blocks of equal leading prompt tokens skip prefill the second time.
    pub prefix_cache: bool,
    /// Prompt tokens that the chat template puts before everything: the same in every prompt.
    pub template_tokens: u32,
    /// Headers that tell the server's own times.
    pub timing_headers: Option<TimingHeaders>,
    /// Time to load a model that is not in memory; none is at the start.
    pub load_delay: Distribution<Duration>,
    /// Idle time after which a model leaves memory; `None` is never.
    pub unload_after: Option<Duration>,
    /// Which requests go wrong.
    pub faults: FaultPlan,
    /// How strongly they do.
    pub fault_tuning: FaultTuning,
    /// Listens, but resets every connection at once.
    pub refuse_connections: bool,
    /// Most frames in one write: those due at the same instant go out together, as one chunk of
    /// the transfer coding. For load tests of the client; 0 counts as 1.
    pub frames_per_write: usize,
    /// Whether it speaks TLS, with a certificate of its own making.
    pub tls: bool,
    /// Requests that the log keeps.
    pub log_capacity: usize,
    /// Whether `/simulate/requests` tells the log (GET) and forgets it (DELETE).
    pub serves_log: bool,
}

impl Default for Character {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            models: vec!["sim-model".to_owned()],
            flavor: RuntimeFlavor::All,
            seed: 1,
            api_key: None,
            aws_key: None,
            google_key: None,
            ttft: Distribution::Constant(Duration::from_millis(50)),
            prefill_per_token: Duration::ZERO,
            itl: Distribution::Constant(Duration::from_millis(10)),
            tokens_per_frame: Distribution::Constant(1),
            output_tokens: Distribution::Constant(32),
            reasoning_tokens: 0,
            context_tokens: 32_768,
            slots: 64,
            prefix_cache: false,
            template_tokens: 0,
            timing_headers: None,
            load_delay: Distribution::Constant(Duration::ZERO),
            unload_after: None,
            faults: FaultPlan::None,
            fault_tuning: FaultTuning::default(),
            refuse_connections: false,
            frames_per_write: 1,
            tls: false,
            log_capacity: 1024,
            serves_log: false,
        }
    }
}

impl Character {
    /// Names of all presets: the three of the demonstration, then `instant`.
    pub const PRESETS: &[&str] = &["steady-vllm", "bursty-llamacpp", "cold-ollama", "instant"];

    /// Three characters that differ in every respect, for demonstrations.
    pub fn presets() -> [Self; 3] {
        [
            Self::steady_vllm(),
            Self::bursty_llamacpp(),
            Self::cold_ollama(),
        ]
    }

    /// The preset of this name, one of [`Character::PRESETS`].
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "steady-vllm" => Some(Self::steady_vllm()),
            "bursty-llamacpp" => Some(Self::bursty_llamacpp()),
            "cold-ollama" => Some(Self::cold_ollama()),
            "instant" => Some(Self::instant()),
            _ => None,
        }
    }

    /// Answers at once, to any number of requests: for load tests of the client.
    pub fn instant() -> Self {
        Self {
            name: "instant".to_owned(),
            models: vec!["sim-instant".to_owned()],
            ttft: Distribution::Constant(Duration::ZERO),
            itl: Distribution::Constant(Duration::ZERO),
            slots: 4096,
            ..Self::default()
        }
    }

    fn steady_vllm() -> Self {
        Self {
            name: "steady-vllm".to_owned(),
            models: vec!["sim-steady-8b".to_owned()],
            flavor: RuntimeFlavor::Vllm,
            seed: 11,
            ttft: normal_ms(55, 4),
            prefill_per_token: Duration::from_micros(20),
            itl: normal_ms(12, 1),
            output_tokens: normal_count(160, 40),
            prefix_cache: true,
            ..Self::default()
        }
    }

    fn bursty_llamacpp() -> Self {
        Self {
            name: "bursty-llamacpp".to_owned(),
            models: vec!["sim-bursty-3b".to_owned()],
            flavor: RuntimeFlavor::LlamaCpp,
            seed: 23,
            ttft: log_normal_ms(150, 0.4),
            prefill_per_token: Duration::from_micros(100),
            itl: log_normal_ms(25, 0.5),
            tokens_per_frame: Distribution::LogNormal {
                median: 1,
                sigma: 0.5,
            },
            output_tokens: normal_count(120, 50),
            slots: 4,
            prefix_cache: true,
            ..Self::default()
        }
    }

    fn cold_ollama() -> Self {
        let rare = [
            Fault::ServerError,
            Fault::InBandError,
            Fault::Truncated,
            Fault::Stall,
        ];
        Self {
            name: "cold-ollama".to_owned(),
            models: vec!["sim-cold:1b".to_owned()],
            flavor: RuntimeFlavor::Ollama,
            seed: 37,
            ttft: log_normal_ms(290, 0.2),
            prefill_per_token: Duration::from_micros(300),
            itl: normal_ms(40, 6),
            output_tokens: normal_count(90, 30),
            reasoning_tokens: 4,
            slots: 2,
            load_delay: log_normal_ms(1500, 0.2),
            unload_after: Some(OLLAMA_KEEP_ALIVE),
            faults: FaultPlan::Rates(rare.map(|fault| (fault, 0.005)).to_vec()),
            ..Self::default()
        }
    }
}

fn normal_ms(mean: u64, deviation: u64) -> Distribution<Duration> {
    Distribution::Normal {
        mean: Duration::from_millis(mean),
        deviation: Duration::from_millis(deviation),
    }
}

fn log_normal_ms(median: u64, sigma: f64) -> Distribution<Duration> {
    Distribution::LogNormal {
        median: Duration::from_millis(median),
        sigma,
    }
}

fn normal_count(mean: u32, deviation: u32) -> Distribution<u32> {
    Distribution::Normal { mean, deviation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name() {
        for name in Character::PRESETS {
            assert_eq!(Character::preset(name).unwrap().name, *name);
        }
        for preset in Character::presets() {
            assert_eq!(Character::preset(&preset.name), Some(preset));
        }
        assert_eq!(Character::preset("none such"), None);
    }

    #[test]
    fn flavors_round_trip() {
        for (flavor, name) in RuntimeFlavor::ALL {
            assert_eq!(name.parse(), Ok(*flavor));
            assert_eq!(flavor.to_string(), *name);
        }
        assert!("trtllm".parse::<RuntimeFlavor>().is_err());
    }
}
