//! Sees to it that probing does no harm: budgets, back-off, and no model loaded or kept by probes alone.
//!
//! One governor per target. It is asked before each scheduled run, and says why not.

mod residence;
mod rolling;

use self::residence::Residence;
pub use self::residence::Wake;
use self::rolling::Rolling;
use crate::probe::Observation;
use crate::record::SkipReason;
use crate::resource::RuntimeState;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Over which a share of the runtime's tokens is taken.
const SHARE_WINDOW: Duration = Duration::from_secs(3600);
/// A runtime's word that is older says nothing of now.
const STALE: Duration = Duration::from_secs(30);
/// Most ticks that are passed over between two runs while the runtime is saturated.
const LONGEST_BACK_OFF: u32 = 16;

/// What probing may cost a target. Absent: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Tokens in and out within any 24 hours.
    pub tokens_per_day: Option<f64>,
    /// US dollars within any 24 hours, by the target's price.
    pub usd_per_day: Option<f64>,
    /// Share of all tokens that the runtime generates within an hour, 0 to 1; judged while others
    /// are being served, since an idle runtime generates nothing but ours.
    pub share: Option<f64>,
    /// Requests being worked on above which probing backs off.
    pub running_above: Option<f64>,
    /// Requests waiting above which probing backs off.
    pub waiting_above: Option<f64>,
}

/// What a run takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expense {
    /// Tokens in.
    pub input_tokens: f64,
    /// Tokens out.
    pub output_tokens: f64,
    /// US dollars; 0 without a price.
    pub usd: f64,
}

impl Expense {
    /// What a run took. One that failed took what the runtime told of it.
    pub fn of(run: &Observation) -> Self {
        let usage = run.tokens.map(|tokens| tokens.usage).unwrap_or_default();
        Self {
            input_tokens: usage.input.unwrap_or(0) as f64,
            output_tokens: usage.output.unwrap_or(0) as f64,
            usd: run.cost_usd.map_or(0.0, |cost| cost.total),
        }
    }

    fn tokens(self) -> f64 {
        self.input_tokens + self.output_tokens
    }

    fn most(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
            usd: self.usd.max(other.usd),
        }
    }
}

/// What is known when a tick is due.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Whose tick it is.
    pub scenario: &'a Arc<str>,
    /// What the run may take, as far as its settings tell. What earlier runs took is remembered.
    pub guess: Expense,
    /// Whether the run may keep the model in memory, or load it.
    pub wake: Wake,
    /// What the runtime says of itself, if it does.
    pub state: Option<&'a RuntimeState>,
    /// The instant, by both clocks.
    pub now: Instant,
    /// The same on the wall clock.
    pub wall: Timestamp,
}

/// The governor of one target, shared by its probes.
#[derive(Debug)]
pub struct Governor(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: Limits,
    tokens: Rolling,
    usd: Rolling,
    ours: Rolling,
    generated: Rolling,
    last_generated: Option<f64>,
    most: HashMap<Arc<str>, Expense>,
    back_off: BackOff,
    residence: Residence,
}

impl Governor {
    /// Nothing is spent yet.
    pub fn new(limits: Limits, now: Instant) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            limits,
            tokens: Rolling::over(DAY, now),
            usd: Rolling::over(DAY, now),
            ours: Rolling::over(SHARE_WINDOW, now),
            generated: Rolling::over(SHARE_WINDOW, now),
            last_generated: None,
            most: HashMap::new(),
            back_off: BackOff::default(),
            residence: Residence::default(),
        })))
    }

    /// New limits; what is spent stays spent.
    pub fn set_limits(&self, limits: Limits) {
        self.0.lock().limits = limits;
    }

    /// Whether the run may be made. What it is expected to take is set aside at once.
    ///
    /// # Errors
    /// Why the tick is to be skipped.
    pub fn admit(self: &Arc<Self>, about: Circumstances<'_>) -> Result<Admission, SkipReason> {
        let mut state = self.0.lock();
        let expense = state.admit(about)?;
        let slots = state.spend(about.now, expense);
        Ok(Admission {
            governor: self.clone(),
            scenario: about.scenario.clone(),
            expense,
            slots,
        })
    }

    /// What the runtime said right after our run.
    pub fn after_run(&self, state: &RuntimeState) {
        self.0.lock().residence.after_run(state);
    }

    /// Spent by a run that was not asked about.
    pub fn charge(&self, now: Instant, expense: Expense) {
        self.0.lock().spend(now, expense);
    }
}

impl State {
    fn admit(&mut self, about: Circumstances<'_>) -> Result<Expense, SkipReason> {
        let now = about.now;
        let state = about.state;
        let state = state.filter(|state| now.saturating_duration_since(state.taken) < STALE);
        if let Some(state) = state {
            self.note_generated(state, now);
            self.residence.allows(state, about.wake, about.wall)?;
        }
        if !self.back_off.allows(self.limits.is_exceeded(state)) {
            return Err(SkipReason::Saturated);
        }
        let known = self.most.get(about.scenario).copied().unwrap_or_default();
        let expense = about.guess.most(known);
        let fits = |limit: Option<f64>, spent: f64, more: f64| {
            limit.is_none_or(|limit| spent + more <= limit)
        };
        let limits = self.limits;
        if !fits(
            limits.tokens_per_day,
            self.tokens.sum(now),
            expense.tokens(),
        ) {
            return Err(SkipReason::TokenBudget);
        }
        if !fits(limits.usd_per_day, self.usd.sum(now), expense.usd) {
            return Err(SkipReason::CostBudget);
        }
        let others = state.filter(|state| state.generation_tokens.is_some());
        if others.and_then(RuntimeState::is_occupied) == Some(true) {
            let allowed = limits.share.map(|share| share * self.generated.sum(now));
            if !fits(allowed, self.ours.sum(now), expense.output_tokens) {
                return Err(SkipReason::TokenShare);
            }
        }
        Ok(expense)
    }

    /// Adds what the runtime has generated since the last look. A counter that fell began anew.
    fn note_generated(&mut self, state: &RuntimeState, now: Instant) {
        let Some(total) = state.generation_tokens else {
            return;
        };
        if let Some(before) = self.last_generated.replace(total) {
            let slot = self.generated.slot(now);
            let more = if total >= before {
                total - before
            } else {
                total
            };
            self.generated.add(slot, more);
        }
    }

    fn spend(&mut self, now: Instant, expense: Expense) -> Slots {
        let slots = Slots {
            day: self.tokens.slot(now),
            hour: self.ours.slot(now),
        };
        self.add(slots, expense, 1.0);
        slots
    }

    fn add(&mut self, slots: Slots, expense: Expense, sign: f64) {
        self.tokens.add(slots.day, sign * expense.tokens());
        self.usd.add(slots.day, sign * expense.usd);
        self.ours.add(slots.hour, sign * expense.output_tokens);
    }
}

impl Limits {
    fn is_exceeded(&self, state: Option<&RuntimeState>) -> bool {
        let exceeds = |value: Option<f64>, limit: Option<f64>| match (value, limit) {
            (Some(value), Some(limit)) => value > limit,
            _ => false,
        };
        state.is_some_and(|state| {
            exceeds(state.running, self.running_above) || exceeds(state.waiting, self.waiting_above)
        })
    }
}

/// Where an expense is booked.
#[derive(Clone, Copy, Debug)]
struct Slots {
    day: u64,
    hour: u64,
}

/// A run may be made, and what it was expected to take is spent until it is known better.
#[derive(Debug)]
#[must_use]
pub struct Admission {
    governor: Arc<Governor>,
    scenario: Arc<str>,
    expense: Expense,
    slots: Slots,
}

impl Admission {
    /// What the run took in the end. Where that is not known, what was expected stays spent.
    pub fn settle(self, took: Expense) {
        let mut state = self.governor.0.lock();
        state.add(self.slots, self.expense, -1.0);
        state.add(self.slots, took, 1.0);
        let most = state.most.entry(self.scenario).or_default();
        *most = most.most(took);
    }
}

/// While the runtime is saturated, ticks are passed over between two runs: 1, then 2, 4 and so on. None at
/// all would be blind just when users suffer.
#[derive(Debug, Default)]
struct BackOff {
    left: u32,
    step: u32,
}

impl BackOff {
    fn allows(&mut self, saturated: bool) -> bool {
        if !saturated {
            *self = Self::default();
            return true;
        }
        if self.step == 0 {
            *self = Self { left: 1, step: 1 };
        }
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.step = (self.step * 2).min(LONGEST_BACK_OFF);
        self.left = self.step;
        true
    }
}

#[cfg(test)]
mod tests;
