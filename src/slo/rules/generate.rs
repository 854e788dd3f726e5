//! Which rules there are, and what alerts say.

use super::super::Objective;
use super::super::burn::{BurnPolicy, BurnRule, RUNS_IN_SHORT, Urgency};
use super::expression::{
    BUDGET_NAME, absent, at_least, bad, budget, count_name, indented, matchers, number, percent,
    ratio, ratio_name,
};
use super::{BURN_FAST, BURN_SLOW, DATA_ABSENT, Group, Rule, RuleLabels, Watched, WatchedProbe};
use crate::base::units::format_duration;
use std::collections::BTreeSet;
use std::time::Duration;

/// As often as the shipped alerts.
const FAST_INTERVAL: Duration = Duration::from_secs(30);

/// Windows of days move slowly and cost more to add up.
const SLOW_INTERVAL: Duration = Duration::from_secs(300);

/// Time in which nobody minds that series are missing, such as for a pod that is replaced. Together with
/// two scrapes it stays below the shortest window, so that an alert on a burn rate does not end for want
/// of data before this one has begun.
pub(super) const ABSENT_HOLD: Duration = Duration::from_secs(120);

/// The least time in which a run is expected.
const LEAST_PATIENCE: Duration = Duration::from_secs(300);

/// An objective, and those of its probes that run equally often.
pub(super) struct Cadence<'a> {
    pub(super) objective: &'a Objective,
    pub(super) probes: Vec<&'a WatchedProbe>,
    pub(super) interval: Duration,
    pub(super) policy: BurnPolicy,
    /// Of the events: objective and scenarios.
    pub(super) matcher: String,
    /// Of what knows no objective.
    pub(super) scenario_matcher: String,
    /// Unique.
    group: String,
}

impl Cadence<'_> {
    fn labels(&self) -> RuleLabels {
        RuleLabels {
            slo: self.objective.name.clone(),
            cadence: format_duration(self.interval),
        }
    }

    /// How long no run need be judged: some cadences, and no run tells anything before it ends.
    pub(super) fn patience(&self) -> Duration {
        let slowest = self.probes.iter().map(|probe| probe.timeout).max();
        let patience = (self.interval.saturating_mul(RUNS_IN_SHORT))
            .max(slowest.unwrap_or_default().saturating_mul(2))
            .max(LEAST_PATIENCE);
        // Of whole minutes, so that its half is a duration that people and Prometheus read.
        Duration::from_secs(patience.as_secs().div_ceil(60) * 60)
    }
}

pub(super) fn cadences(watched: &[Watched]) -> Vec<Cadence<'_>> {
    watched.iter().flat_map(cadences_of).collect()
}

fn cadences_of(watched: &Watched) -> Vec<Cadence<'_>> {
    let Watched { objective, probes } = watched;
    let intervals: BTreeSet<Duration> = probes.iter().map(|probe| probe.interval).collect();
    let several = intervals.len() > 1;
    let cadence = |interval: Duration| {
        let here = probes.iter().filter(|probe| probe.interval == interval);
        let probes: Vec<&WatchedProbe> = here.collect();
        let scenarios: BTreeSet<&str> = probes.iter().map(|p| p.scenario.as_str()).collect();
        let scenarios: Vec<&str> = scenarios.into_iter().collect();
        let (matcher, scenario_matcher) = matchers(objective, &scenarios);
        let every = match several {
            true => format!("-every-{}", format_duration(interval)),
            false => String::new(),
        };
        Cadence {
            objective,
            probes,
            interval,
            policy: BurnPolicy::derive(interval, objective.objective, objective.window),
            matcher,
            scenario_matcher,
            group: format!("sonde-objective-{}{every}", objective.name),
        }
    };
    intervals.into_iter().map(cadence).collect()
}

/// What pages in one group, what does not in another, which is evaluated less often.
pub(super) fn groups(cadence: &Cadence<'_>) -> [Group; 2] {
    let mut recorded = BTreeSet::new();
    let mut fast = records(cadence, Urgency::Page, &mut recorded);
    fast.extend([burn_alert(cadence, Urgency::Page), absent_alert(cadence)]);
    let mut slow = records(cadence, Urgency::Ticket, &mut recorded);
    slow.push(Rule::Record {
        name: BUDGET_NAME.to_owned(),
        expression: budget(cadence),
        labels: cadence.labels(),
    });
    slow.push(burn_alert(cadence, Urgency::Ticket));
    [
        Group {
            name: cadence.group.clone(),
            interval: FAST_INTERVAL,
            rules: fast,
        },
        Group {
            name: format!("{}-slow", cadence.group),
            interval: SLOW_INTERVAL,
            rules: slow,
        },
    ]
}

/// What the alerts of this urgency read and nobody has recorded yet.
fn records(cadence: &Cadence<'_>, urgency: Urgency, recorded: &mut BTreeSet<String>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for rule in cadence.policy.of(urgency) {
        for (name, expression) in [
            (ratio_name(rule.short), ratio(cadence, rule.short)),
            (ratio_name(rule.long), ratio(cadence, rule.long)),
            (count_name(rule.long), bad(cadence, rule.long)),
        ] {
            if recorded.insert(name.clone()) {
                rules.push(Rule::Record {
                    name,
                    expression,
                    labels: cadence.labels(),
                });
            }
        }
    }
    rules
}

fn burn_alert(cadence: &Cadence<'_>, urgency: Urgency) -> Rule {
    let rules: Vec<&BurnRule> = cadence.policy.of(urgency).collect();
    let conditions: Vec<String> = rules.iter().map(|rule| condition(cadence, rule)).collect();
    let hold = rules.iter().map(|rule| rule.hold).max().unwrap_or_default();
    let (name, pace) = match urgency {
        Urgency::Page => (BURN_FAST, "fast"),
        Urgency::Ticket => (BURN_SLOW, "slowly"),
    };
    let slo = &cadence.objective.name;
    Rule::Alert {
        name,
        expression: conditions.join("\n  or\n"),
        hold,
        labels: cadence.labels(),
        severity: urgency.severity(),
        summary: format!(
            "{{{{ $labels.target }}}} ({{{{ $labels.scenario }}}}) is using up the error budget of {slo} {pace}."
        ),
        description: burn_description(cadence, &rules),
    }
}

/// The value of the whole is the share of bad runs in the long window that fires.
fn condition(cadence: &Cadence<'_>, rule: &BurnRule) -> String {
    let matcher = &cadence.matcher;
    let threshold = number(rule.threshold(cadence.objective.objective));
    let long = ratio_name(rule.long);
    let short = ratio_name(rule.short);
    let count = count_name(rule.long);
    let least = number(at_least(rule.least_bad));
    let conditions = format!(
        "{long}{{{matcher}}} > {threshold}\n  and {short}{{{matcher}}} > {threshold}\n  and {count}{{{matcher}}} > {least}"
    );
    format!("(\n  {}\n)", indented(&conditions))
}

fn burn_description(cadence: &Cadence<'_>, rules: &[&BurnRule]) -> String {
    let Objective {
        name,
        objective,
        window,
        ..
    } = cadence.objective;
    let thresholds: Vec<String> = rules
        .iter()
        .map(|rule| {
            format!(
                "above {} of the runs of {} and of the last {}",
                percent(rule.threshold(*objective)),
                format_duration(rule.long),
                format_duration(rule.short),
            )
        })
        .collect();
    let least = rules.first().map_or(0, |rule| rule.least_bad);
    format!(
        "{{{{ $value | humanizePercentage }}}} of the judged runs of {{{{ $labels.target }}}} / {{{{ $labels.scenario }}}} \
         were bad; {name} allows {allowed} over {window}. \
         {{{{ with printf \"100 - 100 * {BUDGET_NAME}{{slo=%q,target=%q,scenario=%q}}\" $labels.slo $labels.target $labels.scenario | query }}}}\
         {{{{ (first .).Value | printf \"%.0f%%\" }}}}{{{{ else }}}}An unknown part{{{{ end }}}} of that budget is spent. \
         Fires {thresholds}, with at least {least} bad ones.",
        allowed = percent(1.0 - objective),
        window = format_duration(*window),
        thresholds = thresholds.join(", or "),
    )
}

fn absent_alert(cadence: &Cadence<'_>) -> Rule {
    let slo = &cadence.objective.name;
    let patience = format_duration(cadence.patience());
    Rule::Alert {
        name: DATA_ABSENT,
        expression: absent(cadence),
        hold: ABSENT_HOLD,
        labels: cadence.labels(),
        severity: Urgency::Ticket.severity(),
        summary: format!(
            "Nothing is known about {slo} of {{{{ $labels.target }}}} ({{{{ $labels.scenario }}}})."
        ),
        description: format!(
            "{{{{ if eq $value 1.0 }}}}Prometheus has no account of {slo} for {{{{ $labels.target }}}} / \
             {{{{ $labels.scenario }}}}{{{{ else }}}}No run of {{{{ $labels.target }}}} / {{{{ $labels.scenario }}}} was judged \
             within {patience}, although runs were due{{{{ end }}}}. Whether the objective is kept is unknown: an \
             alert on its budget that has ended meanwhile has not ended by recovery."
        ),
    }
}
