//! The thread that probes: its own runtime, apart from HTTP, sampling and encoding, so that none of
//! them stands between a read and its stamp.

use std::io;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads for name resolution, which blocks. They end when idle.
const RESOLVER_THREADS: usize = 8;

pub(super) struct IoThread {
    handle: Handle,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl IoThread {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVER_THREADS)
            .build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("probe-io".to_owned())
            .spawn(move || {
                runtime.block_on(stopped.cancelled());
                // A resolver that hangs must not hold up the exit.
                runtime.shutdown_background();
            })?;
        Ok(Self { handle, stop, thread })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(super) fn stop(self) {
        self.stop.cancel();
        self.thread.join().ok();
    }
}
