//! READY, DEGRADED, NOT READY or UNDECIDED: from what is known of an objective to what to do about it.
//! The decision table is in `docs/slos.md`, "The gate".

use super::evidence::{Evidence, Silence};
use super::interval::wilson;
use crate::base::units::format_duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Fewer runs, or failures, prove nothing: one may be a hiccup and two a bad moment.
const LEAST_RUNS: u64 = 3;

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The promise is kept.
    #[serde(rename = "READY")]
    Ready,
    /// It answers, but not as promised.
    #[serde(rename = "DEGRADED")]
    Degraded,
    /// It does not answer as a rule.
    #[serde(rename = "NOT READY")]
    NotReady,
    /// What is known does not tell.
    #[serde(rename = "UNDECIDED")]
    Undecided,
}

impl Verdict {
    /// Every verdict, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Degraded, Self::NotReady, Self::Undecided];

    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Degraded => "DEGRADED",
            Self::NotReady => "NOT READY",
            Self::Undecided => "UNDECIDED",
        }
    }

    /// The exit code of `sonde gate`: 0, 1, 2, 3.
    pub fn code(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Degraded => 1,
            Self::NotReady => 2,
            Self::Undecided => 3,
        }
    }

    /// What is known to be bad outweighs what is not known, and that outweighs what is good.
    fn weight(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Undecided => 1,
            Self::Degraded => 2,
            Self::NotReady => 3,
        }
    }

    /// Of several verdicts the one that counts: NOT READY, else DEGRADED, else UNDECIDED, else READY.
    /// Without any, nothing is known.
    pub fn worst(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let worst = verdicts.into_iter().max_by_key(|verdict| verdict.weight());
        worst.unwrap_or(Self::Undecided)
    }
}

/// A verdict on one thing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The verdict.
    pub verdict: Verdict,
    /// A sentence with numbers.
    pub text: String,
}

impl Reason {
    /// Of these two.
    pub fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { verdict, text }
    }

    /// Puts the worst first, and leaves the order otherwise.
    pub fn sort(reasons: &mut [Self]) {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict.weight()));
    }
}

/// Judges one objective of one probe: the first row of the decision table that fits.
pub fn judge(evidence: &Evidence) -> Reason {
    let (verdict, text) = unknown(evidence)
        .or_else(|| failing(evidence))
        .or_else(|| missing(evidence))
        .unwrap_or_else(|| keeping(evidence));
    let place = format!("{}/{}", evidence.target, evidence.scenario);
    Reason::new(verdict, format!("{} for {place}: {text}", evidence.slo))
}

type Row = (Verdict, String);

/// Nothing is known, or nothing of now.
fn unknown(evidence: &Evidence) -> Option<Row> {
    let excluded = evidence.counts.excluded;
    if evidence.counts.judged() == 0 {
        let text = match excluded {
            0 => "no run has ended yet".to_owned(),
            _ => format!(
                "{} tainted or cancelled, and those say nothing about the runtime",
                count(excluded, "the only run was", "all N runs were")
            ),
        };
        return Some((Verdict::Undecided, text));
    }
    let Silence { since, period, why } = evidence.silence.as_ref()?;
    let why = why.as_ref().map(|why| format!(" ({why})"));
    let text = format!(
        "the last run ended {} ago, though one is due every {}{}: how it stands now is not known",
        format_duration(whole_seconds(*since)),
        format_duration(*period),
        why.unwrap_or_default()
    );
    Some((Verdict::Undecided, text))
}

/// Runs fail, whatever the objective's conditions.
fn failing(evidence: &Evidence) -> Option<Row> {
    let recent = &evidence.recent;
    if recent.failed_in_a_row >= LEAST_RUNS {
        let text = match recent.failed_in_a_row == recent.judged {
            true => format!("all of the last {} runs failed", recent.judged),
            false => format!("the last {} runs failed", recent.failed_in_a_row),
        };
        return Some((Verdict::NotReady, format!("{text}{}", outcomes(evidence))));
    }
    let succeeded = recent.judged - recent.failed;
    let bounds = wilson(
        succeeded as f64 / recent.judged.max(1) as f64,
        recent.judged as f64,
    )?;
    (recent.failed >= LEAST_RUNS && bounds.upper < evidence.objective).then(|| {
        let shown = Shown::of(evidence);
        let text = format!(
            "{} of the last {} runs failed{}; 95 % bounds {} to {} of successes, objective {}",
            recent.failed,
            recent.judged,
            outcomes(evidence),
            shown.ratio(bounds.lower),
            shown.ratio(bounds.upper),
            evidence.objective
        );
        (Verdict::NotReady, text)
    })
}

/// It answers, but the promise is broken or about to be.
fn missing(evidence: &Evidence) -> Option<Row> {
    let bounds = evidence.bounds?;
    if evidence.counts.bad >= LEAST_RUNS && bounds.upper < evidence.objective {
        return Some((Verdict::Degraded, facts(evidence)));
    }
    let burning = evidence.burning?;
    let text = format!(
        "the error budget goes {:.1} times too fast over {} and {:.1} times over {} (limit {}); {}",
        burning.long_rate,
        format_duration(burning.long),
        burning.short_rate,
        format_duration(burning.short),
        burning.factor,
        facts(evidence)
    );
    Some((Verdict::Degraded, text))
}

/// The promise is kept, or it cannot be told.
fn keeping(evidence: &Evidence) -> Row {
    let facts = facts(evidence);
    let counts = &evidence.counts;
    if counts.excluded > counts.judged() {
        let text = format!(
            "{} of {} runs were tainted or cancelled: the machine that measures is too busy for a verdict; {facts}",
            counts.excluded,
            counts.excluded + counts.judged()
        );
        return (Verdict::Undecided, text);
    }
    if counts.judged() < LEAST_RUNS {
        let text = format!("{facts}: fewer than {LEAST_RUNS} runs prove nothing");
        return (Verdict::Undecided, text);
    }
    let (Some(bounds), Some(ratio)) = (evidence.bounds, evidence.good_ratio) else {
        return (Verdict::Undecided, facts);
    };
    if bounds.lower >= evidence.objective {
        return (Verdict::Ready, facts);
    }
    let wanted = runs_wanted(evidence.objective);
    let effective = evidence.effective_events.unwrap_or_default();
    // Rounding up made `wanted` a whole number, but the events are not whole ones.
    if effective + 0.5 < wanted as f64 {
        let correlated = match (effective + 0.5) < counts.judged() as f64 {
            true => format!(", which count as {effective:.0} because bad ones come in rows"),
            false => String::new(),
        };
        let text =
            format!("{facts}: too few runs{correlated}; this objective needs {wanted} or more");
        return (Verdict::Undecided, text);
    }
    match ratio >= evidence.objective {
        true => (Verdict::Ready, facts),
        false => (
            Verdict::Undecided,
            format!("{facts}: too close to tell, more runs would"),
        ),
    }
}

/// As many runs as it takes for one bad one among them to be allowed: with fewer, what was seen cannot
/// be told from a promise of perfection.
pub fn runs_wanted(objective: f64) -> u64 {
    // 1 − 0.95 is a hair above 0.05.
    let runs = (1.0 / (1.0 - objective) - 1e-6).ceil();
    (runs as u64).max(LEAST_RUNS)
}

/// `18 of 20 runs good (first token under 800ms), 95 % bounds 0.69 to 0.97, objective 0.99`.
fn facts(evidence: &Evidence) -> String {
    let counts = &evidence.counts;
    let good = match evidence.promise.is_empty() {
        true => "succeeded".to_owned(),
        false => format!("good ({})", evidence.promise),
    };
    let shown = Shown::of(evidence);
    let bounds = evidence.bounds.map(|bounds| {
        let (lower, upper) = (shown.ratio(bounds.lower), shown.ratio(bounds.upper));
        format!(", 95 % bounds {lower} to {upper}")
    });
    let excluded = match counts.excluded {
        0 => String::new(),
        excluded => format!(", {excluded} more excluded"),
    };
    // The latest runs say why only where they are all there are.
    let failed = match (
        evidence.recent.judged == counts.judged(),
        evidence.recent.failed,
    ) {
        (false, _) | (_, 0) => String::new(),
        (true, _) if evidence.promise.is_empty() => outcomes(evidence),
        (true, failed) => format!(", {failed} failed{}", outcomes(evidence)),
    };
    format!(
        "{} of {} {good}{failed}{}{excluded}, objective {}",
        counts.good,
        count(counts.judged(), "1 run", "N runs"),
        bounds.unwrap_or_default(),
        evidence.objective
    )
}

/// How many digits tell a ratio from the objective.
struct Shown {
    digits: usize,
}

impl Shown {
    fn of(evidence: &Evidence) -> Self {
        let written = evidence.objective.to_string();
        let digits = written.split('.').nth(1).map_or(0, str::len);
        Self {
            digits: digits.clamp(2, 6),
        }
    }

    /// Cut, not rounded: a ratio below the objective never looks equal to it.
    fn ratio(&self, ratio: f64) -> String {
        let scale = 10_f64.powi(self.digits as i32);
        format!("{:.*}", self.digits, (ratio * scale + 1e-9).floor() / scale)
    }
}

/// ` (timeout_total 4, http_5xx)`, most frequent first.
fn outcomes(evidence: &Evidence) -> String {
    let failures = &evidence.recent.failures;
    if failures.is_empty() {
        return String::new();
    }
    let mut by_count: Vec<_> = failures.iter().collect();
    by_count.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let words: Vec<_> = by_count
        .into_iter()
        .map(|(outcome, times)| match times {
            1 => outcome.to_string(),
            times => format!("{outcome} {times}"),
        })
        .collect();
    format!(" ({})", words.join(", "))
}

fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => one.to_owned(),
        number => many.replace('N', &number.to_string()),
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests;
