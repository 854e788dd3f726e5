//! The self-test compares every run. How small the errors are is for the machine to say, not for
//! tests.

use serde_json::Value;
use sonde::app::IoThread;
use sonde::probe::ConnectionPolicy;
use sonde::selftest::{Settings, Threads, run};
use std::process::{Command, Output};
use std::time::Duration;

#[tokio::test]
async fn every_run_of_every_level_is_compared() {
    let (runtime, prober) = (IoThread::start().unwrap(), IoThread::start().unwrap());
    let threads = Threads {
        runtime: runtime.handle(),
        prober: prober.handle(),
        wakeups: prober.wakeups(),
    };
    for connection in [ConnectionPolicy::Warm, ConnectionPolicy::Cold] {
        let settings = Settings {
            concurrency: vec![1, 3],
            runs: 4,
            ttft: Duration::from_millis(10),
            itl: Duration::from_millis(4),
            tokens: 6,
            connection,
            pressure: 0,
        };
        let mut seen = Vec::new();
        let report = run(settings, &threads, |level| seen.push(level.concurrency)).await;
        let report = report.unwrap();
        assert_eq!(seen, [1, 3]);
        assert_eq!(report.problems(Duration::MAX), [""; 0]);
        // Three streams make two runs each: at least four, and as many as each other.
        for (level, runs) in report.levels.iter().zip([4, 6]) {
            assert_eq!((level.runs, level.failed, level.unmatched), (runs, 0, 0));
            assert_eq!(level.tokens, runs * 6);
            assert_eq!(
                level.clocks.iter().map(|clock| clock.runs).sum::<usize>(),
                runs
            );
        }
    }
    prober.stop();
    runtime.stop();
}

const CLOCKS: [&str; 3] = ["wire", "socket", "user"];

fn selftest(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sonde"))
        .arg("selftest")
        .args(["--concurrency", "2", "--runs", "2", "--tokens", "3"])
        .args(["--ttft", "5ms", "--itl", "2ms"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_verdict_is_the_exit_status() {
    let good = selftest(&["--json", "--max-error", "1h"]);
    let json: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert!(good.status.success(), "{json}");
    assert_eq!(json["passed"], true);
    // Which one it is depends on what the system allows.
    let best = json["levels"][0]["clocks"][0]["clock"].as_str().unwrap();
    assert!(CLOCKS.contains(&best), "{best}");
    // No reading of a clock takes no time at all.
    let bad = selftest(&["--max-error", "0"]);
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stdout).unwrap();
    let complaint = |clock| format!("the median error of TTFT by the clock `{clock}` is");
    let complains = CLOCKS.map(complaint).iter().any(|line| text.contains(line));
    assert!(complains, "{text}");
    let wrong = selftest(&["--itl", "0"]);
    assert_eq!(wrong.status.code(), Some(2));
}
