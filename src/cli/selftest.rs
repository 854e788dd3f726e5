//! `sonde selftest`.

use super::{CliError, printer};
use crate::app::IoThread;
use crate::base::units::{format_duration, parse_duration};
use crate::probe::{ConnectionPolicy, InstrumentSettings, Prober};
use crate::selftest::{
    FakeSource, Figure, Level, Pressing, ProberThread, Report, Settings, Summary,
};
use crate::transport::{ClockStatus, Endpoint};
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
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    tokens: u32,
    /// Connect within each run instead of before it
    #[arg(long)]
    cold: bool,
    /// Speak TLS
    #[arg(long)]
    tls: bool,
    /// Threads of this process that keep cores busy while a level is measured
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
    /// Let them work and rest by turns of random length, up to 300 ms
    #[arg(long, requires = "pressure")]
    random: bool,
    /// Use this fake runtime instead of starting one: `sonde simulate --log-requests N` with the timing
    /// and `--model sim-selftest`, on this machine
    #[arg(long, value_name = "URL")]
    fake: Option<String>,
    /// A deliberate flaw: idle so long before each read; the test must find it
    #[arg(long, hide = true, value_parser = delay, value_name = "DURATION")]
    read_delay: Option<Duration>,
    /// Fail (exit status 1) when, at any level and by any clock, the median TTFT error of untainted runs
    /// is further from zero than this; a run that fails, cannot be compared, or is further off than it
    /// says fails the test as well, other figures do not
    #[arg(long, default_value = "1ms", value_parser = parse_duration, value_name = "DURATION")]
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
        let settings = self.settings()?;
        let io = IoThread::start()?;
        let mut prober = Prober::new(InstrumentSettings::default(), io.wakeups());
        if let Some(delay) = self.read_delay {
            prober.clocks = prober.clocks.with_read_delay(delay);
        }
        let thread = ProberThread {
            handle: io.handle(),
            prober,
        };
        if !self.json {
            printer::line(opening(&settings, thread.prober.clocks.status()))?;
        }
        let mut printed = Ok(());
        let measuring = crate::selftest::run(settings, &thread, |level| {
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
        io.stop();
        printed?;
        self.conclude(&outcome?)
    }

    fn settings(&self) -> Result<Settings, CliError> {
        let fake = match &self.fake {
            None => FakeSource::Spawn(std::env::current_exe()?),
            Some(url) => {
                let endpoint = Endpoint::parse(url);
                let endpoint =
                    endpoint.map_err(|error| CliError::Usage(format!("`--fake {url}` {error}")))?;
                FakeSource::At(Box::new(endpoint))
            }
        };
        let over_tls = matches!(&fake, FakeSource::At(endpoint) if endpoint.tls.is_some());
        Ok(Settings {
            fake,
            concurrency: self.concurrency.iter().map(|n| *n as usize).collect(),
            runs: self.runs as usize,
            ttft: self.ttft,
            itl: self.itl,
            tokens: self.tokens,
            connection: match self.cold {
                true => ConnectionPolicy::Cold,
                false => ConnectionPolicy::Warm,
            },
            tls: self.tls || over_tls,
            pressure: Pressing {
                threads: usize::from(self.pressure),
                random: self.random,
            },
        })
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
            let _ = writeln!(out, "peak RSS {mib:.1} MiB");
        }
        for problem in problems {
            let _ = writeln!(out, "{problem}");
        }
        let limit = format_duration(self.max_error);
        let _ = match problems.is_empty() {
            true => write!(
                out,
                "passed: median TTFT errors are within {limit}, and every error bar holds"
            ),
            false => write!(out, "failed; the limit of median TTFT errors is {limit}"),
        };
        out
    }
}

fn opening(settings: &Settings, clocks: ClockStatus) -> String {
    let connection = match settings.connection {
        ConnectionPolicy::Cold => "cold",
        ConnectionPolicy::Warm => "warm",
    };
    let tls = if settings.tls { " with TLS" } else { "" };
    let pattern = if settings.pressure.random {
        "now and then "
    } else {
        ""
    };
    let pressure = match settings.pressure.threads {
        0 => String::new(),
        1 => format!(", beside a thread that is {pattern}busy"),
        threads => format!(", beside {threads} threads that are {pattern}busy"),
    };
    format!(
        "Prober against fake runtime: TTFT {}, ITL {}, {} tokens, {connection} connections{tls}{pressure}; about {} s.
Errors are observed - true; true is while the fake's system call hands a frame to the kernel.
Clocks: wire {}, socket {}, user available.\n",
        format_duration(settings.ttft),
        format_duration(settings.itl),
        settings.tokens,
        settings.estimate().as_secs() + 1,
        clocks.wire.as_str(),
        clocks.socket.as_str(),
    )
}

/// One level, for people.
fn table(level: &Level) -> String {
    let mut out = String::new();
    let (title, runs, tokens) = (level.title(), level.runs, level.tokens);
    let _ = writeln!(out, "{title}, {runs} runs, {tokens} tokens");
    for (count, what) in [
        (level.failed, "runs failed"),
        (level.unmatched, "views of runs could not be compared"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "  {count} {what}");
        }
    }
    errors(&mut out, level);
    error_bars(&mut out, level);
    let mut sure = level
        .clocks
        .iter()
        .filter_map(|clock| clock.truth_resolution_seconds);
    if let Some(call) = sure.next() {
        let (p50, p99) = (call.p50 * 1e3, call.p99 * 1e3);
        let _ = writeln!(
            out,
            "  the fake's system calls took {p50:.3} ms (p50), {p99:.3} ms (p99)"
        );
    }
    if let Some(cpu) = level.prober_cpu_seconds_per_1000_tokens {
        let millis = cpu * 1e3;
        let _ = writeln!(out, "  prober's thread: {millis:.1} ms CPU per 1000 tokens");
    }
    out
}

fn errors(out: &mut String, level: &Level) {
    let _ = writeln!(
        out,
        "  {:<19} {:<6} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "error of", "clock", "n", "bias", "min", "p50", "p99", "max"
    );
    for figure in Figure::ALL {
        let (mut name, scale) = match figure {
            Figure::Ttft => ("TTFT, ms", 1e3),
            Figure::TokenArrival => ("token arrival, ms", 1e3),
            Figure::Itl => ("ITL, ms", 1e3),
            Figure::Tpot => ("TPOT, ms", 1e3),
            Figure::E2e => ("E2E, ms", 1e3),
            Figure::DecodeTps => ("TPS decode, 1/s", 1.0),
            Figure::EndToEndTps => ("TPS end to end, 1/s", 1.0),
        };
        for clock in &level.clocks {
            if let Some(summary) = clock.errors.get(&figure) {
                let label = format!("{name:<19} {:<6}", clock.clock.as_str());
                row(out, &label, scale, summary);
                name = "";
            }
        }
    }
}

/// What the runs say of themselves.
fn error_bars(out: &mut String, level: &Level) {
    let _ = writeln!(
        out,
        "  {:<19} {:<6} {:>7} {:>9} {:>9} {:>9} {:>19}",
        "error bars", "clock", "tainted", "bar p50", "bar max", "off/bar", "off and not tainted"
    );
    for clock in &level.clocks {
        let promise = &clock.promise;
        let Some(bars) = promise.error_bound_seconds else {
            continue;
        };
        let lies = promise.beyond_limit_untainted + promise.beyond_twice_bound;
        let _ = writeln!(
            out,
            "  {:<19} {:<6} {:>7} {:>9.3} {:>9.3} {:>9} {lies:>19}",
            "",
            clock.clock.as_str(),
            clock.tainted,
            bars.p50 * 1e3,
            bars.max * 1e3,
            promise
                .worst_ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }
}

fn row(out: &mut String, label: &str, scale: f64, summary: &Summary) {
    let _ = write!(out, "  {label} {:>7}", summary.count);
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
