//! Gets a runtime's page: one request on a connection of its own, limited in time and size, with
//! redirects not followed, since they could lead anywhere with our credentials.

use crate::transport::{
    Clocks, DialError, DialPhases, Dialer, Endpoint, ExchangeError, RequestError, RequestParts,
    build_request,
};
use http::header::{ACCEPT, HeaderValue};
use http::{Method, StatusCode};
use std::time::Duration;

/// How long a page may take. A runtime that needs longer to count its requests is in trouble, and
/// waiting for it would only hide since when.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Most bytes of a page. The largest seen, of several engines with many histograms, have some 300 kB.
pub(super) const SIZE_LIMIT: usize = 4 << 20;

/// Else prometheus_client may answer in a format of its own choice.
const FORMATS: &str = "text/plain;version=0.0.4,application/json;q=0.9,*/*;q=0.1";

/// Why a scrape gave nothing: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScrapeFailure {
    /// The request could not be written: a secret is unreadable, or is no header.
    Request,
    /// The name has no address.
    Dns,
    /// No address took the connection.
    Refused,
    /// The TLS handshake failed.
    Tls,
    /// It took too long.
    Timeout,
    /// The connection ended before the page did, or the answer was not HTTP.
    Closed,
    /// 401 or 403.
    Auth,
    /// Another status than 200.
    Status,
    /// The page exceeds its limit.
    Oversized,
    /// The page is not what the runtime's dialect has.
    Malformed,
}

impl ScrapeFailure {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Request,
        Self::Dns,
        Self::Refused,
        Self::Tls,
        Self::Timeout,
        Self::Closed,
        Self::Auth,
        Self::Status,
        Self::Oversized,
        Self::Malformed,
    ];

    /// Whether nothing was heard of the runtime at all.
    pub fn is_silence(self) -> bool {
        matches!(
            self,
            Self::Dns | Self::Refused | Self::Timeout | Self::Closed
        )
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Auth => "auth",
            Self::Status => "status",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
        }
    }
}

/// The same in words.
#[derive(Debug, thiserror::Error)]
pub(in crate::resource) enum ScrapeError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("no page within {0:?}")]
    Timeout(Duration),
    #[error("it answered `{0}`")]
    Status(StatusCode),
    #[error("the page is longer than {0} bytes")]
    Oversized(usize),
    #[error("the page is not what this runtime has: {0}")]
    Malformed(String),
}

impl ScrapeError {
    pub(super) fn failure(&self) -> ScrapeFailure {
        match self {
            Self::Request(_) => ScrapeFailure::Request,
            Self::Dial(DialError::Dns { .. }) => ScrapeFailure::Dns,
            Self::Dial(DialError::Connect { .. } | DialError::Proxy { .. }) => {
                ScrapeFailure::Refused
            }
            Self::Dial(DialError::Tls(_)) => ScrapeFailure::Tls,
            Self::Exchange(_) => ScrapeFailure::Closed,
            Self::Timeout(_) => ScrapeFailure::Timeout,
            Self::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => ScrapeFailure::Auth,
            Self::Status(_) => ScrapeFailure::Status,
            Self::Oversized(_) => ScrapeFailure::Oversized,
            Self::Malformed(_) => ScrapeFailure::Malformed,
        }
    }
}

/// What is asked for, and how much of it is taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::resource) struct Asked {
    /// `accept`.
    pub(in crate::resource) formats: &'static str,
    /// How long it may take.
    pub(in crate::resource) time: Duration,
    /// Most bytes of the page.
    pub(in crate::resource) bytes: usize,
}

/// A runtime's own page.
pub(super) const RUNTIMES: Asked = Asked {
    formats: FORMATS,
    time: TIME_LIMIT,
    bytes: SIZE_LIMIT,
};

/// The page's bytes.
///
/// # Errors
/// When there is no complete page of a good status within the limits.
pub(in crate::resource) async fn fetch(
    endpoint: &Endpoint,
    dialer: &Dialer,
    path: &str,
    asked: Asked,
) -> Result<Vec<u8>, ScrapeError> {
    let page = async {
        let accept = [(ACCEPT, HeaderValue::from_static(asked.formats))];
        let parts = RequestParts {
            headers: &accept,
            ..RequestParts::bare(Method::GET, path)
        };
        let request = build_request(endpoint, parts).await?;
        let mut connection = dialer
            .dial(endpoint, &Clocks::plain(), &mut DialPhases::default())
            .await?;
        let head = connection.send(request).await?;
        if head.status != StatusCode::OK {
            return Err(ScrapeError::Status(head.status));
        }
        let mut page = Vec::new();
        while let Some(chunk) = connection.chunk().await? {
            if page.len() + chunk.data.len() > asked.bytes {
                return Err(ScrapeError::Oversized(asked.bytes));
            }
            page.extend_from_slice(chunk.data);
        }
        Ok(page)
    };
    tokio::time::timeout(asked.time, page)
        .await
        .unwrap_or(Err(ScrapeError::Timeout(asked.time)))
}
