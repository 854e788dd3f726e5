//! `sonde demo`: three simulated runtimes of different character and the daemon, in one process.

use super::{CliError, printer};
use crate::app::{self, ConfigSource, IoThread, ServeOptions};
use crate::base::logging::{self, LogFormat};
use crate::base::shutdown::Shutdown;
use crate::config::Environment;
use crate::simulate::{Character, RuntimeFlavor, Simulator};
use crate::transport::{Dialer, Endpoint, ask};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::oneshot;

/// After how long the first figures are printed.
const FIRST_FIGURES: Duration = Duration::from_secs(8);

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Address of the daemon; the simulated runtimes take free ports
    #[arg(long, default_value = "127.0.0.1:10798", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
}

/// Scenarios of the demonstration: often enough that every panel has data within seconds.
const SCENARIOS: &str = "
defaults: {timeouts: {connect: 2s, first_token: 10s, stall: 5s, total: 30s}}
selftest: {schedule: '@every 30s'}
scenarios:
  - {name: chat, schedule: '@every 2s', workload: {kind: synthetic, input_tokens: 128, output_tokens: 32}, cache: cold, connection: warm, wake: true}
  - {name: chat-cold-start, schedule: '@every 5s', workload: {kind: fixed, prompt: Say hello., output_tokens: 8}, connection: cold, wake: true}
slos:
  - {name: ttft, scenario: chat, objective: 95%, window: 1d, first_token_under: 400ms}
";

impl DemoArgs {
    pub(super) async fn run(self, environment: Environment) -> Result<(), CliError> {
        logging::init("warn", LogFormat::Text)?;
        let shutdown = Shutdown::new();
        // The runtimes get a thread of their own, as real ones would: not the prober's.
        let runtimes = IoThread::start()?;
        let config = start_runtimes(&runtimes, &shutdown).await?;
        let (bound_sender, bound) = oneshot::channel();
        let source = ConfigSource {
            path: None,
            text: Some(config),
            environment,
            overrides: vec![(
                "server.listen".to_owned(),
                Value::String(self.listen.to_string()),
            )],
        };
        let options = ServeOptions {
            shutdown: shutdown.clone(),
            bound: Some(bound_sender),
            simulated: true,
            embedded: true,
        };
        let daemon = app::serve(source, options);
        let talk = async {
            if let Ok(address) = bound.await {
                printer::line(welcome(address))?;
                tokio::time::sleep(FIRST_FIGURES).await;
                printer::line(figures(address).await)?;
            }
            std::future::pending::<Result<(), CliError>>().await
        };
        let end = async {
            match self.duration {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(daemon);
        let outcome = tokio::select! {
            result = &mut daemon => return Ok(result?),
            result = talk => result,
            result = super::stop_signal() => result.map_err(CliError::from),
            () = end => Ok(()),
        };
        shutdown.begin();
        daemon.await?;
        runtimes.stop();
        outcome
    }
}

/// Starts the runtimes and writes the configuration that probes them.
async fn start_runtimes(thread: &IoThread, shutdown: &Shutdown) -> Result<String, CliError> {
    let mut config = format!("{SCENARIOS}targets:\n");
    for character in Character::presets() {
        let name = character.name.clone();
        let runtime = match character.flavor {
            RuntimeFlavor::Ollama => "ollama",
            RuntimeFlavor::LlamaCpp => "llamacpp",
            RuntimeFlavor::Tgi => "tgi",
            RuntimeFlavor::Tei => "tei",
            RuntimeFlavor::Sglang => "sglang",
            RuntimeFlavor::Vllm | RuntimeFlavor::All => "vllm",
        };
        let model = character.models.first().cloned().unwrap_or_default();
        let (token, tracker) = (shutdown.token().clone(), shutdown.tracker().clone());
        let started = thread.handle().spawn(async move {
            let simulator = Simulator::bind("127.0.0.1:0", character).await?;
            let address = simulator.local_addr();
            simulator.serve(token, &tracker);
            std::io::Result::Ok(address)
        });
        let address = started
            .await
            .map_err(|error| CliError::Failed(error.to_string()))??;
        // Writing to a string cannot fail.
        let _ = writeln!(
            config,
            "  - {{name: {name}, runtime: {runtime}, url: 'http://{address}', model: {model}, labels: {{simulated: 'true'}}}}"
        );
    }
    Ok(config)
}

fn welcome(address: SocketAddr) -> String {
    format!(
        "Sonde demo: three simulated runtimes, probed every 2 s. Every number is made up.

  status page   http://{address}/
  metrics       http://{address}/metrics
  one run now   http://{address}/probe?target=steady-vllm&scenario=chat
  last runs     http://{address}/api/v1/probes

Ctrl-C stops it. First figures in a few seconds ..."
    )
}

/// The last run of every probe, asked of the daemon as anybody would.
async fn figures(address: SocketAddr) -> String {
    let probes = async {
        let endpoint = Endpoint::parse(&format!("http://{address}")).ok()?;
        let dialer = Dialer::new(&endpoint).ok()?;
        let limit = Duration::from_secs(2);
        let asked = ask(
            &endpoint,
            &dialer,
            http::Method::GET,
            "/api/v1/probes",
            bytes::Bytes::new(),
            limit,
        );
        let (_, body) = asked.await.ok()?;
        serde_json::from_slice::<Vec<Value>>(&body).ok()
    };
    let mut out = format!(
        "\n{:<18} {:<16} {:>9} {:>12} {:>12} {:>9}\n",
        "target", "scenario", "outcome", "TTFT", "inference", "tokens/s"
    );
    for probe in probes.await.unwrap_or_default() {
        let text = |path: &str| {
            probe
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let seconds = |path: &str| {
            let at = |part: &str| {
                probe
                    .pointer(&format!("{path}/{part}"))
                    .and_then(Value::as_f64)
            };
            Some(at("secs")? + at("nanos")? / 1e9)
        };
        let millis = |path: &str| match seconds(path) {
            Some(value) => format!("{:.0} ms", value * 1e3),
            None => "-".to_owned(),
        };
        let speed = probe
            .pointer("/last_run/latency/decode_tps")
            .and_then(Value::as_f64);
        let _ = writeln!(
            out,
            "{:<18} {:<16} {:>9} {:>12} {:>12} {:>9}",
            text("/probe/target"),
            text("/probe/scenario"),
            text("/last_run/outcome"),
            millis("/last_run/latency/first_token"),
            millis("/last_run/latency/inference"),
            speed.map_or("-".to_owned(), |speed| format!("{speed:.1}")),
        );
    }
    out
}
