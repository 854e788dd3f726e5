//! TLS, users and headers of our own server, in the file format that Prometheus' exporter-toolkit
//! gave to every exporter (`--web.config.file`).
//!
//! The file, its certificates and its users are re-read when they change, without a restart. Unlike
//! exporter-toolkit, which answers 500 while the file is broken, the last good state stays in force
//! and the log says why.

mod auth;
mod file;
mod problem;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use file::WebConfig;
pub use problem::WebConfigError;

use auth::{Credentials, Verdict, Verifier};
use axum::response::{IntoResponse, Response};
use file::{Loaded, Stamp};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How often the files are looked at, at most. A scrape comes every few seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const REALM: &str = "Basic realm=\"sonde\", charset=\"UTF-8\"";

/// The state in force, and what it was read from.
#[derive(Debug)]
pub struct WebConfigState {
    path: Option<PathBuf>,
    uses_tls: bool,
    in_force: RwLock<InForce>,
    watch: Mutex<Watch>,
    verifier: Verifier,
}

#[derive(Debug)]
struct InForce {
    config: Arc<WebConfig>,
    error: Option<String>,
}

/// What the files looked like when they were last read.
#[derive(Debug)]
struct Watch {
    looked: Instant,
    stamps: Vec<Stamp>,
}

impl WebConfigState {
    /// Reads the file; without one there is no TLS and everybody may read.
    ///
    /// # Errors
    /// When the file, or one that it names, is unusable.
    pub fn open(path: Option<&Path>) -> Result<Arc<Self>, WebConfigError> {
        let Loaded { stamps, config } = match path {
            Some(path) => file::load(path),
            None => Loaded {
                stamps: Vec::new(),
                config: Ok(WebConfig::default()),
            },
        };
        let config = config?;
        Ok(Arc::new(Self {
            path: path.map(Path::to_owned),
            uses_tls: config.tls.is_some(),
            in_force: RwLock::new(InForce {
                config: Arc::new(config),
                error: None,
            }),
            watch: Mutex::new(Watch {
                looked: Instant::now(),
                stamps,
            }),
            verifier: Verifier::default(),
        }))
    }

    /// Whether the server speaks TLS. Settled at the start.
    pub fn uses_tls(&self) -> bool {
        self.uses_tls
    }

    /// Why the file as it is now is not in force; `None` when it is.
    pub fn error(&self) -> Option<String> {
        self.in_force.read().error.clone()
    }

    /// What is in force, after a look at the files where the last one was a while ago.
    pub async fn current(self: &Arc<Self>) -> Arc<WebConfig> {
        self.look(LOOK_EVERY).await;
        self.in_force.read().config.clone()
    }

    /// Re-reads the files if they have changed and nobody has looked for so long. Whoever comes
    /// while another looks does not wait.
    async fn look(self: &Arc<Self>, every: Duration) {
        let (Some(path), Ok(mut watch)) = (&self.path, self.watch.try_lock()) else {
            return;
        };
        if watch.looked.elapsed() < every {
            return;
        }
        let (path, stamps) = (path.clone(), watch.stamps.clone());
        let read = move || match stamps.iter().all(Stamp::still_holds) {
            true => None,
            false => Some(file::load(&path)),
        };
        let read = tokio::task::spawn_blocking(read).await;
        watch.looked = Instant::now();
        if let Ok(Some(loaded)) = read {
            watch.stamps = loaded.stamps;
            self.swap(loaded.config);
        }
    }

    /// Looks at the files now.
    #[cfg(test)]
    pub(crate) async fn look_now(self: &Arc<Self>) {
        self.look(Duration::ZERO).await;
    }

    fn swap(&self, loaded: Result<WebConfig, WebConfigError>) {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        let loaded = loaded.and_then(|config| match config.tls.is_some() == self.uses_tls {
            true => Ok(config),
            false => Err(WebConfigError::new(
                path,
                vec![problem::tls_is_settled(self.uses_tls)],
            )),
        });
        let mut in_force = self.in_force.write();
        match loaded {
            Ok(config) => {
                tracing::info!(path = %path.display(), "the web configuration was re-read");
                *in_force = InForce {
                    config: Arc::new(config),
                    error: None,
                };
            }
            Err(error) => {
                tracing::error!(%error, "the web configuration was not taken over; the last good one stays in force");
                in_force.error = Some(error.to_string());
            }
        }
    }
}

/// Lets a request pass, or says what to answer instead: 401 to who is not a user, 503 while too
/// many passwords wait to be checked. The refusal carries the configured headers already.
///
/// # Errors
/// The answer to give.
pub async fn authorize(state: &Arc<WebConfigState>, headers: &HeaderMap) -> Result<(), Response> {
    let config = state.current().await;
    if config.users.is_empty() {
        return Ok(());
    }
    let given = headers.get(AUTHORIZATION).and_then(Credentials::parse);
    let verdict = match given {
        Some(credentials) => state.verifier.verify(&config.users, credentials).await,
        None => Verdict::Refused,
    };
    let mut refusal = match verdict {
        Verdict::Accepted => return Ok(()),
        Verdict::Refused => {
            let head = [(WWW_AUTHENTICATE, REALM)];
            (StatusCode::UNAUTHORIZED, head, "who are you?\n").into_response()
        }
        Verdict::Busy => {
            let head = [(RETRY_AFTER, "5")];
            let text = "too many passwords wait to be checked\n";
            (StatusCode::SERVICE_UNAVAILABLE, head, text).into_response()
        }
    };
    refusal.headers_mut().extend(config.headers().clone());
    Err(refusal)
}
