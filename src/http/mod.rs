//! Layer 6: HTTP. It only reads, but for `/-/reload` and `/probe`.

mod admin;
mod api;
mod exposition;
mod listener;
mod probe;
mod slos;
mod ui;
mod verdict;
mod web_config;

pub use listener::Listener;
pub use ui::{StatusView, status_page};
pub use web_config::{WebConfigError, WebConfigState};

use crate::metrics::Store;
use crate::probe::{Probe, Prober};
use crate::record::{Board, ProgressWatch};
use crate::schedule::Governor;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// What a reload answers: what it leaves undone, if anything, or every problem as text.
pub type ReloadAnswer = Result<Option<String>, String>;

/// What changes with the configuration. Replaced as a whole.
#[derive(Debug, Default)]
pub struct Live {
    /// The probes that run.
    pub probes: Vec<Arc<Probe>>,
    /// Each target's permits.
    pub permits: HashMap<Arc<str>, Arc<Semaphore>>,
    /// Each target's governor: what is asked for on demand is not refused, but spends the same budgets.
    pub governors: HashMap<Arc<str>, Arc<Governor>>,
    /// Targets that do not run yet, and why.
    pub pending: Vec<(String, String)>,
    /// What is wrong with the configuration that was last read, if anything.
    pub config_error: Option<String>,
}

/// What handlers share.
#[derive(Clone)]
pub struct Context {
    /// The metrics.
    pub store: Arc<Store>,
    /// The last run of every probe.
    pub board: Arc<Board>,
    /// Whether runtimes make progress.
    pub progress: ProgressWatch,
    /// See [`Live`].
    pub live: Arc<RwLock<Arc<Live>>>,
    /// Asks the composition root to reload.
    pub reload: mpsc::Sender<oneshot::Sender<ReloadAnswer>>,
    /// Users of the web configuration.
    pub web_config: Arc<WebConfigState>,
    /// Runs probes on demand.
    pub prober: Prober,
    /// Where probes run.
    pub probe_runtime: Handle,
    /// Ends everything.
    pub shutdown: crate::base::shutdown::Shutdown,
    /// When the daemon started.
    pub started: Timestamp,
    /// The targets are simulated: say so on the page.
    pub simulated: bool,
}

impl Context {
    /// The configuration's present state.
    pub fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }
}

/// Every path that the daemon serves.
pub fn router(context: Context) -> Router {
    let authorized = middleware::from_fn_with_state(context.clone(), authorize);
    Router::new()
        .route("/", get(admin::status))
        .route("/metrics", get(exposition::metrics))
        .route("/probe", get(probe::probe))
        .route("/sd", get(api::service_discovery))
        .route("/api/v1/probes", get(api::probes))
        .route("/api/v1/slos", get(slos::slos))
        // Flagger's webhooks can only POST.
        .route(
            "/api/v1/verdict",
            get(verdict::verdict).post(verdict::verdict),
        )
        .route("/-/reload", post(admin::reload).put(admin::reload))
        .layer(authorized)
        // Kubernetes' probes carry no credentials, and these tell next to nothing.
        .route("/-/healthy", get(admin::healthy))
        .route("/-/ready", get(admin::ready))
        .route("/-/target/{name}/progress", get(admin::progress))
        .with_state(context)
}

async fn authorize(State(context): State<Context>, request: Request, next: Next) -> Response {
    if let Err(refused) = web_config::authorize(&context.web_config, request.headers()).await {
        return refused;
    }
    let mut response = next.run(request).await;
    let more = context.web_config.current().await;
    for (name, value) in more.headers() {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}
