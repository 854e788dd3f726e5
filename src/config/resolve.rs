//! From as typed to as meant: what concerns the whole, and the sections that are not lists.

use super::cadence::{self, CadenceText};
use super::problem::{Findings, Problem, nearest};
use super::raw::{RawConfig, RawDefaults, RawLog, RawLogFormat, RawMetrics, RawServer};
use super::scenario::{self, NamedScenario};
use super::source::Layered;
use super::target::{self, NamedTarget};
use super::{
    Environment, LogSettings, ServerSettings, Settings, TargetPlan, defaults, objective, secret,
};
use crate::base::logging::LogFormat;
use crate::metrics::{MetricsSettings, catalogue};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// Longest name of a target, scenario or objective: it becomes a label's value on every series.
const NAME_CHARS: usize = 100;

/// Log levels that stand alone.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What every check needs.
pub(super) struct Context<'a> {
    pub(super) environment: &'a Environment,
    pub(super) layered: &'a Layered,
    /// The merged tree without what does not fit.
    pub(super) typed: &'a Value,
    pub(super) folder: Option<&'a Path>,
    pub(super) findings: Findings,
}

impl Context<'_> {
    /// A path as meant: a relative one in the file starts at the file's folder, any other where
    /// Sonde was started, as whoever typed it expects.
    pub(super) fn path(&self, key: &str, text: &str) -> PathBuf {
        match self.folder {
            Some(folder) if self.layered.origin(key).is_none() => folder.join(text),
            _ => PathBuf::from(text),
        }
    }

    /// Reports a problem without showing a value.
    pub(super) fn refuse(&mut self, key: &str, rule: impl Display, remedy: &str) {
        self.findings.add(Problem::new(key, rule, remedy));
    }

    /// Checks a name that becomes a label's value and must be unique among `taken`.
    pub(super) fn check_name(&mut self, key: &str, name: &str, taken: &mut BTreeSet<String>) {
        let fits = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._:/-".contains(c));
        let length = name.chars().count();
        let problem = if name.is_empty() {
            Problem::new(key, "is empty", "give it a name")
        } else if !fits || length > NAME_CHARS {
            let rule = format!("is not a name of up to {NAME_CHARS} letters, digits and `._:/-`");
            Problem::new(key, rule, "it becomes a label's value; keep it plain").found(name)
        } else if !taken.insert(name.to_owned()) {
            Problem::new(
                key,
                "is the name of another one too",
                "names are unique: change one",
            )
            .found(name)
        } else {
            return;
        };
        self.findings.add(problem);
    }
}

/// Turns what was typed into settings. They mean something only where no problem was found.
pub(super) fn resolve(raw: RawConfig, context: &mut Context<'_>) -> Settings {
    let RawConfig {
        server,
        log,
        defaults,
        scenarios,
        targets,
        slos,
        metrics,
        resources,
        runtime_metrics,
        instrument,
        selftest,
    } = raw;
    let defaults = defaults.unwrap_or_default();
    check_defaults(&defaults, context);
    let scenarios = scenario::scenarios(scenarios, &defaults, context);
    let targets = target::targets(targets, &scenarios, &defaults, context);
    let objectives = objective::objectives(slos, &scenarios, &targets, context);
    warn_of_waste(&scenarios, &targets, context);
    let plans: Vec<&TargetPlan> = targets
        .iter()
        .filter_map(|target| target.plan.as_ref())
        .collect();
    super::shortfall::warn_of_shortfall(&objectives, &plans, context);
    Settings {
        server: resolve_server(server.unwrap_or_default(), context),
        log: resolve_log(log.unwrap_or_default(), context),
        targets: targets
            .into_iter()
            .filter_map(|target| target.plan)
            .collect(),
        objectives,
        metrics: resolve_metrics(metrics.unwrap_or_default(), context),
        resources: super::resources::resources(resources.unwrap_or_default(), context),
        runtime_metrics: super::runtime_metrics::settings(
            runtime_metrics.unwrap_or_default(),
            context,
        ),
        instrument: super::instrument::instrument(instrument.unwrap_or_default(), context),
        selftest: super::instrument::selftest(&selftest.unwrap_or_default(), context),
        warnings: Vec::new(),
    }
}

/// Bad defaults are the defaults' own problem, even where nobody uses them.
fn check_defaults(raw: &RawDefaults, context: &mut Context<'_>) {
    cadence::cadence(
        "defaults",
        CadenceText::of_defaults(raw),
        CadenceText::default(),
        context,
    );
    let nothing = super::raw::RawTimeouts::default();
    cadence::timeouts(
        "defaults",
        &raw.timeouts.unwrap_or_default(),
        &nothing,
        context,
    );
    if raw.max_in_flight == Some(0) {
        let rule = "leaves no run in flight";
        context.refuse("defaults.max_in_flight", rule, "write 1 or more");
    }
}

fn resolve_server(raw: RawServer, context: &mut Context<'_>) -> ServerSettings {
    let RawServer {
        listen,
        web_config_file,
    } = raw;
    let text = listen.as_deref().unwrap_or(defaults::LISTEN);
    let listen = text.parse().unwrap_or_else(|_| {
        let remedy = match text.rsplit_once(':') {
            Some(("", port)) => format!("write `0.0.0.0:{port}` for every interface"),
            Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
            _ => format!(
                "write an IP address and a port, such as `{}`",
                defaults::LISTEN
            ),
        };
        let problem = Problem::new("server.listen", "is not an IP address with a port", remedy);
        context.findings.add(problem.found(text));
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    });
    let web_config_file = web_config_file
        .and_then(|name| secret::existing_file("server.web_config_file", &name, context));
    ServerSettings {
        listen,
        web_config_file,
    }
}

fn resolve_log(raw: RawLog, context: &mut Context<'_>) -> LogSettings {
    let RawLog { level, format } = raw;
    let filter = level.unwrap_or_else(|| defaults::LOG_LEVEL.to_owned());
    // A bare word that is no level would be taken for the name of a module, and all would be still.
    let bare = filter.chars().all(|c| c.is_ascii_alphanumeric());
    let known = LEVELS.contains(&filter.to_ascii_lowercase().as_str());
    if (bare && !known) || EnvFilter::try_new(&filter).is_err() {
        let remedy = match nearest(&filter, LEVELS) {
            Some(level) => format!("did you mean `{level}`?"),
            None => "try `info`, `debug` or `sonde=debug,info`".to_owned(),
        };
        let problem = Problem::new("log.level", "is no level and no list of directives", remedy);
        context.findings.add(problem.found(&filter));
    }
    let format = match format {
        Some(RawLogFormat::Json) => LogFormat::Json,
        Some(RawLogFormat::Text) | None => LogFormat::Text,
    };
    LogSettings { filter, format }
}

fn resolve_metrics(raw: RawMetrics, context: &mut Context<'_>) -> MetricsSettings {
    let RawMetrics {
        classic_buckets,
        disabled_families,
    } = raw;
    let disabled_families = disabled_families.unwrap_or_default();
    check_families(&disabled_families, context);
    MetricsSettings {
        classic_buckets: classic_buckets.unwrap_or(true),
        disabled_families: disabled_families.into_iter().flatten().collect(),
    }
}

/// A family that does not exist cannot be switched off.
fn check_families(disabled: &[Option<String>], context: &mut Context<'_>) {
    let known: Vec<_> = catalogue().iter().map(|family| family.name).collect();
    for (index, family) in disabled.iter().enumerate() {
        let Some(family) = family.as_deref().filter(|family| !known.contains(family)) else {
            continue;
        };
        let remedy = match nearest(family, known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "take a name from `/metrics`".to_owned(),
        };
        let key = format!("metrics.disabled_families[{index}]");
        let problem = Problem::new(key, "is no metric family of Sonde", remedy);
        context.findings.add(problem.found(family));
    }
}

/// Allowed, and yet probably not meant.
fn warn_of_waste(scenarios: &[NamedScenario], targets: &[NamedTarget], context: &mut Context<'_>) {
    for scenario in scenarios {
        let used = targets
            .iter()
            .any(|target| target.scenarios.contains(&scenario.name));
        if !used && !targets.is_empty() {
            let name = &scenario.name;
            context
                .findings
                .warn(format!("scenario `{name}` is asked of no target"));
        }
    }
    let plans: Vec<&TargetPlan> = targets
        .iter()
        .filter_map(|target| target.plan.as_ref())
        .collect();
    for (index, one) in plans.iter().enumerate() {
        for other in plans.iter().skip(index + 1) {
            if let Some(scenario) = shared_probe(one, other) {
                context.findings.warn(format!(
                    "targets `{}` and `{}` ask the same model at the same URL the same scenario `{scenario}`",
                    one.settings.name, other.settings.name
                ));
            }
        }
    }
}

fn shared_probe<'a>(one: &'a TargetPlan, other: &TargetPlan) -> Option<&'a str> {
    let key = |plan: &TargetPlan| (plan.settings.endpoint.url(), plan.settings.model.clone());
    if key(one) != key(other) {
        return None;
    }
    let names = |plan: &'a TargetPlan| {
        plan.scenarios
            .iter()
            .map(|plan| plan.scenario.settings.name.as_ref())
    };
    let asked_too = |name: &&str| {
        other
            .scenarios
            .iter()
            .any(|plan| plan.scenario.settings.name.as_ref() == *name)
    };
    names(one).find(asked_too)
}
