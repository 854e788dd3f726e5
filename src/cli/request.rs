//! A target and a scenario from the command line, for `sonde probe` and `sonde gate`.

use super::CliError;
use crate::config::{Environment, usual_proof};
use crate::measure::cost::Price;
use crate::probe::{
    Assertion, ConnectionPolicy, Limits, Probe, RetrievalSettings, Scenario, ScenarioSettings,
    Target, TargetSettings, Timeouts,
};
use crate::runtime::detect::{DetectError, detect};
use crate::runtime::{Generation, Operation, Retrieval, RuntimeSpec, find, of_host};
use crate::transport::{Auth, Dialer, Endpoint};
use crate::workload::{CachePolicy, WorkloadSettings};
use clap::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const INPUT_TOKENS: u32 = 128;
const OUTPUT_TOKENS: u32 = 64;
const TIMEOUT_SECONDS: u64 = 180;
const INPUTS: u32 = 1;
const DOCUMENTS: u32 = 10;

/// What is asked.
#[derive(Args)]
pub(super) struct RequestArgs {
    /// The model to ask for [default: the first that the endpoint offers]
    #[arg(long)]
    model: Option<String>,
    /// The runtime [default: found by asking]
    #[arg(long)]
    runtime: Option<String>,
    /// Send this prompt instead of a synthetic one
    #[arg(long)]
    prompt: Option<String>,
    /// Length of the synthetic prompt, in tokens [default: 128]
    #[arg(long)]
    input_tokens: Option<u32>,
    /// Most tokens of the answer [default: 64]
    #[arg(long)]
    output_tokens: Option<u32>,
    /// Use the completion operation instead of chat
    #[arg(long)]
    completion: bool,
    /// Ask for vectors of synthetic texts instead of an answer
    #[arg(long, conflicts_with_all = ["completion", "rerank", "output_tokens"])]
    embeddings: bool,
    /// Ask for the order of synthetic documents by relevance
    #[arg(long, conflicts_with_all = ["completion", "output_tokens"])]
    rerank: bool,
    /// Texts of one request for vectors [default: 1] or documents to be ranked [default: 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2048))]
    inputs: Option<u32>,
    /// Ask for the answer in one piece
    #[arg(long)]
    no_stream: bool,
    /// Connect before the clock starts, as a warm scenario does
    #[arg(long)]
    warm: bool,
    /// Give up a run after so many seconds [default: 180]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// What a million tokens cost, in USD: of input, of output and, if not as input, of cached input
    #[arg(long, value_name = "INPUT,OUTPUT[,CACHED]", value_parser = price)]
    price: Option<Price>,
}

fn price(text: &str) -> Result<Price, String> {
    text.parse()
        .map_err(|error: crate::measure::cost::PriceError| error.to_string())
}

/// Why it is not known what to ask for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unidentified {
    /// See [`DetectError`].
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// Nothing to ask.
    #[error("`{0}` offers no model\nhint: name one with `--model`")]
    NoModel(String),
}

/// Runtime and model of an endpoint; asks it for what is not given.
///
/// # Errors
/// When it does not answer, is no runtime or has no model.
pub(super) async fn identify(
    endpoint: &Endpoint,
    dialer: &Dialer,
    runtime: Option<&'static RuntimeSpec>,
    model: Option<Arc<str>>,
) -> Result<(&'static RuntimeSpec, Arc<str>), Unidentified> {
    if let (Some(runtime), Some(model)) = (runtime, &model) {
        return Ok((runtime, model.clone()));
    }
    let found = detect(endpoint, dialer).await?;
    let first = || found.default_model().map(Arc::from);
    let model = model.or_else(first);
    let model = model.ok_or_else(|| Unidentified::NoModel(endpoint.url()))?;
    Ok((runtime.unwrap_or(found.runtime), model))
}

impl RequestArgs {
    /// The first option that was given, if any: for commands that take the request from elsewhere.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--model", self.model.is_some()),
            ("--runtime", self.runtime.is_some()),
            ("--prompt", self.prompt.is_some()),
            ("--input-tokens", self.input_tokens.is_some()),
            ("--output-tokens", self.output_tokens.is_some()),
            ("--completion", self.completion),
            ("--embeddings", self.embeddings),
            ("--rerank", self.rerank),
            ("--inputs", self.inputs.is_some()),
            ("--no-stream", self.no_stream),
            ("--warm", self.warm),
            ("--timeout", self.timeout.is_some()),
            ("--price", self.price.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    /// The target, as far as it is known without asking.
    ///
    /// # Errors
    /// When there is no such runtime, or it cannot be asked for such a model.
    pub(super) fn target(
        &self,
        mut endpoint: Endpoint,
        environment: &Environment,
    ) -> Result<TargetSettings, CliError> {
        let named = self.runtime.as_deref().filter(|name| *name != "auto");
        let runtime = named.map(|name| {
            find(name).ok_or_else(|| {
                CliError::Usage(format!("`--runtime {name}`: Sonde knows no such runtime"))
            })
        });
        let runtime = runtime.transpose()?.or_else(|| of_host(&endpoint.host));
        if let Some((runtime, model)) = runtime.zip(self.model.as_deref())
            && let Err(found) = runtime.adapter.check_model(model)
        {
            let (rule, remedy) = (found.rule, found.remedy);
            let message = format!("`--model {model}` {rule}\nhint: {remedy}");
            return Err(CliError::Usage(message));
        }
        if let Some((runtime, model)) = runtime.zip(self.model.as_deref())
            && (runtime.adapter.aws_service().is_some() || runtime.adapter.takes_google_tokens())
            && endpoint.auth == Auth::None
        {
            endpoint.auth = usual_proof(&endpoint, runtime, model, environment)?;
        }
        Ok(TargetSettings {
            name: Arc::from(endpoint.place()),
            runtime,
            endpoint,
            model: self.model.as_deref().map(Arc::from),
            labels: BTreeMap::new(),
            max_in_flight: 1,
            price: self.price,
        })
    }

    /// The scenario.
    ///
    /// # Errors
    /// When the workload cannot be built.
    pub(super) fn scenario(&self) -> Result<Scenario, CliError> {
        Scenario::build(self.settings()).map_err(|error| CliError::Usage(error.to_string()))
    }

    fn retrieval(&self) -> Option<RetrievalSettings> {
        let (kind, inputs) = match (self.embeddings, self.rerank) {
            (true, _) => (Retrieval::Embeddings, INPUTS),
            (_, true) => (Retrieval::Rerank, DOCUMENTS),
            _ => return None,
        };
        Some(RetrievalSettings {
            kind,
            inputs: self.inputs.unwrap_or(inputs),
            dimensions: None,
        })
    }

    fn settings(&self) -> ScenarioSettings {
        let total = Duration::from_secs(self.timeout.unwrap_or(TIMEOUT_SECONDS));
        let defaults = Timeouts::default();
        let synthetic = self.prompt.is_none();
        ScenarioSettings {
            name: Arc::from("on-demand"),
            workload: WorkloadSettings {
                kind: if synthetic { "synthetic" } else { "fixed" }.to_owned(),
                cache: CachePolicy::Cold,
                system: None,
                prompt: self.prompt.clone(),
                input_tokens: synthetic.then(|| self.input_tokens.unwrap_or(INPUT_TOKENS)),
                tokenizer_file: None,
            },
            connection: match self.warm {
                true => ConnectionPolicy::Warm,
                false => ConnectionPolicy::Cold,
            },
            operation: match self.completion {
                true => Operation::Completion,
                false => Operation::Chat,
            },
            retrieval: self.retrieval(),
            stream: !self.no_stream && self.retrieval().is_none(),
            generation: Generation {
                output_tokens: Some(self.output_tokens.unwrap_or(OUTPUT_TOKENS)),
                ..Generation::default()
            },
            timeouts: Timeouts {
                connect: defaults.connect.min(total),
                first_token: total,
                stall: defaults.stall.min(total),
                total,
            },
            limits: Limits::default(),
            assertion: Assertion::default(),
        }
    }
}

/// The probe of a target, once it is known what it is.
pub(super) fn probe(
    settings: TargetSettings,
    (runtime, model): (&'static RuntimeSpec, Arc<str>),
    dialer: Dialer,
    scenario: Arc<Scenario>,
) -> Probe {
    let target = Target {
        settings,
        runtime,
        model,
        dialer,
    };
    Probe::new(Arc::new(target), scenario)
}
