//! The table of probes: one group per target, failing ones first.

use super::format::{ABSENT, Escaped, ago, clip, figure, latency, span, utc};
use crate::base::label::ProbeLabels;
use crate::measure::tokens::TokenCounts;
use crate::probe::{ConnectionState, Contamination, Observation, Outcome, Trigger};
use crate::record::Standing;
use jiff::Timestamp;
use std::collections::VecDeque;

/// The most that is shown of a failure's text.
const FAILURE_CHARS: usize = 1200;
/// A run that is due by more than this is called overdue: something holds the scheduler up.
const OVERDUE_SECONDS: i64 = 5;
/// Bars of the strip of recent runs, as many as the board remembers.
const STRIP_BARS: usize = 40;

/// What a probe's last run says, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Not a success.
    Failing,
    /// No verdict: its figures cannot be trusted, or it was cancelled.
    Doubtful,
    /// Not run yet.
    Waiting,
    /// A success.
    Good,
}

impl State {
    pub(super) fn of(standing: &Standing) -> Self {
        match &standing.last {
            None => Self::Waiting,
            Some(run) if run.outcome == Outcome::Cancelled => Self::Doubtful,
            Some(run) if !run.outcome.is_success() => Self::Failing,
            Some(run) if run.is_tainted() => Self::Doubtful,
            Some(_) => Self::Good,
        }
    }

    /// Its style class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Failing => "bad",
            Self::Doubtful => "doubt",
            Self::Waiting => "wait",
            Self::Good => "good",
        }
    }

    /// Its sign: another shape for each, so that colour is never needed.
    pub(super) fn sign(self) -> String {
        let shape = match self {
            Self::Failing => {
                "<path d=\"M5 1h6l4 4v6l-4 4H5l-4-4V5z\"/>\
                 <path class=\"ink\" d=\"M5.2 5.2l5.6 5.6m0-5.6l-5.6 5.6\"/>"
            }
            Self::Doubtful => {
                "<path d=\"M8 .8l7.6 13.9H.4z\"/><path class=\"ink\" d=\"M8 5.6v4.2m0 1.6v1\"/>"
            }
            Self::Waiting => "<circle class=\"ring\" cx=\"8\" cy=\"8\" r=\"6\"/>",
            Self::Good => {
                "<circle cx=\"8\" cy=\"8\" r=\"7.4\"/>\
                 <path class=\"ink\" d=\"M4.6 8.3l2.4 2.4 4.4-5\"/>"
            }
        };
        format!("<svg class=\"sign\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{shape}</svg>")
    }
}

type Row<'a> = (State, &'a ProbeLabels, &'a Standing);

/// The whole table.
pub(super) fn table(probes: &[(ProbeLabels, Standing)], now: Timestamp) -> String {
    let mut rows: Vec<Row<'_>> = probes
        .iter()
        .map(|(labels, standing)| (State::of(standing), labels, standing))
        .collect();
    rows.sort_by_key(|(state, labels, _)| (group_of(labels), *state, labels.scenario.clone()));
    let mut groups: Vec<&[Row<'_>]> = rows
        .chunk_by(|a, b| group_of(a.1) == group_of(b.1))
        .collect();
    groups.sort_by_key(|group| group.iter().map(|row| row.0).min());
    let bodies: String = groups.into_iter().map(|group| body(group, now)).collect();
    format!("<table class=\"probes\">{HEAD}{bodies}</table>")
}

fn group_of(labels: &ProbeLabels) -> (&str, &str, &str) {
    (&labels.target, &labels.runtime, &labels.model)
}

const HEAD: &str = "<thead><tr>\
<th scope=\"col\">Last outcome</th>\
<th scope=\"col\">Scenario</th>\
<th scope=\"col\" class=\"n\" title=\"Time to first token: first token of any kind − dispatch\">TTFT</th>\
<th scope=\"col\" class=\"n\" title=\"Speed of one stream: (n − 1) / (last token − first token)\">Decode</th>\
<th scope=\"col\" class=\"n\" title=\"End of stream − dispatch\">Inference</th>\
<th scope=\"col\" class=\"n\" title=\"Tokens of the prompt → tokens of the answer\">Tokens</th>\
<th scope=\"col\" title=\"Oldest on the left; a tall bar is a bad run\">Recent runs</th>\
<th scope=\"col\" class=\"n\">Last run</th>\
<th scope=\"col\" class=\"n\">Next run</th>\
</tr></thead>";

fn body(group: &[Row<'_>], now: Timestamp) -> String {
    let Some((_, labels, _)) = group.first() else {
        return String::new();
    };
    let failing = group.iter().filter(|row| row.0 == State::Failing).count();
    let tally = match (failing, group.len()) {
        (0, _) | (_, 1) => String::new(),
        _ => format!(
            "<span class=\"tally bad\">{failing} of {} failing</span>",
            group.len()
        ),
    };
    let rows: String = group.iter().map(|row| probe(row, now)).collect();
    format!(
        "<tbody><tr class=\"group\"><th colspan=\"9\" scope=\"rowgroup\">\
         <span class=\"target\">{}</span><span class=\"tag\">{}</span>\
         <span class=\"model\">{}</span>{tally}</th></tr>{rows}</tbody>",
        Escaped(&labels.target),
        Escaped(&labels.runtime),
        Escaped(&labels.model),
    )
}

fn probe((state, labels, standing): &Row<'_>, now: Timestamp) -> String {
    let last = standing.last.as_deref();
    let outcome = last.map_or("not run yet", |run| {
        match run.is_tainted() && *state == State::Doubtful {
            true => "tainted",
            false => run.outcome.as_str(),
        }
    });
    let figures = match last {
        Some(run) => figures(run),
        None => [ABSENT; 4].map(str::to_owned),
    };
    let [ttft, decode, inference, tokens] = figures;
    let cells = [
        ("TTFT", "n fig", ttft),
        ("Decode", "n fig", decode),
        ("Inference", "n fig", inference),
        ("Tokens", "n fig", tokens),
        ("Recent", "strip", strip(&standing.recent)),
        (
            "Last run",
            "n when",
            last.map_or_else(|| ABSENT.to_owned(), |run| ago(now, run.ended)),
        ),
        ("Next run", "n when", next(now, standing.next)),
    ];
    let cells: String = cells
        .iter()
        .map(|(name, class, html)| {
            format!("<td class=\"{class}\" data-name=\"{name}\">{html}</td>")
        })
        .collect();
    format!(
        "<tr class=\"{class}\"><td class=\"state\">{sign}<span>{outcome}</span></td>\
         <th scope=\"row\">{scenario}</th>{cells}</tr>{why}",
        class = state.class(),
        sign = state.sign(),
        scenario = Escaped(&labels.scenario),
        why = last.map_or_else(String::new, |run| why(*state, run, &standing.recent))
            + &held_back(standing),
    )
}

/// Why the latest tick had no run.
fn held_back(standing: &Standing) -> String {
    standing.skipped.map_or_else(String::new, |reason| {
        format!(
            "<tr class=\"why wait\"><td colspan=\"9\">held back: {}</td></tr>",
            Escaped(reason.meaning())
        )
    })
}

/// TTFT, decode speed, inference time and tokens.
fn figures(run: &Observation) -> [String; 4] {
    let absent = || ABSENT.to_owned();
    let connection = match run.connection {
        ConnectionState::Cold => {
            "<span class=\"note\" title=\"cold connection: DNS, TCP and TLS are inside\">cold</span> "
        }
        ConnectionState::Warm => "",
    };
    let first_token = run
        .latency
        .first_token
        .map_or_else(absent, |value| format!("{connection}{}", latency(value)));
    let decode = run.latency.decode_tps.map_or_else(absent, |tps| {
        format!("{}<small> tok/s</small>", figure(tps))
    });
    let inference = match run.outcome.is_success() {
        true => latency(run.latency.inference),
        false => format!(
            "<span title=\"until it failed\">{}</span>",
            latency(run.latency.inference)
        ),
    };
    let tokens = run.tokens.as_ref().map_or_else(absent, token_counts);
    let tokens = format!("{}{tokens}", contamination(run.contamination));
    [first_token, decode, inference, tokens]
}

/// What the runtime's cache did against the scenario.
fn contamination(found: Option<Contamination>) -> &'static str {
    match found {
        None => "",
        Some(Contamination::UnexpectedCacheHit) => {
            "<span class=\"note\" title=\"contaminated: the prompt was in the runtime's cache, though the \
             scenario is cold; TTFT is kept out of histograms\">cache hit</span> "
        }
        Some(Contamination::UnexpectedCacheMiss) => {
            "<span class=\"note\" title=\"contaminated: the prompt was not in the runtime's cache, though \
             the scenario is warm\">cache miss</span> "
        }
    }
}

fn token_counts(counts: &TokenCounts) -> String {
    let text = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let usage = &counts.usage;
    let mut title = format!("counted by {}", counts.source.as_str());
    for (name, count) in [("cached", usage.cached), ("reasoning", usage.reasoning)] {
        if let Some(count) = count {
            title.push_str(&format!(", {count} {name}"));
        }
    }
    format!(
        "<span title=\"{title}\">{} <small>→</small> {}</span>",
        text(usage.input),
        text(usage.output)
    )
}

fn next(now: Timestamp, at: Option<Timestamp>) -> String {
    let Some(at) = at else {
        return ABSENT.to_owned();
    };
    let ahead = at.duration_since(now);
    let (class, text) = match ahead.as_secs() {
        1.. => ("", format!("in {}", span(ahead))),
        seconds if seconds < -OVERDUE_SECONDS => {
            (" class=\"late\"", format!("overdue {}", span(ahead)))
        }
        _ => ("", "due now".to_owned()),
    };
    format!("<time{class} title=\"{}\">{text}</time>", utc(at))
}

/// Low bars are good runs, tall ones bad; the newest is on the right.
fn strip(recent: &VecDeque<bool>) -> String {
    if recent.is_empty() {
        return ABSENT.to_owned();
    }
    let shown = recent.len().min(STRIP_BARS);
    let (mut good, mut bad) = (String::new(), String::new());
    for (slot, was_good) in recent.iter().rev().take(STRIP_BARS).enumerate() {
        let x = (STRIP_BARS - 1 - slot) * 3;
        match was_good {
            true => good.push_str(&format!("M{x} 9h2v7h-2z")),
            false => bad.push_str(&format!("M{x} 0h2v16h-2z")),
        }
    }
    let good_runs = recent
        .iter()
        .rev()
        .take(STRIP_BARS)
        .filter(|was_good| **was_good)
        .count();
    let label = format!("{good_runs} of the last {shown} runs were good");
    let width = STRIP_BARS * 3 - 1;
    format!(
        "<svg viewBox=\"0 0 {width} 16\" role=\"img\" aria-label=\"{label}\"><title>{label}</title>\
         <path class=\"g\" d=\"{good}\"/><path class=\"b\" d=\"{bad}\"/></svg>\
         <small>{good_runs}/{shown}</small>"
    )
}

/// The row beneath a probe that is not good.
fn why(state: State, run: &Observation, recent: &VecDeque<bool>) -> String {
    let text = match (state, &run.failure, run.instrument.taint) {
        (State::Good | State::Waiting, ..) => return String::new(),
        (_, Some(failure), _) => clip(&failure.message, FAILURE_CHARS),
        (State::Doubtful, None, Some(taint)) => format!(
            "{}: the run succeeded, but the daemon itself disturbed it; its figures are kept out of \
             histograms and SLOs",
            taint.as_str()
        ),
        (State::Doubtful, None, None) => "the run was told to stop".to_owned(),
        (State::Failing, None, _) => "no more is known".to_owned(),
    };
    let mut facts = Vec::new();
    let in_a_row = recent
        .iter()
        .rev()
        .take_while(|was_good| !**was_good)
        .count();
    if state == State::Failing && in_a_row > 1 {
        let more = if in_a_row == recent.len() {
            "at least "
        } else {
            ""
        };
        facts.push(format!("<b>{more}{in_a_row} bad runs in a row</b>"));
    }
    if let Some(status) = run.failure.as_ref().and_then(|failure| failure.status) {
        facts.push(format!("HTTP {status}"));
    }
    facts.push(format!("{} connection", run.connection.as_str()));
    if run.trigger == Trigger::OnDemand {
        facts.push("on demand".to_owned());
    }
    facts.push(format!("started {}", utc(run.intended_start)));
    facts.push(format!("run <code>{}</code>", run.run_id));
    format!(
        "<tr class=\"why {}\"><td colspan=\"9\"><p class=\"message\">{}</p><p class=\"facts\">{}</p></td></tr>",
        state.class(),
        Escaped(text),
        facts.join(" · ")
    )
}
