//! Four runtimes, four verdicts, four exit codes: by the real command, as a pipeline runs it.

use crate::daemon::Daemon;
use crate::support::{Runtime, eventually, quick, simulate};
use serde_json::Value;
use sonde::simulate::{Character, Distribution};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

async fn gate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonde"));
    command.arg("gate").args(arguments);
    // The runtimes that it asks are served by this thread.
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.unwrap().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code, and standard output as JSON.
async fn judged(arguments: &[&str]) -> (i32, Value) {
    let output = gate(&[arguments, &["--json"]].concat()).await;
    let parsed = serde_json::from_str(&out(&output));
    let json = parsed.unwrap_or_else(|error| panic!("{error}: {}", complaint(&output)));
    (output.status.code().unwrap(), json)
}

async fn slow() -> Runtime {
    simulate(Character {
        ttft: Distribution::Constant(Duration::from_millis(400)),
        ..quick()
    })
    .await
}

/// Every fourth request fails.
async fn flaky() -> Runtime {
    simulate(Character {
        faults: "cycle:ok,5xx,ok,ok".parse().unwrap(),
        ..quick()
    })
    .await
}

/// An address where nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sonde-gate-{}-{name}", std::process::id()))
}

/// Eight runs of 80 % leave room for doubt; the limit lies far from both kinds of runtime. On a busy machine some of the
/// eight are tainted, so no reason is asked for its counts.
const JUDGING: [&str; 12] = [
    "--runtime",
    "openai",
    "--model",
    "sim",
    "--runs",
    "8",
    "--pause",
    "1ms",
    "--objective",
    "80%",
    "--first-token-under",
    "300ms",
];

#[tokio::test]
async fn four_runtimes_have_four_verdicts_by_runs_of_the_gates_own() {
    let (good, slow, flaky) = (simulate(quick()).await, slow().await, flaky().await);
    for (url, code, verdict, reason) in [
        (
            good.url(),
            0,
            "READY",
            " runs good (first token under 300ms)",
        ),
        (slow.url(), 1, "DEGRADED", ": 0 of "),
        (
            dead(),
            2,
            "NOT READY",
            "all of the last 5 runs failed (refused 5)",
        ),
        (flaky.url(), 3, "UNDECIDED", " runs good"),
    ] {
        let output = gate(&[&["--url", url.as_str()], &JUDGING[..]].concat()).await;
        let text = out(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{text}{}",
            complaint(&output)
        );
        assert_eq!(text.lines().next(), Some(verdict));
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn four_runtimes_have_four_verdicts_by_a_daemon() {
    let (good, slow, flaky) = (simulate(quick()).await, slow().await, flaky().await);
    let config = format!(
        "
defaults: {{schedule: '@every 1s'}}
scenarios:
  - {{name: chat, workload: {{kind: fixed, prompt: Hi}}, connection: cold}}
  - {{name: rare, schedule: '0 0 1 1 *', workload: {{kind: fixed, prompt: Hi}}}}
targets:
  - {{name: good, runtime: openai, model: sim, url: '{}', scenarios: [chat]}}
  - {{name: slow, runtime: openai, model: sim, url: '{}', scenarios: [chat]}}
  - {{name: dead, runtime: openai, model: sim, url: '{}', scenarios: [chat]}}
  - {{name: idle, runtime: openai, model: sim, url: '{}', scenarios: [rare]}}
slos:
  - {{name: ttft, objective: 50%, window: 1d, first_token_under: 300ms}}
",
        good.url(),
        slow.url(),
        dead(),
        flaky.url()
    );
    let daemon = Daemon::start(&config).await;
    let url = daemon.url();
    for (target, code, verdict) in [
        ("good", 0, "READY"),
        ("slow", 1, "DEGRADED"),
        ("dead", 2, "NOT READY"),
        ("idle", 3, "UNDECIDED"),
    ] {
        let arguments = [
            "--daemon",
            url.as_str(),
            "--slo",
            "ttft",
            "--target",
            target,
        ];
        let (found, json) = eventually(target, async || {
            let told = judged(&arguments).await;
            (told.0 == code).then_some(told)
        })
        .await;
        assert_eq!((json["verdict"].as_str(), found), (Some(verdict), code));
    }
    // All together are as good as the worst.
    let (code, all) = judged(&["--daemon", url.as_str()]).await;
    assert_eq!(code, 2);
    assert_eq!(all["objectives"].as_array().unwrap().len(), 4);
    assert_eq!(all["reasons"][0]["verdict"], "NOT READY");

    let output = gate(&["--daemon", url.as_str(), "--target", "god"]).await;
    assert_eq!(output.status.code(), Some(64));
    let message = complaint(&output);
    assert_eq!(
        message,
        "sonde: there is no target `god`\nhint: the targets are dead, good, idle, slow\n"
    );

    let by_status = daemon
        .status("/api/v1/verdict?target=good&status=code")
        .await;
    assert_eq!(by_status, 200);
    let by_status = daemon
        .status("/api/v1/verdict?target=dead&status=code")
        .await;
    assert_eq!(by_status, 503);
    assert_eq!(daemon.status("/api/v1/verdict?target=dead").await, 200);
    daemon.stop().await;
    // Nothing is known of its targets any more.
    let (code, gone) = judged(&["--daemon", url.as_str()]).await;
    assert_eq!(code, 3);
    let text = gone["reasons"][0]["text"].as_str().unwrap();
    assert!(text.contains("does not answer"), "{text}");
}

#[tokio::test]
async fn the_json_of_a_verdict_has_its_promised_shape() {
    let good = simulate(quick()).await;
    let (_, json) = judged(&[&["--url", good.url().as_str()], &JUDGING[..]].concat()).await;
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&json),
        [
            "code",
            "comparisons",
            "notes",
            "objectives",
            "ready",
            "reasons",
            "verdict"
        ]
    );
    assert_eq!(json["ready"], 1);
    assert_eq!(json["code"], 0);
    let objective = &json["objectives"][0];
    assert_eq!(
        keys(objective),
        [
            "bad",
            "bounds",
            "budget_remaining",
            "burning",
            "effective_events",
            "excluded",
            "good",
            "good_ratio",
            "objective",
            "promise",
            "recent",
            "scenario",
            "slo",
            "target",
            "text",
            "verdict"
        ]
    );
    assert_eq!(objective["slo"], "gate");
    assert_eq!(objective["bounds"]["upper"], 1.0);
    // A busy machine may taint a run.
    let judged = objective["recent"]["judged"].as_u64().unwrap();
    assert_eq!(judged + objective["excluded"].as_u64().unwrap(), 8);
}

#[tokio::test]
async fn a_slower_runtime_is_told_apart_from_its_baseline_and_another_model_is_refused() {
    let (good, slow) = (simulate(quick()).await, slow().await);
    let file = temporary("baseline.json");
    let file = file.to_str().unwrap();
    let judging = [
        "--runtime",
        "openai",
        "--runs",
        "8",
        "--pause",
        "1ms",
        "--objective",
        "80%",
    ];
    let model = ["--model", "sim"];
    let saved = gate(
        &[
            &["--url", &good.url(), "--save-baseline", file],
            &judging[..],
            &model,
        ]
        .concat(),
    )
    .await;
    assert_eq!(saved.status.code(), Some(0), "{}", complaint(&saved));
    let compared = [&["--baseline", file], &judging[..]].concat();

    // A test shares its machine: only a doubling counts here, and the slow one is twenty times slower.
    let lenient = ["--least-change", "100%"];
    let (code, same) = judged(
        &[
            &["--url", good.url().as_str()],
            &compared[..],
            &model,
            &lenient,
        ]
        .concat(),
    )
    .await;
    assert_eq!(code, 0, "{same:#}");
    assert_eq!(same["comparisons"].as_array().unwrap().len(), 3);

    let (code, slower) = judged(
        &[
            &["--url", slow.url().as_str()],
            &compared[..],
            &model,
            &lenient,
        ]
        .concat(),
    )
    .await;
    assert_eq!(code, 1, "{slower:#}");
    let first = &slower["comparisons"][0];
    assert_eq!(first["quantity"], "time_to_first_token");
    assert_eq!(first["verdict"], "DEGRADED");
    assert_eq!(first["cliffs_delta"], 1.0);
    assert!(first["shift_ratio"].as_f64().unwrap() > 2.0, "{first}");

    let before = good.requests.snapshot().len();
    let other = gate(&[&["--url", &good.url(), "--model", "other"], &compared[..]].concat()).await;
    assert_eq!(other.status.code(), Some(64));
    assert!(
        complaint(&other).contains("is of model `sim`"),
        "{}",
        complaint(&other)
    );
    assert_eq!(
        good.requests.snapshot().len(),
        before,
        "not a token is spent"
    );
    std::fs::remove_file(file).ok();
}

#[tokio::test]
async fn a_file_is_judged_by_its_objectives_as_far_as_they_are_named() {
    let (good, slow) = (simulate(quick()).await, slow().await);
    let config = format!(
        "
# A busy machine shall taint nothing here.
instrument: {{max_error: 10s, max_schedule_lag: 10s}}
scenarios: [{{name: chat, workload: {{kind: fixed, prompt: Hi}}, connection: cold}}]
targets:
  - {{name: good, runtime: auto, url: '{}', scenarios: [chat]}}
  - {{name: slow, runtime: openai, model: sim, url: '{}', scenarios: [chat]}}
slos:
  - {{name: answers, objective: 80%, window: 1d}}
  - {{name: ttft, target: slow, objective: 80%, window: 1d, first_token_under: 300ms}}
",
        good.url(),
        slow.url()
    );
    let file = temporary("sonde.yaml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let run = async |more: &[&str]| {
        let arguments = [&["--config", file, "--runs", "6", "--pause", "1ms"], more].concat();
        gate(&arguments).await
    };
    let all = run(&[]).await;
    assert_eq!(all.status.code(), Some(1), "{}", complaint(&all));
    let text = out(&all);
    assert!(
        text.contains("DEGRADED   ttft for slow/chat: 0 of 6 runs good"),
        "{text}"
    );
    assert!(
        text.contains("READY      answers for good/chat: 6 of 6 runs succeeded"),
        "{text}"
    );
    let named = run(&["--slo", "answers"]).await;
    assert_eq!(named.status.code(), Some(0), "{}", out(&named));
    let targeted = run(&["--target", "good"]).await;
    assert_eq!(targeted.status.code(), Some(0), "{}", out(&targeted));
    let nobody = run(&["--target", "good", "--slo", "ttft"]).await;
    assert_eq!(nobody.status.code(), Some(64));
    std::fs::remove_file(file).ok();
}

#[tokio::test]
async fn a_question_that_makes_no_sense_has_a_code_of_its_own() {
    for (arguments, message) in [
        (&["--frobnicate"][..], "unexpected argument"),
        (&[], "nothing to judge"),
        (
            &["--url", "http://127.0.0.1:9", "--slo", "x"],
            "`--slo` selects from",
        ),
        (
            &["--daemon", "http://127.0.0.1:9", "--runs", "3"],
            "`--runs` is for probing",
        ),
        (&["--config", "/nonexistent.yaml"], "cannot be read"),
        (
            &["--url", "http://127.0.0.1:9", "--objective", "100%"],
            "strictly between",
        ),
        (
            &[
                "--url",
                "http://127.0.0.1:9",
                "--runtime",
                "openai",
                "--model",
                "m",
                "--baseline",
                "/nonexistent.json",
            ],
            "the baseline `/nonexistent.json` cannot be read",
        ),
    ] {
        let output = gate(arguments).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let text = complaint(&output);
        assert!(text.contains(message), "{arguments:?}: {text}");
    }
    let help = gate(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    // Nobody there whom one could ask what it is.
    let output = gate(&["--url", &dead()]).await;
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(
        out(&output).contains("cannot be probed"),
        "{}",
        out(&output)
    );
}
