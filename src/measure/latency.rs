//! The latency definitions, each in one place.

use super::timeline::Moments;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a run took. Absent means "not measurable here", never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// First body byte − dispatch.
    pub first_byte: Option<Duration>,
    /// First decoded event − dispatch.
    pub first_event: Option<Duration>,
    /// TTFT: first token of any kind − dispatch.
    pub first_token: Option<Duration>,
    /// First token that a user sees − dispatch.
    pub first_visible: Option<Duration>,
    /// Last token − dispatch.
    pub last_token: Option<Duration>,
    /// TPOT: (last token − first token) / (n − 1), n ≥ 2.
    pub per_output_token: Option<Duration>,
    /// Longest gap between arrivals.
    pub max_stall: Option<Duration>,
    /// E2E: end of stream − dispatch.
    pub inference: Duration,
    /// Decode TPS: (n − 1) / (last token − first token), tokens per second.
    pub decode_tps: Option<f64>,
    /// End-to-end TPS: n / E2E, tokens per second.
    pub end_to_end_tps: Option<f64>,
    /// Tokens read / E2E, tokens per second, where they are embedded or ranked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tps: Option<f64>,
}

/// The ends of a run on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// We began to act: connect or write.
    pub dispatch: Instant,
    /// The first body byte.
    pub first_byte: Option<Instant>,
    /// The stream's end, or the verdict.
    pub end: Instant,
}

/// How many tokens an answer has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// All that were made, hidden reasoning included.
    pub made: Option<u64>,
    /// Those that came in the stream: without reasoning that the runtime keeps to itself.
    pub sent: Option<u64>,
}

impl Latency {
    /// The same for a run whose work is to read so many tokens.
    pub fn of_reading(self, tokens: u64) -> Self {
        let good = tokens > 0 && !self.inference.is_zero();
        Self {
            input_tps: good.then(|| tokens as f64 / self.inference.as_secs_f64()),
            ..self
        }
    }

    /// Computes every figure: speeds of decoding by the tokens that were sent between the two
    /// instants, speed from end to end by all that were made. `streamed` is false for answers that
    /// come in one piece: those have an E2E and an end-to-end TPS only.
    pub fn of(moments: &Moments, span: Span, tokens: Count, streamed: bool) -> Self {
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(span.dispatch));
        let inference = span.end.saturating_duration_since(span.dispatch);
        let end_to_end_tps = tokens
            .made
            .filter(|n| *n > 0 && !inference.is_zero())
            .map(|n| n as f64 / inference.as_secs_f64());
        let whole = Self {
            first_byte: since(span.first_byte),
            inference,
            end_to_end_tps,
            ..Self::default()
        };
        if !streamed {
            return whole;
        }
        let decode = moments
            .first_token
            .zip(moments.last_token)
            .map(|(first, last)| last.duration_since(first))
            .filter(|decode| !decode.is_zero())
            .zip(tokens.sent.filter(|n| *n >= 2).map(|n| n - 1));
        Self {
            first_event: since(moments.first_event),
            first_token: since(moments.first_token),
            first_visible: since(moments.first_visible),
            last_token: since(moments.last_token),
            per_output_token: decode.map(|(time, n)| time.div_f64(n as f64)),
            max_stall: moments.gaps.iter().max().copied(),
            decode_tps: decode.map(|(time, n)| n as f64 / time.as_secs_f64()),
            ..whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::delta::Delta;
    use crate::measure::timeline::Timeline;

    fn all(count: u64) -> Count {
        Count {
            made: Some(count),
            sent: Some(count),
        }
    }

    fn stream(at: &[u64]) -> (Moments, Span) {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        for ms in at {
            let delta = Delta {
                visible: Some("x".into()),
                ..Delta::default()
            };
            timeline.record(&delta, *ms, start);
        }
        let span = Span {
            dispatch: start,
            first_byte: at.first().map(|ms| start + Duration::from_millis(*ms)),
            end: start + Duration::from_millis(500),
        };
        let moments = timeline.by(|ms| Some(start + Duration::from_millis(ms)));
        (moments.unwrap(), span)
    }

    #[test]
    fn figures_follow_their_definitions() {
        let (moments, span) = stream(&[100, 150, 300]);
        let latency = Latency::of(&moments, span, all(5), true);
        assert_eq!(latency.first_token, Some(Duration::from_millis(100)));
        assert_eq!(latency.per_output_token, Some(Duration::from_millis(50)));
        assert_eq!(latency.max_stall, Some(Duration::from_millis(150)));
        assert_eq!(latency.decode_tps, Some(20.0));
        assert_eq!(latency.end_to_end_tps, Some(10.0));
    }

    #[test]
    fn one_token_has_no_speed() {
        let (moments, span) = stream(&[100]);
        let latency = Latency::of(&moments, span, all(1), true);
        assert_eq!(latency.per_output_token, None);
        assert_eq!(latency.decode_tps, None);
        assert_eq!(latency.max_stall, None);
    }

    #[test]
    fn a_burst_in_one_arrival_has_no_decode_speed() {
        let (moments, span) = stream(&[100, 100, 100]);
        assert_eq!(Latency::of(&moments, span, all(3), true).decode_tps, None);
    }

    #[test]
    fn without_a_stream_there_is_no_ttft() {
        let (moments, span) = stream(&[100]);
        let latency = Latency::of(&moments, span, all(10), false);
        assert_eq!(latency.first_token, None);
        assert_eq!(latency.end_to_end_tps, Some(20.0));
    }

    #[test]
    fn reasoning_that_is_not_sent_does_not_speed_up_decoding() {
        let (moments, span) = stream(&[100, 150, 300]);
        let count = Count {
            made: Some(500),
            sent: Some(3),
        };
        let latency = Latency::of(&moments, span, count, true);
        assert_eq!(latency.decode_tps, Some(10.0));
        assert_eq!(latency.end_to_end_tps, Some(1000.0));
    }
}
