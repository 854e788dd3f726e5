//! The verdict of a run, from a closed set.

use serde::Serialize;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx, a well-formed stream, terminator, finish reason, at least one token, assertion held.
    Success,
    /// The host's name did not resolve.
    Dns,
    /// Nobody took the connection, or the peer closed it before it answered.
    Refused,
    /// The TLS handshake failed.
    Tls,
    /// DNS, TCP and TLS took longer than `timeouts.connect`.
    TimeoutConnect,
    /// No token within `timeouts.first_token`.
    TimeoutFirstToken,
    /// No further token within `timeouts.stall`.
    Stalled,
    /// Not done within `timeouts.total`.
    TimeoutTotal,
    /// 401, 403, or no secret to send.
    Auth,
    /// 429, or the dialect's own word for it.
    RateLimited,
    /// Any other 3xx or 4xx.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// Any 5xx.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// The runtime reported a failure inside a stream that began well.
    InBandError,
    /// The stream ended without the dialect's terminator or without a finish reason.
    Truncated,
    /// A complete answer without a single token.
    Empty,
    /// Not what the dialect or HTTP allows.
    Malformed,
    /// A line, frame or body beyond its limit.
    Oversized,
    /// The answer did not meet the scenario's assertion.
    Assertion,
    /// All tokens were spent on hidden reasoning: nothing for the user.
    BudgetExhausted,
    /// We were told to stop.
    Cancelled,
    /// Our own fault.
    Internal,
}

impl Outcome {
    /// Every outcome, success first.
    pub const ALL: [Self; 21] = [
        Self::Success,
        Self::Dns,
        Self::Refused,
        Self::Tls,
        Self::TimeoutConnect,
        Self::TimeoutFirstToken,
        Self::Stalled,
        Self::TimeoutTotal,
        Self::Auth,
        Self::RateLimited,
        Self::Http4xx,
        Self::Http5xx,
        Self::InBandError,
        Self::Truncated,
        Self::Empty,
        Self::Malformed,
        Self::Oversized,
        Self::Assertion,
        Self::BudgetExhausted,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutFirstToken => "timeout_first_token",
            Self::Stalled => "stalled",
            Self::TimeoutTotal => "timeout_total",
            Self::Auth => "auth",
            Self::RateLimited => "rate_limited",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::InBandError => "in_band_error",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::Assertion => "assertion",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether it says that something took too long.
    pub fn is_of_time(self) -> bool {
        matches!(
            self,
            Self::TimeoutConnect | Self::TimeoutFirstToken | Self::Stalled | Self::TimeoutTotal
        )
    }

    /// Whether the run was good.
    pub fn is_success(self) -> bool {
        self == Self::Success
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_json_agree_and_none_is_forgotten() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
            assert_eq!(
                serde_json::to_value(outcome).unwrap(),
                serde_json::json!(outcome.as_str())
            );
        }
    }
}
