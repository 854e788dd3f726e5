//! A histogram that is classic and native at once and remembers one run id per bucket.
//!
//! The counting is prometheus-client's. Its own exemplars do not go together with native buckets
//! (as of 0.25), so they are kept here and put into the encoded message.

use crate::probe::RunId;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_protobuf::{encode, prometheus_data_model as proto};
use prometheus_client::metrics::histogram::{Histogram as Counting, NativeHistogramConfig};
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Relative width of a native bucket: the field's default.
const NATIVE_FACTOR: f64 = 1.1;
/// Native buckets beyond which the resolution is halved: Prometheus' usual limit.
const NATIVE_BUCKETS: usize = 160;

/// Classic edges, shared by all histograms of a probe that have the same.
pub(super) type Edges = Arc<[f64]>;

#[derive(Debug)]
pub(super) struct Histogram {
    counting: Counting,
    edges: Edges,
    exemplars: Vec<Option<Exemplar>>,
}

#[derive(Clone, Copy, Debug)]
struct Exemplar {
    value: f64,
    run_id: RunId,
    at: Timestamp,
}

impl Histogram {
    pub(super) fn new(edges: &Edges) -> Self {
        let native = NativeHistogramConfig::new(NATIVE_FACTOR).max_buckets(NATIVE_BUCKETS);
        Self {
            counting: Counting::new_classic_and_native(edges.iter().copied(), native),
            edges: edges.clone(),
            exemplars: Vec::new(),
        }
    }

    pub(super) fn observe(&mut self, value: f64, run_id: RunId, at: Timestamp) {
        if value.is_nan() {
            return;
        }
        self.counting.observe(value);
        let bucket = self.edges.partition_point(|edge| *edge < value);
        if self.exemplars.is_empty() {
            self.exemplars = vec![None; self.edges.len() + 1];
        }
        if let Some(slot) = self.exemplars.get_mut(bucket) {
            *slot = Some(Exemplar { value, run_id, at });
        }
    }

    /// The histogram as a protobuf message, exemplars in its classic buckets.
    pub(super) fn message(&self) -> Option<proto::Histogram> {
        let mut registry = Registry::default();
        registry.register("h", "", self.counting.clone());
        let metric = encode(&registry).ok()?.pop()?.metric.pop()?;
        let mut message = metric.histogram?;
        for (bucket, exemplar) in message.bucket.iter_mut().zip(&self.exemplars) {
            bucket.exemplar = exemplar.map(|exemplar| exemplar.message());
        }
        Some(message)
    }
}

impl Exemplar {
    fn message(self) -> proto::Exemplar {
        proto::Exemplar {
            label: vec![proto::LabelPair {
                name: "run_id".to_owned(),
                value: self.run_id.to_string(),
            }],
            value: self.value,
            timestamp: Some(std::time::SystemTime::from(self.at).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_native_and_exemplar_tell_of_the_same_run() {
        let edges: Edges = Arc::from([0.1, 0.5]);
        let mut histogram = Histogram::new(&edges);
        let run_id = RunId::random();
        histogram.observe(0.3, run_id, Timestamp::UNIX_EPOCH);
        let message = histogram.message().unwrap();
        assert_eq!(message.sample_count, 1);
        let counts: Vec<_> = message.bucket.iter().map(|b| b.cumulative_count).collect();
        assert_eq!(counts, [0, 1, 1]);
        assert_eq!(message.positive_delta, [1]);
        let exemplar = message.bucket[1].exemplar.as_ref().unwrap();
        assert_eq!(exemplar.label[0].value, run_id.to_string());
        assert!(message.bucket[2].exemplar.is_none());
    }
}
