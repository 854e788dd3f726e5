//! Pairs deltas with the bytes that brought them. When those bytes came is for a clock to say: the
//! same timeline has its moments on each.

use super::delta::Delta;
use std::time::{Duration, Instant};

/// The events of one stream by their position: the offset in the peer's stream just behind their last
/// byte.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    first_event: Option<u64>,
    first_visible: Option<u64>,
    tokens: Vec<Token>,
    last_seen: Option<Instant>,
    /// The runtime's running counts: of the answer, and of its reasoning where that is counted apart.
    reported: (Option<u64>, Option<u64>),
}

/// A frame with text.
#[derive(Clone, Copy, Debug)]
struct Token {
    position: u64,
    weight: u32,
}

/// Instants and gaps of one stream on one clock. Tokens that share a stamp are one arrival; nothing
/// is interpolated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// The first decoded event of any kind.
    pub first_event: Option<Instant>,
    /// The first token of any kind, reasoning included.
    pub first_token: Option<Instant>,
    /// The first token that a user sees.
    pub first_visible: Option<Instant>,
    /// The last token of any kind.
    pub last_token: Option<Instant>,
    /// The gaps between consecutive arrivals, in order.
    pub gaps: Vec<Duration>,
    /// How many tokens came together, arrival by arrival: by the runtime's running count where it
    /// gives one, else by frames with text.
    pub tokens_per_arrival: Vec<u32>,
}

impl Timeline {
    /// Notes one delta whose frame ends at `position`, and which we have `seen` in a read that
    /// returned then. Role-only, empty and keep-alive events are events but no tokens.
    pub fn record(&mut self, delta: &Delta<'_>, position: u64, seen: Instant) {
        self.first_event.get_or_insert(position);
        let says = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().is_some_and(|text| !text.is_empty())
        };
        let visible = says(&delta.visible);
        let usage = delta.usage.unwrap_or_default();
        let hidden = usage.reasoning.unwrap_or(0);
        let answer = usage.output.map(|all| all.saturating_sub(hidden));
        if visible || says(&delta.reasoning) {
            // Reasoning that is counted but not sent arrives in no frame.
            let (now, before) = match (visible, usage.reasoning) {
                (false, Some(hidden)) => (Some(hidden), self.reported.1),
                _ => (answer, self.reported.0),
            };
            let before = before.unwrap_or(0);
            let weight = now.map_or(1, |now| now.saturating_sub(before).clamp(1, 65_536));
            self.tokens.push(Token {
                position,
                weight: weight as u32,
            });
            self.last_seen = Some(seen);
        }
        if visible {
            self.first_visible.get_or_insert(position);
        }
        self.reported.0 = answer.or(self.reported.0);
        self.reported.1 = usage.reasoning.or(self.reported.1);
    }

    /// When the latest read with a token returned: what deadlines go by while the stream runs.
    pub fn last_seen(&self) -> Option<Instant> {
        self.last_seen
    }

    /// Frames that carried text.
    pub fn text_frames(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// Where the first token of any kind ends.
    pub fn first_token(&self) -> Option<u64> {
        self.tokens.first().map(|token| token.position)
    }

    /// Where each token ends, in order.
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.tokens.iter().map(|token| token.position)
    }

    /// The moments by a clock that tells when a position had arrived. `None` where it missed one.
    pub fn by(&self, arrival: impl Fn(u64) -> Option<Instant>) -> Option<Moments> {
        let at = |position: Option<u64>| match position {
            None => Some(None),
            Some(position) => arrival(position).map(Some),
        };
        let mut moments = Moments {
            first_event: at(self.first_event)?,
            first_visible: at(self.first_visible)?,
            ..Moments::default()
        };
        for token in &self.tokens {
            moments.token(arrival(token.position)?, token.weight);
        }
        Some(moments)
    }
}

impl Moments {
    fn token(&mut self, at: Instant, weight: u32) {
        match (self.last_token, self.tokens_per_arrival.last_mut()) {
            (Some(last), Some(count)) if at <= last => {
                *count += weight;
                return;
            }
            (Some(last), _) => self.gaps.push(at.duration_since(last)),
            (None, _) => self.first_token = Some(at),
        }
        self.tokens_per_arrival.push(weight);
        self.last_token = Some(at);
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

    /// The moments of deltas that came at these milliseconds.
    fn moments<'a>(deltas: impl IntoIterator<Item = (u64, Delta<'a>)>) -> (Instant, Moments) {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        for (ms, delta) in deltas {
            timeline.record(&delta, ms, start);
        }
        let by = timeline.by(|ms| Some(start + Duration::from_millis(ms)));
        (start, by.unwrap())
    }

    #[test]
    fn a_role_chunk_is_an_event_and_no_token() {
        let reasoning = Delta {
            reasoning: Some("hm".into()),
            ..Delta::default()
        };
        let (start, moments) = moments([(5, text("")), (20, reasoning), (30, text("a"))]);
        let at = |ms| Some(start + Duration::from_millis(ms));
        assert_eq!(moments.first_event, at(5));
        assert_eq!(moments.first_token, at(20));
        assert_eq!(moments.first_visible, at(30));
        assert_eq!(moments.last_token, at(30));
        assert_eq!(moments.gaps, [Duration::from_millis(10)]);
    }

    #[test]
    fn tokens_that_share_a_stamp_are_one_arrival() {
        let (_, moments) = moments([10, 10, 10, 40, 40].map(|ms| (ms, text("x"))));
        assert_eq!(moments.gaps, [Duration::from_millis(30)]);
        assert_eq!(moments.tokens_per_arrival, [3, 2]);
    }

    #[test]
    fn a_running_count_tells_how_many_tokens_a_frame_carries() {
        let counted = |(ms, output)| {
            let delta = Delta {
                visible: Some("words".into()),
                usage: Some(Usage {
                    output: Some(output),
                    ..Usage::default()
                }),
                ..Delta::default()
            };
            (ms, delta)
        };
        let (_, moments) = moments([(1, 4), (2, 8), (3, 9)].map(counted));
        assert_eq!(moments.tokens_per_arrival, [4, 4, 1]);
    }

    #[test]
    fn reasoning_that_is_counted_but_not_sent_is_in_no_arrival() {
        let counted = |(ms, shown, output, reasoning)| {
            let usage = Usage {
                output: Some(output),
                reasoning: Some(reasoning),
                ..Usage::default()
            };
            let delta = Delta {
                usage: Some(usage),
                ..match shown {
                    true => text("words"),
                    false => Delta {
                        reasoning: Some("hm".into()),
                        ..Delta::default()
                    },
                }
            };
            (ms, delta)
        };
        let hidden = [(1, true, 96, 94), (2, true, 99, 94)].map(counted);
        assert_eq!(moments(hidden).1.tokens_per_arrival, [2, 3]);
        let sent = [(1, false, 5, 5), (2, false, 9, 9), (3, true, 12, 9)].map(counted);
        assert_eq!(moments(sent).1.tokens_per_arrival, [5, 4, 3]);
    }

    #[test]
    fn a_clock_that_missed_a_token_has_no_moments() {
        let mut timeline = Timeline::default();
        let seen = Instant::now();
        for position in [10, 20, 30] {
            timeline.record(&text("x"), position, seen);
        }
        assert!(timeline.by(|at| (at != 20).then_some(seen)).is_none());
        assert_eq!(timeline.positions().collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(timeline.text_frames(), 3);
    }
}
