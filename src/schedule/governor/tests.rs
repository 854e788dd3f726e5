use super::*;
use proptest::prelude::*;

struct Bench {
    governor: Arc<Governor>,
    scenario: Arc<str>,
    start: Instant,
}

impl Bench {
    fn with(limits: Limits) -> Self {
        let start = Instant::now();
        Self {
            governor: Governor::new(limits, start),
            scenario: Arc::from("chat"),
            start,
        }
    }

    fn ask(
        &self,
        at: Duration,
        guess: Expense,
        state: Option<RuntimeState>,
    ) -> Result<Admission, SkipReason> {
        let now = self.start + at;
        let state = state.map(|state| RuntimeState {
            taken: now,
            ..state
        });
        self.governor.admit(Circumstances {
            scenario: &self.scenario,
            guess,
            wake: Wake::Never,
            state: state.as_ref(),
            now,
            wall: Timestamp::UNIX_EPOCH,
        })
    }
}

fn tokens(input: f64, output: f64) -> Expense {
    Expense {
        input_tokens: input,
        output_tokens: output,
        usd: 0.0,
    }
}

fn state(waiting: f64, generated: f64) -> RuntimeState {
    RuntimeState {
        running: Some(4.0),
        waiting: Some(waiting),
        generation_tokens: Some(generated),
        ..RuntimeState::at(Instant::now())
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_days_budget_is_never_exceeded_and_comes_back_after_a_day() {
    let bench = Bench::with(Limits {
        tokens_per_day: Some(250.0),
        ..Limits::default()
    });
    bench
        .ask(secs(0), tokens(60.0, 40.0), None)
        .unwrap()
        .settle(tokens(60.0, 40.0));
    bench
        .ask(secs(60), tokens(60.0, 40.0), None)
        .unwrap()
        .settle(tokens(60.0, 40.0));
    let refused = bench.ask(secs(120), tokens(60.0, 40.0), None);
    assert_eq!(refused.unwrap_err(), SkipReason::TokenBudget);
    let day = Duration::from_hours(25);
    assert!(bench.ask(day, tokens(60.0, 40.0), None).is_ok());
}

#[test]
fn a_run_in_flight_has_spent_what_it_is_expected_to_and_a_cheap_one_gives_back() {
    let bench = Bench::with(Limits {
        tokens_per_day: Some(150.0),
        ..Limits::default()
    });
    let first = bench.ask(secs(0), tokens(0.0, 100.0), None).unwrap();
    assert!(bench.ask(secs(1), tokens(0.0, 100.0), None).is_err());
    first.settle(tokens(0.0, 10.0));
    assert!(bench.ask(secs(2), tokens(0.0, 100.0), None).is_ok());
}

#[test]
fn what_a_scenario_once_took_is_expected_again() {
    let bench = Bench::with(Limits {
        tokens_per_day: Some(1000.0),
        ..Limits::default()
    });
    bench
        .ask(secs(0), tokens(10.0, 10.0), None)
        .unwrap()
        .settle(tokens(500.0, 100.0));
    let refused = bench.ask(secs(1), tokens(10.0, 10.0), None);
    assert_eq!(refused.unwrap_err(), SkipReason::TokenBudget);
}

#[test]
fn what_is_asked_for_on_demand_spends_the_same_budget() {
    let bench = Bench::with(Limits {
        tokens_per_day: Some(150.0),
        ..Limits::default()
    });
    bench.governor.charge(bench.start, tokens(50.0, 50.0));
    assert!(bench.ask(secs(1), tokens(0.0, 100.0), None).is_err());
    assert!(bench.ask(secs(1), tokens(0.0, 50.0), None).is_ok());
}

#[test]
fn dollars_have_their_own_budget() {
    let bench = Bench::with(Limits {
        usd_per_day: Some(1.0),
        ..Limits::default()
    });
    let run = Expense {
        usd: 0.6,
        ..Expense::default()
    };
    bench.ask(secs(0), run, None).unwrap().settle(run);
    assert_eq!(
        bench.ask(secs(1), run, None).unwrap_err(),
        SkipReason::CostBudget
    );
}

#[test]
fn back_off_thins_out_and_ends_with_the_saturation() {
    let bench = Bench::with(Limits {
        waiting_above: Some(8.0),
        ..Limits::default()
    });
    let ran = |ticks: std::ops::Range<u64>, waiting: f64| -> Vec<u64> {
        let ask = |tick: &u64| {
            bench
                .ask(secs(*tick), Expense::default(), Some(state(waiting, 0.0)))
                .is_ok()
        };
        ticks.filter(ask).collect()
    };
    assert_eq!(ran(0..3, 8.0), [0, 1, 2], "at the limit is not above it");
    assert_eq!(ran(3..80, 9.0), [4, 7, 12, 21, 38, 55, 72]);
    assert_eq!(ran(80..83, 0.0), [80, 81, 82]);
    assert_eq!(ran(83..86, 9.0), [84]);
}

#[test]
fn an_old_word_of_the_runtime_holds_nobody_back() {
    let bench = Bench::with(Limits {
        waiting_above: Some(0.0),
        ..Limits::default()
    });
    let old = state(9.0, 0.0);
    let asked = bench.governor.admit(Circumstances {
        scenario: &bench.scenario,
        guess: Expense::default(),
        wake: Wake::Never,
        state: Some(&old),
        now: old.taken + STALE,
        wall: Timestamp::UNIX_EPOCH,
    });
    assert!(asked.is_ok());
}

#[test]
fn the_share_of_a_busy_runtime_stays_within_its_bound_and_an_idle_one_may_be_asked() {
    let bench = Bench::with(Limits {
        share: Some(0.05),
        ..Limits::default()
    });
    let (mut generated, mut ours, mut skipped) = (0.0, 0.0, 0);
    for tick in 0..2000 {
        // Others get 20 tokens a second.
        generated += 20.0;
        match bench.ask(secs(tick), tokens(10.0, 16.0), Some(state(1.0, generated))) {
            Ok(run) => {
                run.settle(tokens(10.0, 16.0));
                generated += 16.0;
                ours += 16.0;
            }
            Err(reason) => {
                assert_eq!(reason, SkipReason::TokenShare);
                skipped += 1;
            }
        }
        assert!(
            ours <= 0.05 * generated + 1e-9,
            "tick {tick}: {ours} of {generated}"
        );
    }
    assert!(
        ours > 0.04 * generated && skipped > 1000,
        "{ours} of {generated}"
    );
    let idle = RuntimeState {
        running: Some(0.0),
        waiting: Some(0.0),
        ..state(0.0, generated)
    };
    assert!(bench.ask(secs(2001), tokens(0.0, 1e6), Some(idle)).is_ok());
}

proptest! {
    /// Whatever the clock does, in any 24 hours no more is spent than allowed.
    #[test]
    fn budgets_hold_under_random_clocks(
        budget in 100.0_f64..2000.0,
        steps in prop::collection::vec((0_u64..20_000, 1_u32..300, 0_u32..100), 1..300),
    ) {
        let bench = Bench::with(Limits { tokens_per_day: Some(budget), ..Limits::default() });
        let mut at = Duration::ZERO;
        let mut spent: Vec<(Duration, f64)> = Vec::new();
        for (wait, expected, percent) in steps {
            at += secs(wait);
            let guess = tokens(0.0, f64::from(expected));
            if let Ok(run) = bench.ask(at, guess, None) {
                let took = f64::from(expected) * f64::from(percent) / 100.0;
                run.settle(tokens(0.0, took));
                spent.push((at, took));
            }
            let young = spent.iter().filter(|(then, _)| at - *then <= DAY);
            let sum: f64 = young.map(|(_, tokens)| tokens).sum();
            prop_assert!(sum <= budget + 1e-6, "{sum} of {budget}");
        }
    }
}
