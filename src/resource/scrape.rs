//! One page of another daemon's metrics, fetched on a sampler's own thread.

use crate::transport::{
    Clocks, DialError, DialPhases, Dialer, Endpoint, ExchangeError, RequestError, TlsError,
    build_request,
};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, StatusCode};
use std::time::Duration;

/// Most bytes of a page. An eight-GPU node cut into instances has some 1 MB.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The one format that is read.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain;version=0.0.4");

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("the system refuses what the scrape needs: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("it answered `{0}`")]
    Status(StatusCode),
    #[error("its answer exceeds {MAX_BODY} bytes")]
    TooLarge,
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
        let page = page(&self.endpoint, dialer);
        let limit = self.limit;
        let bytes = runtime.block_on(async {
            let answer = tokio::time::timeout(limit, page).await;
            answer.unwrap_or(Err(ScrapeError::Timeout(limit)))
        })?;
        String::from_utf8(bytes).map_err(|_| ScrapeError::NotText)
    }
}

async fn page(endpoint: &Endpoint, dialer: &Dialer) -> Result<Vec<u8>, ScrapeError> {
    let path = match endpoint.base_path.is_empty() {
        true => "/metrics",
        false => "",
    };
    let accept = [(ACCEPT, FORMAT)];
    let request = build_request(endpoint, Method::GET, path, &accept, Bytes::new()).await?;
    let mut phases = DialPhases::default();
    let mut connection = dialer.dial(endpoint, &Clocks::plain(), &mut phases).await?;
    let head = connection.send(request).await?;
    if !head.status.is_success() {
        return Err(ScrapeError::Status(head.status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = connection.chunk().await? {
        if body.len() + chunk.data.len() > MAX_BODY {
            return Err(ScrapeError::TooLarge);
        }
        body.extend_from_slice(chunk.data);
    }
    Ok(body)
}
