//! The same rules as a file of Prometheus and as Kubernetes objects.

use super::yaml::{Node, document, map};
use super::{Group, Rule, RuleLabels, RuleSet};
use crate::base::units::format_duration;

/// Where rules are to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A rules file.
    Prometheus,
    /// prometheus-operator's PrometheusRule.
    PrometheusRule,
    /// Google Managed Prometheus' Rules: they see the metrics of their own namespace.
    GmpRules,
    /// Google Managed Prometheus' ClusterRules: they see the metrics of their cluster.
    GmpClusterRules,
}

/// What a Kubernetes object says about itself. A file of Prometheus has none of it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; absent: that of whoever applies it.
    pub namespace: Option<String>,
    /// Its labels, in this order. An operator may look for some.
    pub labels: Vec<(String, String)>,
}

/// Where alerts send whoever gets them, relative to the repository's root.
const RUNBOOKS: &str = "docs/runbooks.md";

pub(super) fn render(rules: &RuleSet, format: Format, metadata: &Metadata) -> String {
    let groups = rules.groups.iter().map(group).collect();
    let content = map([("groups", Node::List(groups))]);
    let (version, kind) = match format {
        Format::Prometheus => return document(&content),
        Format::PrometheusRule => ("monitoring.coreos.com/v1", "PrometheusRule"),
        Format::GmpRules => ("monitoring.googleapis.com/v1", "Rules"),
        Format::GmpClusterRules => ("monitoring.googleapis.com/v1", "ClusterRules"),
    };
    document(&map([
        ("apiVersion", version.into()),
        ("kind", kind.into()),
        ("metadata", described(metadata)),
        ("spec", content),
    ]))
}

fn described(metadata: &Metadata) -> Node {
    let Metadata {
        name,
        namespace,
        labels,
    } = metadata;
    let mut entries = vec![("name".to_owned(), Node::from(name.as_str()))];
    if let Some(namespace) = namespace {
        entries.push(("namespace".to_owned(), namespace.as_str().into()));
    }
    if !labels.is_empty() {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()));
        entries.push(("labels".to_owned(), Node::Map(labels.collect())));
    }
    Node::Map(entries)
}

fn group(group: &Group) -> Node {
    map([
        ("name", group.name.as_str().into()),
        ("interval", format_duration(group.interval).into()),
        ("rules", Node::List(group.rules.iter().map(rule).collect())),
    ])
}

fn rule(rule: &Rule) -> Node {
    match rule {
        Rule::Record {
            name,
            expression,
            labels: RuleLabels { slo, cadence },
        } => map([
            ("record", name.as_str().into()),
            ("expr", expression.as_str().into()),
            (
                "labels",
                map([
                    ("slo", slo.as_str().into()),
                    ("cadence", cadence.as_str().into()),
                ]),
            ),
        ]),
        Rule::Alert {
            name,
            expression,
            hold,
            labels: RuleLabels { slo, cadence },
            severity,
            summary,
            description,
        } => {
            let anchor = name.to_ascii_lowercase();
            let annotations = map([
                ("summary", summary.as_str().into()),
                ("description", description.as_str().into()),
                ("runbook_url", format!("{RUNBOOKS}#{anchor}").into()),
            ]);
            let labels = map([
                ("severity", (*severity).into()),
                ("slo", slo.as_str().into()),
                ("cadence", cadence.as_str().into()),
            ]);
            map([
                ("alert", (*name).into()),
                ("expr", expression.as_str().into()),
                ("for", format_duration(*hold).into()),
                ("labels", labels),
                ("annotations", annotations),
            ])
        }
    }
}
