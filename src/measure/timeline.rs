//! Pairs deltas with stamps: which instant was the first byte, event, token, visible token, and
//! how long the gaps between arrivals were.

use super::delta::Delta;
use std::time::{Duration, Instant};

/// Instants and gaps of one stream. Frames that share a stamp are one arrival; nothing is
/// interpolated.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    first_event: Option<Instant>,
    first_token: Option<Instant>,
    first_visible: Option<Instant>,
    last_token: Option<Instant>,
    gaps: Vec<Duration>,
    tokens_per_arrival: Vec<u32>,
    text_frames: u64,
    reported_output: Option<u64>,
}

impl Timeline {
    /// Notes one delta that came with the chunk stamped `at`. Role-only, empty and keep-alive
    /// events are events but no tokens.
    pub fn record(&mut self, delta: &Delta<'_>, at: Instant) {
        self.first_event.get_or_insert(at);
        let visible = delta
            .visible
            .as_deref()
            .is_some_and(|text| !text.is_empty());
        let reasoning = delta
            .reasoning
            .as_deref()
            .is_some_and(|text| !text.is_empty());
        let reported = delta.usage.and_then(|usage| usage.output);
        if visible || reasoning {
            self.token(at, reported);
        }
        if visible {
            self.first_visible.get_or_insert(at);
        }
        self.reported_output = reported.or(self.reported_output);
    }

    fn token(&mut self, at: Instant, reported: Option<u64>) {
        self.text_frames += 1;
        let weight = match (reported, self.reported_output) {
            (Some(now), before) => now.saturating_sub(before.unwrap_or(0)).clamp(1, 65_536) as u32,
            (None, _) => 1,
        };
        match self.last_token {
            Some(last) if last == at => {
                if let Some(count) = self.tokens_per_arrival.last_mut() {
                    *count += weight;
                }
            }
            Some(last) => {
                self.gaps.push(at.duration_since(last));
                self.tokens_per_arrival.push(weight);
            }
            None => {
                self.first_token = Some(at);
                self.tokens_per_arrival.push(weight);
            }
        }
        self.last_token = Some(at);
    }

    /// The first decoded event of any kind.
    pub fn first_event(&self) -> Option<Instant> {
        self.first_event
    }

    /// The first token of any kind, reasoning included.
    pub fn first_token(&self) -> Option<Instant> {
        self.first_token
    }

    /// The first token that a user sees.
    pub fn first_visible(&self) -> Option<Instant> {
        self.first_visible
    }

    /// The last token of any kind.
    pub fn last_token(&self) -> Option<Instant> {
        self.last_token
    }

    /// The gaps between consecutive arrivals, in order.
    pub fn gaps(&self) -> &[Duration] {
        &self.gaps
    }

    /// How many tokens came together, arrival by arrival: by the runtime's running count where it
    /// gives one, else by frames with text.
    pub fn tokens_per_arrival(&self) -> &[u32] {
        &self.tokens_per_arrival
    }

    /// Frames that carried text.
    pub fn text_frames(&self) -> u64 {
        self.text_frames
    }

    /// Gives up the lists, for the observation.
    pub fn into_lists(self) -> (Vec<Duration>, Vec<u32>) {
        (self.gaps, self.tokens_per_arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tokens::Usage;

    fn text(visible: &str) -> Delta<'_> {
        Delta {
            visible: Some(visible.into()),
            ..Delta::default()
        }
    }

    #[test]
    fn a_role_chunk_is_an_event_and_no_token() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timeline = Timeline::default();
        timeline.record(&text(""), at(5));
        timeline.record(
            &Delta {
                reasoning: Some("hm".into()),
                ..Delta::default()
            },
            at(20),
        );
        timeline.record(&text("a"), at(30));
        assert_eq!(timeline.first_event(), Some(at(5)));
        assert_eq!(timeline.first_token(), Some(at(20)));
        assert_eq!(timeline.first_visible(), Some(at(30)));
        assert_eq!(timeline.gaps(), [Duration::from_millis(10)]);
    }

    #[test]
    fn frames_that_share_a_stamp_are_one_arrival() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        for ms in [10, 10, 10, 40, 40] {
            timeline.record(&text("x"), start + Duration::from_millis(ms));
        }
        assert_eq!(timeline.gaps(), [Duration::from_millis(30)]);
        assert_eq!(timeline.tokens_per_arrival(), [3, 2]);
        assert_eq!(timeline.text_frames(), 5);
    }

    #[test]
    fn a_running_count_tells_how_many_tokens_a_frame_carries() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        for (ms, output) in [(1, 4), (2, 8), (3, 9)] {
            let delta = Delta {
                visible: Some("words".into()),
                usage: Some(Usage {
                    output: Some(output),
                    ..Usage::default()
                }),
                ..Delta::default()
            };
            timeline.record(&delta, start + Duration::from_millis(ms));
        }
        assert_eq!(timeline.tokens_per_arrival(), [4, 4, 1]);
    }
}
