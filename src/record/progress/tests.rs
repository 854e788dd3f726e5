use super::*;
use crate::probe::{Probe, Prober, RunContext};
use crate::resource::RuntimeState;
use tokio_util::sync::CancellationToken;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A runtime in simulated time, seen as Sonde sees it: probed every 30 s, scraped every 5 s.
struct Scene {
    now: Instant,
    start: Instant,
    record: Record,
    states: RuntimeStates,
    flight: Option<(Instant, Option<Instant>)>,
    generated: f64,
}

/// How the simulated runtime behaves for a while.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// Answers within 2 s, token by token.
    Healthy,
    /// Works on others' requests; ours waits for a minute.
    Queueing,
    /// Streams, and stops after a second. Its metrics answer.
    Freezing,
    /// Takes connections and answers nothing.
    Mute,
    /// Nobody listens.
    Gone,
}

const PERIOD: Duration = secs(30);

impl Scene {
    fn new() -> Self {
        // Room to count back.
        let start = Instant::now() + secs(1000);
        Self {
            now: start,
            start,
            record: Record {
                watched: WatchedTarget {
                    target: Arc::from("t"),
                    runtime: Arc::from("vllm"),
                    model: Arc::from("m"),
                    flights: Vec::new(),
                    period: PERIOD,
                },
                last: None,
                streak: 0,
                work: Work::default(),
            },
            states: RuntimeStates::default(),
            flight: None,
            generated: 0.0,
        }
    }

    /// Lives through a second, and judges.
    fn second(&mut self, behaviour: Behaviour) -> Progress {
        let elapsed = self.now.duration_since(self.start).as_secs();
        if elapsed.is_multiple_of(5) {
            self.scrape(behaviour);
        }
        if elapsed.is_multiple_of(PERIOD.as_secs()) && self.flight.is_none() {
            self.flight = Some((self.now, None));
        }
        self.stream(behaviour);
        let flights = self.flight.iter().map(|(dispatched, last_token)| Flight {
            dispatched: *dispatched,
            last_token: *last_token,
        });
        let evidence = Evidence {
            flights: flights.collect(),
            last: self.record.last,
            streak: self.record.streak,
            word: self.states.word("t"),
            worked: None,
            patience: PERIOD,
        };
        let verdict = evidence.judge(self.now);
        self.now += secs(1);
        verdict
    }

    fn scrape(&mut self, behaviour: Behaviour) {
        let target: Arc<str> = Arc::from("t");
        let (state, running) = match behaviour {
            Behaviour::Mute | Behaviour::Gone => (false, 0.0),
            Behaviour::Queueing => {
                self.generated += 100.0;
                (true, 8.0)
            }
            Behaviour::Freezing => (true, 1.0),
            Behaviour::Healthy => (true, 0.0),
        };
        let state = state.then(|| RuntimeState {
            running: Some(running),
            waiting: Some(0.0),
            generation_tokens: Some(self.generated),
            ..RuntimeState::at(self.now)
        });
        // What began to be silent did so now, in this scene's time.
        match state {
            None if !matches!(self.states.word("t"), Some(Word::Silent { .. })) => {
                self.states.set_silent(&target, self.now);
            }
            state => self.states.set(&target, state),
        }
    }

    fn stream(&mut self, behaviour: Behaviour) {
        let Some((dispatched, last_token)) = &mut self.flight else {
            return;
        };
        let age = self.now.duration_since(*dispatched);
        let end = match behaviour {
            Behaviour::Gone => Some(Sign::Unreachable),
            Behaviour::Healthy if age >= secs(2) => Some(Sign::Alive),
            Behaviour::Queueing if age >= secs(60) => Some(Sign::Alive),
            Behaviour::Freezing if age >= secs(21) => Some(Sign::Frozen),
            Behaviour::Mute if age >= secs(60) => Some(Sign::Silent),
            Behaviour::Healthy => {
                *last_token = Some(self.now);
                self.generated += 10.0;
                None
            }
            Behaviour::Freezing if age <= secs(1) => {
                *last_token = Some(self.now);
                None
            }
            _ => None,
        };
        if let Some(sign) = end {
            self.flight = None;
            let record = &mut self.record;
            record.streak = if record.last == Some(sign) {
                record.streak + 1
            } else {
                1
            };
            record.last = Some(sign);
        }
    }

    /// The seconds until the verdict is there and stays for as long as this goes on.
    fn settles(
        &mut self,
        behaviour: Behaviour,
        seconds: u64,
        fits: impl Fn(Progress) -> bool,
    ) -> Option<u64> {
        let verdicts: Vec<Progress> = (0..seconds).map(|_| self.second(behaviour)).collect();
        let last_wrong = verdicts.iter().rposition(|verdict| !fits(*verdict));
        let settled = last_wrong.map_or(0, |place| place as u64 + 1);
        (settled < seconds).then_some(settled)
    }
}

const fn well(verdict: Progress) -> bool {
    matches!(verdict, Progress::Idle | Progress::Busy)
}

#[test]
fn each_state_has_its_verdict_within_two_periods() {
    let two = PERIOD.as_secs() * 2;
    let verdicts = [
        (Behaviour::Queueing, Progress::Busy),
        (Behaviour::Freezing, Progress::Stalled),
        (Behaviour::Mute, Progress::Dead),
        (Behaviour::Gone, Progress::Dead),
    ];
    for (behaviour, expected) in verdicts {
        for lead in [60, 61, 75, 89] {
            let mut scene = Scene::new();
            scene.settles(Behaviour::Healthy, lead, well).unwrap();
            let took = scene.settles(behaviour, 300, |verdict| match behaviour {
                // While a run streams its first second it is busy, and rightly.
                Behaviour::Freezing => matches!(verdict, Progress::Stalled | Progress::Busy),
                _ => verdict == expected,
            });
            assert!(
                took.is_some_and(|took| took <= two),
                "{behaviour:?} after {lead}: {took:?}"
            );
            assert!(
                (0..PERIOD.as_secs()).any(|_| scene.second(behaviour) == expected),
                "{behaviour:?}"
            );
            let recovered = scene.settles(Behaviour::Healthy, 120, well);
            assert!(
                recovered.is_some_and(|took| took <= two),
                "{behaviour:?}: {recovered:?}"
            );
        }
    }
}

#[test]
fn a_stream_that_freezes_is_stalled_within_two_periods() {
    let mut scene = Scene::new();
    scene.settles(Behaviour::Healthy, 60, well).unwrap();
    let first = (0..60).position(|_| scene.second(Behaviour::Freezing) == Progress::Stalled);
    assert!(first.is_some(), "{first:?}");
}

#[test]
fn in_an_hour_of_health_and_queues_nobody_is_told_to_restart() {
    let mut scene = Scene::new();
    for second in 0..3600_u64 {
        let behaviour = match second / 150 % 3 {
            0 => Behaviour::Healthy,
            1 => Behaviour::Queueing,
            _ => Behaviour::Healthy,
        };
        let verdict = scene.second(behaviour);
        assert!(
            !verdict.wants_restart(),
            "second {second}: {verdict:?} while {behaviour:?}"
        );
    }
}

#[test]
fn without_a_word_of_the_runtime_a_long_wait_is_no_death() {
    let now = Instant::now() + secs(1000);
    let waiting = |ago, last, streak| Evidence {
        flights: vec![Flight {
            dispatched: now - secs(ago),
            last_token: None,
        }],
        last,
        streak,
        word: None,
        worked: None,
        patience: PERIOD,
    };
    assert_eq!(
        waiting(50, Some(Sign::Alive), 9).judge(now),
        Progress::Unknown
    );
    assert_eq!(
        waiting(50, Some(Sign::Silent), 1).judge(now),
        Progress::Unknown
    );
    assert_eq!(
        waiting(50, Some(Sign::Silent), 2).judge(now),
        Progress::Stalled
    );
    assert_eq!(waiting(5, None, 0).judge(now), Progress::Unknown);
}

#[test]
fn runs_that_say_nothing_of_the_runtime_change_no_verdict() {
    let probe = Probe::example();
    let watch = ProgressWatch::new(RuntimeStates::default(), RunMeter::default());
    watch.set(vec![WatchedTarget {
        target: probe.labels.target.clone(),
        runtime: probe.labels.runtime.clone(),
        model: probe.labels.model.clone(),
        flights: Vec::new(),
        period: PERIOD,
    }]);
    let context = RunContext::on_demand(CancellationToken::new());
    let mut run = Prober::default().aborted(&probe, &context);
    let verdict = || watch.verdict("t", Instant::now());
    watch.observe(&Arc::new(run.clone()));
    assert_eq!(verdict(), Some(Progress::Unknown));
    run.outcome = Outcome::Http5xx;
    watch.observe(&Arc::new(run.clone()));
    assert_eq!(verdict(), Some(Progress::Idle), "an error is an answer");
    run.outcome = Outcome::Refused;
    watch.observe(&Arc::new(run));
    assert_eq!(verdict(), Some(Progress::Dead));
    assert_eq!(watch.verdict("other", Instant::now()), None);
}
