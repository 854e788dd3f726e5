//! What came out: errors by level and clock, and whether they are small enough.

use super::Settings;
use super::join::{Mismatch, join};
use super::ledger::{ClockErrors, Ledger};
use crate::measure::quantiles::quantile;
use crate::probe::Observation;
use crate::simulate::RequestLog;
use crate::transport::ClockKind;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Everything that a self-test found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// Cores that this process may use; absent where unknown.
    pub cpus: Option<usize>,
    /// The circumstances.
    #[serde(flatten)]
    pub settings: Settings,
    /// In the order asked for.
    pub levels: Vec<Level>,
    /// The most memory that the process ever held.
    pub peak_rss_bytes: Option<u64>,
}

/// What a number of streams at the same time gave.
#[derive(Clone, Debug, Serialize)]
pub struct Level {
    /// Streams at the same time.
    pub concurrency: usize,
    /// Runs, however they ended.
    pub runs: usize,
    /// Runs that were no success.
    pub failed: usize,
    /// What the first of them says.
    pub failure: Option<String>,
    /// Good runs that could not be compared.
    pub unmatched: usize,
    /// Why the first of them could not.
    pub mismatch: Option<String>,
    /// Tokens of all runs that were compared.
    pub tokens: usize,
    /// CPU time of the prober's thread.
    pub prober_cpu_seconds: f64,
    /// The same, per 1000 tokens that were compared.
    pub prober_cpu_seconds_per_1000_tokens: Option<f64>,
    /// Errors, apart by the clock that made the runs' stamps.
    pub clocks: Vec<ClockErrors>,
}

/// Signed values, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// The mean: of errors, the bias.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Sums up; nothing has no summary.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            count: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            min: *values.first()?,
            p50: quantile(&values, 0.5)?,
            p99: quantile(&values, 0.99)?,
            max: *values.last()?,
        })
    }
}

impl Level {
    /// Compares each run, as every clock saw it, with the fake's log of it.
    pub fn of(
        concurrency: usize,
        runs: &[Vec<Observation>],
        logs: Vec<RequestLog>,
        prober_cpu: Duration,
    ) -> Self {
        let logs: HashMap<String, RequestLog> = logs
            .into_iter()
            .filter_map(|mut log| Some((log.request_id.take()?, log)))
            .collect();
        let mut failed = Vec::new();
        let mut mismatches: Vec<Mismatch> = Vec::new();
        let mut ledgers: BTreeMap<ClockKind, Ledger> = BTreeMap::new();
        let mut tokens = 0;
        for by_clock in runs {
            let Some(run) = by_clock.first() else {
                failed.push("no clock saw all of the run".to_owned());
                continue;
            };
            if !run.outcome.is_success() {
                let message = run.failure.as_ref().map(|failure| failure.message.as_str());
                failed.push(format!("{}: {}", run.outcome, message.unwrap_or_default()));
                continue;
            }
            let Some(log) = logs.get(&run.run_id.to_string()) else {
                mismatches.push(Mismatch::Unknown);
                continue;
            };
            tokens += log.token_times.len();
            for run in by_clock {
                match join(run, log) {
                    Ok(joined) => {
                        let ledger = ledgers.entry(run.instrument.clock).or_default();
                        ledger.enter(&run.instrument, joined);
                    }
                    Err(mismatch) => mismatches.push(mismatch),
                }
            }
        }
        let clocks = ledgers.into_iter();
        let cpu = prober_cpu.as_secs_f64();
        Self {
            concurrency,
            runs: runs.len(),
            failed: failed.len(),
            failure: failed.into_iter().next(),
            unmatched: mismatches.len(),
            mismatch: mismatches.first().map(Mismatch::to_string),
            tokens,
            prober_cpu_seconds: cpu,
            prober_cpu_seconds_per_1000_tokens: (tokens > 0).then(|| cpu * 1e3 / tokens as f64),
            clocks: clocks.map(|(clock, ledger)| ledger.close(clock)).collect(),
        }
    }

    /// `1 stream`, `16 streams`.
    pub fn title(&self) -> String {
        match self.concurrency {
            1 => "1 stream".to_owned(),
            streams => format!("{streams} streams"),
        }
    }

    /// What speaks against this level's figures.
    fn problems(&self, max_error: Duration, calm: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let level = self.title();
        let runs = self.runs;
        if let Some(failure) = &self.failure {
            let failed = self.failed;
            problems.push(format!(
                "{level}: {failed} of {runs} runs failed: {failure}"
            ));
        }
        if let Some(mismatch) = &self.mismatch {
            let unmatched = self.unmatched;
            problems.push(format!(
                "{level}: {unmatched} of {runs} runs cannot be compared: {mismatch}"
            ));
        }
        if self.clocks.is_empty() {
            problems.push(format!("{level}: no run could be compared"));
        }
        let clocks = self.clocks.iter();
        let of_clocks = clocks.flat_map(|clock| clock.problems(max_error, calm));
        problems.extend(of_clocks.map(|problem| format!("{level}: {problem}")));
        problems
    }
}

impl Report {
    /// Why the self-test has failed; empty when it has passed. Every run must have succeeded and been
    /// compared. At every level and for every clock the magnitude of the median TTFT error of untainted
    /// runs must not exceed `max_error`, and the [`super::Promise`] must hold; without pressure some run must be
    /// untainted. Other figures and quantiles are
    /// for reading: they decide nothing.
    pub fn problems(&self, max_error: Duration) -> Vec<String> {
        let calm = self.settings.pressure.threads == 0;
        let levels = self.levels.iter();
        levels
            .flat_map(|level| level.problems(max_error, calm))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::join::tests::run;
    use super::super::{FakeSource, Figure, Pressing};
    use super::*;
    use crate::probe::{ConnectionPolicy, Failure, Outcome};

    const LIMIT: Duration = Duration::from_millis(5);

    fn level(late: &[u64]) -> Level {
        let pairs = late.iter().map(|ms| run(Duration::from_millis(*ms)));
        let pairs = pairs.map(|(run, log)| (vec![run], log));
        let (runs, logs): (Vec<_>, Vec<_>) = pairs.unzip();
        Level::of(2, &runs, logs, Duration::from_millis(8))
    }

    fn report(levels: Vec<Level>) -> Report {
        Report {
            version: "0",
            cpus: None,
            settings: Settings {
                fake: FakeSource::Spawn("sonde".into()),
                concurrency: vec![2],
                runs: 3,
                ttft: Duration::from_millis(100),
                itl: Duration::from_millis(20),
                tokens: 4,
                connection: ConnectionPolicy::Warm,
                tls: false,
                pressure: Pressing::default(),
            },
            levels,
            peak_rss_bytes: None,
        }
    }

    #[test]
    fn a_summary_keeps_signs() {
        let summary = Summary::of(vec![4.0, -8.0, 1.0, 1.0]).unwrap();
        assert_eq!(
            summary,
            Summary {
                count: 4,
                mean: -0.5,
                min: -8.0,
                p50: 1.0,
                p99: 4.0,
                max: 4.0
            }
        );
        assert_eq!(Summary::of(Vec::new()), None);
    }

    #[test]
    fn runs_find_their_logs_and_cost_is_per_token() {
        let level = level(&[1, 2, 3]);
        assert_eq!((level.runs, level.failed, level.unmatched), (3, 0, 0));
        assert_eq!(level.tokens, 12);
        let cost = level.prober_cpu_seconds_per_1000_tokens.unwrap();
        assert!((cost - 0.008 / 12.0 * 1e3).abs() < 1e-9, "{cost}");
        let [clock] = &level.clocks[..] else {
            panic!("one clock");
        };
        assert_eq!((clock.clock, clock.runs), (ClockKind::User, 3));
        assert_eq!(clock.errors[&Figure::Itl].count, 9);
        let ttft = clock.errors[&Figure::Ttft];
        assert!((ttft.p50 - 0.002).abs() < 1e-9, "{ttft:?}");
        assert!((ttft.max - 0.003).abs() < 1e-9, "{ttft:?}");
    }

    #[test]
    fn late_stamps_fail_the_test_at_the_level_where_they_are() {
        let good = level(&[1, 4, 9]);
        let mut bad = level(&[1, 6, 9]);
        bad.concurrency = 16;
        let problems = report(vec![good, bad]).problems(LIMIT);
        assert_eq!(
            problems,
            ["16 streams: the median error of TTFT by the clock `user` is 6.000 ms"]
        );
    }

    #[test]
    fn a_failed_run_and_one_without_a_log_fail_the_test() {
        let (good, log) = run(Duration::ZERO);
        let (mut failed, _) = run(Duration::ZERO);
        failed.outcome = Outcome::Refused;
        failed.failure = Some(Failure {
            message: "no".to_owned(),
            status: None,
        });
        let (lost, _) = run(Duration::ZERO);
        let level = Level::of(
            1,
            &[vec![good], vec![failed], vec![lost]],
            vec![log],
            Duration::ZERO,
        );
        assert_eq!(
            report(vec![level]).problems(LIMIT),
            [
                "1 stream: 1 of 3 runs failed: refused: no",
                "1 stream: 1 of 3 runs cannot be compared: the fake runtime has no log of the run"
            ]
        );
        let none = Level::of(1, &[], Vec::new(), Duration::ZERO);
        assert_eq!(
            report(vec![none]).problems(LIMIT),
            ["1 stream: no run could be compared"]
        );
    }

    #[test]
    fn a_run_that_is_further_off_than_it_says_breaks_the_promise_unless_it_is_tainted() {
        let bounded = |bound: u64, taint| {
            let (mut run, log) = run(Duration::from_millis(9));
            run.instrument.error_bound = Some(Duration::from_millis(bound));
            run.instrument.error_limit = Some(Duration::from_millis(8));
            run.instrument.taint = taint;
            let level = Level::of(1, &[vec![run]], vec![log], Duration::ZERO);
            level.clocks[0].promise.clone()
        };
        let lie = bounded(5, None);
        assert_eq!((lie.beyond_limit_untainted, lie.beyond_twice_bound), (1, 0));
        let worse = bounded(4, None);
        assert_eq!((worse.beyond_twice_bound, worse.holds()), (1, false));
        let honest = bounded(4, Some(crate::probe::Taint::Throttled));
        assert_eq!((honest.beyond_limit, honest.holds()), (1, true));
    }

    #[test]
    fn json_is_in_base_units_and_names_the_clock() {
        let json = serde_json::to_value(report(vec![level(&[1])])).unwrap();
        assert_eq!(json["itl_seconds"], 0.02);
        assert_eq!(json["connection"], "warm");
        let clock = &json["levels"][0]["clocks"][0];
        assert_eq!(clock["clock"], "user");
        assert_eq!(clock["errors"]["itl_seconds"]["count"], 3);
        assert_eq!(
            clock["errors"]["e2e_seconds"]["p99"]
                .as_f64()
                .map(|v| (v * 1e6).round()),
            Some(1000.0)
        );
    }
}
