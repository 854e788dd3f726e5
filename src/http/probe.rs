//! `/probe?target=&scenario=`: one run on demand, blackbox style. The answer holds this run only;
//! the counters of `/metrics` are the schedule's.

use super::{Context, exposition};
use crate::metrics::{MetricsSettings, ProbeShape, Store};
use crate::probe::{Observation, Probe, RunContext};
use crate::record::{Sink, SkipReason, Tick};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long before the scraper's own timeout the answer must be on its way.
const HEADROOM: Duration = Duration::from_millis(500);
/// The longest a run on demand may take when the scraper names no timeout.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

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
    let store = Store::new(MetricsSettings::default(), Arc::default());
    // No objectives: one run proves none.
    let shape = ProbeShape::of(&probe, &[]);
    store.retain_probes(vec![(probe.labels.clone(), shape)]);
    match run(&context, &probe, limit(&headers)).await {
        Some(observation) => store.observe(&Arc::new(observation)),
        None => store.tick(&probe.labels, Tick::Skipped(SkipReason::TargetBusy)),
    }
    exposition::respond(Arc::new(store), &headers).await
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

/// Waits for the target's permit and runs; `None` when the target stayed busy.
async fn run(context: &Context, probe: &Arc<Probe>, limit: Duration) -> Option<Observation> {
    let permits = context.live().permits.get(&probe.labels.target).cloned();
    let cancel = context.shutdown.token().child_token();
    // A scraper that goes away ends the run.
    let _gone = cancel.clone().drop_guard();
    let prober = context.prober;
    let probe = probe.clone();
    let running = async move {
        let deadline = tokio::time::Instant::now() + limit;
        let permit = match &permits {
            Some(permits) => Some(
                tokio::time::timeout_at(deadline, permits.acquire())
                    .await
                    .ok()?,
            ),
            None => None,
        };
        let limit = deadline.saturating_duration_since(tokio::time::Instant::now());
        let observation = prober.run(&probe, on_demand(limit, cancel)).await;
        drop(permit);
        Some(observation)
    };
    let tracker = context.shutdown.tracker();
    tracker
        .spawn_on(running, &context.probe_runtime)
        .await
        .ok()
        .flatten()
}

fn on_demand(limit: Duration, cancel: CancellationToken) -> RunContext {
    RunContext {
        limit: Some(limit),
        ..RunContext::on_demand(cancel)
    }
}

/// The scraper's own timeout less some headroom.
fn limit(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get("x-prometheus-scrape-timeout-seconds")
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(timeout) => timeout.saturating_sub(HEADROOM).max(HEADROOM),
        None => DEFAULT_LIMIT,
    }
}
