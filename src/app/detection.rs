//! Targets that do not say what they are: asked until they answer. A sidecar starts before its
//! runtime, so "not there yet" is no error.

use crate::base::shutdown::Shutdown;
use crate::config::TargetPlan;
use crate::runtime::RuntimeSpec;
use crate::runtime::detect::detect;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long until an endpoint that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// What a target turned out to be, or why that is not known yet.
pub(super) struct Found {
    pub(super) target: Arc<str>,
    pub(super) generation: u64,
    pub(super) result: Result<(&'static RuntimeSpec, Arc<str>), String>,
}

/// Asks until the endpoint tells its runtime and a model, and reports every change of the answer.
pub(super) fn ask_until_known(
    plan: &TargetPlan,
    generation: u64,
    found: mpsc::Sender<Found>,
    shutdown: &Shutdown,
    stop: CancellationToken,
) {
    let settings = plan.settings.clone();
    let dialer = plan.dialer.clone();
    let asking = async move {
        let mut last = None;
        loop {
            let result = match detect(&settings.endpoint, &dialer).await {
                Err(error) => Err(error.to_string()),
                Ok(detection) => {
                    let first = detection.default_model().map(Arc::from);
                    match settings.model.clone().or(first) {
                        Some(model) => Ok((settings.runtime.unwrap_or(detection.runtime), model)),
                        None => Err(format!(
                            "`{}` offers no model yet\nhint: pull one, or set `model`",
                            settings.endpoint.url()
                        )),
                    }
                }
            };
            let known = result.is_ok();
            let news = result.clone().err();
            if known || news != last {
                let report = Found {
                    target: settings.name.clone(),
                    generation,
                    result,
                };
                if found.send(report).await.is_err() || known {
                    return;
                }
                last = news;
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    shutdown.tracker().spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = asking => {}
        }
    });
}
