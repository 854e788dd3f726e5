//! The account of every objective, probe by probe: judged once, counted for good, and kept for as
//! long as a window looks back.

use super::burn::{BurnPolicy, BurnRule, LEAST_BAD, Urgency};
use super::interval::{Interval, effective_events, wilson};
use super::objective::{Breach, Judgement, Objective};
use super::rolling::{Counts, Rolling, Tally};
use crate::base::clock::wall_now;
use crate::base::label::ProbeLabels;
use crate::probe::{Observation, Outcome, RunId, Taint};
use crate::record::Sink;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many of the latest bad events an account remembers one by one.
const REMEMBERED: usize = 10;

/// A probe and the objectives that speak of it.
#[derive(Clone, Debug)]
pub struct ProbeObjectives {
    /// The probe.
    pub labels: ProbeLabels,
    /// In the configuration's order; names are unique.
    pub objectives: Vec<Objective>,
    /// Typical time between two runs: what burn rates can resolve.
    pub period: Duration,
}

/// How fast the error budget goes, within a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// The time looked back over.
    pub window: Duration,
    /// For how much of it there has been anybody to count.
    pub covered: Duration,
    /// What was counted.
    pub counts: Counts,
    /// Share of bad events ÷ the share that is allowed: at 1 the budget lasts exactly as long as the
    /// objective's window. Absent without a judged event.
    pub rate: Option<f64>,
}

/// One run, as an objective sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The run.
    pub run_id: RunId,
    /// When it ended.
    pub ended: Timestamp,
    /// What it counts as.
    pub judgement: Judgement,
    /// How it ended.
    pub outcome: Outcome,
    /// Why its figures are not to be trusted, where they are not.
    pub taint: Option<Taint>,
    /// Which conditions it broke. Empty where it was no success: then nothing was measured to the end.
    pub breaches: Vec<Breach>,
}

/// How one objective stands for one probe.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The probe.
    pub labels: ProbeLabels,
    /// What was promised.
    pub objective: Arc<Objective>,
    /// Typical time between two runs.
    pub period: Duration,
    /// Since when `total` has counted.
    pub since: Timestamp,
    /// Everything since then, whatever the window.
    pub total: Counts,
    /// What the objective's window holds.
    pub counts: Counts,
    /// For how much of the window there has been anybody to count.
    pub covered: Duration,
    /// Good ÷ (good + bad) within the window; absent without either.
    pub good_ratio: Option<f64>,
    /// Where the runtime's true ratio lies, with 95 % confidence; absent where `good_ratio` is.
    pub bounds: Option<Interval>,
    /// As how many independent events those in the window count: see [`effective_events`].
    pub effective_events: Option<f64>,
    /// 1 − bad ÷ (allowed share × judged) within the window: 1 untouched, 0 spent, negative overspent;
    /// absent without a judged event.
    pub budget_remaining: Option<f64>,
    /// Burn rates over every window of `policy`, shortest first.
    pub burn: Vec<Burn>,
    /// Which burn rates alert.
    pub policy: BurnPolicy,
    /// The latest event, whatever it counts as.
    pub last: Option<Arc<Event>>,
    /// The latest bad events of all that were counted, oldest first; 10 at the most.
    pub latest_bad: Vec<Arc<Event>>,
}

/// Whether a promise is kept, as far as the window tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// More was bad than the promise allows.
    Broken,
    /// Nothing was judged yet.
    Unknown,
    /// No more was bad than the promise allows.
    Kept,
}

impl Health {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Unknown => "unknown",
            Self::Kept => "kept",
        }
    }
}

impl Standing {
    /// Whether the promise is kept by what was seen.
    pub fn health(&self) -> Health {
        match self.good_ratio {
            None => Health::Unknown,
            Some(ratio) if ratio < self.objective.objective => Health::Broken,
            Some(_) => Health::Kept,
        }
    }

    /// The burn rate over a window of the policy.
    pub fn burn_over(&self, window: Duration) -> Option<&Burn> {
        self.burn.iter().find(|burn| burn.window == window)
    }

    /// How urgent it is that the budget goes too fast right now, by the rules that alerts follow, but
    /// without the time for which those wait; absent where it does not.
    pub fn burning(&self) -> Option<Urgency> {
        let exceeds = |window: Duration, rule: &BurnRule| {
            let burn = self.burn_over(window)?;
            (burn.rate? > rule.factor).then_some(burn.counts.bad)
        };
        let fires = |rule: &&BurnRule| {
            let (long, short) = (exceeds(rule.long, rule), exceeds(rule.short, rule));
            short.is_some() && long.is_some_and(|bad| bad >= u64::from(rule.least_bad))
        };
        let firing = self.policy.rules.iter().filter(fires);
        firing.map(|rule| rule.urgency).min()
    }

    /// Whether chance alone hardly explains [`Self::health`]: the promise lies outside the bounds and,
    /// where it is broken, there are as many bad runs as an alert asks for.
    pub fn is_certain(&self) -> bool {
        let promised = self.objective.objective;
        let enough = self.counts.bad >= u64::from(LEAST_BAD);
        self.bounds
            .is_some_and(|bounds| promised <= bounds.lower || (promised > bounds.upper && enough))
    }
}

/// Judges every run once, for each objective that speaks of its probe. Times are of the monotonic
/// clock, by the runs' own stamps.
#[derive(Debug)]
pub struct SloBook {
    origin: Instant,
    accounts: Mutex<BTreeMap<ProbeLabels, Vec<Account>>>,
}

impl Default for SloBook {
    /// Empty, from now on.
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            accounts: Mutex::default(),
        }
    }
}

impl SloBook {
    /// Makes the book hold exactly these. Accounts of the same probe and the same objective go on; where
    /// an objective of the same name has changed, its counts go on and its windows begin anew.
    pub fn retain(&self, probes: Vec<ProbeObjectives>, now: Instant) {
        let now = self.since_origin(now);
        let mut accounts = self.accounts.lock();
        let mut old = std::mem::take(&mut *accounts);
        for probe in probes {
            let mut before = old.remove(&probe.labels).unwrap_or_default();
            let booked = probe.objectives.into_iter().map(|objective| {
                let known = before
                    .iter()
                    .position(|one| one.objective.name == objective.name);
                let known = known.map(|index| before.swap_remove(index));
                Account::open(objective, probe.period, known, now)
            });
            accounts.insert(probe.labels, booked.collect());
        }
    }

    /// Every objective of every probe, in label order and then the configuration's.
    pub fn standings(&self, now: Instant) -> Vec<Standing> {
        let now = self.since_origin(now);
        let accounts = self.accounts.lock();
        let all = accounts.iter();
        all.flat_map(|(labels, of_probe)| of_probe.iter().map(|one| one.standing(labels, now)))
            .collect()
    }

    fn since_origin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.origin)
    }
}

impl Sink for SloBook {
    fn observe(&self, run: &Arc<Observation>) {
        let at = self.since_origin(run.dispatched + run.latency.inference);
        if let Some(accounts) = self.accounts.lock().get_mut(&run.labels) {
            for account in accounts {
                account.observe(run, at);
            }
        }
    }
}

/// One objective of one probe.
#[derive(Debug)]
struct Account {
    objective: Arc<Objective>,
    period: Duration,
    since: Timestamp,
    total: Counts,
    window: Rolling,
    burn: Vec<Rolling>,
    policy: BurnPolicy,
    /// Whether the judged event before was bad.
    after_bad: bool,
    last: Option<Arc<Event>>,
    latest_bad: VecDeque<Arc<Event>>,
}

impl Account {
    fn open(objective: Objective, period: Duration, known: Option<Self>, now: Duration) -> Self {
        let policy = BurnPolicy::derive(period, objective.objective, objective.window);
        let windows = policy.windows();
        let fresh = |window: Duration| Rolling::new(window, now);
        let Some(mut known) = known else {
            return Self {
                since: wall_now(),
                total: Counts::default(),
                window: fresh(objective.window),
                burn: windows.into_iter().map(fresh).collect(),
                policy,
                after_bad: false,
                last: None,
                latest_bad: VecDeque::new(),
                objective: Arc::new(objective),
                period,
            };
        };
        known.period = period;
        if *known.objective != objective {
            known.window = fresh(objective.window);
            known.burn.clear();
            known.last = None;
            known.latest_bad.clear();
            known.after_bad = false;
            known.objective = Arc::new(objective);
        }
        let mut before = std::mem::take(&mut known.burn);
        let reopened = windows.into_iter().map(|window| {
            let same = before.iter().position(|rolling| rolling.window() == window);
            same.map_or_else(|| fresh(window), |index| before.swap_remove(index))
        });
        known.burn = reopened.collect();
        known.policy = policy;
        known
    }

    fn observe(&mut self, run: &Observation, at: Duration) {
        let judgement = self.objective.judge(run);
        let event = Tally::of(judgement, self.after_bad);
        self.total += event.counts;
        for rolling in std::iter::once(&mut self.window).chain(&mut self.burn) {
            rolling.add(at, event);
        }
        if judgement != Judgement::Excluded {
            self.after_bad = judgement == Judgement::Bad;
        }
        let event = Arc::new(Event {
            run_id: run.run_id,
            ended: run.ended,
            judgement,
            outcome: run.outcome,
            taint: run.instrument.taint,
            breaches: match run.outcome.is_success() {
                true => self.objective.conditions.breaches(run),
                false => Vec::new(),
            },
        });
        if judgement == Judgement::Bad {
            if self.latest_bad.len() == REMEMBERED {
                self.latest_bad.pop_front();
            }
            self.latest_bad.push_back(event.clone());
        }
        self.last = Some(event);
    }

    fn standing(&self, labels: &ProbeLabels, now: Duration) -> Standing {
        let tally = self.window.sum(now);
        let counts = tally.counts;
        let allowed = 1.0 - self.objective.objective;
        let good_ratio = counts.good_ratio();
        let effective = effective_events(counts.judged(), tally.autocorrelation());
        let burn = self.burn.iter().map(|rolling| {
            let counts = rolling.sum(now).counts;
            Burn {
                window: rolling.window(),
                covered: rolling.covered(now),
                counts,
                rate: counts.bad_ratio().map(|bad| bad / allowed),
            }
        });
        Standing {
            labels: labels.clone(),
            objective: self.objective.clone(),
            period: self.period,
            since: self.since,
            total: self.total,
            counts,
            covered: self.window.covered(now),
            good_ratio,
            bounds: good_ratio.and_then(|ratio| wilson(ratio, effective)),
            effective_events: good_ratio.map(|_| effective),
            budget_remaining: counts.bad_ratio().map(|bad| 1.0 - bad / allowed),
            burn: burn.collect(),
            policy: self.policy.clone(),
            last: self.last.clone(),
            latest_bad: self.latest_bad.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
