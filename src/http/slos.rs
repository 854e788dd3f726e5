//! `/api/v1/slos`: how every objective stands, for whoever asks without Prometheus.

use super::Context;
use crate::base::units::format_duration;
use crate::slo::{Burn, Health, Standing, Urgency};
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// One answer to "are we fine?", then every objective of every probe.
pub(super) async fn slos(State(context): State<Context>) -> Json<Value> {
    let standings = context.store.book().standings(Instant::now());
    Json(answer(&standings))
}

/// `fine`: no promise is broken and no budget goes too fast; `null` while nothing was judged.
fn answer(standings: &[Standing]) -> Value {
    let count = |health| {
        standings
            .iter()
            .filter(|one| one.health() == health)
            .count()
    };
    let (kept, broken) = (count(Health::Kept), count(Health::Broken));
    let burning = standings.iter().filter(|one| one.burning().is_some());
    let burning = burning.count();
    json!({
        "fine": (kept + broken > 0).then_some(broken + burning == 0),
        "kept": kept,
        "broken": broken,
        "burning": burning,
        "unknown": count(Health::Unknown),
        "slos": standings.iter().map(standing).collect::<Vec<_>>(),
    })
}

fn standing(standing: &Standing) -> Value {
    let objective = &standing.objective;
    let conditions = objective.conditions.stated().into_iter();
    let conditions: Map<_, _> = conditions
        .map(|(name, limit)| (name.to_owned(), Value::from(limit)))
        .collect();
    json!({
        "slo": objective.name,
        "probe": standing.labels,
        "objective": objective.objective,
        "conditions": conditions,
        "window": format_duration(objective.window),
        "covered_seconds": standing.covered.as_secs_f64(),
        "health": standing.health(),
        "burning": standing.burning().map(Urgency::severity),
        "certain": standing.is_certain(),
        "events": standing.counts,
        "effective_events": standing.effective_events,
        "good_ratio": standing.good_ratio,
        "good_ratio_bounds": standing.bounds,
        "error_budget_remaining_ratio": standing.budget_remaining,
        "burn": standing.burn.iter().map(burn).collect::<Vec<_>>(),
        "since": standing.since,
        "events_since": standing.total,
        "last": standing.last,
        "latest_bad": standing.latest_bad,
    })
}

fn burn(burn: &Burn) -> Value {
    json!({
        "window": format_duration(burn.window),
        "covered_seconds": burn.covered.as_secs_f64(),
        "events": burn.counts,
        "rate": burn.rate,
    })
}
