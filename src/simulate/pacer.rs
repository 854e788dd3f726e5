//! Wakes tasks when they are due, to a fraction of a millisecond: tokio's timer ticks in whole ones,
//! which would bring the tokens of many streams in bursts.

pub(super) use imp::{Alarm, Pacer};

#[cfg(target_os = "linux")]
mod imp {
    use std::cmp::Ordering;
    use std::collections::BinaryHeap;
    use std::convert::Infallible;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe;
    use tracing::error;

    /// Whoever falls due sooner after others have been woken waits until then: with hundreds of
    /// streams a wake-up for each token would cost three times as much as the token.
    const SHORTEST_ROUND: Duration = Duration::from_micros(200);

    /// One kernel timer for all tasks. Clones share it.
    #[derive(Clone, Debug)]
    pub(in crate::simulate) struct Pacer(Arc<Shared>);

    #[derive(Debug)]
    struct Shared {
        timer: OwnedFd,
        queue: Mutex<Queue>,
    }

    #[derive(Debug)]
    struct Queue {
        waiting: BinaryHeap<Waiting>,
        last_round: Instant,
    }

    impl Pacer {
        /// A pacer that wakes nobody yet.
        pub(in crate::simulate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            Ok(Self(Arc::new(Shared {
                timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
                queue: Mutex::new(Queue {
                    waiting: BinaryHeap::new(),
                    last_round: Instant::now(),
                }),
            })))
        }

        /// Wakes whoever is due, for ever.
        pub(in crate::simulate) async fn run(self) {
            let Err(error) = self.wake_all().await;
            error!(%error, "simulated runtime has no timer");
        }

        async fn wake_all(&self) -> io::Result<Infallible> {
            // Any descriptor that becomes readable will do: tokio has no type for timers, and none
            // for all of them without unsafe code.
            let timer = self.0.timer.try_clone()?;
            let mut timer = pipe::Receiver::from_owned_fd_unchecked(timer)?;
            // Twice the size of a count of expiries: a read that leaves room tells tokio that
            // there is no more.
            let mut expiries = [0; 16];
            let mut due = Vec::new();
            loop {
                if timer.read(&mut expiries).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut queue = self.0.queue.lock();
                let now = Instant::now();
                queue.last_round = now;
                while let Some(first) = queue.waiting.peek() {
                    if first.due > now {
                        self.set(first.due.max(now + SHORTEST_ROUND), now);
                        break;
                    }
                    due.extend(queue.waiting.pop());
                }
                drop(queue);
                due.drain(..).for_each(|one| one.waker.wake());
            }
        }

        fn wake_at(&self, due: Instant, waker: Waker) {
            let mut queue = self.0.queue.lock();
            let first = queue.waiting.peek();
            let is_first = first.is_none_or(|first| due < first.due);
            queue.waiting.push(Waiting { due, waker });
            if is_first {
                let round = due.max(queue.last_round + SHORTEST_ROUND);
                self.set(round, Instant::now());
            }
        }

        fn set(&self, round: Instant, now: Instant) {
            let wait = round.saturating_duration_since(now);
            // Zero would switch the timer off.
            let wait = wait.max(Duration::from_nanos(1));
            let value = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: Timespec {
                    tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: wait.subsec_nanos().into(),
                },
            };
            if let Err(error) = timerfd_settime(&self.0.timer, TimerfdTimerFlags::empty(), &value) {
                error!(%error, "simulated runtime cannot set its timer");
            }
        }
    }

    /// One task's way to wait for one instant after the other.
    #[derive(Debug)]
    pub(in crate::simulate) struct Alarm {
        pacer: Pacer,
        set: Option<(Instant, Waker)>,
    }

    impl Alarm {
        /// An alarm that is not set.
        pub(in crate::simulate) fn new(pacer: Pacer) -> Self {
            Self { pacer, set: None }
        }

        /// Ready from `due` on; until then the task will be woken at `due`.
        pub(in crate::simulate) fn poll(
            &mut self,
            due: Instant,
            context: &mut Context<'_>,
        ) -> Poll<()> {
            if due <= Instant::now() {
                self.set = None;
                return Poll::Ready(());
            }
            let waker = context.waker();
            let is_set = self
                .set
                .as_ref()
                .is_some_and(|(at, woken)| *at == due && woken.will_wake(waker));
            if !is_set {
                self.pacer.wake_at(due, waker.clone());
                self.set = Some((due, waker.clone()));
            }
            Poll::Pending
        }
    }

    /// A task to wake. The greatest is the one due first.
    #[derive(Debug)]
    struct Waiting {
        due: Instant,
        waker: Waker,
    }

    impl Ord for Waiting {
        fn cmp(&self, other: &Self) -> Ordering {
            other.due.cmp(&self.due)
        }
    }

    impl PartialOrd for Waiting {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Waiting {
        fn eq(&self, other: &Self) -> bool {
            self.due == other.due
        }
    }

    impl Eq for Waiting {}
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::future::{Future as _, pending};
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use tokio::time::{Sleep, sleep_until};

    /// Nothing: this system has no timer of the kind, and tokio's does.
    #[derive(Clone, Debug)]
    pub(in crate::simulate) struct Pacer;

    impl Pacer {
        pub(in crate::simulate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::simulate) async fn run(self) {
            pending().await
        }
    }

    /// One task's way to wait for one instant after the other.
    #[derive(Debug)]
    pub(in crate::simulate) struct Alarm(Pin<Box<Sleep>>);

    impl Alarm {
        pub(in crate::simulate) fn new(_: Pacer) -> Self {
            Self(Box::pin(sleep_until(Instant::now().into())))
        }

        /// Ready from `due` on; until then the task will be woken at `due`.
        pub(in crate::simulate) fn poll(
            &mut self,
            due: Instant,
            context: &mut Context<'_>,
        ) -> Poll<()> {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            if self.0.deadline() != due.into() {
                self.0.as_mut().reset(due.into());
            }
            self.0.as_mut().poll(context)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn everybody_is_woken_when_due_and_in_that_order() {
        let pacer = Pacer::new().unwrap();
        let start = Instant::now();
        let wait = async |millis: u64| {
            let due = start + Duration::from_millis(millis);
            let mut alarm = Alarm::new(pacer.clone());
            poll_fn(|context| alarm.poll(due, context)).await;
            assert!(Instant::now() >= due);
            Instant::now()
        };
        let all = async { tokio::join!(wait(30), wait(10), wait(0), wait(20), wait(10)) };
        let (third, first, none, second, same) = tokio::select! {
            woken = all => woken,
            () = pacer.clone().run() => panic!("it runs for ever"),
        };
        assert!(none < first && first < second && same < second && second < third);
        assert!(third - start < Duration::from_secs(10));
    }
}
