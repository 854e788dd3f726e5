//! The self-test compares every run. How small the errors are is for the machine to say, not for
//! tests.

use serde_json::Value;
use sonde::app::IoThread;
use sonde::probe::{ConnectionPolicy, InstrumentSettings, Prober};
use sonde::selftest::{FakeSource, Pressing, ProberThread, Settings, run};
use sonde::transport::ClockKind;
use std::process::{Command, Output};
use std::time::Duration;

#[tokio::test]
async fn every_run_of_every_level_is_compared() {
    let io = IoThread::start().unwrap();
    let thread = ProberThread {
        handle: io.handle(),
        prober: Prober::new(InstrumentSettings::default(), io.wakeups()),
    };
    for (connection, tls) in [
        (ConnectionPolicy::Warm, false),
        (ConnectionPolicy::Cold, false),
        (ConnectionPolicy::Warm, true),
        (ConnectionPolicy::Cold, true),
    ] {
        let settings = Settings {
            fake: FakeSource::Spawn(env!("CARGO_BIN_EXE_sonde").into()),
            concurrency: vec![1, 3],
            runs: 4,
            ttft: Duration::from_millis(10),
            itl: Duration::from_millis(4),
            tokens: 6,
            connection,
            tls,
            pressure: Pressing::default(),
        };
        let mut seen = Vec::new();
        let report = run(settings, &thread, |level| seen.push(level.concurrency)).await;
        let report = report.unwrap();
        assert_eq!(seen, [1, 3]);
        // Three streams make two runs each: at least four, and as many as each other.
        for (level, runs) in report.levels.iter().zip([4, 6]) {
            assert_eq!((level.runs, level.failed, level.unmatched), (runs, 0, 0));
            assert_eq!(level.tokens, runs * 6);
            let user = level.clocks.iter().find(|c| c.clock == ClockKind::User);
            assert_eq!(user.map(|clock| clock.runs), Some(runs));
        }
    }
    io.stop();
}

fn selftest(itl: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sonde"))
        .arg("selftest")
        .args(["--concurrency", "2", "--runs", "2", "--tokens", "3"])
        .args(["--ttft", "5ms", "--itl", itl])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_verdict_is_the_exit_status() {
    // Beside other tests a run may be late in earnest, and the self-test say so.
    let tries = std::iter::repeat_with(|| {
        let good = selftest("2ms", &["--json", "--max-error", "1h"]);
        let json: Value = serde_json::from_slice(&good.stdout).unwrap();
        assert_eq!(json["passed"], good.status.success(), "{json}");
        (good.status.success(), json)
    });
    let json = tries
        .take(20)
        .find_map(|(passed, json)| passed.then_some(json));
    let json = json.expect("one of twenty passes");
    let clocks = json["levels"][0]["clocks"].as_array().unwrap();
    assert_eq!(clocks.last().unwrap()["clock"], "user");
    // No reading of a clock takes no time at all.
    let bad = selftest("2ms", &["--max-error", "0"]);
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stdout).unwrap();
    assert!(text.contains("by the clock `user` is"), "{text}");
    let wrong = selftest("0", &[]);
    assert_eq!(wrong.status.code(), Some(2));
}

/// What the test is for: it must find an instrument that reads late.
#[test]
fn a_client_that_reads_three_milliseconds_late_fails_the_test() {
    let late = selftest("20ms", &["--read-delay", "3ms"]);
    let text = String::from_utf8(late.stdout).unwrap();
    assert_eq!(late.status.code(), Some(1), "{text}");
    assert!(text.contains("by the clock `user` is"), "{text}");
}
