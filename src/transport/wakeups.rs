//! How long a thread has waited for a CPU when it was meant to run.
//!
//! What a thread finds in its sockets after a turn of its event loop came after the kernel had looked
//! for events in the turn before, since that would have found it. And if the thread slept there was
//! nothing at first, and the first to come made it runnable: so nothing came before the instant at which
//! we know it to run again, less the time that it has stood in the run queue, and less the time that it
//! has run since. The scheduler counts both, quota throttling included, in `/proc/thread-self/schedstat`
//! (Linux, `Documentation/scheduler/sched-stats`). What of a turn it counts in neither, the thread has
//! slept; and where that is more than all the time before the thread asked for events, it slept after.
//!
//! Asking the scheduler takes about as long as a read, so a turn too short for the answer to matter does
//! without.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// No value yet.
const NEVER: u64 = u64::MAX;
/// What neither count holds, in nanoseconds: an interrupt to an idle CPU and its way out of idleness.
/// Some 10 µs on hardware, more in a virtual machine.
const WAKING: u64 = 50_000;
/// The least rest of a wait that is taken for sleep, in nanoseconds: an interrupt is in neither count.
const SLEEP: u64 = 20_000;
/// A turn that begins to wait so shortly after the one before needs no closer bound, in nanoseconds.
const SHORT: u64 = 500_000;
/// But after so long a time the counts are read again, since all of what they grow by is a wait.
const STALE: u64 = 3_000_000;

/// The waits of one thread: its runtime calls [`Wakeups::parking`] before the thread waits for events
/// and [`Wakeups::unparked`] after it.
#[derive(Debug)]
pub struct Wakeups {
    base: Instant,
    /// Nanoseconds after `base` at which the thread last began to wait for events.
    asked: AtomicU64,
    /// Nanoseconds after `base` at which the kernel looked for events, at the earliest.
    looked: AtomicU64,
    /// Nanoseconds after `base` before which nothing came that was found then.
    earliest: AtomicU64,
    /// Nanoseconds after `base` at which the counts were read last.
    counted: AtomicU64,
    /// Nanoseconds that the thread had run or stood in the run queue by then.
    awake: AtomicU64,
    schedstat: OnceLock<Option<File>>,
}

impl Wakeups {
    /// Of a thread that is still to wait for the first time.
    pub fn new() -> Arc<Self> {
        let never = || AtomicU64::new(NEVER);
        Arc::new(Self {
            base: Instant::now(),
            asked: never(),
            looked: never(),
            earliest: never(),
            counted: never(),
            awake: never(),
            schedstat: OnceLock::new(),
        })
    }

    /// The thread is about to wait for events. To be called from that thread only.
    pub fn parking(&self) {
        self.asked.store(self.nanos(), Ordering::Relaxed);
    }

    /// The thread has events, or none in time. To be called from that thread only.
    pub fn unparked(&self) {
        let now = self.nanos();
        let asked = self.asked.load(Ordering::Relaxed);
        // Held back on its way out of the kernel, the thread comes long after the kernel has looked.
        let woke = self.woke(now, asked);
        let looked_before = self.looked.swap(woke.unwrap_or(asked), Ordering::Relaxed);
        let earliest = woke.unwrap_or(looked_before);
        self.earliest.store(earliest, Ordering::Relaxed);
    }

    /// Since when the thread could run again, at the earliest, if it is known to have slept since it
    /// `asked`.
    fn woke(&self, now: u64, asked: u64) -> Option<u64> {
        let counted = self.counted.load(Ordering::Relaxed);
        let looked = self.looked.load(Ordering::Relaxed);
        let within = |since: u64, limit| since != NEVER && now.saturating_sub(since) < limit;
        if within(looked, SHORT) && within(counted, STALE) {
            return None;
        }
        let awake = self
            .counts()
            .map_or(NEVER, |counts| counts.ran + counts.queued);
        let awake_before = self.awake.swap(awake, Ordering::Relaxed);
        self.counted.store(now, Ordering::Relaxed);
        if [counted, awake, awake_before].contains(&NEVER) {
            return None;
        }
        let since = awake.saturating_sub(awake_before);
        let slept = now.saturating_sub(asked) > since.saturating_add(SLEEP);
        slept.then(|| now.saturating_sub(since + WAKING).max(asked))
    }

    fn nanos(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// What the thread finds now in a socket that it has read until empty came no earlier than this.
    /// Absent before the second turn.
    pub(super) fn earliest(&self) -> Option<Instant> {
        match self.earliest.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(self.base + Duration::from_nanos(nanos)),
        }
    }

    /// Time that the thread has stood in the run queue since it began. To be called from that thread
    /// only. Absent where the scheduler does not tell.
    pub(super) fn run_queue_delay(&self) -> Option<Duration> {
        let counts = self.counts()?;
        Some(Duration::from_nanos(counts.queued))
    }

    fn counts(&self) -> Option<Counts> {
        let file = self.schedstat.get_or_init(open_schedstat).as_ref()?;
        let mut text = [0; 96];
        let length = read_at_start(file, &mut text)?;
        Counts::parse(text.get(..length)?)
    }
}

/// What the scheduler has counted of a thread, in nanoseconds. It may have run somewhat longer: the
/// count is brought up to date when the thread sleeps, and with the scheduler's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    ran: u64,
    queued: u64,
}

impl Counts {
    /// `time on CPU, time in the run queue, turns`.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut numbers = text
            .split_ascii_whitespace()
            .map(|number| number.parse().ok());
        Some(Self {
            ran: numbers.next()??,
            queued: numbers.next()??,
        })
    }
}

fn open_schedstat() -> Option<File> {
    match cfg!(target_os = "linux") {
        true => File::open("/proc/thread-self/schedstat").ok(),
        false => None,
    }
}

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0).ok()
}

#[cfg(not(unix))]
fn read_at_start(_file: &File, _buffer: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(wakeups: &Wakeups, sleep: Option<Duration>) {
        wakeups.parking();
        if let Some(time) = sleep {
            std::thread::park_timeout(time);
        }
        wakeups.unparked();
    }

    #[test]
    fn the_scheduler_counts_running_and_queueing() {
        let counts = |ran, queued| Some(Counts { ran, queued });
        assert_eq!(Counts::parse(b"583355 63942 4\n"), counts(583_355, 63_942));
        assert_eq!(Counts::parse(b"583355\n"), None);
        assert_eq!(Counts::parse(b"a b c"), None);
    }

    #[test]
    fn a_turn_without_sleep_finds_what_came_since_the_turn_before() {
        let wakeups = Wakeups::new();
        turn(&wakeups, None);
        assert_eq!(wakeups.earliest(), None);
        let after_first = Instant::now();
        turn(&wakeups, None);
        assert!(wakeups.earliest().unwrap() <= after_first);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_found_after_sleep_is_no_older_than_the_wait_for_a_cpu() {
        let wakeups = Wakeups::new();
        if wakeups.run_queue_delay().is_none() {
            eprintln!("skipped: the kernel keeps no scheduler statistics");
            return;
        }
        turn(&wakeups, None);
        let began = Instant::now();
        turn(&wakeups, Some(Duration::from_millis(40)));
        let slept = began.elapsed();
        let earliest = wakeups.earliest().unwrap();
        assert!(earliest <= Instant::now());
        // It slept for 40 ms at least, and nothing came then.
        let counts = wakeups.counts().unwrap();
        let awake = Duration::from_nanos(counts.ran + counts.queued + WAKING);
        assert!(earliest + awake >= began + slept.min(Duration::from_millis(40)));
    }
}
