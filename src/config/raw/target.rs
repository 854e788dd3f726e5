//! Who is asked, as typed.

use super::{Items, RawAuth};
use crate::config::scalar::{AxisText, HttpText, RatioText};
use crate::runtime::RUNTIMES;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// See [`RawConfig::targets`](super::RawConfig::targets).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawTarget {
    /// Unique; the value of the label `target`. Absent: host and port of the URL.
    pub name: Option<String>,
    /// The API spoken there. `auto` asks the endpoint, and knows hosted APIs such as Anthropic's by their
    /// hosts.
    #[schemars(extend("default" = "auto", "enum" = runtime_names()))]
    pub runtime: Option<String>,
    /// Where it is, without the API's own path: `http://127.0.0.1:11434`, or a Unix socket, `unix:///run/llm.sock`
    /// (`unix:///run/llm.sock:/prefix`). Required.
    pub url: Option<String>,
    /// The model, as the runtime names it. Absent: the first that the endpoint offers. Runtimes whose
    /// keys have a header of their own, such as `anthropic`, need it.
    pub model: Option<String>,
    /// Where the runtime's own metrics are, as a whole URL, query included. Absent: where this runtime
    /// usually has them, such as at `<url>/metrics`. `off`: it is not asked. Credentials and headers go
    /// there only if the host is that of `url`.
    pub metrics_url: Option<String>,
    /// The proxy on the way there, `http://proxy.internal:3128`, or `none`. Absent: what `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` say.
    pub proxy: Option<String>,
    /// How requests prove who they are: a bearer token, a user name with its password, or
    /// a signature.
    pub auth: Option<RawAuth>,
    /// How the server's certificate is judged and ours is shown.
    pub tls: Option<RawTls>,
    /// The version of HTTP: `1.1`, `2`, or `auto`, which is what the server picks under TLS, and 1.1 over
    /// `http://`. There `2` is spoken without asking (prior knowledge).
    #[schemars(extend("default" = "auto"))]
    pub http: Option<HttpText>,
    /// Sent with every request. A value that is secret belongs in `headers_env` or
    /// `headers_file`.
    pub headers: Option<BTreeMap<String, String>>,
    /// Headers whose values are in these environment variables.
    pub headers_env: Option<BTreeMap<String, String>>,
    /// Headers whose values are in these files, read when the configuration is.
    pub headers_file: Option<BTreeMap<String, String>>,
    /// Your own labels, on `llm_probe_target_info`.
    pub labels: Option<BTreeMap<String, String>>,
    /// Names of the scenarios that it is asked. Absent: all.
    #[schemars(with = "Option<Vec<String>>")]
    pub scenarios: Items<String>,
    /// As in `defaults`.
    #[schemars(extend("minimum" = 1))]
    pub max_in_flight: Option<usize>,
    /// What its tokens cost, in USD per million.
    pub price: Option<RawPrice>,
    /// What scheduled runs may take. Runs beyond it are skipped, and counted with the reason.
    pub budget: Option<RawBudget>,
    /// When the runtime has enough to do without probes. While it has, ever more ticks are skipped
    /// between two runs, up to 16. Goes by the runtime's own metrics.
    pub back_off: Option<RawBackOff>,
    /// Which processes serve it, where they are not found by the socket that listens at its URL.
    pub process: Option<RawProcess>,
    /// Makes a target of every combination of these axes' values, up to 256: `{model: [a, b], region: [x, y]}`.
    /// `{region}` in any text of the entry stands for the value; the axes `model`, `runtime` and `url`
    /// fill that key where it is absent, and every other axis is a label of the target.
    #[schemars(extend("title" = "mapping of lists"))]
    pub matrix: Option<BTreeMap<String, Items<AxisText>>>,
    /// Combinations to leave out, by some or all axes: `[{model: b, region: x}]`.
    #[schemars(with = "Option<Vec<BTreeMap<String, AxisText>>>", extend("title" = "list of mappings"))]
    pub exclude: Items<BTreeMap<String, AxisText>>,
}

/// See [`RawTarget::budget`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawBudget {
    /// Tokens in and out within any 24 hours. Absent: no limit.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub tokens_per_day: Option<f64>,
    /// US dollars within any 24 hours, by the target's `price`. Absent: no limit.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub usd_per_day: Option<f64>,
    /// Share of the tokens that the runtime generates within an hour while others are served, such
    /// as `1%`. Needs the runtime's own metrics. Absent: no limit.
    pub share: Option<RatioText>,
}

/// See [`RawTarget::back_off`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawBackOff {
    /// More requests than this are being worked on. Absent: any number is fine.
    #[schemars(extend("minimum" = 0))]
    pub running_above: Option<f64>,
    /// More requests than this are waiting.
    #[schemars(extend("minimum" = 0, "default" = crate::config::governor::WAITING_ABOVE))]
    pub waiting_above: Option<f64>,
}

/// See [`RawTarget::price`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawPrice {
    /// Tokens of the prompt. Required where there is a price.
    #[schemars(extend("minimum" = 0))]
    pub input: Option<f64>,
    /// Tokens of the answer, hidden reasoning included. Required where there is a price.
    #[schemars(extend("minimum" = 0))]
    pub output: Option<f64>,
    /// Tokens of the prompt that came from the runtime's cache. Absent: as `input`.
    #[schemars(extend("minimum" = 0))]
    pub cached_input: Option<f64>,
}

/// See [`RawTarget::process`]. What fits both counts, with all of its descendants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawProcess {
    /// The program's name, without its folder: `ollama`.
    pub name: Option<String>,
    /// Text that its command line contains, the words parted by blanks: `vllm serve`.
    pub command: Option<String>,
}

/// See [`RawTarget::tls`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawTls {
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// PEM file of our certificate chain. Goes with `key_file`.
    pub cert_file: Option<String>,
    /// PEM file of our private key. Goes with `cert_file`.
    pub key_file: Option<String>,
    /// The name to expect in the certificate, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Trust any certificate.
    #[schemars(extend("default" = false))]
    pub insecure_skip_verify: Option<bool>,
}

fn runtime_names() -> Vec<Value> {
    let names = RUNTIMES.iter().map(|spec| Value::from(spec.name));
    [Value::from("auto")]
        .into_iter()
        .chain(names)
        .chain([Value::Null])
        .collect()
}
