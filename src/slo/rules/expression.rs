//! PromQL about the events of an objective.

use super::super::Objective;
use super::generate::Cadence;
use crate::base::units::format_duration;
use crate::record::SkipReason;
use std::time::Duration;

pub(super) const EVENTS: &str = "llm_probe_slo_events_total";
pub(super) const SCHEDULED: &str = "llm_probe_scheduled_total";
pub(super) const SKIPPED: &str = "llm_probe_skipped_total";

/// What rules keep of a series. All else (instance, pod, model) changes when the daemon or the model
/// is replaced, and the promise does not begin anew by that.
const LEVEL: &str = "sum by (slo, target, scenario)";

/// Reasons to skip a run that are restraint, not trouble: what is not measured on purpose is not
/// missing.
pub(super) const RESTRAINT: [SkipReason; 6] = [
    SkipReason::Saturated,
    SkipReason::TokenBudget,
    SkipReason::CostBudget,
    SkipReason::TokenShare,
    SkipReason::ModelUnloaded,
    SkipReason::ModelIdle,
];

/// Runs that must have been due before it is odd that none was judged: half of the time without one
/// holds at least so many.
const DUE_RUNS: u32 = 2;

/// Half below a whole number: `increase` extrapolates to the edges of its window, so whole counts come
/// out as fractions on either side.
pub(super) fn at_least(count: u32) -> f64 {
    f64::from(count) - 0.5
}

/// A number without the noise of binary fractions.
pub(super) fn number(value: f64) -> String {
    let rounded: f64 = format!("{value:.8e}").parse().unwrap_or(value);
    rounded.to_string()
}

/// `14.4%`.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", number(share * 100.0))
}

/// The recorded share of bad runs within this window, 0 to 1. Absent where no run was judged.
pub(super) fn ratio_name(window: Duration) -> String {
    format!(
        "slo_target_scenario:llm_probe_slo_bad:ratio_{}",
        format_duration(window)
    )
}

/// The recorded number of bad runs within this window.
pub(super) fn count_name(window: Duration) -> String {
    format!(
        "slo_target_scenario:llm_probe_slo_bad:increase_{}",
        format_duration(window)
    )
}

/// The recorded share of the error budget that is left; negative when more was spent than there was.
pub(super) const BUDGET_NAME: &str =
    "slo_target_scenario:llm_probe_slo_error_budget:remaining_ratio";

pub(super) fn count(cadence: &Cadence<'_>, result: &str, window: Duration) -> String {
    let (matcher, window) = (&cadence.matcher, format_duration(window));
    format!("{LEVEL} (increase({EVENTS}{{{matcher}, {result}}}[{window}]))")
}

pub(super) fn bad(cadence: &Cadence<'_>, window: Duration) -> String {
    count(cadence, r#"result="bad""#, window)
}

fn judged(cadence: &Cadence<'_>, window: Duration) -> String {
    count(cadence, r#"result=~"good|bad""#, window)
}

/// Without a judged run there is no share: absent, not NaN, and no alert.
pub(super) fn ratio(cadence: &Cadence<'_>, window: Duration) -> String {
    let (bad, judged) = (bad(cadence, window), judged(cadence, window));
    format!("{bad}\n  /\n({judged} > 0)")
}

pub(super) fn budget(cadence: &Cadence<'_>) -> String {
    let objective = cadence.objective;
    let allowed = number(1.0 - objective.objective);
    format!(
        "1 - (\n  {}\n) / {allowed}",
        indented(&ratio(cadence, objective.window))
    )
}

/// Two ways to know nothing: Prometheus has no series (Sonde is gone, or asks something else than these
/// rules were made for), which counts as 1, or no run was judged, although some were due in the first half
/// of that time and have had the second half to end; that counts as 0.
pub(super) fn absent(cadence: &Cadence<'_>) -> String {
    let patience = cadence.patience();
    let mut parts: Vec<String> = cadence
        .probes
        .iter()
        .map(|probe| {
            let (slo, target, scenario) =
                (&cadence.objective.name, &probe.target, &probe.scenario);
            format!(
                r#"{LEVEL} (absent({EVENTS}{{slo="{slo}", target="{target}", scenario="{scenario}", result="good"}}))"#
            )
        })
        .collect();
    let scenarios = &cadence.scenario_matcher;
    let reasons = RESTRAINT.map(SkipReason::as_str).join("|");
    let half = format_duration(patience / 2);
    let range = format!("[{half}] offset {half}");
    let due = format!(
        "sum by (target, scenario) (increase({SCHEDULED}{{{scenarios}}}{range}))\n  \
           - sum by (target, scenario) (increase({SKIPPED}{{{scenarios}, reason=~\"{reasons}\"}}{range}))"
    );
    parts.push(format!(
        "(\n  {} == 0\n    and on (target, scenario)\n  (\n    {}\n  ) > {}\n)",
        judged(cadence, patience),
        indented(&indented(&due)),
        number(at_least(DUE_RUNS)),
    ));
    parts.join("\n  or\n")
}

/// Of the runs that alerts speak of, which may be fewer than the objective's: it may have probes of
/// several cadences.
pub(super) fn matchers(objective: &Objective, scenarios: &[&str]) -> (String, String) {
    let scenario_matcher = match scenarios {
        [one] => format!(r#"scenario="{one}""#),
        // A dot is the only character of a name that means something else in a pattern.
        several => format!(r#"scenario=~"{}""#, several.join("|").replace('.', "[.]")),
    };
    let matcher = format!(r#"slo="{}", {scenario_matcher}"#, objective.name);
    (matcher, scenario_matcher)
}

/// Every line but the first, moved to the right.
pub(super) fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}
