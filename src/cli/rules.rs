//! `sonde rules`.

use super::{CliError, printer, serve};
use crate::app::ConfigSource;
use crate::config::{Environment, Settings};
use crate::slo::rules::{self, Format, Metadata, RuleSet, Watched, WatchedProbe};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Longest name of a Kubernetes object.
const NAME_CHARS: usize = 253;
/// Longest name or value of a Kubernetes label, less a prefix.
const LABEL_CHARS: usize = 63;
const OBJECT_NAME: &str = "sonde-objectives";

#[derive(Args)]
pub(super) struct RulesArgs {
    /// Configuration file [default: sonde.yaml where it exists]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = FormatArg::Prometheus)]
    format: FormatArg,
    /// Print unit tests of the rules for `promtool test rules` instead
    #[arg(long, conflicts_with_all = ["format", "name", "namespace", "labels"])]
    tests: bool,
    /// Where the tests find the rules, seen from where they lie
    #[arg(
        long,
        value_name = "FILE",
        default_value = "sonde-rules.yml",
        requires = "tests"
    )]
    rule_file: String,
    /// Name of the Kubernetes object [default: sonde-objectives]
    #[arg(long, value_parser = object_name)]
    name: Option<String>,
    /// Namespace of the Kubernetes object
    #[arg(long, value_parser = object_name)]
    namespace: Option<String>,
    /// Labels of the Kubernetes object: prometheus-operator looks for some
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,…", value_parser = label)]
    labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// A rules file of Prometheus
    Prometheus,
    /// PrometheusRule of prometheus-operator
    PrometheusRule,
    /// Rules of Google Managed Prometheus, for the metrics of one namespace
    GmpRules,
    /// ClusterRules of Google Managed Prometheus, for the metrics of the cluster
    GmpClusterRules,
}

impl RulesArgs {
    pub(super) fn run(self, environment: Environment) -> Result<(), CliError> {
        let format = self.checked_format()?;
        let settings = ConfigSource {
            path: self.config.or_else(serve::default_file),
            text: None,
            environment,
            overrides: Vec::new(),
        }
        .load()?;
        let watched = watched(&settings);
        if watched.is_empty() {
            let problem = "`slos` is empty, so there are no rules\nhint: add an objective, such as \
                           `{name: ttft, objective: 99%, first_token_under: 800ms}`";
            return Err(CliError::Usage(problem.to_owned()));
        }
        let metadata = Metadata {
            name: self.name.unwrap_or_else(|| OBJECT_NAME.to_owned()),
            namespace: self.namespace,
            labels: self.labels,
        };
        let text = match self.tests {
            true => rules::unit_tests(&watched, &self.rule_file),
            false => RuleSet::of(&watched).render(format, &metadata),
        };
        Ok(printer::line(text.trim_end())?)
    }

    /// What only an object has must not be dropped without a word where there is none.
    fn checked_format(&self) -> Result<Format, CliError> {
        let refuse = |option: &str, format: &str| {
            Err(CliError::Usage(format!(
                "`{option}` has no meaning with the format `{format}`\nhint: leave it out, or choose another `--format`"
            )))
        };
        let described = self.name.is_some() || self.namespace.is_some() || !self.labels.is_empty();
        match self.format {
            FormatArg::Prometheus if described => {
                refuse("--name, --namespace and --labels", "prometheus")
            }
            FormatArg::GmpClusterRules if self.namespace.is_some() => {
                refuse("--namespace", "gmp-cluster-rules")
            }
            FormatArg::Prometheus => Ok(Format::Prometheus),
            FormatArg::PrometheusRule => Ok(Format::PrometheusRule),
            FormatArg::GmpRules => Ok(Format::GmpRules),
            FormatArg::GmpClusterRules => Ok(Format::GmpClusterRules),
        }
    }
}

/// Every objective with the probes that it speaks of.
fn watched(settings: &Settings) -> Vec<Watched> {
    let objectives = settings.objectives.iter();
    objectives
        .map(|objective| Watched {
            objective: objective.clone(),
            probes: probes_of(settings, objective),
        })
        .collect()
}

fn probes_of(settings: &Settings, objective: &crate::slo::Objective) -> Vec<WatchedProbe> {
    let mut probes = Vec::new();
    for plan in &settings.targets {
        let target = &plan.settings;
        for scenario in &plan.scenarios {
            let settings = &scenario.scenario.settings;
            if objective
                .selector
                .matches(&target.name, &target.labels, &settings.name)
            {
                probes.push(WatchedProbe {
                    target: target.name.to_string(),
                    scenario: settings.name.to_string(),
                    interval: scenario.cadence.schedule.typical_interval(),
                    timeout: settings.timeouts.total,
                });
            }
        }
    }
    probes
}

/// A DNS subdomain, as Kubernetes asks for.
fn object_name(text: &str) -> Result<String, String> {
    let fits = |part: &str| {
        let inner = part
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    match text.len() <= NAME_CHARS && text.split('.').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a name in Kubernetes is lower-case letters, digits, `-` and `.`".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("write `KEY=VALUE`".to_owned());
    };
    let fits = |part: &str| {
        let inner = part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        inner
            && part.len() <= LABEL_CHARS
            && edge(part.chars().next())
            && edge(part.chars().next_back())
    };
    let key_fits = match key.split_once('/') {
        Some((prefix, name)) => object_name(prefix).is_ok() && fits(name),
        None => fits(key),
    };
    if !key_fits || !(value.is_empty() || fits(value)) {
        let rule = "names and values of labels in Kubernetes are up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
        return Err(rule.to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadInput, load};
    use crate::metrics::catalogue;

    #[test]
    fn rules_ask_only_for_metrics_that_exist() {
        let text =
            "targets: [{name: a, url: 'http://h', model: m}]\nslos: [{name: o, objective: 99%}]";
        let settings = load(LoadInput {
            path: None,
            file: Some(text),
            environment: &Environment::from_pairs([("", ""); 0]),
            overrides: Vec::new(),
        });
        let rules = RuleSet::of(&watched(&settings.unwrap()));
        let text = rules.render(Format::Prometheus, &Metadata::default());
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        let asked: Vec<&str> = words.filter(|word| word.starts_with("llm_")).collect();
        assert!(asked.len() > 10, "{asked:?}");
        for name in asked {
            let known = catalogue().iter().any(|family| family.name == name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn labels_and_names_are_those_that_kubernetes_takes() {
        assert!(label("release=kube-prometheus-stack").is_ok());
        assert!(label("prometheus.io/role=alert-rules").is_ok());
        assert!(label("empty=").is_ok());
        for wrong in ["release", "=x", "a=b c", "a=-b", "Up/er/a=b", "a=b:c"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
        assert!(object_name("sonde.rules-1").is_ok());
        for wrong in ["", "Sonde", "a_b", "-a", "a..b"] {
            assert!(object_name(wrong).is_err(), "{wrong}");
        }
    }
}
