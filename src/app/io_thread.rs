//! The thread that probes: its own runtime, apart from HTTP, sampling and encoding, so that none of
//! them stands between a read and its stamp.

use crate::transport::Wakeups;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads for name resolution, which blocks. They end when idle.
const RESOLVER_THREADS: usize = 8;

/// A thread with a runtime of its own.
pub struct IoThread {
    handle: Handle,
    wakeups: Arc<Wakeups>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl IoThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread or a runtime.
    pub fn start() -> io::Result<Self> {
        let wakeups = Wakeups::new();
        let (parking, woken) = (wakeups.clone(), wakeups.clone());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parking.parking())
            .on_thread_unpark(move || woken.unparked())
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
        Ok(Self {
            handle,
            wakeups,
            stop,
            thread,
        })
    }

    /// Where to spawn what shall run there.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How long the thread waits for a CPU, for those who stamp there.
    pub fn wakeups(&self) -> Arc<Wakeups> {
        self.wakeups.clone()
    }

    /// Ends the thread; what still runs there is dropped.
    pub fn stop(self) {
        self.stop.cancel();
        self.thread.join().ok();
    }
}
