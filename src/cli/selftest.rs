//! `sonde selftest`.

use super::{CliError, printer};
use crate::app::IoThread;
use crate::base::units::{format_duration, parse_duration};
use crate::probe::ConnectionPolicy;
use crate::selftest::{ClockErrors, Figure, Level, Report, Settings, Summary, Threads};
use clap::Args;
use std::fmt::Write as _;
use std::time::Duration;

/// Most streams at once: two descriptors each must fit into the usual limit of 1024.
const MOST_STREAMS: u64 = 400;
const LONGEST_DELAY: Duration = Duration::from_hours(1);

#[derive(Args)]
pub(super) struct SelftestArgs {
    /// Streams at the same time, level by level
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,16,64",
        value_name = "N,…",
        value_parser = clap::value_parser!(u64).range(1..=MOST_STREAMS)
    )]
    concurrency: Vec<u64>,
    /// Runs per level, rounded up so that every stream makes as many
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// The fake runtime's time to first token
    #[arg(long, default_value = "200ms", value_parser = delay, value_name = "DURATION")]
    ttft: Duration,
    /// The fake runtime's time from token to token
    #[arg(long, default_value = "20ms", value_parser = delay_above_zero, value_name = "DURATION")]
    itl: Duration,
    /// Tokens of each answer, one per write
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    tokens: u32,
    /// Connect within each run instead of before it
    #[arg(long)]
    cold: bool,
    /// Threads that keep cores busy while a level is measured
    #[arg(
        long,
        default_value_t = 0,
        default_missing_value = "1",
        num_args = 0..=1,
        require_equals = true,
        value_name = "THREADS",
        value_parser = clap::value_parser!(u8).range(0..=2)
    )]
    pressure: u8,
    /// Fail (exit status 1) when, at any level, the median TTFT error is further from zero than this;
    /// a run that fails or cannot be compared fails the test as well, other figures do not
    #[arg(long, default_value = "5ms", value_parser = parse_duration, value_name = "DURATION")]
    max_error: Duration,
    /// Print everything as JSON, in seconds and bytes
    #[arg(long)]
    json: bool,
}

/// The fake runtime has no longer delays.
fn delay(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    match duration <= LONGEST_DELAY {
        true => Ok(duration),
        false => Err(format!("at most {}", format_duration(LONGEST_DELAY))),
    }
}

fn delay_above_zero(text: &str) -> Result<Duration, String> {
    match delay(text)? {
        Duration::ZERO => Err("streams are spread over it, so it cannot be 0".to_owned()),
        duration => Ok(duration),
    }
}

impl SelftestArgs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let settings = self.settings();
        // Each side on a thread of its own, as in production.
        let (runtime, prober) = (IoThread::start()?, IoThread::start()?);
        let threads = Threads {
            runtime: runtime.handle(),
            prober: prober.handle(),
            wakeups: prober.wakeups(),
        };
        if !self.json {
            printer::line(opening(&settings))?;
        }
        let mut printed = Ok(());
        let measuring = crate::selftest::run(settings, &threads, |level| {
            if !self.json && printed.is_ok() {
                printed = printer::line(table(level));
            }
        });
        let outcome = tokio::select! {
            report = measuring => report.map_err(|error| CliError::Failed(error.to_string())),
            stopped = super::stop_signal() => match stopped {
                Ok(()) => Err(CliError::Failed("stopped before the end".to_owned())),
                Err(error) => Err(error.into()),
            },
        };
        prober.stop();
        runtime.stop();
        printed?;
        self.conclude(&outcome?)
    }

    fn settings(&self) -> Settings {
        Settings {
            concurrency: self.concurrency.iter().map(|n| *n as usize).collect(),
            runs: self.runs as usize,
            ttft: self.ttft,
            itl: self.itl,
            tokens: self.tokens,
            connection: match self.cold {
                true => ConnectionPolicy::Cold,
                false => ConnectionPolicy::Warm,
            },
            pressure: usize::from(self.pressure),
        }
    }

    fn conclude(&self, report: &Report) -> Result<(), CliError> {
        let problems = report.problems(self.max_error);
        let text = match self.json {
            true => self.json(report, &problems)?,
            false => self.verdict(report, &problems),
        };
        printer::line(text)?;
        match problems.is_empty() {
            true => Ok(()),
            false => Err(CliError::Silent),
        }
    }

    fn json(&self, report: &Report, problems: &[String]) -> Result<String, CliError> {
        let mut json = serde_json::to_value(report);
        if let Ok(serde_json::Value::Object(fields)) = &mut json {
            let limit = self.max_error.as_secs_f64();
            fields.insert("max_error_seconds".to_owned(), limit.into());
            fields.insert("passed".to_owned(), problems.is_empty().into());
            fields.insert("problems".to_owned(), problems.into());
        }
        json.and_then(|json| serde_json::to_string_pretty(&json))
            .map_err(|error| CliError::Failed(error.to_string()))
    }

    fn verdict(&self, report: &Report, problems: &[String]) -> String {
        let mut out = String::new();
        if let Some(bytes) = report.peak_rss_bytes {
            let mib = bytes as f64 / f64::from(1 << 20);
            // Writing to a string cannot fail; so everywhere below.
            let _ = writeln!(out, "peak RSS {mib:.1} MiB, fake runtime included");
        }
        for problem in problems {
            let _ = writeln!(out, "{problem}");
        }
        let limit = format_duration(self.max_error);
        let _ = match problems.is_empty() {
            true => write!(out, "passed: median TTFT errors are within {limit}"),
            false => write!(out, "failed; the limit of median TTFT errors is {limit}"),
        };
        out
    }
}

fn opening(settings: &Settings) -> String {
    let connection = match settings.connection {
        ConnectionPolicy::Cold => "cold",
        ConnectionPolicy::Warm => "warm",
    };
    let pressure = match settings.pressure {
        0 => String::new(),
        1 => ", beside 1 busy thread".to_owned(),
        threads => format!(", beside {threads} busy threads"),
    };
    format!(
        "Prober against fake runtime: TTFT {}, ITL {}, {} tokens, {connection} connections{pressure}; about {} s.
Errors are observed - true; true is when the fake hands a frame to the kernel.\n",
        format_duration(settings.ttft),
        format_duration(settings.itl),
        settings.tokens,
        settings.estimate().as_secs() + 1,
    )
}

/// One level, for people.
fn table(level: &Level) -> String {
    let mut out = String::new();
    for clock in &level.clocks {
        let _ = writeln!(
            out,
            "{}, {} runs, {} tokens, clock {}",
            level.title(),
            clock.runs,
            clock.writes,
            clock.clock.as_str()
        );
        rows(&mut out, clock);
    }
    for (count, what) in [
        (level.failed, "runs failed"),
        (level.unmatched, "runs could not be compared"),
        (level.tainted, "runs are tainted, and counted in"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "  {count} {what}");
        }
    }
    if let Some(cpu) = level.prober_cpu_seconds_per_1000_tokens {
        let millis = cpu * 1e3;
        let _ = writeln!(out, "  prober's thread: {millis:.1} ms CPU per 1000 tokens");
    }
    out
}

fn rows(out: &mut String, clock: &ClockErrors) {
    let _ = writeln!(
        out,
        "  {:<20} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "error of", "n", "bias", "min", "p50", "p99", "max"
    );
    for figure in Figure::ALL {
        let (name, scale) = match figure {
            Figure::Ttft => ("TTFT, ms", 1e3),
            Figure::TokenArrival => ("token arrival, ms", 1e3),
            Figure::Itl => ("ITL, ms", 1e3),
            Figure::Tpot => ("TPOT, ms", 1e3),
            Figure::E2e => ("E2E, ms", 1e3),
            Figure::DecodeTps => ("TPS decode, 1/s", 1.0),
            Figure::EndToEndTps => ("TPS end to end", 1.0),
        };
        if let Some(summary) = clock.errors.get(&figure) {
            row(out, name, scale, summary);
        }
    }
    let _ = writeln!(out, "  from dispatch to");
    for (name, summary) in [
        ("request written, ms", &clock.request_written_seconds),
        ("request received, ms", &clock.request_received_seconds),
    ] {
        if let Some(summary) = summary {
            row(out, name, 1e3, summary);
        }
    }
    let merged = clock.merged_writes;
    if merged > 0 {
        let _ = writeln!(
            out,
            "  {merged} tokens were read together with an earlier one"
        );
    }
}

fn row(out: &mut String, name: &str, scale: f64, summary: &Summary) {
    let _ = write!(out, "  {name:<20} {:>7}", summary.count);
    for value in [
        summary.mean,
        summary.min,
        summary.p50,
        summary.p99,
        summary.max,
    ] {
        let _ = write!(out, " {:>9.3}", value * scale);
    }
    out.push('\n');
}
