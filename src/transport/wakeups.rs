//! How long a thread has waited for a CPU when it was meant to run.
//!
//! What a thread finds in its sockets after a turn of its event loop came after the kernel had looked
//! for events in the turn before, since that would have found it. And if the thread slept there was
//! nothing at first, and the first to come made it runnable: so nothing came before the instant at which
//! we know it to run again, less the time that it has stood in the run queue, and less the time that it
//! has run since. The scheduler counts the first, quota throttling included, in
//! `/proc/thread-self/schedstat` (Linux, `Documentation/scheduler/sched-stats`), the second is the thread's
//! CPU clock, and whether it slept is told by its voluntary context switches.
//!
//! Asking for all three takes longer than a read, so a turn too short for the answer to matter does
//! without.

use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// No value yet.
const NEVER: u64 = u64::MAX;
/// What neither count holds, in nanoseconds: an interrupt to an idle CPU and its way out of idleness.
/// Some 10 µs on hardware, more in a virtual machine.
const WAKING: u64 = 50_000;
/// A turn that ends so shortly after the look of the one before needs no closer bound, in nanoseconds.
const SHORT: u64 = 500_000;
/// But after so long a time the counts are read again: all that they have grown by counts as a wait.
const STALE: u64 = 3_000_000;

/// The waits of one thread: its runtime calls [`Wakeups::parking`] before the thread waits for events
/// and [`Wakeups::unparked`] after it.
#[derive(Debug)]
pub struct Wakeups {
    base: Instant,
    /// Nanoseconds after `base` at which the thread last began to wait for events.
    asked: AtomicU64,
    /// How often it had slept by then.
    slept: AtomicU64,
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
            slept: never(),
            looked: never(),
            earliest: never(),
            counted: never(),
            awake: never(),
            schedstat: OnceLock::new(),
        })
    }

    /// The thread is about to wait for events. To be called from that thread only.
    pub fn parking(&self) {
        let slept = voluntary_switches().unwrap_or(NEVER);
        self.slept.store(slept, Ordering::Relaxed);
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

    /// Since when the thread can have been runnable, at the earliest, if it is known to have slept since
    /// it `asked`.
    fn woke(&self, now: u64, asked: u64) -> Option<u64> {
        let within = |since: u64, limit| since != NEVER && now.saturating_sub(since) < limit;
        let looked = self.looked.load(Ordering::Relaxed);
        if within(looked, SHORT) && within(self.counted.load(Ordering::Relaxed), STALE) {
            return None;
        }
        let queued = self.run_queue_nanos();
        let awake = queued.map_or(NEVER, |queued| queued.saturating_add(cpu_nanos()));
        let awake_before = self.awake.swap(awake, Ordering::Relaxed);
        self.counted.store(now, Ordering::Relaxed);
        let slept_before = self.slept.load(Ordering::Relaxed);
        let slept = voluntary_switches().is_some_and(|slept| slept != slept_before);
        let counted = ![awake, awake_before, slept_before].contains(&NEVER);
        (slept && counted).then(|| {
            let since = awake.saturating_sub(awake_before).saturating_add(WAKING);
            now.saturating_sub(since).max(asked)
        })
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
        self.run_queue_nanos().map(Duration::from_nanos)
    }

    fn run_queue_nanos(&self) -> Option<u64> {
        let file = self.schedstat.get_or_init(open_schedstat).as_ref()?;
        let mut text = [0; 96];
        let length = read_at_start(file, &mut text)?;
        second_number(text.get(..length)?)
    }
}

fn open_schedstat() -> Option<File> {
    match cfg!(target_os = "linux") {
        true => File::open("/proc/thread-self/schedstat").ok(),
        false => None,
    }
}

/// CPU time of the calling thread.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// How often the calling thread has gone to sleep by itself, and was not only kept from running.
#[cfg(target_os = "linux")]
fn voluntary_switches() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    u64::try_from(usage.voluntary_context_switches()).ok()
}

#[cfg(not(target_os = "linux"))]
fn voluntary_switches() -> Option<u64> {
    None
}

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0).ok()
}

#[cfg(not(unix))]
fn read_at_start(_file: &File, _buffer: &mut [u8]) -> Option<usize> {
    None
}

/// `time on CPU, time in the run queue, turns`: all but the last in nanoseconds.
fn second_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
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
    fn the_run_queue_is_the_second_number() {
        assert_eq!(second_number(b"583355 63942 4\n"), Some(63942));
        assert_eq!(second_number(b"583355\n"), None);
        assert_eq!(second_number(b"a b c"), None);
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
        let awake = wakeups.run_queue_delay().unwrap() + Duration::from_nanos(cpu_nanos() + WAKING);
        assert!(earliest + awake >= began + slept.min(Duration::from_millis(40)));
    }
}
