//! What response headers say of the runtime's own time. Whatever the dialect: gateways and wrappers
//! add them as well.

use crate::measure::delta::ServerTimings;
use http::HeaderMap;
use std::time::Duration;

/// What a duration in a header is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Load,
    Queue,
    Prefill,
    Decode,
    Total,
    /// Request received to first token: the queue and the load are inside.
    FirstToken,
}

/// Headers of one number of milliseconds; their names say so, but for OpenAI's, whose page does.
const MILLISECONDS: &[(&str, Meaning)] = &[
    ("x-ttft-ms", Meaning::FirstToken),
    ("x-time-to-first-token-ms", Meaning::FirstToken),
    ("x-load-ms", Meaning::Load),
    ("x-queue-ms", Meaning::Queue),
    ("x-queue-time-ms", Meaning::Queue),
    ("x-prefill-ms", Meaning::Prefill),
    ("x-decode-ms", Meaning::Decode),
    ("x-total-ms", Meaning::Total),
    ("x-total-time-ms", Meaning::Total),
    ("openai-processing-ms", Meaning::Total),
];

/// Metrics of `Server-Timing`, whose names are everyone's own: those that can only mean this.
const SERVER_TIMING: &[(&str, Meaning)] = &[
    ("ttft", Meaning::FirstToken),
    ("load", Meaning::Load),
    ("queue", Meaning::Queue),
    ("prefill", Meaning::Prefill),
    ("decode", Meaning::Decode),
    ("total", Meaning::Total),
];

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    timings: ServerTimings,
    first_token: Option<Duration>,
}

impl Said {
    /// What is said first counts.
    fn note(&mut self, meaning: Meaning, time: Duration) {
        let slot = match meaning {
            Meaning::Load => &mut self.timings.load,
            Meaning::Queue => &mut self.timings.queue,
            Meaning::Prefill => &mut self.timings.prefill,
            Meaning::Decode => &mut self.timings.decode,
            Meaning::Total => &mut self.timings.total,
            Meaning::FirstToken => &mut self.first_token,
        };
        slot.get_or_insert(time);
    }

    /// The head of a stream leaves before the answer is there: of what comes later it knows nothing,
    /// and its total is of something else.
    fn timings(self, streamed: bool) -> ServerTimings {
        let Self {
            mut timings,
            first_token,
        } = self;
        if streamed {
            timings.decode = None;
            timings.total = None;
        }
        let before = timings
            .load
            .unwrap_or_default()
            .saturating_add(timings.queue.unwrap_or_default());
        let rest = first_token.map(|time| time.saturating_sub(before));
        timings.prefill = timings.prefill.or(rest);
        timings
    }
}

/// The durations that a response's head tells. `streamed`: whether the answer follows bit by bit, so
/// that the head was written before it. What cannot be read is not there.
pub fn head_timings(headers: &HeaderMap, streamed: bool) -> ServerTimings {
    let mut said = Said::default();
    for (name, meaning) in MILLISECONDS {
        let value = headers.get(*name).and_then(|value| value.to_str().ok());
        if let Some(time) = value.and_then(milliseconds) {
            said.note(*meaning, time);
        }
    }
    text_generation_inference(headers, &mut said);
    for value in headers.get_all("server-timing") {
        for metric in outside_quotes(value.to_str().unwrap_or_default(), ',') {
            server_timing(metric, &mut said);
        }
    }
    said.timings(streamed)
}

/// Tokens that were read, as Text Embeddings Inference counts them in the head.
pub fn head_input_tokens(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("x-compute-tokens")?.to_str().ok()?;
    text.parse().ok()
}

/// TGI's names carry no unit, and others write seconds under them: taken only all together and as TGI
/// writes them, whole milliseconds. Its inference time is prefill and decode in one, and
/// `x-time-per-token` is that by the number of tokens: nothing of its own.
fn text_generation_inference(headers: &HeaderMap, said: &mut Said) {
    let whole = |name: &str| -> Option<Duration> {
        let text = headers.get(name)?.to_str().ok()?;
        Some(Duration::from_millis(text.parse::<u32>().ok()?.into()))
    };
    let queue = whole("x-queue-time");
    let inference = whole("x-inference-time");
    let total = whole("x-total-time");
    if let (Some(queue), Some(_), Some(total)) = (queue, inference, total) {
        said.note(Meaning::Queue, queue);
        said.note(Meaning::Total, total);
    }
}

/// One metric of `Server-Timing` (W3C): a name, then parameters, of which `dur` is milliseconds.
fn server_timing(metric: &str, said: &mut Said) {
    let mut parts = outside_quotes(metric, ';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let known = SERVER_TIMING
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    let duration = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let is_duration = key.trim().eq_ignore_ascii_case("dur");
        is_duration.then(|| value.trim().trim_matches('"'))
    });
    if let Some(((_, meaning), time)) = known.zip(duration.and_then(milliseconds)) {
        said.note(*meaning, time);
    }
}

/// Splits, but not within quotation marks; a backslash takes the meaning from the next one.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        let is_end = c == separator && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        is_end
    })
}

/// Negative, infinite and unreadable numbers are none.
fn milliseconds(text: &str) -> Option<Duration> {
    let value: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(value / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const MS: Duration = Duration::from_millis(1);

    fn read(headers: &[(&'static str, &'static str)], streamed: bool) -> ServerTimings {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        // `collect` keeps names that come twice.
        head_timings(&headers.collect(), streamed)
    }

    #[test]
    fn server_timing_is_read_over_several_headers_with_quotes_and_strangers() {
        let said = read(
            &[
                (
                    "server-timing",
                    "cdn;desc=\"a, total;dur=9\", queue;dur=5.5, db",
                ),
                (
                    "server-timing",
                    "Prefill; desc=x; DUR=\"20\",decode;dur=70,total;dur=99",
                ),
            ],
            false,
        );
        assert_eq!(said.queue, Some(Duration::from_micros(5500)));
        assert_eq!((said.prefill, said.decode), (Some(20 * MS), Some(70 * MS)));
        assert_eq!((said.total, said.load), (Some(99 * MS), None));
    }

    #[test]
    fn the_head_of_a_stream_knows_nothing_of_what_follows_it() {
        let headers = [
            ("server-timing", "queue;dur=5, decode;dur=70, total;dur=99"),
            ("openai-processing-ms", "45"),
            ("x-ttft-ms", "25"),
        ];
        let streamed = read(&headers, true);
        assert_eq!((streamed.total, streamed.decode), (None, None));
        assert_eq!(streamed.queue, Some(5 * MS));
        assert_eq!(streamed.prefill, Some(20 * MS), "the queue is taken off");
        assert_eq!(read(&headers, false).total, Some(45 * MS));
    }

    #[test]
    fn tgi_is_read_as_it_writes_and_nobody_else_who_uses_its_names() {
        let tgi = [
            ("x-total-time", "412"),
            ("x-validation-time", "1"),
            ("x-queue-time", "7"),
            ("x-inference-time", "404"),
            ("x-time-per-token", "20"),
        ];
        let said = read(&tgi, false);
        assert_eq!((said.queue, said.total), (Some(7 * MS), Some(412 * MS)));
        let seconds = [
            ("x-total-time", "0.412"),
            ("x-queue-time", "7"),
            ("x-inference-time", "0.404"),
        ];
        assert_eq!(read(&seconds, false), ServerTimings::default());
        assert_eq!(read(&[("x-total-time", "412")], false).total, None);
    }

    #[test]
    fn nonsense_is_nothing_at_all() {
        for value in ["-3", "NaN", "inf", "soon", "", "1e300"] {
            assert_eq!(
                read(&[("x-total-ms", value)], false),
                ServerTimings::default(),
                "{value}"
            );
        }
        let odd = ["\"", ";;,=", "total;dur", "total;dur=", "total;dur=\"1"];
        for value in odd {
            let total = read(&[("server-timing", value)], false).total;
            assert!(total.is_none_or(|time| time == MS), "{value}");
        }
    }
}
