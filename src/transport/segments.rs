//! Which byte of a TCP stream arrived when: from sequence numbers to stream offsets, and from offsets to
//! the stamps of the segments that brought them.

use super::clock::KernelTime;
use std::collections::VecDeque;
use std::ops::Range;

/// Stretches kept per direction, 32 bytes each. A stretch is what one segment brought: a chat answer
/// has a few thousand. Beyond it the oldest are forgotten.
const MAX_STRETCHES: usize = 32_768;

/// Room that a direction keeps between runs.
const IDLE_STRETCHES: usize = 256;

/// One TCP segment that opens a stream or carries bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Its sequence number, as in the header.
    pub(super) seq: u32,
    /// Payload bytes.
    pub(super) len: u32,
    /// Opens the stream.
    pub(super) syn: bool,
    /// When it was seen.
    pub(super) at: KernelTime,
}

/// One direction of one connection. Segments may come in any order and any number of times; of each
/// byte the earliest stamp counts.
#[derive(Debug, Default)]
pub(super) struct Direction {
    opening: Option<Opening>,
    /// Just behind the furthest byte seen. Sequence numbers are unwrapped about it.
    edge: u64,
    /// Nothing is known, and nothing is learnt any more, about the bytes below.
    floor: u64,
    /// Where the first of the solid stretches begins, or would begin.
    anchor: u64,
    /// When what the limit took from before the anchor was complete.
    latest: Option<KernelTime>,
    /// Disjoint, in the stream's order.
    stretches: VecDeque<Stretch>,
    /// How many leading stretches follow the anchor without a hole.
    solid: usize,
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    /// Sequence number of the stream's first byte.
    first_byte: u32,
    at: KernelTime,
}

/// Neighbouring bytes with the same stamp.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u64,
    end: u64,
    at: KernelTime,
    /// When everything from the anchor to its end was there. Means nothing behind a hole.
    complete: KernelTime,
}

impl Direction {
    /// Takes note of a segment. Nothing counts before the first SYN, and a SYN with another sequence
    /// number is not of this connection.
    pub(super) fn record(&mut self, segment: Segment) {
        let first_byte = segment.seq.wrapping_add(u32::from(segment.syn));
        let at = segment.at;
        let opening = match &mut self.opening {
            None if segment.syn => self.opening.insert(Opening { first_byte, at }),
            Some(opening) => opening,
            None => return,
        };
        if segment.syn {
            if first_byte != opening.first_byte {
                return;
            }
            opening.at = opening.at.min(at);
        }
        let origin = opening.first_byte;
        let bytes = self.place(origin, first_byte, segment.len);
        if bytes.is_empty() {
            return;
        }
        self.edge = self.edge.max(bytes.end);
        let first_changed = self.lay(bytes, at);
        self.settle(first_changed);
        self.bound();
    }

    /// The stamp of the first SYN.
    pub(super) fn opened(&self) -> Option<KernelTime> {
        self.opening.map(|opening| opening.at)
    }

    /// When the stream's first `offset` bytes were complete as TCP hands them over: a hole delays
    /// everything behind it until it is filled. Absent when unknown: a part was not seen, or is forgotten.
    pub(super) fn completed(&self, offset: u64) -> Option<KernelTime> {
        let index = self.stretches.partition_point(|s| s.end < offset);
        let solid = index < self.solid;
        let last = self.stretches.get(index).filter(|_| solid)?;
        (last.start < offset).then_some(last.complete)
    }

    /// When the byte at `offset` was first seen. Absent when it was not, or is forgotten.
    pub(super) fn first_sent(&self, offset: u64) -> Option<KernelTime> {
        let index = self.stretches.partition_point(|s| s.end <= offset);
        let holder = self.stretches.get(index)?;
        (holder.start <= offset).then_some(holder.at)
    }

    /// A new run begins. Both ends are through with the stream's first `below` bytes: they are forgotten,
    /// holes included, and what is complete is judged by the later ones alone.
    pub(super) fn forget(&mut self, below: u64) {
        if below < self.floor {
            return;
        }
        let gone = self.stretches.partition_point(|s| s.end <= below);
        self.stretches.drain(..gone);
        if let Some(cut) = self.stretches.front_mut() {
            cut.start = cut.start.max(below);
        }
        self.stretches.shrink_to(IDLE_STRETCHES);
        self.edge = self.edge.max(below);
        self.floor = below;
        self.anchor = below;
        self.latest = None;
        self.solid = 0;
        self.settle(0);
    }

    /// The stream offsets of a segment's bytes, without those below the floor.
    fn place(&self, origin: u32, seq: u32, len: u32) -> Range<u64> {
        // Modulo 2^32 on purpose: that is how sequence numbers count.
        let edge = origin.wrapping_add(self.edge as u32);
        // A window is below 2^30, so what is more than 2^31 ahead is behind.
        let ahead = i64::from(seq.wrapping_sub(edge).cast_signed());
        let start = self.edge.cast_signed().saturating_add(ahead);
        let end = start.saturating_add(i64::from(len));
        // Before the stream lies the byte that keepalives send.
        let offset = |signed| u64::try_from(signed).unwrap_or(0);
        offset(start).max(self.floor)..offset(end)
    }

    /// Gives every byte of the range this stamp, unless it has an earlier one. Answers the index of the
    /// first stretch that may have changed.
    fn lay(&mut self, bytes: Range<u64>, at: KernelTime) -> usize {
        let first = self.stretches.partition_point(|s| s.end <= bytes.start);
        let mut index = first;
        let mut cursor = bytes.start;
        while cursor < bytes.end {
            match self.stretches.get(index).copied() {
                Some(known) if known.start <= cursor => {
                    let end = known.end.min(bytes.end);
                    index = match at < known.at {
                        true => self.date_back(index, cursor..end, at),
                        false => index + 1,
                    };
                    cursor = end;
                }
                next => {
                    let end = next.map_or(bytes.end, |n| n.start.min(bytes.end));
                    self.stretches.insert(index, Stretch::new(cursor..end, at));
                    index += 1;
                    cursor = end;
                }
            }
        }
        first
    }

    /// Gives a part of a stretch an earlier stamp. Answers the index behind what was the stretch.
    fn date_back(&mut self, index: usize, part: Range<u64>, at: KernelTime) -> usize {
        let Some(known) = self.stretches.remove(index) else {
            return index;
        };
        let pieces = [
            Stretch::new(known.start..part.start, known.at),
            Stretch::new(part.clone(), at),
            Stretch::new(part.end..known.end, known.at),
        ];
        let pieces = pieces.into_iter().filter(|p| p.start < p.end);
        pieces.fold(index, |index, piece| {
            self.stretches.insert(index, piece);
            index + 1
        })
    }

    /// Works out anew what is complete, from a stretch on.
    fn settle(&mut self, from: usize) {
        let from = from.min(self.solid);
        let before = from.checked_sub(1).and_then(|i| self.stretches.get(i));
        let (mut position, mut latest) = match before {
            Some(stretch) => (stretch.end, Some(stretch.complete)),
            None => (self.anchor, self.latest),
        };
        self.solid = from;
        for stretch in self.stretches.range_mut(from..) {
            if stretch.start != position {
                break;
            }
            stretch.complete = latest.map_or(stretch.at, |at| at.max(stretch.at));
            position = stretch.end;
            latest = Some(stretch.complete);
            self.solid += 1;
        }
    }

    /// Forgets the oldest stretches beyond the limit. Where a hole goes with them the anchor stays, so that
    /// nothing behind the hole passes for complete.
    fn bound(&mut self) {
        while self.stretches.len() > MAX_STRETCHES
            && let Some(oldest) = self.stretches.pop_front()
        {
            self.floor = oldest.end;
            if let Some(fewer) = self.solid.checked_sub(1) {
                self.solid = fewer;
                self.anchor = oldest.end;
                self.latest = Some(oldest.complete);
            }
        }
    }
}

impl Stretch {
    fn new(bytes: Range<u64>, at: KernelTime) -> Self {
        let (start, end, complete) = (bytes.start, bytes.end, at);
        Self {
            start,
            end,
            at,
            complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISN: u32 = u32::MAX - 5;

    fn syn(seq: u32, nanos: i64) -> Segment {
        let (len, syn, at) = (0, true, KernelTime(nanos));
        Segment { seq, len, syn, at }
    }

    /// A segment by its place in the stream, `ISN` being the sequence number of its SYN.
    fn data(offset: u64, len: u32, nanos: i64) -> Segment {
        let seq = ISN.wrapping_add(1).wrapping_add(offset as u32);
        let (syn, at) = (false, KernelTime(nanos));
        Segment { seq, len, syn, at }
    }

    /// A stream opened at 1, and its segments: offset, length, stamp.
    fn stream(segments: &[(u64, u32, i64)]) -> Direction {
        let mut direction = Direction::default();
        direction.record(syn(ISN, 1));
        for (offset, len, nanos) in segments {
            direction.record(data(*offset, *len, *nanos));
        }
        direction
    }

    fn completed<const N: usize>(direction: &Direction, offsets: [u64; N]) -> [Option<i64>; N] {
        offsets.map(|offset| direction.completed(offset).map(|at| at.0))
    }

    fn first_sent<const N: usize>(direction: &Direction, offsets: [u64; N]) -> [Option<i64>; N] {
        offsets.map(|offset| direction.first_sent(offset).map(|at| at.0))
    }

    #[test]
    fn bytes_have_the_stamp_of_the_segment_that_brought_them() {
        let direction = stream(&[(0, 10, 100), (10, 5, 200)]);
        let stamps = completed(&direction, [1, 10, 11, 15]);
        assert_eq!(stamps, [100, 100, 200, 200].map(Some));
        assert_eq!(completed(&direction, [0, 16]), [None, None]);
        let stamps = first_sent(&direction, [0, 9, 10, 15]);
        assert_eq!(stamps, [Some(100), Some(100), Some(200), None]);
    }

    #[test]
    fn nothing_is_known_without_the_syn() {
        let mut direction = Direction::default();
        direction.record(data(0, 10, 100));
        assert_eq!(direction.opened(), None);
        assert_eq!(completed(&direction, [10]), [None]);
        assert_eq!(first_sent(&direction, [0]), [None]);
    }

    #[test]
    fn a_repeated_syn_keeps_the_first_stamp_and_a_foreign_one_is_ignored() {
        let mut direction = stream(&[]);
        direction.record(syn(ISN, 500));
        direction.record(syn(ISN.wrapping_add(77), 0));
        direction.record(data(0, 1, 600));
        assert_eq!(direction.opened(), Some(KernelTime(1)));
        assert_eq!(completed(&direction, [1]), [Some(600)]);
    }

    #[test]
    fn a_syn_may_carry_bytes() {
        let mut direction = Direction::default();
        direction.record(Segment {
            len: 3,
            ..syn(ISN, 7)
        });
        assert_eq!(completed(&direction, [3]), [Some(7)]);
        assert_eq!(first_sent(&direction, [0]), [Some(7)]);
    }

    #[test]
    fn a_hole_delays_what_is_behind_it() {
        let mut direction = stream(&[(0, 10, 100), (20, 10, 200)]);
        assert_eq!(completed(&direction, [30]), [None]);
        assert_eq!(first_sent(&direction, [20]), [Some(200)]);
        direction.record(data(10, 10, 300));
        let stamps = completed(&direction, [10, 20, 30]);
        assert_eq!(stamps, [100, 300, 300].map(Some));
    }

    #[test]
    fn a_retransmission_counts_only_for_bytes_that_were_missing() {
        let direction = stream(&[(0, 10, 100), (15, 5, 200), (5, 20, 300)]);
        assert_eq!(completed(&direction, [10, 15]), [Some(100), Some(300)]);
        assert_eq!(first_sent(&direction, [15, 20]), [Some(200), Some(300)]);
    }

    #[test]
    fn a_segment_seen_twice_counts_with_its_earliest_stamp() {
        let mut direction = stream(&[(0, 30, 100), (10, 10, 90), (30, 10, 95)]);
        let stamps = first_sent(&direction, [9, 10, 20]);
        assert_eq!(stamps, [100, 90, 100].map(Some));
        assert_eq!(completed(&direction, [40]), [Some(100)]);
        direction.record(data(0, 30, 80));
        assert_eq!(completed(&direction, [30, 40]), [Some(80), Some(95)]);
    }

    #[test]
    fn keepalives_change_nothing() {
        let before_the_stream = (u64::MAX, 1, 50);
        let mut direction = stream(&[(0, 0, 40), before_the_stream]);
        assert_eq!(completed(&direction, [1]), [None]);
        direction.record(data(0, 10, 100));
        direction.record(data(9, 1, 200));
        direction.forget(10);
        direction.record(data(9, 1, 300));
        assert_eq!(completed(&direction, [10]), [None]);
        direction.record(data(10, 1, 400));
        assert_eq!(completed(&direction, [11]), [Some(400)]);
    }

    #[test]
    fn a_new_run_forgets_the_old_one_with_its_holes() {
        let mut direction = stream(&[(0, 10, 900), (20, 10, 950)]);
        direction.forget(25);
        let stamps = completed(&direction, [10, 25, 30]);
        assert_eq!(stamps, [None, None, Some(950)]);
        // The wall clock is set back.
        direction.forget(30);
        direction.record(data(30, 10, 100));
        assert_eq!(completed(&direction, [40]), [Some(100)]);
    }

    #[test]
    fn a_stream_longer_than_the_sequence_space_keeps_its_offsets() {
        const STEP: u32 = 1 << 28;
        let steps: Vec<_> = (0..40_u64).map(|n| (n << 28, STEP, n as i64)).collect();
        let mut direction = stream(&steps);
        assert_eq!(completed(&direction, [1, 40 << 28]), [Some(0), Some(39)]);
        direction.forget(41 << 28);
        direction.record(data(41 << 28, 1, 77));
        assert_eq!(completed(&direction, [(41 << 28) + 1]), [Some(77)]);
    }

    #[test]
    fn beyond_the_limit_the_oldest_are_unknown_and_the_rest_is_right() {
        let most = MAX_STRETCHES as u64;
        let mut direction = stream(&[(0, 1, 900)]);
        (1..most + 10).for_each(|offset| direction.record(data(offset, 1, 5)));
        direction.record(data(0, 10, 1));
        assert_eq!(direction.stretches.len(), MAX_STRETCHES);
        assert_eq!(completed(&direction, [10, 11]), [None, Some(900)]);
        assert_eq!(first_sent(&direction, [9, 10]), [None, Some(5)]);
        direction.forget(most);
        assert!(direction.stretches.capacity() <= IDLE_STRETCHES);
        assert_eq!(completed(&direction, [most + 10]), [Some(5)]);
    }

    #[test]
    fn a_hole_beyond_the_limit_is_not_taken_for_filled() {
        let most = MAX_STRETCHES as u64;
        let mut direction = stream(&[]);
        (1..most + 10).for_each(|offset| direction.record(data(offset, 1, 5)));
        direction.record(data(0, 1, 6));
        assert_eq!(completed(&direction, [most + 10]), [None]);
        direction.forget(most + 10);
        direction.record(data(most + 10, 1, 7));
        assert_eq!(completed(&direction, [most + 11]), [Some(7)]);
    }

    /// Every byte with its earliest stamp.
    struct Model {
        floor: usize,
        bytes: [Option<i64>; LENGTH],
    }

    impl Model {
        fn see(&mut self, bytes: Range<usize>, nanos: i64) {
            for byte in bytes.start.max(self.floor)..bytes.end {
                let known = self.bytes[byte].unwrap_or(nanos);
                self.bytes[byte] = Some(known.min(nanos));
            }
        }

        fn completed(&self, offset: usize) -> Option<KernelTime> {
            let stamps = self.bytes.get(self.floor..offset)?;
            let stamps: Option<Vec<i64>> = stamps.iter().copied().collect();
            stamps?.into_iter().max().map(KernelTime)
        }
    }

    const LENGTH: usize = 120;

    #[derive(Clone, Debug)]
    enum Event {
        Seen(Range<usize>),
        Forget(usize),
    }

    fn anything() -> impl Strategy<Value = Vec<Event>> {
        let seen = (0..LENGTH, 1..30_usize)
            .prop_map(|(start, len)| Event::Seen(start..LENGTH.min(start + len)));
        let event = prop_oneof![12 => seen, 1 => (0..LENGTH).prop_map(Event::Forget)];
        prop::collection::vec(event, 0..40)
    }

    /// The stream cut into segments; each is lost or seen once or twice, sooner or later.
    fn transfer() -> impl Strategy<Value = Vec<Event>> {
        let cuts = prop::collection::btree_set(1..LENGTH, 0..40);
        let delays = prop::collection::vec(prop::collection::vec(0..9_usize, 0..3), LENGTH);
        (cuts, delays).prop_map(|(cuts, delays)| {
            let mut queue = Vec::new();
            let mut start = 0;
            for ((place, end), delays) in cuts.into_iter().chain([LENGTH]).enumerate().zip(delays) {
                queue.extend(
                    delays
                        .into_iter()
                        .map(|delay| (place + delay, Event::Seen(start..end))),
                );
                start = end;
            }
            queue.sort_by_key(|(place, _)| *place);
            let (_, events): (Vec<_>, _) = queue.into_iter().unzip();
            events
        })
    }

    proptest! {
        #[test]
        fn agrees_with_an_array_of_bytes(
            isn in prop_oneof![any::<u32>(), (u32::MAX - 200)..=u32::MAX],
            origin in prop_oneof![Just(0_u64), 0..10_u64 << 32],
            events in prop_oneof![anything(), transfer()],
            jitter in prop::collection::vec(-3..1_i64, 128),
        ) {
            let mut direction = Direction::default();
            direction.record(syn(isn, 0));
            direction.forget(origin);
            let mut model = Model { floor: 0, bytes: [None; LENGTH] };
            let clock = (10_i64..).step_by(2).zip(jitter.into_iter().cycle());
            for (event, (now, jitter)) in events.into_iter().zip(clock) {
                match event {
                    Event::Seen(bytes) => {
                        let place = (origin + bytes.start as u64) as u32;
                        let seq = isn.wrapping_add(1).wrapping_add(place);
                        let segment = data(0, bytes.len() as u32, now + jitter);
                        direction.record(Segment { seq, ..segment });
                        model.see(bytes, now + jitter);
                    }
                    Event::Forget(below) => {
                        direction.forget(origin + below as u64);
                        model.floor = model.floor.max(below);
                        model.bytes[..model.floor].fill(None);
                    }
                }
                for offset in 0..=LENGTH {
                    let (place, stamp) = (origin + offset as u64, model.bytes.get(offset));
                    prop_assert_eq!(direction.completed(place), model.completed(offset));
                    prop_assert_eq!(direction.first_sent(place), stamp.copied().flatten().map(KernelTime));
                }
            }
        }
    }
}
