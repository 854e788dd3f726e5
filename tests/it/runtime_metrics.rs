//! What the runtimes say of themselves, as the daemon passes it on.

use crate::daemon::{Daemon, series, sum, write_atomically};
use crate::support::{Runtime, eventually, quick, simulate};
use http::Method;
use sonde::simulate::{Character, Distribution, RuntimeFlavor};
use std::collections::BTreeMap;
use std::time::Duration;

fn character(flavor: RuntimeFlavor) -> Character {
    Character {
        flavor,
        prefix_cache: true,
        ..quick()
    }
}

/// Targets that are asked on demand only, so that their counters stand still between two questions.
fn config(targets: &[(&str, &Runtime)]) -> String {
    let mut text = "
runtime_metrics: {interval: 1s}
scenarios:
  - {name: chat, schedule: '0 0 1 1 *', workload: {kind: fixed, prompt: 'Count to one hundred.', output_tokens: 12}, cache: warm}
targets:
"
    .to_owned();
    for (runtime, server) in targets {
        let url = server.url();
        text.push_str(&format!(
            "  - {{name: {runtime}, runtime: {runtime}, url: '{url}', model: sim, max_in_flight: 2}}\n"
        ));
    }
    text
}

/// The runtime's own exposition.
async fn own_page(runtime: &Runtime) -> BTreeMap<String, f64> {
    series(&runtime.ask(Method::GET, "/metrics", "").await)
}

/// Our name and theirs.
const VLLM: &[(&str, &str)] = &[
    ("requests_running", "vllm:num_requests_running"),
    ("requests_waiting", "vllm:num_requests_waiting"),
    ("kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"),
    ("prefix_cache_hits_total", "vllm:prefix_cache_hits_total"),
    (
        "prefix_cache_queries_total",
        "vllm:prefix_cache_queries_total",
    ),
    ("preemptions_total", "vllm:num_preemptions_total"),
    ("generation_tokens_total", "vllm:generation_tokens_total"),
    ("prompt_tokens_total", "vllm:prompt_tokens_total"),
];

const LLAMACPP: &[(&str, &str)] = &[
    ("requests_running", "llamacpp:requests_processing"),
    ("requests_waiting", "llamacpp:requests_deferred"),
    ("kv_cache_usage_ratio", "llamacpp:kv_cache_usage_ratio"),
    (
        "prefix_cache_hits_total",
        "llamacpp:prompt_tokens_cached_total",
    ),
    ("generation_tokens_total", "llamacpp:tokens_predicted_total"),
    ("prompt_tokens_total", "llamacpp:prompt_tokens_total"),
];

#[tokio::test]
async fn the_normalised_series_agree_with_the_runtimes_own_exposition() {
    let vllm = simulate(character(RuntimeFlavor::Vllm)).await;
    let llamacpp = simulate(character(RuntimeFlavor::LlamaCpp)).await;
    let daemon = Daemon::start(&config(&[("vllm", &vllm), ("llamacpp", &llamacpp)])).await;
    for (name, server, names) in [("vllm", &vllm, VLLM), ("llamacpp", &llamacpp, LLAMACPP)] {
        for _ in 0..2 {
            let run = daemon.get(&format!("/probe?target={name}")).await;
            assert!(run.contains("llm_probe_success{"), "{run}");
        }
        let labels = format!("{{target=\"{name}\",runtime=\"{name}\",model=\"sim\"}}");
        let theirs = own_page(server).await;
        let asked = tokio::time::Instant::now();
        eventually("the daemon has seen the runs", async || {
            let ours = daemon.metrics().await;
            let agree = names.iter().all(|(our, their)| {
                let our = ours.get(&format!("llm_runtime_{our}{labels}"));
                our == Some(&sum(&theirs, their, &[]))
            });
            agree.then_some(())
        })
        .await;
        let late = asked.elapsed();
        assert!(
            late < Duration::from_secs(3),
            "{late:?}, scraped every second"
        );
        let generated = names
            .iter()
            .find(|(our, _)| *our == "generation_tokens_total");
        assert!(sum(&theirs, generated.unwrap().1, &[]) > 0.0);
        let ours = daemon.metrics().await;
        assert_eq!(ours[&format!("llm_runtime_up{labels}")], 1.0);
        assert!(!ours.contains_key(&format!("llm_runtime_model_loaded{labels}")));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn requests_that_run_and_wait_are_seen_while_they_do() {
    let slow = Character {
        slots: 1,
        ttft: Distribution::Constant(Duration::from_secs(4)),
        ..character(RuntimeFlavor::Vllm)
    };
    let server = simulate(slow).await;
    let daemon = Daemon::start(&config(&[("vllm", &server)])).await;
    let busy = eventually("one runs and one waits", async || {
        let metrics = daemon.metrics().await;
        let of = |name: &str| sum(&metrics, name, &[]);
        let (running, waiting) = (
            of("llm_runtime_requests_running"),
            of("llm_runtime_requests_waiting"),
        );
        (running == 1.0 && waiting == 1.0).then_some(())
    });
    let runs = async {
        tokio::join!(
            daemon.get("/probe?target=vllm"),
            daemon.get("/probe?target=vllm")
        )
    };
    tokio::select! {
        () = busy => {}
        _ = runs => panic!("the runs ended unseen"),
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_runtime_that_goes_away_is_down_and_its_values_are_gone() {
    let server = simulate(character(RuntimeFlavor::Vllm)).await;
    let daemon = Daemon::start(&config(&[("vllm", &server)])).await;
    eventually("the runtime is up", async || {
        let metrics = daemon.metrics().await;
        (sum(&metrics, "llm_runtime_up", &[]) == 1.0).then_some(())
    })
    .await;
    drop(server);
    let metrics = eventually("the runtime is down", async || {
        let metrics = daemon.metrics().await;
        let failures = sum(&metrics, "llm_runtime_scrape_failures_total", &[]);
        (failures > 0.0).then_some(metrics)
    })
    .await;
    assert_eq!(sum(&metrics, "llm_runtime_up", &[]), 0.0);
    for (our, _) in VLLM {
        let family = format!("llm_runtime_{our}{{");
        assert!(
            !metrics.keys().any(|name| name.starts_with(&family)),
            "{our}"
        );
    }
    let last = sum(&metrics, "llm_runtime_last_scrape_timestamp_seconds", &[]);
    assert!(last > 0.0, "when it was last seen");
    assert!(daemon.reload().await.0.is_success());
    let failures = |metrics| sum(metrics, "llm_runtime_scrape_failures_total", &[]);
    let after = daemon.metrics().await;
    assert!(failures(&after) >= failures(&metrics), "the same goes on");
    daemon.stop().await;
}

#[tokio::test]
async fn ollama_tells_whether_the_model_is_loaded_and_a_scrape_does_not_load_it() {
    let server = simulate(character(RuntimeFlavor::Ollama)).await;
    let daemon = Daemon::start(&config(&[("ollama", &server)])).await;
    let loaded = async |wanted: f64| {
        eventually("the model's state", async || {
            let metrics = daemon.metrics().await;
            let name =
                "llm_runtime_model_loaded{target=\"ollama\",runtime=\"ollama\",model=\"sim\"}";
            (metrics.get(name) == Some(&wanted)).then_some(metrics)
        })
        .await
    };
    let before = loaded(0.0).await;
    let memory = "llm_runtime_model_memory_bytes";
    assert!(
        !before.keys().any(|name| name.starts_with(memory)),
        "absent, not 0"
    );
    daemon.get("/probe?target=ollama").await;
    let after = loaded(1.0).await;
    assert!(sum(&after, memory, &[]) > 0.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_runtime_without_metrics_is_no_failure_and_a_removed_target_has_no_series() {
    let bare = simulate(character(RuntimeFlavor::Ollama)).await;
    let server = simulate(character(RuntimeFlavor::Vllm)).await;
    let daemon = Daemon::start(&config(&[("llamacpp", &bare), ("vllm", &server)])).await;
    let metrics = eventually("the runtime is up", async || {
        let metrics = daemon.metrics().await;
        (sum(&metrics, "llm_runtime_up", &[]) == 1.0).then_some(metrics)
    })
    .await;
    let of_bare =
        |name: &String| name.starts_with("llm_runtime_") && name.contains("target=\"llamacpp\"");
    assert!(!metrics.keys().any(of_bare), "it has no such interface");
    write_atomically(&daemon.file, &config(&[("llamacpp", &bare)]));
    assert!(daemon.reload().await.0.is_success());
    let metrics = daemon.metrics().await;
    assert!(!metrics.keys().any(|name| name.starts_with("llm_runtime_")));
    daemon.stop().await;
}
