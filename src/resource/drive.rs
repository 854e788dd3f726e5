//! Asks every sampler at a steady pace, each on a thread of its own.

use super::samplers::{SamplerReport, Samplers, Slot, UNSUPPORTED_RETRY};
use crate::base::shutdown::Shutdown;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// How long a sampler may take before it counts as failed. Opening the GPU driver without
/// persistence mode takes seconds and is no fault.
pub const HUNG_AFTER: Duration = Duration::from_secs(10);

/// The fastest pace: below it the machine would be measuring us.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Samples until shutdown, and hands out what every sampler said last: once per interval, as
/// soon as all have answered, or at the next tick without those that are late.
///
/// A late sampler is not asked again before it answers, so nothing piles up; its report stays
/// what it was, with the instant at which it was taken, until [`HUNG_AFTER`]. From then on it has
/// failed and has no readings; what it says at last is too old to use.
pub async fn run(
    samplers: Samplers,
    interval: Duration,
    shutdown: Shutdown,
    publish: impl Fn(Vec<SamplerReport>) + Send + 'static,
) {
    let pace = Pace {
        interval: interval.max(SHORTEST_INTERVAL),
        hung_after: HUNG_AFTER,
    };
    drive(samplers.slots, pace, shutdown, publish).await;
}

/// The two times of [`drive`].
#[derive(Clone, Copy)]
struct Pace {
    interval: Duration,
    hung_after: Duration,
}

async fn drive(
    slots: Vec<Slot>,
    pace: Pace,
    shutdown: Shutdown,
    publish: impl Fn(Vec<SamplerReport>) + Send + 'static,
) {
    if slots.is_empty() {
        return;
    }
    let (answer, mut answers) = mpsc::channel(slots.len());
    let mut seats: Vec<Seat> = Vec::with_capacity(slots.len());
    for slot in slots {
        seats.push(Seat::start(slot, seats.len(), answer.clone()));
    }
    let mut ticks = tokio::time::interval(pace.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.token().cancelled() => return,
            now = ticks.tick() => {
                let mut late = false;
                for seat in &mut seats {
                    late |= seat.asked.is_some();
                    seat.tick(now, pace.hung_after);
                }
                if late {
                    publish(latest(&seats));
                }
            }
            Some((index, report)) = answers.recv() => {
                if let Some(seat) = seats.get_mut(index) {
                    seat.answered(report);
                }
                if !seats.iter().any(Seat::is_awaited) {
                    publish(latest(&seats));
                }
            }
        }
    }
}

fn latest(seats: &[Seat]) -> Vec<SamplerReport> {
    seats.iter().filter_map(|seat| seat.last.clone()).collect()
}

/// One sampler's thread, seen from outside.
struct Seat {
    name: &'static str,
    orders: std::sync::mpsc::Sender<()>,
    /// Since when an answer is owed.
    asked: Option<Instant>,
    /// Until when what is not available here is left alone: waking a thread is not free.
    rests_until: Option<Instant>,
    /// Whether it has been owed for too long.
    hung: bool,
    /// How often that happened, and the failures that the sampler itself reported.
    hangs: u64,
    failures: u64,
    last: Option<SamplerReport>,
}

impl Seat {
    /// Starts the thread. It is a plain one, tracked by nobody: a call that hangs inside a driver
    /// can be neither cancelled nor waited for, and tokio's blocking threads would hold up the
    /// end of the process. It ends with its seat, or after the call that it is in.
    fn start(mut slot: Slot, index: usize, answer: mpsc::Sender<(usize, SamplerReport)>) -> Self {
        let name = slot.name();
        let (orders, inbox) = std::sync::mpsc::channel();
        let work = move || {
            while inbox.recv().is_ok() {
                if answer.blocking_send((index, slot.sample())).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("sample-{name}"));
        if let Err(error) = thread.spawn(work) {
            tracing::error!(sampler = name, %error, "cannot start a sampler's thread");
        }
        Self {
            name,
            orders,
            asked: None,
            rests_until: None,
            hung: false,
            hangs: 0,
            failures: 0,
            last: None,
        }
    }

    fn tick(&mut self, now: Instant, hung_after: Duration) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        let Some(asked) = self.asked else {
            // No thread to hear it (it could not start, or panicked): then no answer will come,
            // and that is found out below.
            let _ = self.orders.send(());
            self.asked = Some(now);
            return;
        };
        let waited = now.saturating_duration_since(asked);
        if waited < hung_after {
            return;
        }
        if !self.hung {
            self.hung = true;
            self.hangs += 1;
            tracing::warn!(sampler = self.name, ?waited, "sampler hangs");
        }
        self.last = Some(SamplerReport {
            sampler: self.name,
            supported: true,
            success: false,
            duration: waited,
            taken: asked.into_std(),
            readings: Vec::new(),
            errors_total: self.failures + self.hangs,
        });
    }

    fn answered(&mut self, mut report: SamplerReport) {
        self.asked = None;
        let unsupported = (!report.supported).then(|| Instant::now() + UNSUPPORTED_RETRY);
        self.rests_until = unsupported;
        self.failures = report.errors_total;
        report.errors_total += self.hangs;
        if self.hung {
            self.hung = false;
            tracing::info!(sampler = self.name, duration = ?report.duration, "sampler answered at last");
            report.success = false;
            report.readings.clear();
        }
        self.last = Some(report);
    }

    /// Whether it is worth waiting for.
    fn is_awaited(&self) -> bool {
        self.asked.is_some() && !self.hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::families::GPU_POWER;
    use crate::resource::{Reading, SampleError, Sampler};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn reading() -> Reading {
        GPU_POWER.reading(["0", "u", "n", "nvml"].map(str::to_owned), 1.0)
    }

    struct Healthy;

    impl Sampler for Healthy {
        fn name(&self) -> &'static str {
            "healthy"
        }

        fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
            Ok(vec![reading()])
        }
    }

    /// Answers once per permit, and hangs without one.
    struct Gated {
        permits: std::sync::mpsc::Receiver<()>,
        calls: Arc<AtomicU32>,
    }

    impl Sampler for Gated {
        fn name(&self) -> &'static str {
            "gated"
        }

        fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.permits.recv().unwrap();
            Ok(vec![reading()])
        }
    }

    /// Waits for a published pair of reports that fits; real time, since real threads answer.
    async fn wait_for(
        published: &mut mpsc::UnboundedReceiver<Vec<SamplerReport>>,
        fits: impl Fn(&SamplerReport, &SamplerReport) -> bool,
    ) -> Vec<SamplerReport> {
        let patience = Duration::from_secs(30);
        let search = async {
            loop {
                let reports = published.recv().await.unwrap();
                if let [healthy, gated] = reports.as_slice()
                    && fits(healthy, gated)
                {
                    return reports;
                }
            }
        };
        tokio::time::timeout(patience, search).await.unwrap()
    }

    #[tokio::test]
    async fn a_sampler_that_hangs_fails_alone_never_piles_up_and_may_come_back() {
        let (permit, permits) = std::sync::mpsc::channel();
        let calls = Arc::new(AtomicU32::new(0));
        let gated = Gated {
            permits,
            calls: calls.clone(),
        };
        let slots = vec![Slot::new(Box::new(Healthy)), Slot::new(Box::new(gated))];
        let pace = Pace {
            interval: Duration::from_millis(10),
            hung_after: Duration::from_millis(100),
        };
        let (publish, mut published) = mpsc::unbounded_channel();
        let shutdown = Shutdown::new();
        let publish = move |reports| publish.send(reports).unwrap_or_default();
        let driver = drive(slots, pace, shutdown.clone(), publish);
        shutdown.tracker().spawn(driver);

        permit.send(()).unwrap();
        wait_for(&mut published, |_, gated| gated.success).await;
        for _ in 0..5 {
            let reports = wait_for(&mut published, |healthy, gated| {
                healthy.success && !gated.success
            })
            .await;
            assert_eq!(reports[0].readings.len(), 1);
            assert!(reports[1].readings.is_empty());
            assert_eq!(reports[1].errors_total, 1);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2, "asked once, not again");

        for _ in 0..2 {
            permit.send(()).unwrap();
        }
        let reports = wait_for(&mut published, |_, gated| gated.success).await;
        assert_eq!(reports[1].errors_total, 1);

        shutdown.begin();
        tokio::time::timeout(Duration::from_secs(30), shutdown.drained())
            .await
            .expect("a hung sampler must not hold up shutdown");
    }
}
