//! The decision table, row by row.

use super::super::assessment::Assessment;
use super::super::evidence::{Burning, Recent};
use super::super::rolling::Counts;
use super::*;
use crate::probe::Outcome;

/// Good, slow, failed and excluded runs; the failed ones come first.
fn evidence(objective: f64, [good, slow, failed, excluded]: [u64; 4]) -> Evidence {
    let counts = Counts {
        good,
        bad: slow + failed,
        excluded,
    };
    let judged = counts.judged() as f64;
    let runs = std::iter::repeat_n(Outcome::Http5xx, failed as usize).chain(std::iter::repeat_n(
        Outcome::Success,
        (good + slow) as usize,
    ));
    Evidence {
        slo: "ttft".to_owned(),
        target: "t".to_owned(),
        scenario: "chat".to_owned(),
        objective,
        promise: "first token under 800ms".to_owned(),
        counts,
        good_ratio: counts.good_ratio(),
        bounds: counts.good_ratio().and_then(|ratio| wilson(ratio, judged)),
        effective_events: Some(judged),
        budget_remaining: None,
        recent: Recent::of(runs),
        burning: None,
        silence: None,
    }
}

fn text_of(evidence: &Evidence, verdict: Verdict) -> String {
    let reason = judge(evidence);
    assert_eq!(reason.verdict, verdict, "{}", reason.text);
    reason.text
}

#[test]
fn every_verdict_has_its_name_and_its_code() {
    for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(verdict.code()), index);
        let json = serde_json::to_value(verdict).unwrap();
        assert_eq!(json, verdict.as_str());
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
    }
}

#[test]
fn without_a_judged_run_nothing_is_known() {
    assert_eq!(
        text_of(&evidence(0.99, [0; 4]), Verdict::Undecided),
        "ttft for t/chat: no run has ended yet"
    );
    let tainted = text_of(&evidence(0.99, [0, 0, 0, 7]), Verdict::Undecided);
    assert!(
        tainted.contains("all 7 runs were tainted or cancelled"),
        "{tainted}"
    );
}

#[test]
fn what_was_good_long_ago_says_nothing_about_now() {
    let mut known = evidence(0.99, [2000, 0, 0, 0]);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let silence = |since| Silence::of(since, minutes(5), Some("backoff".to_owned()));
    assert_eq!(silence(minutes(14)), None);
    known.silence = silence(minutes(16));
    assert_eq!(
        text_of(&known, Verdict::Undecided),
        "ttft for t/chat: the last run ended 16m ago, though one is due every 5m (backoff): how it stands now is \
         not known"
    );
}

#[test]
fn three_failures_in_a_row_are_enough_whatever_the_past_was() {
    let mut known = evidence(0.99, [2000, 0, 0, 0]);
    let failing = |outcomes: &[Outcome]| Recent::of(outcomes.iter().copied());
    let (good, bad) = (Outcome::Success, Outcome::Stalled);
    known.recent = failing(&[good, good, bad, bad]);
    assert_eq!(judge(&known).verdict, Verdict::Ready);
    known.recent = failing(&[good, good, bad, bad, Outcome::Refused]);
    assert_eq!(
        text_of(&known, Verdict::NotReady),
        "ttft for t/chat: the last 3 runs failed (stalled 2, refused)"
    );
    known.recent = failing(&[bad; 4]);
    let text = text_of(&known, Verdict::NotReady);
    assert!(text.ends_with("all of the last 4 runs failed (stalled 4)"));
}

#[test]
fn confidently_too_many_failures_are_not_ready() {
    let text = text_of(&evidence(0.99, [15, 0, 5, 0]), Verdict::NotReady);
    assert_eq!(
        text,
        "ttft for t/chat: 5 of the last 20 runs failed (http_5xx 5); 95 % bounds 0.53 to 0.88 of successes, \
         objective 0.99"
    );
    // One failed run never is, however strict the objective.
    assert_ne!(
        judge(&evidence(0.999, [19, 0, 1, 0])).verdict,
        Verdict::NotReady
    );
}

#[test]
fn slow_answers_degrade() {
    assert_eq!(
        text_of(&evidence(0.99, [12, 8, 0, 0]), Verdict::Degraded),
        "ttft for t/chat: 12 of 20 runs good (first token under 800ms), 95 % bounds 0.38 to 0.78, objective 0.99"
    );
    // It answers always, though never in time.
    text_of(&evidence(0.95, [0, 20, 0, 0]), Verdict::Degraded);
}

#[test]
fn a_budget_that_burns_degrades_what_is_still_kept() {
    let mut known = evidence(0.99, [4000, 10, 0, 0]);
    known.burning = Some(Burning {
        factor: 14.4,
        long: Duration::from_secs(3600),
        long_rate: 15.25,
        short: Duration::from_secs(300),
        short_rate: 20.0,
    });
    let text = text_of(&known, Verdict::Degraded);
    assert!(
        text.contains("goes 15.2 times too fast over 1h and 20.0 times over 5m (limit 14.4)"),
        "{text}"
    );
}

#[test]
fn a_kept_objective_is_ready_by_its_bounds_or_by_enough_runs() {
    // 73 of 73 have a lower bound above 0.95; 20 of 20 do not, but 20 runs may hold one bad one.
    text_of(&evidence(0.95, [73, 0, 0, 0]), Verdict::Ready);
    text_of(&evidence(0.95, [20, 0, 0, 0]), Verdict::Ready);
    text_of(&evidence(0.95, [19, 1, 0, 0]), Verdict::Ready);
    assert_eq!(
        text_of(&evidence(0.95, [19, 0, 0, 0]), Verdict::Undecided),
        "ttft for t/chat: 19 of 19 runs good (first token under 800ms), 95 % bounds 0.83 to 1.00, objective 0.95: \
         too few runs; this objective needs 20 or more"
    );
    let text = text_of(&evidence(0.95, [18, 2, 0, 0]), Verdict::Undecided);
    assert!(
        text.ends_with("too close to tell, more runs would"),
        "{text}"
    );
}

#[test]
fn runs_wanted_are_the_least_that_allow_a_bad_one() {
    for (objective, runs) in [(0.5, 3), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000)] {
        assert_eq!(runs_wanted(objective), runs, "{objective}");
    }
}

#[test]
fn runs_that_agree_because_they_follow_each_other_count_less() {
    let mut known = evidence(0.95, [96, 4, 0, 0]);
    known.effective_events = Some(12.0);
    known.bounds = wilson(0.96, 12.0);
    let text = text_of(&known, Verdict::Undecided);
    assert!(text.contains("which count as 12 because"), "{text}");
}

#[test]
fn a_machine_that_taints_most_runs_gives_no_verdict_but_bad_ones() {
    let text = text_of(&evidence(0.9, [20, 0, 0, 21]), Verdict::Undecided);
    assert!(text.contains("21 of 41 runs were tainted"), "{text}");
    text_of(&evidence(0.9, [0, 0, 20, 21]), Verdict::NotReady);
}

#[test]
fn a_bound_below_the_objective_never_looks_equal_to_it() {
    let shown = Shown::of(&evidence(0.999, [1, 0, 0, 0]));
    assert_eq!(shown.ratio(0.998_99), "0.998");
    assert_eq!(shown.ratio(0.999), "0.999");
    assert_eq!(shown.ratio(1.0), "1.000");
}

#[test]
fn the_worst_of_all_counts_and_comes_first() {
    let all = |rows: &[[u64; 4]]| {
        let evidence = rows.iter().map(|counts| evidence(0.95, *counts)).collect();
        Assessment::of(evidence, Vec::new(), Vec::new())
    };
    let (ready, undecided) = ([20, 0, 0, 0], [1, 0, 0, 0]);
    let (degraded, dead) = ([0, 20, 0, 0], [0, 0, 20, 0]);
    assert_eq!(all(&[ready, ready]).verdict, Verdict::Ready);
    assert_eq!(all(&[ready, undecided]).verdict, Verdict::Undecided);
    assert_eq!(
        all(&[ready, degraded, undecided]).verdict,
        Verdict::Degraded
    );
    let worst = all(&[ready, degraded, dead, undecided]);
    assert_eq!(
        (worst.verdict, worst.ready, worst.code),
        (Verdict::NotReady, 0, 2)
    );
    assert_eq!(worst.reasons[0].verdict, Verdict::NotReady);
    assert_eq!(worst.reasons[3].verdict, Verdict::Ready);
    assert_eq!(worst.objectives.len(), 4);
    assert_eq!(all(&[]).verdict, Verdict::Undecided);
}
