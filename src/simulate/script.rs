//! From a drawn answer to the exact bytes and their due times; faults reshape that list.

use std::time::Duration;

use bytes::Bytes;

use super::fault::{Fault, FaultTuning};
use super::generation::{Generation, TokenFrame};
use crate::wire::event_stream::message;

/// Pause between the pieces of a split frame, so that they are not read as one.
const SPLIT_PAUSE: Duration = Duration::from_millis(1);

/// How frames are separated on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `data: …` and an empty line.
    Sse,
    /// The same with `event: …` in front.
    NamedSse,
    /// One line each.
    Ndjson,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
}

impl Framing {
    /// Media type of a stream.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Sse | Self::NamedSse => "text/event-stream; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    fn garbage(self) -> Bytes {
        match self {
            Self::Sse | Self::NamedSse => {
                Bytes::from_static(b"data: {\"id\":\"chatcmpl-\", <<<not json>>>\n\n")
            }
            Self::Ndjson => Bytes::from_static(b"{\"model\": <<<not json>>>\n"),
            // Its checksum is not that of its bytes.
            Self::EventStream => {
                let mut bytes = message(&[], b"<<<not json>>>");
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                bytes.into()
            }
        }
    }

    fn keep_alive(self) -> Bytes {
        match self {
            Self::Sse => Bytes::from_static(b": ping\n\n"),
            Self::NamedSse => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            Self::Ndjson => Bytes::from_static(b"\n"),
            // What a client does not know by its name it has to pass over.
            Self::EventStream => message(&[(":event-type", "ping")], b"{}").into(),
        }
    }
}

/// Where a frame stands in its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position<'a> {
    pub(super) frame: &'a TokenFrame,
    /// Tokens up to and including this frame.
    pub(super) sent: u32,
    pub(super) last: bool,
}

/// How one API writes an answer.
pub(super) trait Dialect: Send {
    /// How its streams are framed.
    fn framing(&self) -> Framing;
    /// A frame before the first token.
    fn opening(&self, answer: &Generation) -> Option<Bytes>;
    /// A frame with tokens.
    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes;
    /// Frames after the last token: finish reason, usage, terminator.
    fn tail(&self, answer: &Generation) -> Vec<Bytes>;
    /// The answer when it is not a stream.
    fn whole(&self, answer: &Generation) -> Bytes;
    /// An error in the middle of a stream, with whatever follows it.
    fn failure(&self) -> Vec<Bytes>;
    /// An error as a whole body.
    fn whole_failure(&self) -> Bytes;
    /// A frame that is whole, but whose content is not.
    fn garbage(&self) -> Bytes {
        self.framing().garbage()
    }
    /// What says nothing, and may stand between any two frames.
    fn keep_alive(&self) -> Bytes {
        self.framing().keep_alive()
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Due time after the request was received.
    pub(super) at: Duration,
    pub(super) bytes: Bytes,
    /// Tokens that this write completes.
    pub(super) tokens: u32,
    pub(super) reasoning: bool,
}

impl Step {
    fn plain(at: Duration, bytes: Bytes) -> Self {
        Self {
            at,
            bytes,
            tokens: 0,
            reasoning: false,
        }
    }
}

/// What follows the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The body ends as HTTP wants it.
    Clean,
    /// The connection closes with the body unfinished.
    Abort,
    /// The connection is reset with the body unfinished.
    Reset,
    /// Nothing, for ever.
    Hang,
}

/// All writes of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
    /// Value of `Content-Length`, in bytes; `None` for a chunked body.
    pub(super) length: Option<u64>,
}

/// What is to be written, and how it goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) stream: bool,
    pub(super) fault: Option<Fault>,
    pub(super) tuning: FaultTuning,
    pub(super) frames_per_write: usize,
}

impl Script {
    /// Writes the answer in a dialect and applies the fault.
    pub(super) fn compose(mut answer: Generation, dialect: &dyn Dialect, shape: Shape) -> Self {
        if shape.fault == Some(Fault::OversizedLine) {
            oversize(&mut answer, shape.tuning);
        }
        let mut script = if shape.stream {
            streamed(&answer, dialect, shape)
        } else {
            whole(&answer, dialect, shape)
        };
        match shape.fault {
            Some(Fault::SlowHeaders) => script.delay(shape.tuning.delay),
            Some(Fault::SplitFrames) => script.split(dialect.framing()),
            _ => {}
        }
        if shape.frames_per_write > 1 {
            script.group(shape.frames_per_write);
        }
        script
    }

    /// Makes one write of up to so many frames of one instant, hidden reasoning apart.
    fn group(&mut self, most: usize) {
        let together = |one: &Step, next: &Step| {
            let tokens = one.tokens > 0 && next.tokens > 0;
            one.at == next.at && !(tokens && one.reasoning != next.reasoning)
        };
        let groups = self.steps.chunk_by(together);
        let groups = groups.flat_map(|group| group.chunks(most));
        self.steps = groups.map(merged).collect();
    }

    fn delay(&mut self, delay: Duration) {
        for step in &mut self.steps {
            step.at += delay;
        }
    }

    /// Cuts every frame in pieces; the last piece carries the tokens.
    fn split(&mut self, framing: Framing) {
        let mut pieces = Vec::with_capacity(self.steps.len() * 4);
        let mut earliest = Duration::ZERO;
        for step in self.steps.drain(..) {
            let lines = matches!(framing, Framing::Sse | Framing::NamedSse);
            let bytes = if lines && self.length.is_none() {
                with_crlf(&step.bytes)
            } else {
                step.bytes.clone()
            };
            let mut at = step.at.max(earliest);
            let mut start = 0;
            for end in cuts(&bytes) {
                pieces.push(Step::plain(at, bytes.slice(start..end)));
                at += SPLIT_PAUSE;
                start = end;
            }
            let bytes = bytes.slice(start..);
            pieces.push(Step { at, bytes, ..step });
            earliest = at + SPLIT_PAUSE;
        }
        self.steps = pieces;
    }
}

/// The same event with CR LF line ends, which SSE allows as well.
fn with_crlf(bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for byte in bytes {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out.into()
}

/// Where to cut a frame: inside `data:`, inside its first character of several bytes, before its
/// last byte (between CR and LF, if it ends so).
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let inside_character = bytes.iter().position(|byte| !byte.is_ascii());
    let mut cuts = vec![3, bytes.len().saturating_sub(1)];
    cuts.extend(inside_character.map(|at| at + 1));
    cuts.retain(|cut| (1..bytes.len()).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Makes one frame a line of many bytes.
fn oversize(answer: &mut Generation, tuning: FaultTuning) {
    let middle = answer.frames.len().saturating_sub(1);
    let at = usize::try_from(tuning.after_tokens).map_or(middle, |after| after.min(middle));
    if let Some(frame) = answer.frames.get_mut(at) {
        frame.text = "x".repeat(tuning.oversized_bytes);
    }
}

fn streamed(answer: &Generation, dialect: &dyn Dialect, shape: Shape) -> Script {
    let Shape { fault, tuning, .. } = shape;
    let mut steps = Vec::with_capacity(answer.frames.len() + 4);
    let (ending, cut_short) = match fault {
        Some(Fault::Stall | Fault::StallFirst) => (Ending::Hang, true),
        Some(Fault::Truncated) => (Ending::Abort, true),
        Some(Fault::Reset) => (Ending::Reset, true),
        Some(Fault::TruncatedClean | Fault::InBandError) => (Ending::Clean, true),
        _ => (Ending::Clean, false),
    };
    let cut_after = tuning
        .after_tokens
        .min(answer.output_tokens().saturating_sub(1));
    if fault != Some(Fault::StallFirst) {
        push_tokens(&mut steps, answer, dialect, cut_short.then_some(cut_after));
    }
    let end = steps
        .last()
        .map_or(answer.start_of_decode(), |step| step.at);
    match fault {
        Some(Fault::InBandError) => {
            steps.extend(
                dialect
                    .failure()
                    .into_iter()
                    .map(|bytes| Step::plain(end, bytes)),
            );
        }
        _ if cut_short => {}
        _ => steps.extend(
            dialect
                .tail(answer)
                .into_iter()
                .map(|bytes| Step::plain(end, bytes)),
        ),
    }
    match fault {
        Some(Fault::Garbage) => insert_garbage(&mut steps, dialect.garbage(), cut_after),
        Some(Fault::KeepAlive) => insert_keep_alives(&mut steps, &dialect.keep_alive()),
        Some(Fault::EarlyRole) => hurry_opening(&mut steps, answer, dialect, tuning.delay),
        Some(Fault::Buffered) => steps = vec![merged(&steps)],
        _ => {}
    }
    Script {
        steps,
        ending,
        length: None,
    }
}

/// The opening and all frames with tokens, or those up to so many tokens.
fn push_tokens(
    steps: &mut Vec<Step>,
    answer: &Generation,
    dialect: &dyn Dialect,
    most: Option<u32>,
) {
    let opening = dialect.opening(answer);
    steps.extend(opening.map(|bytes| Step::plain(answer.start_of_decode(), bytes)));
    let total = answer.output_tokens();
    let mut sent = 0;
    for frame in &answer.frames {
        sent += frame.tokens;
        if most.is_some_and(|most| sent > most) {
            return;
        }
        let last = sent == total;
        let bytes = dialect.token(answer, Position { frame, sent, last });
        let (at, tokens, reasoning) = (frame.at, frame.tokens, frame.reasoning);
        steps.push(Step {
            at,
            bytes,
            tokens,
            reasoning,
        });
    }
}

fn insert_garbage(steps: &mut Vec<Step>, garbage: Bytes, after_tokens: u32) {
    let mut sent = 0;
    let position = steps.iter().position(|step| {
        sent += step.tokens;
        sent >= after_tokens && step.tokens > 0
    });
    let position = position.map_or(steps.len(), |position| position + 1);
    let at = steps
        .get(position)
        .or(steps.last())
        .map_or(Duration::ZERO, |step| step.at);
    steps.insert(position, Step::plain(at, garbage));
}

/// Three comments before the first frame and one in the middle of every gap.
fn insert_keep_alives(steps: &mut Vec<Step>, keep_alive: &Bytes) {
    let due: Vec<Duration> = steps.iter().map(|step| step.at).collect();
    let first = due.first().copied().unwrap_or_default();
    let before = (1..=3).map(|quarter| first * quarter / 4);
    let gaps = due.iter().zip(due.iter().skip(1));
    let between = gaps
        .filter(|(one, next)| one < next)
        .map(|(one, next)| (*one + *next) / 2);
    steps.extend(
        before
            .chain(between)
            .map(|at| Step::plain(at, keep_alive.clone())),
    );
    // Stable, so frames of one instant keep their order.
    steps.sort_by_key(|step| step.at);
}

/// Sends the opening, or a frame with empty text where the dialect has none, at once.
fn hurry_opening(
    steps: &mut Vec<Step>,
    answer: &Generation,
    dialect: &dyn Dialect,
    delay: Duration,
) {
    if dialect.opening(answer).is_none() {
        let frame = &TokenFrame {
            text: String::new(),
            tokens: 0,
            reasoning: false,
            at: Duration::ZERO,
        };
        let position = Position {
            frame,
            sent: 0,
            last: false,
        };
        steps.insert(
            0,
            Step::plain(Duration::ZERO, dialect.token(answer, position)),
        );
    }
    let received = answer.queue + answer.load;
    for (position, step) in steps.iter_mut().enumerate() {
        step.at = if position == 0 {
            received
        } else {
            step.at + delay
        };
    }
}

/// All writes as one, when the last is due. It counts as reasoning if all its tokens are.
fn merged(steps: &[Step]) -> Step {
    let mut bytes = Vec::with_capacity(steps.iter().map(|step| step.bytes.len()).sum());
    for step in steps {
        bytes.extend_from_slice(&step.bytes);
    }
    let tokens = steps.iter().filter(|step| step.tokens > 0);
    let reasoning = tokens.clone().count() > 0 && tokens.clone().all(|step| step.reasoning);
    Step {
        at: steps.last().map_or(Duration::ZERO, |step| step.at),
        bytes: bytes.into(),
        tokens: tokens.map(|step| step.tokens).sum(),
        reasoning,
    }
}

fn whole(answer: &Generation, dialect: &dyn Dialect, shape: Shape) -> Script {
    if matches!(shape.fault, Some(Fault::Stall | Fault::StallFirst)) {
        return Script {
            steps: Vec::new(),
            ending: Ending::Hang,
            length: None,
        };
    }
    let complete = match shape.fault {
        Some(Fault::InBandError) => dialect.whole_failure(),
        Some(Fault::Garbage) => Bytes::from_static(b"{\"id\": <<<not json>>>"),
        _ => dialect.whole(answer),
    };
    let half = complete.slice(..complete.len() / 2);
    let (bytes, length, ending) = match shape.fault {
        Some(Fault::Truncated) => (half, complete.len(), Ending::Abort),
        Some(Fault::Reset) => (half, complete.len(), Ending::Reset),
        Some(Fault::TruncatedClean) => (half.clone(), half.len(), Ending::Clean),
        _ => (complete.clone(), complete.len(), Ending::Clean),
    };
    let intact = bytes.len() == complete.len();
    let step = Step {
        at: answer.end(),
        bytes,
        tokens: if intact { answer.output_tokens() } else { 0 },
        reasoning: false,
    };
    Script {
        steps: vec![step],
        ending,
        length: u64::try_from(length).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_inside_its_field_name_inside_utf8_and_between_cr_and_lf() {
        let bytes = with_crlf("data: é\n\n".as_bytes());
        assert_eq!(cuts(&bytes), [3, 7, 11]);
        let pieces: Vec<&[u8]> = vec![&bytes[..3], &bytes[3..7], &bytes[7..11], &bytes[11..]];
        assert_eq!(
            pieces,
            [b"dat".as_slice(), b"a: \xc3", b"\xa9\r\n\r", b"\n"]
        );
        assert_eq!(cuts(b""), Vec::<usize>::new());
        assert_eq!(cuts(b"a"), Vec::<usize>::new());
    }

    #[test]
    fn pieces_are_due_one_after_the_other_and_the_last_carries_the_tokens() {
        let step = |at| Step {
            at: Duration::from_millis(at),
            bytes: Bytes::from_static(b"{\"a\":1}\n"),
            tokens: 2,
            reasoning: true,
        };
        let mut script = Script {
            steps: vec![step(5), step(5)],
            ending: Ending::Clean,
            length: None,
        };
        script.split(Framing::Ndjson);
        let due: Vec<u128> = script
            .steps
            .iter()
            .map(|step| step.at.as_millis())
            .collect();
        assert_eq!(due, [5, 6, 7, 8, 9, 10]);
        let tokens: Vec<u32> = script.steps.iter().map(|step| step.tokens).collect();
        assert_eq!(tokens, [0, 0, 2, 0, 0, 2]);
    }

    #[test]
    fn comments_stand_before_the_first_frame_and_inside_gaps_only() {
        let step = |at, tokens| Step {
            at: Duration::from_millis(at),
            bytes: Bytes::new(),
            tokens,
            reasoning: false,
        };
        let mut steps = vec![step(40, 0), step(40, 1), step(60, 1), step(60, 0)];
        insert_keep_alives(&mut steps, &Framing::Sse.keep_alive());
        let due: Vec<u128> = steps.iter().map(|step| step.at.as_millis()).collect();
        assert_eq!(due, [10, 20, 30, 40, 40, 50, 60, 60]);
    }
}
