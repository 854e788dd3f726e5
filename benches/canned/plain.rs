//! What benchmarks without criterion share.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// `cargo bench` says `--bench`, and the name of those that are wanted; `cargo test` says neither.
pub fn is_wanted(benchmark: &str) -> bool {
    let (flags, names): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with('-'));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let named = names.is_empty() || names.iter().any(|name| benchmark.contains(name.as_str()));
    has("--bench") && !has("--test") && named
}

/// CPU time of the calling thread since it began.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap();
    Duration::new(u64::try_from(time.tv_sec).unwrap(), nanos)
}
