//! Layer 8: one file per subcommand. Exit codes: 0 good, 1 failed, 2 usage or configuration; those of
//! `gate` are its verdicts.

mod check;
mod demo;
mod detect;
mod gate;
mod list;
mod printer;
mod probe;
mod request;
mod rules;
mod selftest;
mod serve;
mod simulate;

use crate::app::AppError;
use crate::base::logging::LoggingError;
use crate::config::{Environment, Problems};
use crate::slo::Verdict;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Continuous, trustworthy measurement of LLM runtimes for Prometheus.
#[derive(Parser)]
#[command(
    name = "sonde",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: probe on schedule, expose /metrics
    Serve(serve::ServeArgs),
    /// Three simulated runtimes and the daemon in one process
    Demo(demo::DemoArgs),
    /// Probe a runtime once and show where the time went
    Probe(probe::ProbeArgs),
    /// Check a configuration file, or print its JSON Schema
    Check(check::CheckArgs),
    /// Print rules for Prometheus: burn-rate alerts for the configured objectives
    Rules(rules::RulesArgs),
    /// Find out which runtime answers at a URL, and its models
    Detect(detect::DetectArgs),
    /// List what there is: runtimes
    List(list::ListArgs),
    /// Judge a runtime for a pipeline: READY, DEGRADED, NOT READY or UNDECIDED as an exit code
    Gate(Box<gate::GateArgs>),
    /// Measure the measuring: how far off are Sonde's own figures on this machine?
    Selftest(selftest::SelftestArgs),
    /// Run a fake runtime to test against; everything it says is made up
    Simulate(Box<simulate::SimulateArgs>),
}

/// Why a command failed, and with which exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line or the configuration is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The message is printed already: exit code 1.
    #[error("failed")]
    Silent,
    /// The verdict is printed already: its own exit code.
    #[error("{}", .0.as_str())]
    Verdict(Verdict),
    /// Standard output or a thread failed: exit code 1.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

impl From<LoggingError> for CliError {
    fn from(error: LoggingError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Config(_) | AppError::Web(_) | AppError::Logging(_) => {
                Self::Usage(error.to_string())
            }
            AppError::Bind { .. } | AppError::System(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Exit codes other than 0.
#[derive(Clone, Copy)]
struct Codes {
    failed: u8,
    usage: u8,
}

impl Codes {
    const USUAL: Self = Self {
        failed: 1,
        usage: 2,
    };
    /// 1 and 2 are verdicts there: EX_SOFTWARE and EX_USAGE of BSD's sysexits.h.
    const OF_GATE: Self = Self {
        failed: 70,
        usage: 64,
    };

    fn of(self, error: &CliError) -> u8 {
        match error {
            CliError::Usage(_) => self.usage,
            CliError::Verdict(verdict) => verdict.code(),
            CliError::Failed(_) | CliError::Silent | CliError::Io(_) => self.failed,
        }
    }
}

impl Cli {
    /// Reads the command line, does what it says and maps the result to an exit code.
    pub fn start() -> ExitCode {
        // What cannot be read does not tell which command it is; there are no options before it.
        let codes = match std::env::args_os().nth(1) {
            Some(command) if command == "gate" => Codes::OF_GATE,
            _ => Codes::USUAL,
        };
        match Self::try_parse() {
            Ok(cli) => cli.run(codes),
            Err(error) => {
                error.print().ok();
                match error.exit_code() {
                    0 => ExitCode::SUCCESS,
                    _ => ExitCode::from(codes.usage),
                }
            }
        }
    }

    fn run(self, codes: Codes) -> ExitCode {
        let done = runtime().map_err(CliError::from).and_then(|runtime| {
            let environment = Environment::process();
            let result = runtime.block_on(self.command.run(environment));
            // Whatever still blocks (a resolver, say) must not hold up the exit.
            runtime.shutdown_background();
            result
        });
        let Err(error) = done else {
            return ExitCode::SUCCESS;
        };
        if !matches!(error, CliError::Silent | CliError::Verdict(_)) {
            complain(&error);
        }
        ExitCode::from(codes.of(&error))
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one place that complains to people"
)]
fn complain(error: &CliError) {
    eprintln!("sonde: {error}");
}

/// HTTP, sampling and supervision share one thread; probing has its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
}

/// Returns at SIGTERM or SIGINT.
async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result,
    }
}

impl Command {
    async fn run(self, environment: Environment) -> Result<(), CliError> {
        match self {
            Self::Serve(args) => args.run(environment).await,
            Self::Demo(args) => args.run(environment).await,
            Self::Probe(args) => args.run(environment).await,
            Self::Check(args) => args.run(environment),
            Self::Rules(args) => args.run(environment),
            Self::Detect(args) => args.run(environment).await,
            Self::List(args) => args.run(),
            Self::Gate(args) => args.run(environment).await,
            Self::Selftest(args) => args.run().await,
            Self::Simulate(args) => args.run().await,
        }
    }
}
