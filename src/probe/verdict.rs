//! What transport and HTTP say, as outcomes.

use super::outcome::Outcome;
use super::stream::Failed;
use crate::transport::ExchangeError;
use http::StatusCode;

pub(super) fn outcome_of(status: StatusCode) -> Outcome {
    match status.as_u16() {
        // 407 is a proxy's.
        401 | 403 | 407 => Outcome::Auth,
        429 => Outcome::RateLimited,
        300..=499 => Outcome::Http4xx,
        500..=599 => Outcome::Http5xx,
        _ => Outcome::Malformed,
    }
}

pub(super) fn before_head(error: &ExchangeError) -> Failed {
    let outcome = match error {
        ExchangeError::Closed(_) => Outcome::Refused,
        ExchangeError::Protocol(_) => Outcome::Malformed,
        ExchangeError::HeadTooLarge => Outcome::Oversized,
    };
    Failed::new(outcome, error.to_string())
}

pub(super) fn within_body(error: &ExchangeError, bytes: u64) -> Failed {
    let outcome = match error {
        ExchangeError::Closed(_) => Outcome::Truncated,
        ExchangeError::Protocol(_) => Outcome::Malformed,
        ExchangeError::HeadTooLarge => Outcome::Oversized,
    };
    Failed::new(outcome, format!("after {bytes} bytes: {error}"))
}
