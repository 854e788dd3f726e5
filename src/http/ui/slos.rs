//! The table of objectives: those that are broken first.

use super::format::{ABSENT, Escaped, ago, figure, span};
use super::table::State;
use crate::base::units::format_duration;
use crate::slo::{Event, Health, Standing, Urgency};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The whole section; nothing without objectives.
pub(super) fn section(standings: &[Standing], now: Timestamp) -> String {
    if standings.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<_> = standings.iter().collect();
    // Stable, so that those in equal state stay in the order of their probes.
    sorted.sort_by_key(|standing| state(standing));
    let rows: String = sorted
        .into_iter()
        .map(|standing| row(standing, now))
        .collect();
    format!(
        "<section class=\"slos\"><h2>Objectives</h2><table>{HEAD}<tbody>{rows}</tbody></table></section>"
    )
}

const HEAD: &str = "<thead><tr>\
<th scope=\"col\">Objective</th>\
<th scope=\"col\">Probe</th>\
<th scope=\"col\" class=\"n\">Promised</th>\
<th scope=\"col\" class=\"n\" title=\"Good ÷ (good + bad) within the window, with 95 % bounds\">Good</th>\
<th scope=\"col\" title=\"1 − bad ÷ what the promise allows of what was judged within the window\">Budget left</th>\
<th scope=\"col\" title=\"Share of bad runs ÷ allowed share: above 1 the budget does not last\">Burn rate</th>\
<th scope=\"col\">Last bad run</th>\
</tr></thead>";

fn state(standing: &Standing) -> State {
    match standing.health() {
        Health::Broken => State::Failing,
        _ if standing.burning().is_some() => State::Doubtful,
        Health::Unknown => State::Waiting,
        Health::Kept => State::Good,
    }
}

fn row(standing: &Standing, now: Timestamp) -> String {
    let objective = &standing.objective;
    let state = state(standing);
    let mut promise = vec!["success".to_owned()];
    let conditions = objective.conditions.stated().into_iter();
    promise.extend(conditions.map(|(name, limit)| format!("{name} {limit}")));
    let window = format_duration(objective.window);
    let cells = [
        (
            "Promised",
            "n fig",
            format!(
                "{}<small> in {window}</small>",
                percent(objective.objective, 3)
            ),
        ),
        ("Good", "n fig", good(standing)),
        ("Budget left", "fig budget", budget(standing)),
        ("Burn rate", "burn", burns(standing)),
        ("Last bad run", "when", last_bad(standing, now)),
    ];
    let cells: String = cells
        .iter()
        .map(|(name, class, html)| {
            format!("<td class=\"{class}\" data-name=\"{name}\">{html}</td>")
        })
        .collect();
    format!(
        "<tr class=\"{class}\"><th scope=\"row\" title=\"good is: {promise}\">{sign}{name} \
         <small>{health}{doubt}{burning}</small></th>\
         <td class=\"of\" data-name=\"Probe\">{probe}</td>{cells}</tr>",
        class = state.class(),
        promise = Escaped(promise.join(", ")),
        sign = state.sign(),
        name = Escaped(&objective.name),
        health = standing.health().as_str(),
        doubt = match standing.good_ratio.is_some() && !standing.is_certain() {
            true => " so far",
            false => "",
        },
        burning = match standing.burning() {
            Some(Urgency::Page) => ", burns fast",
            Some(Urgency::Ticket) => ", burns",
            None => "",
        },
        probe = Escaped(&standing.labels),
    )
}

/// A ratio in percent with so many digits behind the point at the most.
fn percent(ratio: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", ratio * 100.0).replace('-', "−");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} %")
}

fn good(standing: &Standing) -> String {
    let Some((ratio, bounds)) = standing.good_ratio.zip(standing.bounds) else {
        return ABSENT.to_owned();
    };
    let counts = standing.counts;
    let excluded = match counts.excluded {
        0 => String::new(),
        count => format!(", {count} excluded"),
    };
    format!(
        "<span title=\"{} good, {} bad{excluded}; as sure as {} independent runs\">{}</span>\
         <small class=\"bounds\">{} – {}</small>",
        counts.good,
        counts.bad,
        figure(standing.effective_events.unwrap_or_default()),
        percent(ratio, 2),
        percent(bounds.lower, 2),
        percent(bounds.upper, 2),
    )
}

/// A bar and its figure. An overspent budget has an empty bar and a negative figure.
fn budget(standing: &Standing) -> String {
    let Some(left) = standing.budget_remaining else {
        return ABSENT.to_owned();
    };
    let width = left.clamp(0.0, 1.0) * 60.0;
    let covered = match standing.covered < standing.objective.window {
        true => {
            let covered = whole_span(standing.covered);
            format!("<small title=\"so long has the daemon counted\"> in {covered}</small>")
        }
        false => String::new(),
    };
    format!(
        "<svg viewBox=\"0 0 60 8\" aria-hidden=\"true\"><rect class=\"rest\" width=\"60\" height=\"8\" rx=\"2\"/>\
         <rect class=\"left\" width=\"{width:.1}\" height=\"8\" rx=\"2\"/></svg>{}{covered}",
        percent(left, 0)
    )
}

fn whole_span(time: Duration) -> String {
    SignedDuration::try_from(time).map_or_else(|_| format_duration(time), span)
}

/// Over the long windows of the alerts. What is above an alert's threshold stands out.
fn burns(standing: &Standing) -> String {
    let rules = standing.policy.rules.iter();
    let parts: String = rules
        .filter_map(|rule| {
            let burn = standing.burn_over(rule.long)?;
            let rate = burn.rate?;
            let class = if rate > rule.factor {
                " class=\"hot\""
            } else {
                ""
            };
            let counts = burn.counts;
            Some(format!(
                "<span{class} title=\"{} bad of {}\"><small>{}</small> {}</span>",
                counts.bad,
                counts.judged(),
                format_duration(burn.window),
                figure(rate)
            ))
        })
        .collect();
    match parts.is_empty() {
        true => ABSENT.to_owned(),
        false => parts,
    }
}

fn last_bad(standing: &Standing, now: Timestamp) -> String {
    let Some(event) = standing.latest_bad.last() else {
        return ABSENT.to_owned();
    };
    format!("{} <small>{}</small>", ago(now, event.ended), why(event))
}

fn why(event: &Event) -> String {
    if event.breaches.is_empty() {
        return event.outcome.as_str().to_owned();
    }
    let names: Vec<_> = event
        .breaches
        .iter()
        .map(|breach| breach.condition)
        .collect();
    names.join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::label::ProbeLabels;
    use crate::probe::{Outcome, Probe, Prober, RunContext};
    use crate::record::Sink;
    use crate::slo::{Conditions, Objective, ProbeObjectives, Selector, SloBook};
    use std::sync::Arc;
    use std::time::Instant;
    use tokio_util::sync::CancellationToken;

    const PERIOD: Duration = Duration::from_secs(30);

    fn objective(name: &str, share: f64, first_token: Option<u64>) -> Objective {
        Objective {
            name: name.to_owned(),
            selector: Selector::default(),
            objective: share,
            window: Duration::from_secs(30 * 86_400),
            conditions: Conditions {
                first_token_under: first_token.map(Duration::from_millis),
                ..Conditions::default()
            },
        }
    }

    /// Two objectives of each of these probes, after a day of runs: of the target with the most bad
    /// runs at the end of it, its last hour is bad. `now` is when the day ends.
    pub(in crate::http::ui) fn standings(
        probes: &[(ProbeLabels, usize)],
        now: Timestamp,
    ) -> Vec<Standing> {
        let book = SloBook::default();
        let start = Instant::now();
        let of_probe = |(labels, _): &(ProbeLabels, usize)| ProbeObjectives {
            labels: labels.clone(),
            objectives: vec![
                objective("availability", 0.999, None),
                objective("ttft", 0.95, Some(800)),
            ],
            period: PERIOD,
        };
        book.retain(probes.iter().map(of_probe).collect(), start);
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&Probe::example(), &context);
        const TICKS: u32 = 2880;
        for (labels, bad) in probes {
            run.labels = labels.clone();
            for tick in 0..TICKS {
                run.dispatched = start + tick * PERIOD;
                let ago = SignedDuration::from_secs(30 * i64::from(TICKS - tick));
                run.ended = now - ago;
                run.outcome = match (TICKS - tick) as usize <= *bad {
                    true => Outcome::Stalled,
                    false => Outcome::Success,
                };
                let slow = tick % 40 == 7;
                let first_token = if slow { 950 } else { 210 };
                run.latency.first_token = Some(Duration::from_millis(first_token));
                book.observe(&Arc::new(run.clone()));
            }
        }
        book.standings(start + TICKS * PERIOD)
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_767_323_045).unwrap()
    }

    fn labels(target: &str) -> ProbeLabels {
        ProbeLabels {
            target: target.into(),
            ..Probe::example().labels
        }
    }

    #[test]
    fn broken_promises_come_first_and_say_why() {
        let standings = standings(&[(labels("fine"), 0), (labels("ill"), 120)], now());
        let section = section(&standings, now());
        let ill = section.find("ill/s").unwrap();
        assert!(ill < section.find("fine/s").unwrap(), "{section}");
        for text in [
            "broken so far, burns fast</small>",
            "kept</small>",
            "<small>stalled</small>",
            "<small>first_token_under</small>",
            "title=\"good is: success, first_token_under 800ms\"",
            "97.5 %",
            "99.9 %<small> in 30d</small>",
        ] {
            assert!(section.contains(text), "{text}\n{section}");
        }
    }

    #[test]
    fn without_objectives_there_is_no_section_and_without_events_no_figure() {
        assert_eq!(section(&[], now()), "");
        let book = SloBook::default();
        let fresh = ProbeObjectives {
            labels: labels("a<b"),
            objectives: vec![objective("ttft", 0.95, None)],
            period: PERIOD,
        };
        book.retain(vec![fresh], Instant::now());
        let section = section(&book.standings(Instant::now()), now());
        assert!(section.contains("unknown</small>"), "{section}");
        assert!(section.contains("a&lt;b/s"), "{section}");
        assert_eq!(section.matches(ABSENT).count(), 4, "{section}");
    }
}
