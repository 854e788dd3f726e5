//! `/probe?target=&scenario=`: one run on demand, blackbox style. The answer holds this run only;
//! the counters of `/metrics` are the schedule's.

use super::{Context, exposition};
use crate::metrics::{FamilySpec, ProbeShape, Store};
use crate::probe::{Observation, Probe, RunContext};
use crate::record::Sink;
use crate::schedule::Expense;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long before the scraper's own timeout the answer must be on its way.
const HEADROOM: Duration = Duration::from_millis(500);
/// The longest a run on demand may take when the scraper names no timeout.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// No scraper waits for longer, whatever it says.
const LONGEST_LIMIT: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
pub(super) struct Wanted {
    target: Option<String>,
    scenario: Option<String>,
}

pub(super) async fn probe(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let probe = match find(&context, &wanted) {
        Ok(probe) => probe,
        Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
    };
    let store = Store::new(context.store.settings(), Arc::default());
    // No objectives: one run proves none.
    let shape = ProbeShape::of(&probe, &[]);
    store.retain_probes(vec![(probe.labels.clone(), shape)]);
    match run(&context, &probe, limit(&headers)).await {
        Ok(observation) => {
            if let Some(governor) = context.live().governors.get(&probe.labels.target) {
                governor.charge(Instant::now(), Expense::of(&observation));
            }
            store.observe(&Arc::new(observation));
        }
        Err(refused) => return refused,
    }
    exposition::respond(Arc::new(store), &headers, is_of_a_run).await
}

fn find(context: &Context, wanted: &Wanted) -> Result<Arc<Probe>, String> {
    let live = context.live();
    let Some(target) = &wanted.target else {
        return Err(
            "`target` is missing\nhint: /probe?target=NAME&scenario=NAME; /sd lists them\n"
                .to_owned(),
        );
    };
    let of_target = || {
        live.probes
            .iter()
            .filter(|probe| *probe.labels.target == **target)
    };
    let mut fitting = of_target().filter(|probe| {
        wanted
            .scenario
            .as_deref()
            .is_none_or(|name| *probe.labels.scenario == *name)
    });
    if let Some(probe) = fitting.next() {
        return match fitting.next() {
            None => Ok(probe.clone()),
            Some(_) => Err(format!(
                "`{target}` has several scenarios\nhint: add `&scenario=NAME`; /sd lists them\n"
            )),
        };
    }
    Err(match (of_target().next(), &wanted.scenario) {
        (Some(_), Some(name)) => {
            format!("`{target}` has no scenario `{name}`\nhint: /sd lists targets and scenarios\n")
        }
        _ => format!("there is no target `{target}`\nhint: /sd lists the targets\n"),
    })
}

/// Families that one run can fill: not those of the daemon, nor those of the schedule.
fn is_of_a_run(spec: &FamilySpec) -> bool {
    const OF_THE_SCHEDULE: [&str; 5] = [
        "llm_probe_scheduled_total",
        "llm_probe_missed_total",
        "llm_probe_skipped_total",
        "llm_probe_in_flight",
        "llm_probe_schedule_lag_seconds",
    ];
    spec.name.starts_with("llm_probe_") && !OF_THE_SCHEDULE.contains(&spec.name)
}

/// Waits for the target's permit and runs.
async fn run(
    context: &Context,
    probe: &Arc<Probe>,
    limit: Duration,
) -> Result<Observation, Response> {
    let permits = context.live().permits.get(&probe.labels.target).cloned();
    let cancel = context.shutdown.token().child_token();
    // A scraper that goes away ends the run.
    let _gone = cancel.clone().drop_guard();
    let prober = context.prober.clone();
    let running = probe.clone();
    let run = async move {
        let deadline = Instant::now() + limit;
        let permit = match &permits {
            Some(permits) => {
                let waited = tokio::time::timeout_at(deadline.into(), permits.acquire());
                Some(waited.await.ok()?)
            }
            None => None,
        };
        let context = RunContext {
            deadline: Some(deadline),
            ..RunContext::on_demand(cancel)
        };
        let observation = prober.run(&running, context).await;
        drop(permit);
        Some(observation)
    };
    let tracker = context.shutdown.tracker();
    match tracker.spawn_on(run, &context.probe_runtime).await {
        Ok(Some(observation)) => Ok(observation),
        Ok(None) => {
            let target = &probe.labels.target;
            let busy = format!("`{target}` had its limit of runs in flight for {limit:?}\n");
            Err((StatusCode::SERVICE_UNAVAILABLE, busy).into_response())
        }
        Err(_) => {
            let broken = "the run was dropped; this is a defect of Sonde\n";
            Err((StatusCode::INTERNAL_SERVER_ERROR, broken).into_response())
        }
    }
}

/// The scraper's own timeout less some headroom.
fn limit(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get("x-prometheus-scrape-timeout-seconds")
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(timeout) => timeout
            .saturating_sub(HEADROOM)
            .clamp(HEADROOM, LONGEST_LIMIT),
        None => DEFAULT_LIMIT,
    }
}
