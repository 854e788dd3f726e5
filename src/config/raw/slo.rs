//! An objective as typed.

use crate::config::defaults;
use crate::config::scalar::{DurationText, RatioText};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One entry of [`super::RawConfig::slos`]. A good run is a successful one that keeps every condition
/// given here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawSlo {
    /// Unique; the value of the label `slo`. Required.
    pub name: Option<String>,
    /// The target that it speaks of. Absent: all.
    pub target: Option<String>,
    /// The scenario that it speaks of. Absent: all.
    pub scenario: Option<String>,
    /// Labels of the targets that it speaks of, each with its exact value. Absent: any.
    pub labels: Option<BTreeMap<String, String>>,
    /// Share of good runs that is promised: `99%` or `0.99`. Required.
    pub objective: Option<RatioText>,
    /// Over which time.
    #[schemars(extend("default" = defaults::WINDOW))]
    pub window: Option<DurationText>,
    /// TTFT below, any token.
    pub first_token_under: Option<DurationText>,
    /// TTFT below, first visible token.
    pub first_visible_under: Option<DurationText>,
    /// 95th percentile of the gaps within a run below (nearest rank: with fewer than 20 gaps the
    /// longest).
    pub inter_token_p95_under: Option<DurationText>,
    /// TPOT below.
    pub per_output_token_under: Option<DurationText>,
    /// Longest gap in the stream below.
    pub max_stall_under: Option<DurationText>,
    /// E2E below: dispatch to end of stream.
    pub inference_under: Option<DurationText>,
    /// Decode speed above, in tokens per second.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub decode_tps_over: Option<f64>,
    /// What a run's tokens cost together below, in US dollars, by the target's `price`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cost_under_usd: Option<f64>,
}
