//! Response headers in which servers and gateways tell how long they took.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::generation::Generation;

/// Which headers tell the time of a generation. The head of a stream tells what it can know, and that
/// of one that is sent at once nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimingHeaders {
    /// `Server-Timing` with `queue`, `load`, `prefill`, `decode` and `total`.
    ServerTiming,
    /// TGI's, on whole answers only.
    Tgi,
    /// `openai-processing-ms`: until the head is sent.
    OpenAi,
    /// `x-ttft-ms`.
    FirstToken,
}

impl TimingHeaders {
    /// Every kind with its name as typed.
    pub const ALL: &[(Self, &str)] = &[
        (Self::ServerTiming, "server-timing"),
        (Self::Tgi, "tgi"),
        (Self::OpenAi, "openai"),
        (Self::FirstToken, "ttft"),
    ];
}

/// No [`TimingHeaders`] have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown timing headers `{0}`: use server-timing, tgi, openai or ttft")]
pub struct TimingHeadersError(String);

impl FromStr for TimingHeaders {
    type Err = TimingHeadersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known
            .map(|(kind, _)| *kind)
            .ok_or_else(|| TimingHeadersError(text.to_owned()))
    }
}

/// How long each part of a generation takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    queue: Duration,
    load: Duration,
    prefill: Duration,
    decode: Duration,
}

impl Times {
    pub(super) fn of(answer: &Generation) -> Self {
        Self {
            queue: answer.queue,
            load: answer.load,
            prefill: answer.prefill,
            decode: answer.decode(),
        }
    }

    /// The headers of one kind.
    pub(super) fn headers(self, kind: TimingHeaders, streamed: bool) -> HeaderMap {
        let first_token = self.queue + self.load + self.prefill;
        let total = first_token + self.decode;
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &dyn Display| {
            if let Ok(value) = HeaderValue::try_from(value.to_string()) {
                headers.append(name, value);
            }
        };
        match (kind, streamed) {
            (TimingHeaders::ServerTiming, _) => {
                let mut said = format!(
                    "queue;dur={}, load;dur={}, prefill;dur={}",
                    millis(self.queue),
                    millis(self.load),
                    millis(self.prefill)
                );
                if !streamed {
                    let (decode, total) = (millis(self.decode), millis(total));
                    said.push_str(&format!(", decode;dur={decode}, total;dur={total}"));
                }
                add("server-timing", &said);
            }
            (TimingHeaders::Tgi, true) => {}
            (TimingHeaders::Tgi, false) => {
                let inference = self.prefill + self.decode;
                add("x-total-time", &total.as_millis());
                add("x-validation-time", &0);
                add("x-queue-time", &self.queue.as_millis());
                add("x-inference-time", &inference.as_millis());
            }
            (TimingHeaders::OpenAi, true) => add("openai-processing-ms", &first_token.as_millis()),
            (TimingHeaders::OpenAi, false) => add("openai-processing-ms", &total.as_millis()),
            (TimingHeaders::FirstToken, _) => add("x-ttft-ms", &millis(first_token)),
        }
        headers
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
