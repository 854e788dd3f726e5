//! All that a gate has to say, in the form that it has over HTTP and in `sonde gate --json`.

use super::comparison::Compared;
use super::evidence::Evidence;
use super::verdict::{Reason, Verdict, judge};
use serde::Serialize;

/// One objective of one probe with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// What is known.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What follows.
    #[serde(flatten)]
    pub reason: Reason,
}

/// The verdict on everything that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// The verdict.
    pub verdict: Verdict,
    /// 1 for READY, else 0: for tools that compare numbers.
    pub ready: u8,
    /// The exit code that `sonde gate` has for it: 0 READY, 1 DEGRADED, 2 NOT READY, 3 UNDECIDED.
    pub code: u8,
    /// Every objective, comparison and whatever else there is, the worst first.
    pub reasons: Vec<Reason>,
    /// Every objective of every probe.
    pub objectives: Vec<Judged>,
    /// Every figure that was compared with a baseline.
    pub comparisons: Vec<Compared>,
    /// What should be known beside it.
    pub notes: Vec<String>,
}

impl Assessment {
    /// Judges the evidence and puts everything together.
    pub fn of(evidence: Vec<Evidence>, comparisons: Vec<Compared>, others: Vec<Reason>) -> Self {
        let objectives: Vec<Judged> = evidence
            .into_iter()
            .map(|evidence| Judged {
                reason: judge(&evidence),
                evidence,
            })
            .collect();
        let mut reasons = others;
        reasons.extend(objectives.iter().map(|judged| judged.reason.clone()));
        reasons.extend(comparisons.iter().map(|compared| compared.reason.clone()));
        Reason::sort(&mut reasons);
        let verdict = Verdict::worst(reasons.iter().map(|reason| reason.verdict));
        Self {
            verdict,
            ready: u8::from(verdict == Verdict::Ready),
            code: verdict.code(),
            reasons,
            objectives,
            comparisons,
            notes: Vec::new(),
        }
    }
}
