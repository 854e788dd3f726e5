use super::*;
use crate::probe::{Probe, Prober, RunContext};
use crate::slo::{Conditions, Selector};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn objective(name: &str) -> Objective {
    Objective {
        name: name.to_owned(),
        selector: Selector::default(),
        objective: 0.99,
        window: 30 * DAY,
        conditions: Conditions::default(),
    }
}

/// A book in which time passes as the test wants.
struct Simulation {
    book: SloBook,
    probe: Probe,
    template: Observation,
    now: Instant,
}

impl Simulation {
    fn of(objectives: &[Objective]) -> Self {
        let probe = Probe::example();
        let context = RunContext::on_demand(CancellationToken::new());
        let mut template = Prober::default().aborted(&probe, &context);
        template.latency.inference = Duration::ZERO;
        let book = SloBook::default();
        let now = book.origin;
        let simulation = Self {
            book,
            probe,
            template,
            now,
        };
        simulation.reload(objectives);
        simulation
    }

    fn reload(&self, objectives: &[Objective]) {
        let probes = match objectives {
            [] => Vec::new(),
            objectives => vec![ProbeObjectives {
                labels: self.probe.labels.clone(),
                objectives: objectives.to_vec(),
                period: PERIOD,
            }],
        };
        self.book.retain(probes, self.now);
    }

    fn run(&mut self, outcome: Outcome) {
        self.now += PERIOD;
        let mut run = self.template.clone();
        run.dispatched = self.now;
        run.outcome = outcome;
        self.book.observe(&Arc::new(run));
    }

    fn runs(&mut self, outcome: Outcome, time: Duration) {
        for _ in 0..time.as_secs() / PERIOD.as_secs() {
            self.run(outcome);
        }
    }

    fn standing(&self) -> Standing {
        let mut standings = self.book.standings(self.now);
        assert_eq!(standings.len(), 1);
        standings.remove(0)
    }

    fn rate(&self, window: Duration) -> f64 {
        self.standing().burn_over(window).unwrap().rate.unwrap()
    }
}

#[test]
fn thirty_days_spend_a_budget_exactly_and_forget_it_after_thirty_more() {
    let mut simulation = Simulation::of(&[objective("o")]);
    let fresh = simulation.standing();
    assert_eq!((fresh.good_ratio, fresh.budget_remaining), (None, None));
    assert_eq!((fresh.bounds, fresh.effective_events), (None, None));
    assert_eq!(fresh.health(), Health::Unknown);

    simulation.runs(Outcome::Success, 20 * DAY);
    simulation.runs(Outcome::Http5xx, 2 * HOUR);
    simulation.runs(Outcome::Success, 4 * DAY);
    let standing = simulation.standing();
    let (judged, bad) = (24 * 2880 + 240, 240);
    let counts = Counts {
        good: judged - bad,
        bad,
        excluded: 0,
    };
    assert_eq!((standing.counts, standing.total), (counts, counts));
    let left = 1.0 - bad as f64 / (0.01 * judged as f64);
    assert!((standing.budget_remaining.unwrap() - left).abs() < 1e-9);
    assert_eq!(standing.covered, 24 * DAY + 2 * HOUR);
    assert_eq!(standing.health(), Health::Kept);
    // One outage of 240 runs is far from 240 proofs, so nothing is certain yet.
    assert!(standing.effective_events.unwrap() < 400.0);
    assert!(!standing.is_certain());

    simulation.runs(Outcome::Success, 30 * DAY);
    let standing = simulation.standing();
    assert_eq!(standing.counts.bad, 0);
    assert_eq!(standing.total.bad, 240, "what is counted for good stays");
    assert_eq!(standing.budget_remaining, Some(1.0));
    assert!(
        standing.counts.good.abs_diff(30 * 2880) <= 864,
        "one per cent of a window"
    );
    assert_eq!(standing.covered, 30 * DAY);
    let slots = simulation.book.accounts.lock()[&simulation.probe.labels]
        .iter()
        .map(|account| account.window.slots())
        .sum::<usize>();
    assert!(slots <= 100, "{slots}");
}

#[test]
fn an_outage_burns_until_it_leaves_the_short_window() {
    let mut simulation = Simulation::of(&[objective("o")]);
    simulation.runs(Outcome::Success, DAY);
    assert_eq!(simulation.standing().burning(), None);
    assert_eq!(simulation.rate(HOUR), 0.0);
    simulation.run(Outcome::Http5xx);
    assert_eq!(
        simulation.standing().burning(),
        None,
        "one failure is no outage"
    );
    simulation.runs(Outcome::Http5xx, HOUR / 4);
    // 31 of 120 runs are bad, where 1 % may be.
    assert!((simulation.rate(HOUR) - 31.0 / 120.0 / 0.01).abs() < 0.3);
    assert_eq!(simulation.standing().burning(), Some(Urgency::Page));
    simulation.runs(Outcome::Success, HOUR / 2);
    assert_ne!(simulation.standing().burning(), Some(Urgency::Page));
    simulation.runs(Outcome::Success, 4 * DAY);
    assert_eq!(simulation.standing().burning(), None);
}

#[test]
fn a_broken_promise_is_certain_only_after_enough_bursts() {
    let mut simulation = Simulation::of(&[objective("o")]);
    simulation.runs(Outcome::Success, HOUR);
    simulation.runs(Outcome::Stalled, HOUR / 20);
    let standing = simulation.standing();
    assert_eq!(standing.health(), Health::Broken);
    assert!(standing.budget_remaining.unwrap() < 0.0);
    for _ in 0..200 {
        simulation.runs(Outcome::Success, HOUR);
        simulation.runs(Outcome::Stalled, HOUR / 20);
    }
    let standing = simulation.standing();
    assert_eq!(standing.health(), Health::Broken);
    assert!(standing.is_certain(), "{:?}", standing.bounds);
    assert!(standing.bounds.unwrap().upper < 0.99);
}

#[test]
fn excluded_runs_count_and_move_nothing_else() {
    let mut simulation = Simulation::of(&[objective("o")]);
    simulation.runs(Outcome::Success, HOUR);
    simulation.run(Outcome::Stalled);
    let before = simulation.standing();
    for _ in 0..5 {
        simulation.run(Outcome::Cancelled);
    }
    let after = simulation.standing();
    assert_eq!(after.total.excluded, 5);
    assert_eq!(
        (
            after.good_ratio,
            after.effective_events,
            after.budget_remaining
        ),
        (
            before.good_ratio,
            before.effective_events,
            before.budget_remaining
        )
    );
    // What follows a bad run follows it even across excluded ones.
    simulation.run(Outcome::Stalled);
    assert!(simulation.standing().effective_events < after.effective_events);
    assert_eq!(simulation.standing().latest_bad.len(), 2);
    let last = simulation.standing().last.unwrap();
    assert_eq!(
        (last.judgement, last.outcome),
        (Judgement::Bad, Outcome::Stalled)
    );
}

#[test]
fn a_reload_goes_on_with_the_same_and_begins_a_changed_window_anew() {
    let (kept, changed) = (objective("kept"), objective("changed"));
    let mut simulation = Simulation::of(&[kept.clone(), changed.clone()]);
    simulation.runs(Outcome::Http5xx, HOUR);
    let strict = Objective {
        conditions: Conditions {
            first_token_under: Some(Duration::from_millis(1)),
            ..Conditions::default()
        },
        ..changed
    };
    simulation.reload(&[strict, objective("new"), kept]);
    let standings = simulation.book.standings(simulation.now);
    let figures: Vec<_> = standings
        .iter()
        .map(|one| {
            (
                &*one.objective.name,
                one.counts.bad,
                one.total.bad,
                one.covered,
            )
        })
        .collect();
    assert_eq!(
        figures,
        [
            ("changed", 0, 120, Duration::ZERO),
            ("new", 0, 0, Duration::ZERO),
            ("kept", 120, 120, HOUR),
        ]
    );
    assert!(standings[0].latest_bad.is_empty() && standings[0].burn[0].rate.is_none());
    assert_eq!(standings[2].latest_bad.len(), 10);

    simulation.reload(&[]);
    simulation.run(Outcome::Http5xx);
    assert!(simulation.book.standings(simulation.now).is_empty());
    simulation.reload(&[objective("kept")]);
    assert_eq!(simulation.standing().total, Counts::default());
}

#[test]
fn another_cadence_keeps_the_windows_that_stay() {
    let mut simulation = Simulation::of(&[objective("o")]);
    simulation.runs(Outcome::Http5xx, HOUR);
    let rare = ProbeObjectives {
        labels: simulation.probe.labels.clone(),
        objectives: vec![objective("o")],
        period: 20 * PERIOD,
    };
    let before = simulation.standing();
    simulation.book.retain(vec![rare], simulation.now);
    let after = simulation.standing();
    assert_eq!(after.counts, before.counts);
    assert_ne!(after.policy, before.policy);
    assert_eq!(after.burn.len(), after.policy.windows().len());
    for burn in &after.burn {
        match before.burn_over(burn.window) {
            Some(same) => assert_eq!(burn, same),
            None => assert_eq!((burn.rate, burn.covered), (None, Duration::ZERO)),
        }
    }
}
