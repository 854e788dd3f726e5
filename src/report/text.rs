//! One run as a timeline in a terminal: what a tired person wants to know, top down.

use crate::measure::tokens::TokenSource;
use crate::probe::{Contamination, Observation, Taint};
use crate::transport::ClockKind;
use std::fmt::Write as _;
use std::time::Duration;

/// Columns of the bar.
const BAR: usize = 40;
/// Columns of the sketch of gaps.
const SKETCH: usize = 60;

/// Renders a run: verdict, phases as a bar, first token, gaps, tokens.
pub fn timeline(run: &Observation, url: &str) -> String {
    let mut out = String::new();
    let verdict = match &run.failure {
        None => "success".to_owned(),
        Some(failure) => format!("{}: {}", run.outcome, failure.message),
    };
    let labels = &run.labels;
    // Writing to a string cannot fail; so everywhere below.
    let _ = writeln!(out, "{} {} at {url}", labels.runtime, labels.model);
    let _ = writeln!(out, "{verdict}\n");
    phases(&mut out, run);
    figures(&mut out, run);
    tokens(&mut out, run);
    server(&mut out, run);
    instrument(&mut out, run);
    if let Some(answer) = &run.answer {
        let _ = writeln!(out, "\nanswer\n{}", answer.trim());
    }
    let _ = write!(out, "\nrun {}", run.run_id);
    out
}

fn phases(out: &mut String, run: &Observation) {
    let shown: Vec<_> = run
        .phases
        .iter()
        .filter(|(name, _)| *name != "schedule")
        .collect();
    let total: Duration = shown.iter().map(|(_, time)| *time).sum();
    let mut before = Duration::ZERO;
    for (name, time) in shown {
        let column = |at: Duration| {
            let share = at.as_secs_f64() / total.as_secs_f64().max(1e-9);
            (share * BAR as f64).round() as usize
        };
        let from = column(before).min(BAR - 1);
        let to = column(before + time).clamp(from + 1, BAR);
        let bar = format!(
            "{}{}{}",
            "·".repeat(from),
            "█".repeat(to - from),
            "·".repeat(BAR - to)
        );
        let _ = writeln!(out, "  {name:<8} {bar} {:>9}", human(time));
        before += time;
    }
}

fn figures(out: &mut String, run: &Observation) {
    let latency = &run.latency;
    let connection = match (run.connection.as_str(), run.reused) {
        ("cold", _) => "cold connection, set-up inside",
        (_, true) => "warm connection, used again",
        (_, false) => "warm connection, set up before",
    };
    let _ = writeln!(out);
    let mut row = |name: &str, value: Option<String>, note: &str| {
        if let Some(value) = value {
            let note = if note.is_empty() {
                String::new()
            } else {
                format!("  {note}")
            };
            let _ = writeln!(out, "  {name:<22} {value:>9}{note}");
        }
    };
    row("first byte", latency.first_byte.map(human), "");
    row(
        "first token (TTFT)",
        latency.first_token.map(human),
        connection,
    );
    if !run.streamed {
        row("no stream", Some("no TTFT".to_owned()), connection);
    }
    if latency.first_visible != latency.first_token {
        row(
            "first visible token",
            latency.first_visible.map(human),
            "after hidden reasoning",
        );
    }
    row(
        "per output token",
        latency.per_output_token.map(human),
        "TPOT: (last - first) / (n - 1)",
    );
    row("longest gap", latency.max_stall.map(human), "");
    row("inference (E2E)", Some(human(latency.inference)), "");
    row("decode speed", latency.decode_tps.map(speed), "tokens/s");
    row(
        "end to end speed",
        latency.end_to_end_tps.map(speed),
        "tokens/s",
    );
    row("input speed", latency.input_tps.map(speed), "tokens/s");
    row(
        "texts",
        run.inputs.map(|inputs| inputs.to_string()),
        "embedded or ranked in one request",
    );
    if let Some(sketch) = sketch(&run.gaps) {
        let _ = writeln!(out, "  gaps                   {sketch}");
    }
}

fn tokens(out: &mut String, run: &Observation) {
    let Some(tokens) = run.tokens else {
        return;
    };
    let source = match tokens.source {
        TokenSource::Usage => "by the answer's usage block",
        TokenSource::Runtime => "by the runtime's own counters",
        TokenSource::Tokenizer => "by the tokenizer",
        TokenSource::Chunks => "frames with text: the runtime does not count",
    };
    let mut parts = Vec::new();
    for (name, count) in [
        ("in", tokens.usage.input),
        ("cached", tokens.usage.cached),
        ("out", tokens.usage.output),
        ("reasoning", tokens.usage.reasoning),
    ] {
        if let Some(count) = count {
            parts.push(format!("{count} {name}"));
        }
    }
    let parts = parts.join(", ");
    let arrivals = match run.tokens_per_arrival.len() {
        0 => String::new(),
        arrivals => format!("; {arrivals} arrivals"),
    };
    let _ = writeln!(out, "  tokens                 {parts}, {source}{arrivals}");
    if let Some(contamination) = run.contamination {
        let why = match contamination {
            Contamination::UnexpectedCacheHit => {
                "the prompt was in the runtime's cache, though the scenario is cold: TTFT is too good"
            }
            Contamination::UnexpectedCacheMiss => {
                "the prompt was not in the runtime's cache, though the scenario is warm"
            }
        };
        let _ = writeln!(out, "  CONTAMINATED           {why}");
    }
    cost(out, run);
}

fn cost(out: &mut String, run: &Observation) {
    let Some(cost) = run.cost_usd else {
        return;
    };
    let parts: Vec<_> = [
        ("in", cost.input),
        ("cached", cost.cached),
        ("out", cost.output),
    ]
    .into_iter()
    .filter_map(|(name, usd)| Some(format!("{} {name}", dollars(usd?))))
    .collect();
    let _ = writeln!(
        out,
        "  cost                   {}: {}",
        dollars(cost.total),
        parts.join(", ")
    );
}

fn server(out: &mut String, run: &Observation) {
    let said: Vec<_> = run
        .server
        .phases()
        .map(|(phase, time)| format!("{phase} {}", human(time)))
        .collect();
    if !said.is_empty() {
        let _ = writeln!(out, "  the runtime says       {}", said.join(", "));
    }
    let Some(split) = run.attribution else {
        return;
    };
    let note = match split.excess.is_zero() {
        true => "not the runtime's by its own word".to_owned(),
        false => format!(
            "the runtime says {} more than there was",
            human(split.excess)
        ),
    };
    let _ = writeln!(
        out,
        "  in between             {:>9}  {note}",
        human(split.unattributed)
    );
}

/// How far the figures above can be trusted.
fn instrument(out: &mut String, run: &Observation) {
    let instrument = &run.instrument;
    let clock = match instrument.clock {
        ClockKind::Wire => "wire: a packet tap",
        ClockKind::Socket => "socket: the kernel's receive stamps",
        ClockKind::User => "user: the time after each read",
    };
    let _ = writeln!(out, "  clock                  {clock}");
    if let Some(bound) = instrument.error_bound {
        let limit = instrument.error_limit.map(human).unwrap_or_default();
        let _ = writeln!(
            out,
            "  error at most          {:>9}  tainted above {limit}",
            human(bound)
        );
    }
    if let Some(taint) = instrument.taint {
        let why = match taint {
            Taint::ScheduleLag => "Sonde woke too late for the run",
            Taint::Throttled => "Sonde's CPU quota held it back meanwhile",
            Taint::RunQueue => "Sonde waited for a CPU meanwhile",
            Taint::MergedReads => "several tokens came in one read, and when is not known",
        };
        let _ = writeln!(
            out,
            "  TAINTED                {why}: do not trust the times above"
        );
    }
}

/// The gaps as a line of blocks, the longest of each group, full height at the longest of all.
fn sketch(gaps: &[Duration]) -> Option<String> {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let longest = gaps.iter().max()?.as_secs_f64().max(1e-9);
    let group = gaps.len().div_ceil(SKETCH).max(1);
    let blocks = gaps.chunks(group).map(|gaps| {
        let height = gaps.iter().max().map_or(0.0, Duration::as_secs_f64) / longest;
        let level = (height * 7.0).round() as usize;
        LEVELS.get(level).copied().unwrap_or('█')
    });
    Some(blocks.collect())
}

/// Three significant digits, in milliseconds below a second.
fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds < 1.0 {
        true => (seconds * 1e3, "ms"),
        false => (seconds, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// A run costs far less than a cent.
fn dollars(usd: f64) -> String {
    format!("${usd:.6}")
}

fn speed(value: f64) -> String {
    digits(value)
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (micros, text) in [
            (123, "0.12 ms"),
            (12_340, "12.3 ms"),
            (999_000, "999 ms"),
            (2_500_000, "2.50 s"),
        ] {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn what_the_run_cost_and_what_is_wrong_with_it_are_told() {
        use crate::measure::attribution::Attribution;
        use crate::measure::cost::Price;
        use crate::measure::tokens::{TokenCounts, Usage};
        let probe = crate::probe::Probe::example();
        let context = crate::probe::RunContext::on_demand(Default::default());
        let mut run = crate::probe::Prober::default().aborted(&probe, &context);
        let usage = Usage {
            input: Some(300),
            cached: Some(200),
            output: Some(10),
            reasoning: None,
        };
        let source = TokenSource::Usage;
        run.tokens = Some(TokenCounts { usage, source });
        run.cost_usd = Some("2,8,0.5".parse::<Price>().unwrap().cost(&usage));
        run.contamination = Some(Contamination::UnexpectedCacheHit);
        run.attribution = Some(Attribution {
            exchange: Duration::from_millis(80),
            server: Duration::from_millis(81),
            unattributed: Duration::ZERO,
            excess: Duration::from_millis(1),
        });
        let text = timeline(&run, "http://127.0.0.1:9");
        for line in [
            "  CONTAMINATED           the prompt was in the runtime's cache, though the scenario is cold: TTFT is too good",
            "  cost                   $0.000380: $0.000200 in, $0.000100 cached, $0.000080 out",
            "  in between               0.00 ms  the runtime says 1.00 ms more than there was",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_sketch_is_as_high_as_the_longest_gap() {
        let gaps: Vec<_> = [10, 10, 80].map(Duration::from_millis).into();
        assert_eq!(sketch(&gaps).as_deref(), Some("▂▂█"));
        assert_eq!(sketch(&[]), None);
    }
}
