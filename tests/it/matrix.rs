//! One entry, many targets: what happens to one of them happens to no other.

use crate::daemon::{Daemon, sum, write_atomically};
use crate::support::{Runtime, eventually, quick, simulate};
use http::StatusCode;
use sonde::simulate::{Character, Distribution};
use std::collections::BTreeMap;
use std::time::Duration;

/// One entry for all of these; two seconds leave room on a busy machine.
fn config(runtimes: &[Runtime]) -> String {
    let ports: Vec<_> = runtimes
        .iter()
        .map(|runtime| runtime.address.port().to_string())
        .collect();
    format!(
        "
scenarios:
  - {{name: chat, schedule: '@every 2s', workload: {{prompt: Count to ten., output_tokens: 8}}}}
targets:
  - name: fake-{{port}}
    url: http://127.0.0.1:{{port}}
    matrix: {{port: [{}], tier: [gold], runtime: [openai], model: [sim]}}
",
        ports.join(", ")
    )
}

fn label(runtime: &Runtime) -> String {
    format!("target=\"fake-{}\"", runtime.address.port())
}

/// Every tick became a run, and none is open.
fn assert_on_schedule(metrics: &BTreeMap<String, f64>, target: &str) -> f64 {
    let of = |family: &str| sum(metrics, family, &[target]);
    let runs = of("llm_probe_runs_total");
    let scheduled = of("llm_probe_scheduled_total");
    assert_eq!(scheduled, runs + of("llm_probe_in_flight"), "{target}");
    for lost in ["llm_probe_missed_total", "llm_probe_skipped_total"] {
        assert_eq!(of(lost), 0.0, "{target}: {lost}");
    }
    runs
}

#[tokio::test]
async fn one_failing_cell_disturbs_no_other() {
    let mut runtimes = Vec::new();
    for number in 1..=6 {
        let character = Character {
            ttft: Distribution::Constant(Duration::from_millis(15 * number)),
            faults: if number == 6 { "cycle:5xx" } else { "" }
                .parse()
                .unwrap_or_default(),
            ..quick()
        };
        runtimes.push(simulate(character).await);
    }
    let daemon = Daemon::start(&config(&runtimes)).await;
    let metrics = eventually("four runs of each cell", async || {
        let metrics = daemon.metrics().await;
        let many =
            |runtime: &Runtime| sum(&metrics, "llm_probe_runs_total", &[&label(runtime)]) >= 4.0;
        runtimes.iter().all(many).then_some(metrics)
    })
    .await;

    let (failing, good) = runtimes.split_last().unwrap();
    for runtime in good {
        let target = label(runtime);
        let runs = assert_on_schedule(&metrics, &target);
        assert_eq!(sum(&metrics, "llm_probe_failures_total", &[&target]), 0.0);
        let any = [target.as_str(), "kind=\"any\""];
        let counted = sum(
            &metrics,
            "llm_probe_time_to_first_token_seconds_count",
            &any,
        );
        let tainted = sum(&metrics, "llm_probe_tainted_total", &[&target]);
        assert_eq!(counted + tainted, runs, "{target}");
        // The fake's own truth: no answer can have come before it was written.
        let mut written: Vec<f64> = runtime
            .requests
            .snapshot()
            .iter()
            .filter_map(|log| Some((log.first_token? - log.received).as_secs_f64()))
            .collect();
        assert!(written.len() as f64 >= runs, "{target}");
        written.sort_by(f64::total_cmp);
        let least: f64 = written.iter().take(counted as usize).sum();
        let told = sum(&metrics, "llm_probe_time_to_first_token_seconds_sum", &any);
        assert!(told >= least, "{target}: {told} s told, {least} s written");
        let info = [target.as_str(), "tier=\"gold\"", "port=\""];
        assert_eq!(sum(&metrics, "llm_probe_target_info", &info), 1.0);
    }
    let target = label(failing);
    let runs = assert_on_schedule(&metrics, &target);
    let failures = "llm_probe_failures_total";
    assert_eq!(sum(&metrics, failures, &[&target]), runs);
    assert_eq!(
        sum(&metrics, failures, &[&target, "reason=\"http_5xx\""]),
        runs
    );

    // A smaller matrix ends the cells that it lacks, and those alone.
    write_atomically(&daemon.file, &config(good));
    assert_eq!(daemon.reload().await.0, StatusCode::OK);
    let after = daemon.metrics().await;
    assert!(!after.keys().any(|name| name.contains(&target)));
    for runtime in good {
        let target = label(runtime);
        let of = |metrics| sum(metrics, "llm_probe_runs_total", &[&target]);
        assert!(of(&after) >= of(&metrics), "{target} goes on");
    }
    daemon.stop().await;
}
