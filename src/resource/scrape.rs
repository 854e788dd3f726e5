//! One page of another daemon's metrics, fetched on a sampler's own thread.

use super::runtime_metrics::fetch::{self, Asked, fetch};
use crate::transport::{Dialer, Endpoint, TlsError};
use std::time::Duration;

/// Most bytes of a page. An eight-GPU node cut into instances has some 1 MB.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The one format that is read.
const FORMAT: &str = "text/plain;version=0.0.4";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("the system refuses what the scrape needs: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Page(#[from] fetch::ScrapeError),
    #[error("its answer is not UTF-8")]
    NotText,
}

/// Fetches the same page again and again, each time on a new connection: the pace is slow, and a
/// connection kept open would outlive a daemon that was replaced behind the same name.
pub(super) struct Scraper {
    endpoint: Endpoint,
    limit: Duration,
    ready: Option<(tokio::runtime::Runtime, Dialer)>,
}

impl Scraper {
    /// The page at the endpoint's own path, or at `/metrics` where it has none; within `limit`.
    pub(super) fn new(endpoint: Endpoint, limit: Duration) -> Self {
        Self {
            endpoint,
            limit,
            ready: None,
        }
    }

    /// The page as it is now. Blocks, so it must not be called on a thread of an async runtime.
    ///
    /// # Errors
    /// When there is no complete and successful answer in time.
    pub(super) fn fetch(&mut self) -> Result<String, ScrapeError> {
        let (runtime, dialer) = match &self.ready {
            Some(ready) => ready,
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                self.ready.insert((runtime, Dialer::new(&self.endpoint)?))
            }
        };
        let path = match self.endpoint.base_path.is_empty() {
            true => "/metrics",
            false => "",
        };
        let asked = Asked {
            formats: FORMAT,
            time: self.limit,
            bytes: MAX_BODY,
        };
        let bytes = runtime.block_on(fetch(&self.endpoint, dialer, path, asked))?;
        String::from_utf8(bytes).map_err(|_| ScrapeError::NotText)
    }
}
