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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Outcome, Probe, Prober, RunContext};
    use crate::record::Sink;
    use crate::slo::{Conditions, Objective, ProbeObjectives, Selector, SloBook};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn one_answer_tells_whether_all_is_fine_and_why_not() {
        let probe = Probe::example();
        let book = SloBook::default();
        let objective = |name: &str, first_token: Option<Duration>| Objective {
            name: name.to_owned(),
            selector: Selector::default(),
            objective: 0.9,
            window: Duration::from_secs(86_400),
            conditions: Conditions {
                first_token_under: first_token,
                ..Conditions::default()
            },
        };
        let booked = ProbeObjectives {
            labels: probe.labels.clone(),
            objectives: vec![
                objective("availability", None),
                objective("ttft", Some(Duration::from_millis(100))),
            ],
            period: Duration::from_secs(30),
        };
        book.retain(vec![booked], Instant::now());
        let fresh = answer(&book.standings(Instant::now()));
        assert_eq!(
            (&fresh["fine"], &fresh["unknown"]),
            (&Value::Null, &json!(2))
        );
        assert_eq!(fresh["slos"][0]["good_ratio"], Value::Null);

        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&probe, &context);
        run.outcome = Outcome::Success;
        run.latency.first_token = Some(Duration::from_millis(250));
        let run = Arc::new(run);
        book.observe(&run);
        let found = answer(&book.standings(Instant::now()));
        assert_eq!(found["fine"], false);
        assert_eq!((&found["kept"], &found["broken"]), (&json!(1), &json!(1)));
        let [kept, broken] = &found["slos"].as_array().unwrap()[..] else {
            panic!("{found}");
        };
        assert_eq!(
            (&kept["slo"], &kept["health"]),
            (&json!("availability"), &json!("kept"))
        );
        assert_eq!(kept["error_budget_remaining_ratio"], 1.0);
        assert_eq!(
            (&broken["health"], &broken["certain"]),
            (&json!("broken"), &json!(false))
        );
        assert_eq!(
            broken["events"],
            json!({"good": 0, "bad": 1, "excluded": 0})
        );
        assert_eq!(broken["conditions"], json!({"first_token_under": "100ms"}));
        let bad = &broken["latest_bad"][0];
        assert_eq!(bad["run_id"], run.run_id.to_string());
        assert_eq!(
            bad["breaches"],
            json!([{"condition": "first_token_under", "limit": 0.1, "found": 0.25}])
        );
    }
}
