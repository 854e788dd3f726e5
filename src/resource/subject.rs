//! Of whom a reading speaks: the labels `scope` and `target`.

use super::{Reading, ResourceFamily};
use std::sync::Arc;

/// Whose resources a reading of `llm_resource_…` speaks of: the label `scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The whole machine; for the network, our network namespace.
    Node,
    /// The control group that Sonde itself runs in. In a pod that is Sonde's own container, not
    /// its neighbour the runtime.
    Container,
    /// The processes that serve a target.
    Process,
}

impl Scope {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Container => "container",
            Self::Process => "process",
        }
    }
}

/// A scope, and the target where there is one. Without, the label is empty: to Prometheus that is no
/// label, and none is written.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    scope: Scope,
    target: Arc<str>,
}

impl Subject {
    pub(super) fn node() -> Self {
        Self {
            scope: Scope::Node,
            target: Arc::from(""),
        }
    }

    pub(super) fn container() -> Self {
        Self {
            scope: Scope::Container,
            target: Arc::from(""),
        }
    }

    pub(super) fn process(target: Arc<str>) -> Self {
        Self {
            scope: Scope::Process,
            target,
        }
    }
}

impl ResourceFamily {
    /// One value of a family whose labels begin with `scope` and `target`. `more` are the values of
    /// its other labels, in its order.
    pub(super) fn of(&self, subject: &Subject, more: &[&str], value: f64) -> Reading {
        let subject = [subject.scope.as_str(), &subject.target];
        let values = subject.into_iter().chain(more.iter().copied());
        Reading {
            family: self.name,
            labels: self
                .labels
                .iter()
                .copied()
                .zip(values.map(str::to_owned))
                .collect(),
            value,
        }
    }
}
