//! Burn rates: which windows and thresholds tell that an error budget is being spent too fast, for a
//! probe that runs every so often. Pure.
//!
//! The textbook (Site Reliability Workbook, chapter 5, "Alerting on SLOs", table 5-8) assumes so many
//! requests that a share of bad ones is a smooth figure. A probe makes a few hundred runs a day, and
//! at that rate its rules page for a single failed run: one of the twelve runs of an hour is a burn
//! rate of 83 for an objective of 99.9 %. So three things are added here, each of which leaves the
//! textbook as it is where runs are frequent enough:
//!
//! - **A gate.** No rule fires for fewer than [`LEAST_BAD`] bad runs in its long window.
//! - **Long windows that the gate fits.** At the rule's own burn rate the long window is to hold as
//!   many bad runs as the gate asks for: `long ≥ LEAST_BAD × interval / (factor × budget)`. In a
//!   shorter one the gate would demand a higher burn rate than the rule says, and a slow burn would
//!   never be told.
//! - **Short windows that hold runs.** The short window ends the alert soon after recovery. It is a
//!   twelfth of the long one, as in the textbook, and holds at least [`RUNS_IN_SHORT`] runs.
//!
//! Objectives over other times than 30 days: a burn rate is the speed at which the whole budget is
//! gone in exactly the window, so windows scale with the objective's and factors stay. Only those of
//! pages do not grow: a page is about users now, and must not wait because the promise is about a
//! quarter.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Bad runs in the long window without which no rule fires. One is chance, two may be one hiccup that
/// two neighbouring runs met.
pub const LEAST_BAD: u32 = 3;

/// Runs that a short window holds at least: with fewer, one that is late or tainted empties it.
pub const RUNS_IN_SHORT: u32 = 5;

/// The shortest window. At a scrape a minute it holds five samples; with one sample there is no rate.
const SHORTEST: Duration = Duration::from_secs(5 * MINUTE);

/// Parts of a long window that its short one is.
const SHORT_PART: u32 = 12;

/// The objective's window that the textbook's figures are for.
const TEXTBOOK_WINDOW: Duration = Duration::from_secs(30 * DAY);

/// Share of bad runs above which a rule always fires. 14.4 times the budget of a lax objective may be
/// more than all runs; when half of them are bad it is an outage, whatever was promised.
const MOST_BAD_SHARE: f64 = 0.5;

/// Share of the budget that may be gone by the time the gate opens: what the textbook's slowest rule
/// spends.
const MOST_SPENT_UNTOLD: f64 = 0.1;

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// Someone must get up.
    Page,
    /// Someone must look at it on a working day.
    Ticket,
}

impl Urgency {
    /// Both, the more urgent one first.
    pub const ALL: [Self; 2] = [Self::Page, Self::Ticket];

    /// The value of the label `severity`, as the other alerts have it.
    pub fn severity(self) -> &'static str {
        match self {
            Self::Page => "critical",
            Self::Ticket => "warning",
        }
    }
}

/// One rule: it fires while the burn rate is above `factor` over the long window and over the short
/// one, and the long one holds at least `least_bad` bad runs, all of it for the time `hold`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// Whom it wakes.
    pub urgency: Urgency,
    /// Says that it matters.
    pub long: Duration,
    /// Says that it goes on. Never longer than the long one.
    pub short: Duration,
    /// Multiple of the speed that spends the budget in exactly the objective's window.
    pub factor: f64,
    /// Bad runs in the long window without which it does not fire.
    pub least_bad: u32,
    /// How long all of this must be so.
    pub hold: Duration,
}

impl BurnRule {
    /// The share of bad runs, 0 to 1, above which it fires: factor times budget.
    pub fn threshold(&self, objective: f64) -> f64 {
        self.factor * (1.0 - objective)
    }
}

/// A rule of the textbook.
struct Textbook {
    urgency: Urgency,
    long: Duration,
    factor: f64,
    hold: Duration,
}

/// Site Reliability Workbook, table 5-8: 2 % of a 30-day budget in an hour, 5 % in six, 10 % in a day,
/// 10 % in three. `hold` is ours, there is none in the book: a page outlasts one evaluation, and a
/// ticket waits until the page would have come.
const TEXTBOOK: [Textbook; 4] = [
    Textbook {
        urgency: Urgency::Page,
        long: Duration::from_secs(HOUR),
        factor: 14.4,
        hold: Duration::from_secs(MINUTE),
    },
    Textbook {
        urgency: Urgency::Page,
        long: Duration::from_secs(6 * HOUR),
        factor: 6.0,
        hold: Duration::from_secs(MINUTE),
    },
    Textbook {
        urgency: Urgency::Ticket,
        long: Duration::from_secs(DAY),
        factor: 3.0,
        hold: Duration::from_secs(15 * MINUTE),
    },
    Textbook {
        urgency: Urgency::Ticket,
        long: Duration::from_secs(3 * DAY),
        factor: 1.0,
        hold: Duration::from_secs(15 * MINUTE),
    },
];

/// The rules of one objective for probes of one cadence.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnPolicy {
    /// The fastest burn first.
    pub rules: [BurnRule; TEXTBOOK.len()],
}

impl BurnPolicy {
    /// The rules for a probe that runs once per `interval` and promises a share `objective` of good
    /// runs (above 0 and below 1) over `window`. How they come about is on the module's page.
    ///
    /// No window is longer than the objective's. Where that cuts one short, a budget holds fewer bad
    /// runs than the gate asks for; [`Shortfall::of`] says so.
    pub fn derive(interval: Duration, objective: f64, window: Duration) -> Self {
        let budget = 1.0 - objective;
        let scale = window.as_secs_f64() / TEXTBOOK_WINDOW.as_secs_f64();
        let rules = TEXTBOOK.map(|book| {
            let factor = book.factor.min((MOST_BAD_SHARE / budget).max(1.0));
            let scale = match book.urgency {
                Urgency::Page => scale.min(1.0),
                Urgency::Ticket => scale,
            };
            let runs_for_gate = f64::from(LEAST_BAD) / (factor * budget);
            let shortest = SHORTEST.max(interval.saturating_mul(RUNS_IN_SHORT));
            let long = times(book.long, scale)
                .max(times(interval, runs_for_gate))
                .max(shortest);
            let long = round_up(long).min(window);
            let short = round_up((long / SHORT_PART).max(shortest)).min(long);
            BurnRule {
                urgency: book.urgency,
                long,
                short,
                factor,
                least_bad: LEAST_BAD,
                hold: book.hold,
            }
        });
        Self { rules }
    }

    /// The rules of one urgency, the faster burn first.
    pub fn of(&self, urgency: Urgency) -> impl Iterator<Item = &BurnRule> {
        self.rules
            .iter()
            .filter(move |rule| rule.urgency == urgency)
    }

    /// Every window that a rule looks at, once each, the shortest first.
    pub fn windows(&self) -> Vec<Duration> {
        let mut windows: Vec<Duration> =
            self.rules.iter().flat_map(|r| [r.short, r.long]).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }
}

/// How a cadence is too low for its objective, and what would do: each figure alone, the others kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortfall {
    /// Bad runs that the whole budget allows.
    pub budget_runs: f64,
    /// The slowest cadence that would do, in whole seconds where it is above one.
    pub interval: Duration,
    /// The strictest objective that would do; absent: none would.
    pub objective: Option<f64>,
    /// The shortest window that would do, in whole days where it is above one.
    pub window: Duration,
}

impl Shortfall {
    /// The shortfall, if there is one: when [`LEAST_BAD`] bad runs, which every alert waits for, are
    /// more than a tenth of the budget, so `interval > window × budget / 30`.
    pub fn of(interval: Duration, objective: f64, window: Duration) -> Option<Self> {
        let budget = 1.0 - objective;
        let needed = f64::from(LEAST_BAD) / MOST_SPENT_UNTOLD;
        let slowest = times(window, budget / needed);
        if interval <= slowest {
            return None;
        }
        let budget_runs = window.as_secs_f64() * budget / interval.as_secs_f64();
        // Rounded to where the alternatives still do, or the hint would be followed by another one.
        let least_budget = two_digits_up(needed * interval.as_secs_f64() / window.as_secs_f64());
        Some(Self {
            budget_runs,
            interval: match slowest.as_secs() {
                0 => slowest,
                seconds => Duration::from_secs(seconds),
            },
            objective: (least_budget < 1.0).then_some(1.0 - least_budget),
            window: whole_days_up(times(interval, needed / budget)),
        })
    }
}

/// A product that saturates; a duration cannot say how long for ever is.
fn times(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// The next length that people say, so that objectives share their windows and titles are short.
fn round_up(duration: Duration) -> Duration {
    const STEPS: [u64; 26] = [
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        20 * MINUTE,
        30 * MINUTE,
        45 * MINUTE,
        HOUR,
        90 * MINUTE,
        2 * HOUR,
        3 * HOUR,
        4 * HOUR,
        6 * HOUR,
        8 * HOUR,
        12 * HOUR,
        18 * HOUR,
        DAY,
        36 * HOUR,
        2 * DAY,
        3 * DAY,
        4 * DAY,
        6 * DAY,
        8 * DAY,
        12 * DAY,
        18 * DAY,
        24 * DAY,
        30 * DAY,
    ];
    // A hair's breadth above a step is the step: 0.1 is no binary fraction, nor are budgets.
    let wanted = duration.as_secs_f64() * (1.0 - 1e-9);
    let step = STEPS.into_iter().find(|&step| step as f64 >= wanted);
    match step {
        Some(step) => Duration::from_secs(step),
        None => whole_days_up(duration),
    }
}

/// Whole days where it is more than one, else whole seconds.
fn whole_days_up(duration: Duration) -> Duration {
    let unit = if duration.as_secs() > DAY { DAY } else { 1 };
    let seconds = duration.as_secs_f64() * (1.0 - 1e-9);
    let units = (seconds / unit as f64).ceil() as u64;
    Duration::from_secs(units.saturating_mul(unit))
}

/// The next number with two significant digits.
fn two_digits_up(value: f64) -> f64 {
    let digits = 1 - value.log10().floor() as i32;
    let scale = 10f64.powi(digits);
    (value * scale * (1.0 - 1e-9)).ceil() / scale
}

#[cfg(test)]
mod tests;
