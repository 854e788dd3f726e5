//! `sonde probe`.

use super::detect::EndpointArgs;
use super::{CliError, printer};
use crate::app::IoThread;
use crate::config::Environment;
use crate::measure::cost::Price;
use crate::probe::{
    Assertion, ConnectionPolicy, InstrumentSettings, Limits, Probe, Prober, RunContext, Scenario,
    ScenarioSettings, Target, TargetSettings, Timeouts,
};
use crate::report::timeline;
use crate::runtime::detect::detect;
use crate::runtime::{Generation, Operation, find};
use crate::workload::{CachePolicy, WorkloadSettings};
use clap::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The model to ask for [default: the first that the endpoint offers]
    #[arg(long)]
    model: Option<String>,
    /// The runtime [default: found by asking]
    #[arg(long)]
    runtime: Option<String>,
    /// Send this prompt instead of a synthetic one
    #[arg(long)]
    prompt: Option<String>,
    /// Length of the synthetic prompt, in tokens
    #[arg(long, default_value_t = 128)]
    input_tokens: u32,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 64)]
    output_tokens: u32,
    /// Use the completion operation instead of chat
    #[arg(long)]
    completion: bool,
    /// Ask for the answer in one piece
    #[arg(long)]
    no_stream: bool,
    /// Connect before the clock starts, as a warm scenario does
    #[arg(long)]
    warm: bool,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// What a million tokens cost, in USD: of input, of output and, if not as input, of cached input
    #[arg(long, value_name = "INPUT,OUTPUT[,CACHED]", value_parser = price)]
    price: Option<Price>,
    /// Show the answer's text
    #[arg(long)]
    show_answer: bool,
    /// Print the whole observation as JSON
    #[arg(long)]
    json: bool,
}

fn price(text: &str) -> Result<Price, String> {
    text.parse()
        .map_err(|error: crate::measure::cost::PriceError| error.to_string())
}

impl ProbeArgs {
    pub(super) async fn run(self, environment: Environment) -> Result<(), CliError> {
        let probe = self.probe(&environment).await?;
        let context = RunContext {
            keep_answer: self.show_answer,
            ..RunContext::on_demand(CancellationToken::new())
        };
        // On a thread of its own, which knows how late it is.
        let io = IoThread::start()?;
        let prober = Prober::new(InstrumentSettings::default(), io.wakeups());
        let probe = Arc::new(probe);
        let probed = probe.clone();
        let run = io
            .handle()
            .spawn(async move { prober.run(&probed, context).await });
        let observation = run
            .await
            .map_err(|error| CliError::Failed(error.to_string()))?;
        io.stop();
        let text = match self.json {
            true => serde_json::to_string_pretty(&observation)
                .map_err(|error| CliError::Failed(error.to_string()))?,
            false => timeline(&observation, &probe.target.settings.endpoint.url()),
        };
        printer::line(text)?;
        match observation.outcome.is_success() {
            true => Ok(()),
            false => Err(CliError::Silent),
        }
    }

    async fn probe(&self, environment: &Environment) -> Result<Probe, CliError> {
        let (endpoint, dialer) = self.endpoint.resolve(environment)?;
        let named = self.runtime.as_deref().filter(|name| *name != "auto");
        let named = named
            .map(|name| {
                find(name).ok_or_else(|| {
                    CliError::Usage(format!("`--runtime {name}`: Sonde knows no such runtime"))
                })
            })
            .transpose()?;
        let (runtime, model) = match (named, &self.model) {
            (Some(runtime), Some(model)) => (runtime, model.clone()),
            (named, model) => {
                let found = detect(&endpoint, &dialer).await;
                let found = found.map_err(|error| CliError::Failed(error.to_string()))?;
                let first = model
                    .clone()
                    .or_else(|| found.default_model().map(str::to_owned));
                let model = first.ok_or_else(|| {
                    CliError::Failed(format!(
                        "`{}` offers no model\nhint: name one with `--model`",
                        endpoint.url()
                    ))
                })?;
                (named.unwrap_or(found.runtime), model)
            }
        };
        let settings = TargetSettings {
            name: Arc::from(endpoint.authority()),
            runtime: Some(runtime),
            endpoint,
            model: Some(Arc::from(model.as_str())),
            labels: BTreeMap::new(),
            max_in_flight: 1,
            price: self.price,
        };
        let target = Target {
            settings,
            runtime,
            model: Arc::from(model.as_str()),
            dialer,
        };
        let scenario =
            Scenario::build(self.scenario()).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Probe::new(Arc::new(target), Arc::new(scenario)))
    }

    fn scenario(&self) -> ScenarioSettings {
        let total = Duration::from_secs(self.timeout);
        let defaults = Timeouts::default();
        ScenarioSettings {
            name: Arc::from("on-demand"),
            workload: WorkloadSettings {
                kind: if self.prompt.is_some() {
                    "fixed"
                } else {
                    "synthetic"
                }
                .to_owned(),
                cache: CachePolicy::Cold,
                system: None,
                prompt: self.prompt.clone(),
                input_tokens: self.prompt.is_none().then_some(self.input_tokens),
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
            stream: !self.no_stream,
            generation: Generation {
                output_tokens: Some(self.output_tokens),
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
