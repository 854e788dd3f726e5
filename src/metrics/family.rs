//! A family of the catalogue, and the samples that it has at one instant.

use super::histogram::Histogram;
use super::store::State;
use crate::base::label::ProbeLabels;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as proto;

/// What kind of numbers a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends with `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Classic and native.
    Histogram,
}

impl Kind {
    /// The word of `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family: the one source for exposition, documentation and tests.
pub struct FamilySpec {
    /// Its whole name, `_total` included.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Label names, in order. A probe's are its four, then more.
    pub labels: &'static [&'static str],
    /// What it is, with its unit and definition. No full stop at the end.
    pub help: &'static str,
    pub(super) collect: fn(&State, &mut Samples),
}

/// The labels of every probe series.
pub const PROBE: [&str; 4] = ["target", "runtime", "model", "scenario"];

/// The samples of one family while they are collected.
pub struct Samples {
    pub(super) family: proto::MetricFamily,
}

impl Samples {
    pub(super) fn of(spec: &FamilySpec) -> Self {
        let kind = match spec.kind {
            Kind::Counter => proto::MetricType::Counter,
            Kind::Gauge => proto::MetricType::Gauge,
            Kind::Histogram => proto::MetricType::Histogram,
        };
        Self {
            family: proto::MetricFamily {
                name: spec.name.to_owned(),
                help: spec.help.to_owned(),
                r#type: kind as i32,
                ..Default::default()
            },
        }
    }

    /// Appends a counter, with the instant since which it has counted, where that is known.
    pub(super) fn counter(
        &mut self,
        labels: Labels,
        value: f64,
        created: impl Into<Option<Timestamp>>,
    ) {
        let created = created.into();
        self.family.metric.push(proto::Metric {
            label: labels.0,
            counter: Some(proto::Counter {
                value,
                exemplar: None,
                start_timestamp: created.map(|at| std::time::SystemTime::from(at).into()),
            }),
            ..Default::default()
        });
    }

    /// Appends a gauge; an absent value appends nothing.
    pub(super) fn gauge(&mut self, labels: Labels, value: Option<f64>) {
        if let Some(value) = value {
            self.family.metric.push(proto::Metric {
                label: labels.0,
                gauge: Some(proto::Gauge { value }),
                ..Default::default()
            });
        }
    }

    /// Appends a histogram; an absent one appends nothing.
    pub(super) fn histogram(&mut self, labels: Labels, histogram: Option<&Histogram>) {
        if let Some(message) = histogram.and_then(Histogram::message) {
            self.family.metric.push(proto::Metric {
                label: labels.0,
                histogram: Some(message),
                ..Default::default()
            });
        }
    }
}

/// Names and values of one series.
#[derive(Clone, Default)]
pub struct Labels(Vec<proto::LabelPair>);

impl Labels {
    /// The four labels of a probe.
    pub(super) fn probe(labels: &ProbeLabels) -> Self {
        Self::default()
            .with("target", &labels.target)
            .with("runtime", &labels.runtime)
            .with("model", &labels.model)
            .with("scenario", &labels.scenario)
    }

    /// One more. To Prometheus a label without a value is no label: none is written, in any format.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.0.push(proto::LabelPair {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        self
    }
}
