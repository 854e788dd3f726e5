//! `sonde gate`: READY, DEGRADED, NOT READY or UNDECIDED, as an exit code.

mod asking;
mod objectives;
mod probing;

use super::detect::ProofArgs;
use super::request::RequestArgs;
use super::{CliError, printer};
use crate::base::units::{parse_duration, parse_ratio};
use crate::config::Environment;
use crate::report;
use crate::slo::{Reason, Verdict};
use clap::Args;
use objectives::ObjectiveArgs;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "Exit codes: 0 READY, 1 DEGRADED, 2 NOT READY, 3 UNDECIDED; 64 when the command line, the \
configuration or the baseline is wrong, 70 when the verdict could not be told. docs/slos.md has the decision table.";

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct GateArgs {
    /// Ask the daemon at this URL, such as http://127.0.0.1:10798, instead of probing
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "url"])]
    daemon: Option<String>,
    /// Probe what this configuration file names, and judge by its objectives
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Probe this endpoint
    #[arg(long)]
    url: Option<String>,
    /// Only this objective; may be given several times
    #[arg(long, value_name = "NAME")]
    slo: Vec<String>,
    /// Only this target; may be given several times
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Only this scenario; may be given several times
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    #[command(flatten)]
    proof: ProofArgs,
    /// User name for the daemon
    #[arg(long, value_name = "NAME", requires_all = ["daemon", "password_env"], conflicts_with = "bearer_env")]
    username: Option<String>,
    /// Environment variable that holds the user's password
    #[arg(long, value_name = "VARIABLE", requires = "username")]
    password_env: Option<String>,
    #[command(flatten)]
    objective: ObjectiveArgs,
    #[command(flatten)]
    probing: ProbingArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// Print the verdict as JSON, in the form of the daemon's /api/v1/verdict
    #[arg(long)]
    json: bool,
}

/// How to probe.
#[derive(Args)]
pub(super) struct ProbingArgs {
    /// Runs of every probe [default: as many as the objectives need, from 20 to 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: Option<u32>,
    /// Runs before those that count, to load the model or to fill a cache [default: 0]
    #[arg(long, value_name = "N")]
    warmup: Option<u32>,
    /// Rest of a target between two runs [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pause: Option<Duration>,
    /// Leave a probe alone after so many failures in a row [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..))]
    give_up_after: Option<u32>,
    /// Write the figures of all good runs to this file
    #[arg(long, value_name = "FILE")]
    save_baseline: Option<PathBuf>,
    /// Compare with the figures in this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// By how much a figure must have become slower to matter [default: 10%]
    #[arg(long, value_name = "SHARE", value_parser = ratio, requires = "baseline")]
    least_change: Option<f64>,
}

impl ProbingArgs {
    fn given(&self) -> Option<&'static str> {
        [
            ("--runs", self.runs.is_some()),
            ("--warmup", self.warmup.is_some()),
            ("--pause", self.pause.is_some()),
            ("--give-up-after", self.give_up_after.is_some()),
            ("--save-baseline", self.save_baseline.is_some()),
            ("--baseline", self.baseline.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn ratio(text: &str) -> Result<f64, String> {
    parse_ratio(text).map_err(|error| error.to_string())
}

/// What is printed of a verdict, whoever has made it.
#[derive(Deserialize)]
struct Told {
    verdict: Verdict,
    reasons: Vec<Reason>,
    notes: Vec<String>,
}

impl GateArgs {
    pub(super) async fn run(self, environment: Environment) -> Result<(), CliError> {
        self.check()?;
        let json = self.json;
        let answer = match self.daemon {
            Some(_) => self.ask(&environment).await?,
            None => self.probe(environment).await?,
        };
        let broken = |error: serde_json::Error| CliError::Failed(error.to_string());
        let told = Told::deserialize(&answer).map_err(broken)?;
        printer::line(match json {
            true => serde_json::to_string_pretty(&answer).map_err(broken)?,
            false => report::verdict(told.verdict, &told.reasons, &told.notes),
        })?;
        match told.verdict {
            Verdict::Ready => Ok(()),
            verdict => Err(CliError::Verdict(verdict)),
        }
    }

    /// What makes no sense together is refused: an option without an effect would be a surprise.
    fn check(&self) -> Result<(), CliError> {
        let refuse = |option: &str, why: &str| {
            Err(CliError::Usage(format!(
                "`{option}` {why}\nhint: `sonde gate --help` tells which options go together"
            )))
        };
        let of_request = self.request.given();
        if self.daemon.is_some() {
            let given = self.probing.given().or(self.objective.given());
            return match given.or(of_request) {
                Some(option) => refuse(
                    option,
                    "is for probing, and `--daemon` asks for what is known",
                ),
                None => Ok(()),
            };
        }
        match (&self.config, &self.url) {
            (None, None) => Err(CliError::Usage(
                "nothing to judge\nhint: name a daemon with `--daemon URL`, a file with `--config FILE`, or an \
                 endpoint with `--url URL`"
                    .to_owned(),
            )),
            (Some(_), _) => match of_request.or(self.proof.given()) {
                Some(option) => refuse(option, "goes with `--url`; a configuration has keys for it"),
                None => Ok(()),
            },
            (None, Some(_)) => {
                let selects = [
                    ("--slo", &self.slo),
                    ("--target", &self.target),
                    ("--scenario", &self.scenario),
                ];
                match selects.into_iter().find(|(_, names)| !names.is_empty()) {
                    Some((option, _)) => refuse(option, "selects from a configuration or a daemon"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A verdict as a value, as a daemon would have sent it.
fn value(verdict: &crate::slo::Assessment) -> Result<Value, CliError> {
    serde_json::to_value(verdict).map_err(|error| CliError::Failed(error.to_string()))
}
