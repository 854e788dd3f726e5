//! `sonde simulate`.

use super::{CliError, printer};
use crate::simulate::{
    AwsKey, Character, Distribution, FaultPlan, GoogleKey, RuntimeFlavor, Simulator, TimingHeaders,
};
use clap::Args;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Args)]
pub(super) struct SimulateArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Start from a preset: steady-vllm, bursty-llamacpp, cold-ollama or instant
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Which runtime it passes for: vllm, llamacpp, ollama, tgi, tei, sglang, tensorrt-llm, llamaedge, triton or all
    #[arg(long, value_parser = parsed::<RuntimeFlavor>, value_name = "FLAVOR")]
    flavor: Option<RuntimeFlavor>,
    /// A model that it serves; may be given several times
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Time to first token: 80ms, normal(80ms,10ms), lognormal(120ms,0.4), uniform(10ms,30ms)
    #[arg(long, value_parser = parsed::<Distribution<Duration>>, value_name = "DISTRIBUTION")]
    ttft: Option<Distribution<Duration>>,
    /// Time from token to token
    #[arg(long, value_parser = parsed::<Distribution<Duration>>, value_name = "DISTRIBUTION")]
    itl: Option<Distribution<Duration>>,
    /// Time to load the model
    #[arg(long, value_parser = parsed::<Distribution<Duration>>, value_name = "DISTRIBUTION")]
    load_delay: Option<Distribution<Duration>>,
    /// Tokens after which the model stops by itself
    #[arg(long, value_parser = parsed::<Distribution<u32>>, value_name = "DISTRIBUTION")]
    output_tokens: Option<Distribution<u32>>,
    /// Tokens in each frame
    #[arg(long, value_parser = parsed::<Distribution<u32>>, value_name = "DISTRIBUTION")]
    tokens_per_frame: Option<Distribution<u32>>,
    /// Most frames in one write, of those due at the same instant: for load tests of the client
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    frames_per_write: Option<usize>,
    /// Tokens of hidden reasoning before the answer
    #[arg(long, value_name = "N")]
    reasoning_tokens: Option<u32>,
    /// Requests worked on at once; more wait
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Reuse equal leading prompt blocks
    #[arg(long)]
    prefix_cache: bool,
    /// Prompt tokens that the chat template puts before everything
    #[arg(long, value_name = "N")]
    template_tokens: Option<u32>,
    /// Response headers with its own times: server-timing, tgi, openai or ttft
    #[arg(long, value_parser = parsed::<TimingHeaders>, value_name = "KIND")]
    timing_headers: Option<TimingHeaders>,
    /// What goes wrong: by rate (5xx:0.01,stall:0.005) or in order (script:ok,5xx,ok,stall)
    #[arg(long, value_parser = parsed::<FaultPlan>, value_name = "PLAN")]
    faults: Option<FaultPlan>,
    /// Want this bearer token, or API key where the API has a header for it
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Want requests to Bedrock and SageMaker signed with this access key
    #[arg(long, value_parser = parsed::<AwsKey>, value_name = "ID:SECRET")]
    aws_key: Option<AwsKey>,
    /// Want tokens of the service account of this key file for Vertex AI; gives them too, by /token and as metadata server
    #[arg(long, value_parser = google_key, value_name = "FILE")]
    google_key: Option<GoogleKey>,
    /// Equal seeds give equal answers
    #[arg(long)]
    seed: Option<u64>,
    /// Speak TLS, with a certificate made at start for localhost, 127.0.0.1 and ::1
    #[arg(long)]
    tls: bool,
    /// Write the certificate that clients are to trust to this file, as PEM
    #[arg(long, requires = "tls", value_name = "FILE")]
    certificate_out: Option<PathBuf>,
    /// Keep the log of the last N requests and tell it at /simulate/requests: a JSON object per
    /// line, instants in nanoseconds of CLOCK_MONOTONIC; ?id= picks one, DELETE forgets all
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    log_requests: Option<usize>,
    /// End when standard input does, and so with the parent that holds its other end
    #[arg(long)]
    exit_with_stdin: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("at least 1".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn google_key(path: &str) -> Result<GoogleKey, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parsed(&text)
}

fn parsed<T>(text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Replaces what the command line gives.
fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Returns at the end of standard input, or when it cannot be read.
async fn end_of_stdin() {
    let drain = || io::copy(&mut io::stdin().lock(), &mut io::sink());
    // A read of standard input cannot be given up. At exit nobody waits for it.
    tokio::task::spawn_blocking(drain).await.ok();
}

impl SimulateArgs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Self {
            listen,
            exit_with_stdin,
            ..
        } = self;
        let certificate_out = self.certificate_out.clone();
        let simulator = Simulator::bind(listen, self.character()?).await;
        let simulator = simulator
            .map_err(|error| CliError::Failed(format!("cannot listen on {listen}: {error}")))?;
        if let Some((file, pem)) = certificate_out.zip(simulator.certificate_pem()) {
            std::fs::write(&file, pem).map_err(|error| {
                CliError::Failed(format!("cannot write `{}`: {error}", file.display()))
            })?;
        }
        // Whoever reads this line finds the port open and the certificate written.
        let scheme = match simulator.certificate_pem() {
            None => "http",
            Some(_) => "https",
        };
        printer::line(format!(
            "simulated runtime at {scheme}://{}; everything it says is made up",
            simulator.local_addr()
        ))?;
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        simulator.serve(stop.clone(), &tracker);
        tokio::select! {
            stopped = super::stop_signal() => stopped?,
            () = end_of_stdin(), if exit_with_stdin => {}
        }
        stop.cancel();
        tracker.close();
        tokio::time::timeout(Duration::from_secs(1), tracker.wait())
            .await
            .ok();
        Ok(())
    }

    fn character(self) -> Result<Character, CliError> {
        let mut character = match &self.preset {
            None => Character::default(),
            Some(name) => Character::preset(name).ok_or_else(|| {
                let known = Character::PRESETS.join("`, `");
                CliError::Usage(format!(
                    "`--preset {name}`: there is none\nhint: one of `{known}`"
                ))
            })?,
        };
        set(&mut character.flavor, self.flavor);
        set(&mut character.ttft, self.ttft);
        set(&mut character.itl, self.itl);
        set(&mut character.load_delay, self.load_delay);
        set(&mut character.output_tokens, self.output_tokens);
        set(&mut character.tokens_per_frame, self.tokens_per_frame);
        set(&mut character.reasoning_tokens, self.reasoning_tokens);
        set(&mut character.slots, self.slots);
        set(&mut character.template_tokens, self.template_tokens);
        set(&mut character.faults, self.faults);
        set(&mut character.seed, self.seed);
        set(&mut character.frames_per_write, self.frames_per_write);
        set(&mut character.log_capacity, self.log_requests);
        if !self.models.is_empty() {
            character.models = self.models;
        }
        character.prefix_cache |= self.prefix_cache;
        character.timing_headers = self.timing_headers.or(character.timing_headers);
        character.tls = self.tls;
        character.serves_log = self.log_requests.is_some();
        character.api_key = self.api_key.or(character.api_key);
        character.aws_key = self.aws_key.or(character.aws_key);
        character.google_key = self.google_key.or(character.google_key);
        Ok(character)
    }
}
