//! When the bytes of one exchange arrived, by each clock, and how far from the truth that may be.

use super::clock::{Alignment, ClockKind, KernelTime};
use super::socket::Read;
use super::tap::Watch;
use std::time::{Duration, Instant};

/// A wall clock that was set by more than this during an exchange spoils the kernel's stamps of it.
const MOST_CLOCK_STEP: Duration = Duration::from_micros(100);
/// Bytes behind an event that belong to it: the end of its chunk (`CR LF`). The last chunk, of five bytes,
/// may be a segment of its own.
const FRAMING_BYTES: u64 = 2;

/// How an exchange began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    alignment: Alignment,
    /// Offset in our stream of the request's first byte, and just behind its last.
    request: (u64, u64),
    written: Option<Instant>,
    /// Time that the thread had stood in the run queue then.
    queued: Option<Duration>,
}

impl Begun {
    /// With its connection, whose first packet has not left yet.
    pub(super) fn connecting(alignment: Alignment) -> Self {
        Self {
            alignment,
            request: (0, 0),
            written: None,
            queued: None,
        }
    }

    /// On a connection that stands.
    pub(super) fn reusing(sent: u64) -> Self {
        Self {
            alignment: Alignment::now(),
            request: (sent, sent),
            written: None,
            queued: None,
        }
    }

    pub(super) fn writes_from(&mut self, sent: u64) {
        self.request = (sent, sent);
    }

    pub(super) fn written(&mut self, sent: u64, queued: Option<Duration>) {
        self.queued = queued;
        self.request.1 = sent;
        self.written = Some(Instant::now());
    }

    pub(super) fn queued_at_written(&self) -> Option<Duration> {
        self.queued
    }

    pub(super) fn request_written(&self) -> Option<Instant> {
        self.written
    }

    /// Its request has been written, so another one begins anew.
    pub(super) fn is_over(&self) -> bool {
        self.written.is_some()
    }
}

/// The stamps of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    reads: &'a [Read],
    watch: Option<&'a Watch>,
    begun: &'a Begun,
    now: Alignment,
    clock_was_set: bool,
}

impl<'a> Stamps<'a> {
    pub(super) fn new(reads: &'a [Read], watch: Option<&'a Watch>, begun: &'a Begun) -> Self {
        let now = Alignment::now();
        Self {
            reads,
            watch,
            begun,
            now,
            clock_was_set: begun.alignment.step(&now) > MOST_CLOCK_STEP,
        }
    }

    /// When the stream from the peer was complete up to `position`, in order. Absent where this clock
    /// did not see it.
    pub fn arrival(&self, clock: ClockKind, position: u64) -> Option<Instant> {
        match clock {
            ClockKind::User => Some(self.read_of(position)?.user),
            ClockKind::Socket => self.instant(self.read_of(position)?.kernel?),
            ClockKind::Wire => self.instant(self.watch?.arrival(position)?),
        }
    }

    /// By how much [`Self::arrival`] may be too late. Never too early: no clock stamps what is not
    /// there.
    pub fn uncertainty(&self, clock: ClockKind, position: u64) -> Option<Duration> {
        let read = self.read_of(position)?;
        let kernel = read.kernel.and_then(|at| self.instant(at));
        let is_last = read.end.saturating_sub(position) <= FRAMING_BYTES && !read.cut_short;
        // Of a read the kernel keeps the stamp of the last segment only.
        let earliest = match kernel {
            Some(at) if is_last => at,
            _ => read.not_before,
        };
        let stamp = match clock {
            ClockKind::Wire => return Some(Duration::ZERO),
            ClockKind::Socket => kernel?,
            ClockKind::User => read.user,
        };
        Some(stamp.saturating_duration_since(earliest))
    }

    /// When the request's first byte left, by the wire.
    pub fn request_left(&self) -> Option<Instant> {
        self.instant(self.watch?.departure(self.begun.request.0)?)
    }

    /// When the request's last byte left, by the wire.
    pub fn request_sent(&self) -> Option<Instant> {
        let last = self.begun.request.1.checked_sub(1)?;
        self.instant(self.watch?.departure(last)?)
    }

    /// When the connection's first packet left, by the wire.
    pub fn connection_began(&self) -> Option<Instant> {
        self.instant(self.watch?.syn()?)
    }

    /// When the request went to the kernel, as we see it.
    pub fn request_written(&self) -> Option<Instant> {
        self.begun.written
    }

    /// From the kernel's stamp to the return of our read, read by read. Reads without a stamp are left
    /// out.
    pub fn delays(&self) -> impl Iterator<Item = Duration> {
        self.reads.iter().filter_map(|read| {
            let kernel = self.instant(read.kernel?)?;
            Some(read.user.saturating_duration_since(kernel))
        })
    }

    /// Reads of the exchange.
    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    /// Whether the wall clock was set meanwhile: the kernel's stamps are of no use then.
    pub fn clock_was_set(&self) -> bool {
        self.clock_was_set
    }

    /// Which read brought the last byte before `position`; equal for what came together.
    pub fn read_index(&self, position: u64) -> usize {
        self.reads.partition_point(|read| read.end < position)
    }

    fn read_of(&self, position: u64) -> Option<&'a Read> {
        self.reads.get(self.read_index(position))
    }

    fn instant(&self, at: KernelTime) -> Option<Instant> {
        match self.clock_was_set {
            true => None,
            false => self.now.instant(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends, milliseconds of the kernel's and our stamp, and of the bound.
    fn read(base: (Instant, i64), end: u64, kernel: Option<u64>, user: u64, empty: u64) -> Read {
        let at = |ms: u64| base.0 + Duration::from_millis(ms);
        Read {
            end,
            user: at(user),
            kernel: kernel.map(|ms| KernelTime(base.1 + (ms * 1_000_000) as i64)),
            not_before: at(empty),
            cut_short: false,
        }
    }

    fn with_stamps(check: impl FnOnce(&mut Vec<Read>, (Instant, i64))) {
        let wall = crate::base::clock::wall_now().as_nanosecond() as i64;
        check(&mut Vec::new(), (Instant::now(), wall));
    }

    fn ms(duration: Option<Duration>) -> Option<u128> {
        duration.map(|duration| (duration.as_micros() + 500) / 1000)
    }

    #[test]
    fn the_last_event_of_a_read_is_exact_and_the_others_are_bounded() {
        with_stamps(|reads, base| {
            reads.push(read(base, 100, Some(10), 50, 0));
            reads.push(read(base, 300, Some(70), 90, 60));
            let begun = Begun::connecting(Alignment::now());
            let stamps = Stamps::new(reads, None, &begun);
            let socket = |at| ms(stamps.uncertainty(ClockKind::Socket, at));
            assert_eq!(
                (socket(40), socket(98), socket(100)),
                (Some(10), Some(0), Some(0))
            );
            assert_eq!((socket(101), socket(298)), (Some(10), Some(0)));
            let user = |at| ms(stamps.uncertainty(ClockKind::User, at));
            assert_eq!((user(40), user(98)), (Some(50), Some(40)));
            assert_eq!(
                (user(150), user(300), user(301)),
                (Some(30), Some(20), None)
            );
            let delays: Vec<_> = stamps.delays().map(|delay| ms(Some(delay))).collect();
            assert_eq!(delays, [Some(40), Some(20)]);
        });
    }

    #[test]
    fn a_read_without_a_stamp_has_no_socket_clock_but_a_bound() {
        with_stamps(|reads, base| {
            reads.push(read(base, 100, None, 50, 20));
            let begun = Begun::connecting(Alignment::now());
            let stamps = Stamps::new(reads, None, &begun);
            assert_eq!(stamps.arrival(ClockKind::Socket, 100), None);
            assert_eq!(stamps.arrival(ClockKind::Wire, 100), None);
            assert!(stamps.arrival(ClockKind::User, 100).is_some());
            assert_eq!(ms(stamps.uncertainty(ClockKind::User, 100)), Some(30));
        });
    }
}
