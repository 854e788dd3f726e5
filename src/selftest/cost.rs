//! What measuring costs, and company that makes it harder.

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// CPU time of the calling thread since it began.
pub(super) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// The most memory that this process ever held, in bytes; absent where the kernel does not tell.
pub(super) fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    high_water_mark(&status)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What keeps cores busy: threads of this process that do nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pressing {
    /// How many.
    pub threads: usize,
    /// Whether each works and rests by turns of random length instead of always working.
    pub random: bool,
}

/// Longest turn of random pressure: three periods of the usual CPU quota.
const LONGEST_TURN: Duration = Duration::from_millis(300);

/// Threads that keep cores busy until dropped.
pub(super) struct Pressure {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pressure {
    /// Starts them.
    pub(super) fn start(pressing: Pressing) -> io::Result<Self> {
        let mut pressure = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..pressing.threads {
            let stop = pressure.stop.clone();
            let busy = std::thread::Builder::new()
                .name("pressure".to_owned())
                .spawn(move || press(&stop, pressing.random))?;
            pressure.threads.push(busy);
        }
        Ok(pressure)
    }
}

fn press(stop: &AtomicBool, random: bool) {
    while !stop.load(Ordering::Relaxed) {
        let turn = LONGEST_TURN.mul_f64(rand::random());
        let began = Instant::now();
        while began.elapsed() < turn && !stop.load(Ordering::Relaxed) {
            for _ in 0..1000 {
                std::hint::spin_loop();
            }
        }
        if random {
            std::thread::sleep(LONGEST_TURN.mul_f64(rand::random()));
        }
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        let status = "Name:\tsonde\nVmHWM:\t    1968 kB\nVmRSS:\t    1900 kB\n";
        assert_eq!(high_water_mark(status), Some(1968 * 1024));
        assert_eq!(high_water_mark("Name:\tsonde\n"), None);
        assert_eq!(high_water_mark("VmHWM:\tmuch kB\n"), None);
    }

    #[test]
    fn pressure_ends_when_dropped() {
        let pressing = Pressing {
            threads: 2,
            random: true,
        };
        let pressure = Pressure::start(pressing).unwrap();
        let stop = pressure.stop.clone();
        assert_eq!(pressure.threads.len(), 2);
        drop(pressure);
        // Both threads are joined, so theirs are gone.
        assert_eq!(Arc::strong_count(&stop), 1);
    }

    #[test]
    fn a_threads_cpu_time_does_not_go_backwards() {
        let before = thread_cpu();
        assert!(thread_cpu() >= before);
    }
}
