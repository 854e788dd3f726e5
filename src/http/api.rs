//! `/sd` for Prometheus' http_sd, and the JSON API.

use super::Context;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Every probe as a target group for `http_sd_configs`: the address is the target's name, to be
/// moved into `__param_target` by relabelling; the rest are `__meta_sonde_*` labels.
pub(super) async fn service_discovery(State(context): State<Context>) -> Json<Value> {
    let live = context.live();
    let mut groups: Vec<_> = live
        .probes
        .iter()
        .map(|probe| {
            let labels = &probe.labels;
            let mut meta = serde_json::Map::new();
            for (name, value) in [
                ("target", &*labels.target),
                ("runtime", &*labels.runtime),
                ("model", &*labels.model),
                ("scenario", &*labels.scenario),
                ("url", &*probe.target.settings.endpoint.url()),
            ] {
                meta.insert(format!("__meta_sonde_{name}"), value.into());
            }
            for (name, value) in &probe.target.settings.labels {
                meta.insert(format!("__meta_sonde_label_{name}"), value.as_str().into());
            }
            (
                labels.clone(),
                json!({ "targets": [&*labels.target], "labels": meta }),
            )
        })
        .collect();
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    Json(groups.into_iter().map(|(_, group)| group).collect())
}

/// Every probe with its last run.
pub(super) async fn probes(State(context): State<Context>) -> Json<Value> {
    let list = context
        .board
        .snapshot()
        .into_iter()
        .map(|(labels, standing)| {
            json!({
                "probe": labels,
                "next_run": standing.next,
                "recent_success": standing.recent,
                "last_run": standing.last,
            })
        });
    Json(list.collect())
}
