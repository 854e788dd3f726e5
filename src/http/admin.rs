//! `/`, `/-/healthy`, `/-/ready` and `/-/reload`.

use super::{Context, StatusView, status_page};
use crate::base::build::VERSION;
use crate::base::clock::wall_now;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use std::time::Instant;
use tokio::sync::oneshot;

/// The process serves. Never depends on a target.
pub(super) async fn healthy() -> &'static str {
    "sonde is healthy\n"
}

/// The configuration is loaded and the port bound: whoever reads this knows both. Never depends on
/// a target, since a sidecar that is not ready takes its runtime out of its Service.
pub(super) async fn ready() -> &'static str {
    "sonde is ready\n"
}

/// The verdict on a target's forward progress: 503 when a restart is good advice, so that it can be the
/// liveness probe of the runtime's container.
pub(super) async fn progress(
    State(context): State<Context>,
    Path(target): Path<String>,
) -> (StatusCode, String) {
    let Some(verdict) = context.progress.verdict(&target, Instant::now()) else {
        let unknown = format!("there is no target `{target}`\nhint: /sd lists the targets\n");
        return (StatusCode::NOT_FOUND, unknown);
    };
    let status = match verdict.wants_restart() {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    (
        status,
        format!("{}: {}\n", verdict.as_str(), verdict.meaning()),
    )
}

/// Reads the configuration anew; the answer is what is wrong with it.
pub(super) async fn reload(State(context): State<Context>) -> (StatusCode, String) {
    let (answer, outcome) = oneshot::channel();
    if context.reload.send(answer).await.is_err() {
        let stopping = "the daemon is stopping\n".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, stopping);
    }
    match outcome.await {
        Ok(Ok(note)) => {
            let note = note.map(|note| format!("{note}\n")).unwrap_or_default();
            (StatusCode::OK, format!("configuration reloaded\n{note}"))
        }
        Ok(Err(problems)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the old configuration stays in force\n{problems}\n"),
        ),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping\n".to_owned(),
        ),
    }
}

/// The status page.
pub(super) async fn status(State(context): State<Context>) -> Html<String> {
    let live = context.live();
    let config_error = live
        .config_error
        .clone()
        .or_else(|| context.web_config.error());
    Html(status_page(&StatusView {
        version: VERSION,
        started: context.started,
        now: wall_now(),
        config_ok: config_error.is_none(),
        config_error,
        probes: context.board.snapshot(),
        slos: context.store.book().standings(Instant::now()),
        pending: live.pending.clone(),
        simulated: context.simulated,
        clocks: context.prober.clocks.status(),
    }))
}
