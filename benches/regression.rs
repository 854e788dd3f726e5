//! Regression sense: how soon a slowdown is found, and how often one is found that is not there.
//!
//! Measured: by simulation, 1000 runtimes a row, the runs until a slowdown is found; and regressions found in
//! runtimes that do not change. Load is a Markov chain over regimes whose TTFT differ by up to four times.
//! `tests/it/regression/world.rs` says how the figures are made.
//! Not measured: time. The results are the same on every machine and in every profile.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has no result; this one prints its own"
)]

#[path = "canned/plain.rs"]
#[expect(dead_code, reason = "nothing is timed here")]
mod plain;
#[path = "../tests/it/regression/world.rs"]
mod world;

use world::{Noise, delays, false_alarms, share_within};

const RUNTIMES: u64 = 1000;
/// Of each noise and spread; 80 runtimes of 5000 runs.
const QUIET_RUNTIMES: u64 = 80;
const QUIET_RUNS: u32 = 5000;

fn main() {
    if !plain::is_wanted("regression") {
        return;
    }
    println!(
        "| noise | sigma | slowdown | within 60 runs | median | 95 % within |\n|---|---|---|---|---|---|"
    );
    for noise in [Noise::Outliers, Noise::Persistent(0.3)] {
        for (sigma, slowdown) in [
            (0.05, 1.15),
            (0.1, 1.1),
            (0.1, 1.15),
            (0.12, 1.15),
            (0.15, 1.15),
            (0.2, 1.15),
            (0.2, 1.2),
            (0.2, 1.3),
            (0.3, 1.3),
        ] {
            let found = delays(noise, sigma, slowdown, RUNTIMES);
            let within = 100.0 * share_within(&found, 60);
            let (median, most) = (found[found.len() / 2], found[found.len() * 95 / 100]);
            println!("| {noise} | {sigma} | {slowdown} | {within:.1} % | {median} | {most} |");
        }
    }
    println!("\n| noise | sigma | runs | false alarms | per 5000 runs |\n|---|---|---|---|---|");
    for noise in [
        Noise::Lognormal,
        Noise::Outliers,
        Noise::HeavyTailed,
        Noise::Skewed,
        Noise::Bimodal,
        Noise::Persistent(0.3),
        Noise::Persistent(0.5),
        Noise::Persistent(0.7),
    ] {
        for sigma in [0.05, 0.1, 0.15, 0.2, 0.3] {
            let alarms = false_alarms(noise, sigma, QUIET_RUNTIMES, QUIET_RUNS);
            let runs = QUIET_RUNTIMES * u64::from(QUIET_RUNS);
            let rate = f64::from(alarms) * 5000.0 / runs as f64;
            println!("| {noise} | {sigma} | {runs} | {alarms} | {rate:.2} |");
        }
    }
}
