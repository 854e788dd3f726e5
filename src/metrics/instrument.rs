//! Families about the instrument itself: which clock stamped, how late it read, how far off it is.

use super::family::{FamilySpec, Kind, Labels};
use crate::base::clock::unix_seconds;
use crate::probe::Taint;
use crate::transport::ClockKind;
use jiff::Timestamp;

const PROBE: &[&str] = &super::family::PROBE;

/// What the daemon's last self-test found.
#[derive(Clone, Debug, PartialEq)]
pub struct SelftestState {
    /// When it ended.
    pub at: Timestamp,
    /// Whether every run could be compared, median errors were within the limit and error bars held.
    pub passed: bool,
    /// By clock, quantity and statistic, in seconds.
    pub errors: Vec<InstrumentError>,
}

/// One figure of a self-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstrumentError {
    /// The clock that stamped.
    pub clock: ClockKind,
    /// What was measured: `ttft`, `itl`, `tpot`, `e2e`.
    pub quantity: &'static str,
    /// Of all runs: `mean`, `p50`, `p99`, `max`.
    pub stat: &'static str,
    /// Observed − true, in seconds.
    pub seconds: f64,
}

/// A histogram of a probe, by its field.
macro_rules! of_probe {
    ($field:ident) => {
        |state, samples| {
            for probe in state.probes.values() {
                samples.histogram(Labels::probe(&probe.labels), Some(&probe.$field));
            }
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_schedule_lag_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "How much later than planned the daemon woke for a run: the instrument's own error",
        collect: of_probe!(schedule_lag),
    },
    FamilySpec {
        name: "llm_probe_stamp_delay_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "From the kernel's receive stamp to the return of our read, read by read, tainted runs included; no samples where the kernel stamps nothing",
        collect: of_probe!(stamp_delay),
    },
    FamilySpec {
        name: "llm_probe_error_bound_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "The error bar of each run: by how much its latencies may be too large, tainted runs included",
        collect: of_probe!(error_bound),
    },
    FamilySpec {
        name: "llm_probe_tainted_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "scenario", "reason"],
        help: "Runs whose error bar exceeds its limit, or that began too late: kept out of latency histograms and SLIs, never blamed on the runtime",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for (reason, count) in Taint::ALL.iter().zip(probe.tainted) {
                    let labels = Labels::probe(&probe.labels).with("reason", reason.as_str());
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_runs_by_clock_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "scenario", "clock"],
        help: "Runs by the clock that stamped them: wire (packet tap), socket (kernel receive stamps), user (after the read)",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for (clock, count) in ClockKind::ALL.iter().zip(probe.clocks) {
                    let labels = Labels::probe(&probe.labels).with("clock", clock.as_str());
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "sonde_clock_info",
        kind: Kind::Gauge,
        labels: &["clock", "configured", "wire", "socket"],
        help: "The best clock that runs can have, what is configured, and why the better ones are not there, always 1",
        collect: |state, samples| {
            if let Some(clocks) = &state.clocks {
                let labels = Labels::default()
                    .with("clock", clocks.best().as_str())
                    .with("configured", clocks.choice.as_str())
                    .with("wire", clocks.wire.as_str())
                    .with("socket", clocks.socket.as_str());
                samples.gauge(labels, Some(1.0));
            }
        },
    },
    FamilySpec {
        name: "llm_probe_instrument_error_seconds",
        kind: Kind::Gauge,
        labels: &["clock", "quantity", "stat"],
        help: "Observed minus true in the last self-test on this machine; absent without `selftest.schedule`",
        collect: |state, samples| {
            for error in state.selftest.iter().flat_map(|test| &test.errors) {
                let labels = Labels::default()
                    .with("clock", error.clock.as_str())
                    .with("quantity", error.quantity)
                    .with("stat", error.stat);
                samples.gauge(labels, Some(error.seconds));
            }
        },
    },
    FamilySpec {
        name: "sonde_selftest_success",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether the last self-test passed; absent before the first",
        collect: |state, samples| {
            let passed = state.selftest.as_ref().map(|test| test.passed);
            samples.gauge(
                Labels::default(),
                passed.map(|passed| f64::from(u8::from(passed))),
            );
        },
    },
    FamilySpec {
        name: "sonde_selftest_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the last self-test ended, Unix time; absent before the first",
        collect: |state, samples| {
            let at = state.selftest.as_ref().map(|test| unix_seconds(test.at));
            samples.gauge(Labels::default(), at);
        },
    },
];
