//! `sonde probe`.

use super::detect::EndpointArgs;
use super::request::{self, RequestArgs, identify};
use super::{CliError, printer};
use crate::app::IoThread;
use crate::config::Environment;
use crate::probe::{InstrumentSettings, Probe, Prober, RunContext};
use crate::report::timeline;
use clap::Args;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// Show the answer's text
    #[arg(long)]
    show_answer: bool,
    /// Print the whole observation as JSON
    #[arg(long)]
    json: bool,
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
        let target = self.request.target(endpoint, environment)?;
        let (runtime, model) = (target.runtime, target.model.clone());
        let identity = identify(&target.endpoint, &dialer, runtime, model).await;
        let identity = identity.map_err(|error| CliError::Failed(error.to_string()))?;
        let scenario = Arc::new(self.request.scenario()?);
        let (runtime, wanted) = (identity.0, scenario.settings.retrieval);
        if !runtime.offers(wanted.map(|settings| settings.kind)) {
            let has: Vec<_> = runtime.operations().collect();
            return Err(CliError::Usage(format!(
                "the runtime `{}` cannot be asked this\nhint: it has {}",
                runtime.name,
                has.join(", ")
            )));
        }
        Ok(request::probe(target, identity, dialer, scenario))
    }
}
