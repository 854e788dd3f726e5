//! Layer 7: one file, the environment and the command line, resolved to [`Settings`] or to a list
//! of everything that is wrong. The only module that knows the file's format; all others own plain
//! settings.
//!
//! `source` merges the layers into one tree, `shape` reads the tree into `raw` (as typed), and
//! `resolve` with its neighbours turns that into settings (as meant). Each of them reports and goes
//! on, so that one look at [`Problems`] shows all there is to mend.

mod aws;
mod cadence;
mod credentials;
mod defaults;
mod environment;
#[cfg(test)]
mod golden;
mod google;
mod governor;
mod instrument;
mod matrix;
mod objective;
mod placeholder;
mod problem;
mod proxy;
mod raw;
mod reach;
mod resolve;
mod resources;
mod retrieval;
mod runtime_metrics;
mod scalar;
mod scenario;
mod schema;
mod secret;
mod shape;
mod shortfall;
mod source;
mod target;
mod trust;
mod watch;

pub use environment::{Environment, PREFIX};
pub use problem::{Problem, Problems};
pub use proxy::of_environment as proxy_of;
pub use schema::{json_schema, reference_markdown};
pub use source::parse_value;
pub use watch::Watched;

use crate::base::logging::LogFormat;
use crate::metrics::MetricsSettings;
use crate::probe::{InstrumentSettings, Scenario, TargetSettings};
use crate::resource::runtime_metrics::{PageSource, RuntimeMetricsSettings};
use crate::resource::{ProcessMatch, ResourceSettings};
use crate::runtime::RuntimeSpec;
use crate::schedule::{Cadence, Limits, Wake};
use crate::slo::Objective;
use crate::transport::{Auth, Dialer, Endpoint};
use problem::Findings;
use resolve::Context;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a configuration is made from, lowest layer first.
#[derive(Clone, Debug)]
pub struct LoadInput<'a> {
    /// Where the file is: its name in messages, its folder for the relative paths in it.
    pub path: Option<&'a Path>,
    /// The file's text. Absent: no file.
    pub file: Option<&'a str>,
    /// Its `SONDE__…` variables set keys; the others hold secrets that the file names.
    pub environment: &'a Environment,
    /// From the command line: key path (`targets[0].url`) and value, taken as it is. See
    /// [`parse_value`] for text that may be more than text.
    pub overrides: Vec<(String, Value)>,
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Settings {
    /// Where Sonde itself answers.
    pub server: ServerSettings,
    /// What it says about itself.
    pub log: LogSettings,
    /// Who is asked, and what. Never empty.
    pub targets: Vec<TargetPlan>,
    /// What was promised.
    pub objectives: Vec<Objective>,
    /// What is exposed.
    pub metrics: MetricsSettings,
    /// What is sampled.
    pub resources: ResourceSettings,
    /// How often runtimes are asked about themselves.
    pub runtime_metrics: RuntimeMetricsSettings,
    /// How runs are stamped, and how large their error bars may be.
    pub instrument: InstrumentSettings,
    /// When Sonde measures its own error; absent: never.
    pub selftest: Option<Cadence>,
    /// What is allowed and yet probably not meant, one line each.
    pub warnings: Vec<String>,
}

/// Where Sonde itself answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// TLS and basic authentication, in the exporter-toolkit's format.
    pub web_config_file: Option<PathBuf>,
}

/// What Sonde says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A filter that [`crate::base::logging::init`] accepts.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// A target and what it is asked.
#[derive(Debug)]
pub struct TargetPlan {
    /// As configured. Runtime and model may still have to be found out.
    pub settings: TargetSettings,
    /// The entry of `targets` by whose matrix it was made, where one did.
    pub matrix: Option<usize>,
    /// Its certificates are read already.
    pub dialer: Dialer,
    /// How the processes that serve it are called; absent: they are found by their socket.
    pub process: Option<ProcessMatch>,
    /// What probing may cost it.
    pub limits: Limits,
    /// Where its runtime's own metrics are.
    pub runtime_page: PageSource,
    /// In the file's order. Never empty.
    pub scenarios: Vec<ScenarioPlan>,
}

/// A scenario and when it runs. Targets share the scenario.
#[derive(Clone, Debug)]
pub struct ScenarioPlan {
    /// What is sent.
    pub scenario: Arc<Scenario>,
    /// When.
    pub cadence: Cadence,
    /// Whether its runs may keep a model in memory, or load it.
    pub wake: Wake,
}

/// The text of a configuration file, for [`LoadInput::file`].
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let remedy = "name a readable file with `--config`, or start without one with `--url`";
        let problem = Problem::new("", format!("cannot be read: {error}"), remedy);
        Problems::new(path.display().to_string(), vec![problem])
    })
}

/// How requests to a runtime prove who they are where nothing says so: for services that sign, from the
/// environment. Its `SONDE__…` variables do not count.
///
/// # Errors
/// When what is there cannot be used.
pub fn usual_proof(
    endpoint: &Endpoint,
    runtime: &RuntimeSpec,
    model: &str,
    environment: &Environment,
) -> Result<Auth, Problems> {
    let overrides = [
        ("url", endpoint.url()),
        ("runtime", runtime.name.to_owned()),
        ("model", model.to_owned()),
    ];
    let settings = load(LoadInput {
        path: None,
        file: None,
        environment: &environment.without_settings(),
        overrides: overrides
            .map(|(key, value)| (format!("targets[0].{key}"), value.into()))
            .into(),
    })?;
    let target = settings.targets.into_iter().next();
    Ok(target.map_or(Auth::None, |target| target.settings.endpoint.auth))
}

/// Reads, merges and checks a configuration. Reads the files that it names (certificates,
/// tokenizers, secrets), and nothing of the network.
///
/// # Errors
/// With everything that is wrong, in one go.
pub fn load(input: LoadInput<'_>) -> Result<Settings, Problems> {
    let called = match input.path {
        Some(path) => path.display().to_string(),
        None => "configuration".to_owned(),
    };
    let mut findings = Findings::default();
    let Some(layered) = source::merge(&input, &mut findings) else {
        return Err(Problems::new(called, findings.problems));
    };
    let (raw, typed) = shape::read(&layered, &mut findings);
    let mut context = Context {
        environment: input.environment,
        layered: &layered,
        typed: &typed,
        folder: input.path.and_then(Path::parent),
        findings,
    };
    let mut settings = resolve::resolve(raw, &mut context);
    let Findings {
        mut problems,
        warnings,
    } = context.findings;
    if problems.is_empty() {
        settings.warnings = warnings;
        return Ok(settings);
    }
    for problem in problems
        .iter_mut()
        .filter(|problem| problem.origin.is_none())
    {
        problem.origin = layered.origin(&problem.key).map(str::to_owned);
    }
    Err(Problems::new(called, problems))
}
