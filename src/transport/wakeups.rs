//! How long a thread has waited for a CPU when it was meant to run.
//!
//! A thread goes to sleep only while nothing is there for it. So what a task that waited for its socket
//! finds after the thread woke cannot have arrived earlier than the thread became runnable: the instant
//! at which it ran again, less the time for which it stood in the run queue. The scheduler counts that
//! time, quota throttling included, in `/proc/thread-self/schedstat` (Linux,
//! `Documentation/scheduler/sched-stats`). Where something is there already, which may have come at any
//! time while the thread was busy, it does not sleep, and that is no wake-up: it has not given up its CPU.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// No value yet.
const NEVER: u64 = u64::MAX;

/// The waits of one thread: its runtime calls [`Wakeups::parking`] whenever the thread may go to sleep, and
/// [`Wakeups::unparked`] when it goes on.
#[derive(Debug)]
pub struct Wakeups {
    base: Instant,
    /// How often the thread had given up its CPU when it last was about to sleep.
    switches: AtomicU64,
    /// Nanoseconds after `base` at which the thread last ran again.
    woke: AtomicU64,
    /// Nanoseconds in the run queue between the last two wake-ups.
    waited: AtomicU64,
    /// The scheduler's count at the last wake-up.
    counted: AtomicU64,
    schedstat: OnceLock<Option<File>>,
}

impl Wakeups {
    /// Of a thread that is still to wake for the first time.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            switches: AtomicU64::new(NEVER),
            woke: AtomicU64::new(NEVER),
            waited: AtomicU64::new(NEVER),
            counted: AtomicU64::new(NEVER),
            schedstat: OnceLock::new(),
        })
    }

    /// The thread may sleep now. To be called from that thread only, like the others here.
    pub fn parking(&self) {
        let switches = voluntary_switches().unwrap_or(NEVER);
        self.switches.store(switches, Ordering::Relaxed);
    }

    /// The thread runs again, or still.
    pub fn unparked(&self) {
        let woke = self.base.elapsed().as_nanos() as u64;
        let before = self.switches.load(Ordering::Relaxed);
        if voluntary_switches().is_none_or(|switches| switches <= before) {
            return;
        }
        let now = self.run_queue_nanos().unwrap_or(NEVER);
        let before = self.counted.swap(now, Ordering::Relaxed);
        let waited = match (before, now) {
            (NEVER, _) | (_, NEVER) => NEVER,
            (before, now) => now.saturating_sub(before),
        };
        self.waited.store(waited, Ordering::Relaxed);
        self.woke.store(woke, Ordering::Relaxed);
    }

    /// What a task finds now that has waited for it arrived no earlier than this. Absent where the
    /// scheduler does not tell.
    pub(super) fn earliest(&self) -> Option<Instant> {
        let woke = self.woke.load(Ordering::Relaxed);
        let waited = self.waited.load(Ordering::Relaxed);
        if woke == NEVER || waited == NEVER {
            return None;
        }
        Some(self.base + Duration::from_nanos(woke.saturating_sub(waited)))
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

/// `time on CPU, time in the run queue, turns`: all but the last in nanoseconds.
fn second_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_queue_is_the_second_number() {
        assert_eq!(second_number(b"583355 63942 4\n"), Some(63942));
        assert_eq!(second_number(b"583355\n"), None);
        assert_eq!(second_number(b"a b c"), None);
    }

    /// Sleeps as the runtime does.
    #[cfg(target_os = "linux")]
    fn sleep(wakeups: &Wakeups, time: Duration) {
        wakeups.parking();
        if time > Duration::ZERO {
            std::thread::park_timeout(time);
        }
        wakeups.unparked();
    }

    #[test]
    fn before_the_second_wake_up_nothing_is_known() {
        let wakeups = Wakeups::new();
        assert_eq!(wakeups.earliest(), None);
        wakeups.parking();
        wakeups.unparked();
        assert_eq!(wakeups.earliest(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_found_after_a_wake_up_is_no_older_than_the_wait_for_a_cpu() {
        let wakeups = Wakeups::new();
        sleep(&wakeups, Duration::from_millis(1));
        sleep(&wakeups, Duration::from_millis(1));
        let Some(earliest) = wakeups.earliest() else {
            eprintln!("skipped: the kernel keeps no scheduler statistics");
            return;
        };
        assert!(earliest <= Instant::now());
        assert!(wakeups.run_queue_delay() >= Some(Duration::ZERO));
        // A thread that finds something and does not sleep may find it late.
        sleep(&wakeups, Duration::ZERO);
        assert_eq!(wakeups.earliest(), Some(earliest));
        let asleep = Instant::now();
        sleep(&wakeups, Duration::from_millis(20));
        let waited = wakeups.run_queue_delay().unwrap();
        assert!(wakeups.earliest().unwrap() + waited > asleep);
    }
}
