use super::*;
use crate::measure::delta::ServerTimings;
use crate::measure::latency::Latency;
use crate::measure::tokens::{TokenCounts, TokenSource, Usage};
use crate::probe::{
    ConnectionState, Failure, Instrument, Observation, Outcome, Phases, RunId, Taint, Trigger,
};
use crate::transport::ClockChoice;
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn now() -> Timestamp {
    Timestamp::from_second(1_767_323_045).unwrap()
}

fn labels(target: &str, runtime: &str, model: &str, scenario: &str) -> ProbeLabels {
    ProbeLabels {
        target: target.into(),
        runtime: runtime.into(),
        model: model.into(),
        scenario: scenario.into(),
    }
}

fn chat(target: &str) -> ProbeLabels {
    labels(target, "ollama", "gemma3:4b", "chat")
}

/// A good run that ended some seconds ago.
fn run(labels: &ProbeLabels, seconds_ago: i64, ttft_ms: u64) -> Observation {
    let ended = now() - SignedDuration::from_secs(seconds_ago);
    let first_token = Duration::from_micros(ttft_ms * 1000 + 437);
    let decode_tps = 41.0 + ttft_ms as f64 / 31.0;
    let inference = first_token + Duration::from_secs_f64(63.0 / decode_tps);
    Observation {
        run_id: RunId::random(),
        labels: labels.clone(),
        trigger: Trigger::Schedule,
        intended_start: ended - SignedDuration::try_from(inference).unwrap(),
        ended,
        dispatched: Instant::now(),
        outcome: Outcome::Success,
        failure: None,
        streamed: true,
        inputs: None,
        connection: ConnectionState::Warm,
        reused: true,
        phases: Phases::default(),
        latency: Latency {
            first_token: Some(first_token),
            inference,
            decode_tps: Some(decode_tps),
            ..Latency::default()
        },
        duration: inference,
        gaps: Vec::new(),
        tokens_per_arrival: Vec::new(),
        tokens: Some(TokenCounts {
            usage: Usage {
                input: Some(256),
                output: Some(64),
                cached: Some(0),
                reasoning: None,
            },
            source: TokenSource::Usage,
        }),
        cost_usd: None,
        contamination: None,
        server: ServerTimings::default(),
        attribution: None,
        finish_reason: None,
        response_model: None,
        body_bytes: 9000,
        resources: Default::default(),
        instrument: Instrument::example(),
        stamp_delays: Vec::new(),
        answer: None,
    }
}

fn failed(labels: &ProbeLabels, seconds_ago: i64, outcome: Outcome, message: &str) -> Observation {
    Observation {
        outcome,
        failure: Some(Failure {
            message: message.to_owned(),
            status: (outcome == Outcome::Http5xx).then_some(503),
        }),
        latency: Latency {
            inference: Duration::from_micros(2_417),
            ..Latency::default()
        },
        tokens: None,
        connection: ConnectionState::Cold,
        reused: false,
        ..run(labels, seconds_ago, 100)
    }
}

fn standing(run: Observation, recent: &str, next_in: i64) -> Standing {
    Standing {
        last: Some(Arc::new(run)),
        recent: recent.chars().map(|c| c == '+').collect(),
        next: Some(now() + SignedDuration::from_secs(next_in)),
        ..Standing::default()
    }
}

fn view(probes: Vec<(ProbeLabels, Standing)>) -> StatusView {
    StatusView {
        version: "0.1.0",
        started: now() - SignedDuration::from_secs(273_700),
        now: now(),
        config_ok: true,
        config_error: None,
        probes,
        slos: Vec::new(),
        pending: Vec::new(),
        simulated: false,
        clocks: ClockStatus {
            choice: ClockChoice::Auto,
            wire: Availability::NoPermission,
            socket: Availability::Available,
        },
    }
}

const ALL_GOOD: &str = "++++++++++++++++++++++++++++++++++++++++";

fn good(labels: ProbeLabels, seconds_ago: i64, ttft_ms: u64) -> (ProbeLabels, Standing) {
    let run = run(&labels, seconds_ago, ttft_ms);
    (labels, standing(run, ALL_GOOD, 30 - seconds_ago))
}

fn healthy_view() -> StatusView {
    let cold = labels("ollama-gemma", "ollama", "gemma3:4b", "chat-cold-start");
    let mut cold_run = run(&cold, 214, 912);
    cold_run.connection = ConnectionState::Cold;
    view(vec![
        good(chat("ollama-gemma"), 12, 183),
        (cold, standing(cold_run, "++++++++++++++-+++", 386)),
        good(
            labels(
                "vllm-llama",
                "openai",
                "meta-llama/Llama-3.3-70B-Instruct",
                "chat",
            ),
            3,
            41,
        ),
        good(
            labels(
                "vllm-llama",
                "openai",
                "meta-llama/Llama-3.3-70B-Instruct",
                "long-context",
            ),
            27,
            2210,
        ),
    ])
}

const LONG: &str = "the runtime answered 503: {\"error\":{\"message\":\"The model is overloaded. 412 requests are waiting, the KV cache is 99.8% full, and the scheduler has preempted 37 sequences in the last minute; please retry after 20 seconds\",\"type\":\"service_unavailable\",\"code\":\"engine_overloaded\"}}";

fn troubled_view() -> StatusView {
    let vllm = |scenario| {
        labels(
            "vllm-llama",
            "openai",
            "meta-llama/Llama-3.3-70B-Instruct",
            scenario,
        )
    };
    let overloaded = failed(&vllm("long-context"), 18, Outcome::Http5xx, LONG);
    let silent = failed(
        &chat("edge-tgi"),
        4,
        Outcome::TimeoutFirstToken,
        "no token within 60 s (`timeouts.first_token`); the request was written after 1.2 ms",
    );
    let hostile_labels = labels("proxy", "openai", "<script>alert(1)</script>", "chat");
    let hostile = failed(
        &hostile_labels,
        9,
        Outcome::InBandError,
        "upstream said: <script>alert('pwned')</script>",
    );
    let tainted_labels = chat("ollama-gemma");
    let mut tainted = run(&tainted_labels, 11, 240);
    tainted.instrument.taint = Some(Taint::ScheduleLag);
    let mut overdue = good(
        labels("ollama-gemma", "ollama", "gemma3:4b", "reasoning"),
        310,
        640,
    );
    overdue.1.next = Some(now() - SignedDuration::from_secs(94));
    let mut view = view(vec![
        (
            tainted_labels,
            standing(tainted, "++++++++++++++++++++++", 19),
        ),
        overdue,
        good(vllm("chat"), 3, 41),
        (
            vllm("long-context"),
            standing(overloaded, "++++++++++++++++++++++++-+++++++--------", 12),
        ),
        (chat("edge-tgi"), standing(silent, "-----", 26)),
        (hostile_labels, standing(hostile, "++++++++-++-", 21)),
        (
            labels("new-one", "ollama", "qwen3:8b", "chat"),
            Standing {
                skipped: None,
                next: Some(now() + SignedDuration::from_secs(8)),
                ..Standing::default()
            },
        ),
    ]);
    view.pending = vec![(
        "mystery".to_owned(),
        "not detected yet: connection refused (http://10.2.3.4:8000)".to_owned(),
    )];
    view.config_ok = false;
    view.config_error = Some(
        "sonde.yaml: 1 problem\n  targets[1].url: `htp://vllm:8000` is not an http or https address\n    hint: write `http://vllm:8000`".to_owned(),
    );
    view
}

/// The README's picture.
fn with_slos(mut view: StatusView, bad: usize) -> StatusView {
    let probes: Vec<_> = view
        .probes
        .iter()
        .enumerate()
        .map(|(index, (labels, _))| (labels.clone(), if index == 0 { bad } else { 0 }))
        .collect();
    view.slos = slos::tests::standings(&probes, now());
    view
}

fn typical_view() -> StatusView {
    let mut view = healthy_view();
    let labels = labels("edge-llamacpp", "openai", "Qwen/Qwen3-8B-GGUF", "chat");
    let message = "no token within 60 s (`timeouts.first_token`)";
    let mut silent = failed(&labels, 9, Outcome::TimeoutFirstToken, message);
    silent.connection = ConnectionState::Warm;
    silent.latency.inference = Duration::from_secs(60);
    let standing = standing(silent, "++++++++++++++-+++++++++++++++++++++----", 21);
    view.probes.push((labels, standing));
    view
}

fn empty_view() -> StatusView {
    StatusView {
        simulated: true,
        ..view(Vec::new())
    }
}

fn crowded_view() -> StatusView {
    let mut probes = Vec::new();
    for target in 0..20 {
        for (index, scenario) in ["chat", "long-context", "chat-cold-start"]
            .into_iter()
            .enumerate()
        {
            let labels = labels(
                &format!("replica-{target:02}"),
                "vllm",
                "Qwen/Qwen3-32B-AWQ",
                scenario,
            );
            probes.push(match (target * 3 + index) % 29 {
                17 => {
                    let run = failed(
                        &labels,
                        6,
                        Outcome::Stalled,
                        "no further token within 20 s (`timeouts.stall`)",
                    );
                    (labels, standing(run, "+++++++++++++++++++++-++-+-", 24))
                }
                _ => good(
                    labels,
                    1 + (target as i64 * 7) % 29,
                    80 + (target as u64 * 37 + index as u64 * 411) % 1700,
                ),
            });
        }
    }
    view(probes)
}

#[test]
fn nothing_of_a_peer_becomes_markup() {
    let page = status_page(&troubled_view());
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("upstream said: &lt;script&gt;alert(&#39;pwned&#39;)&lt;/script&gt;"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = status_page(&troubled_view()).replace("http://www.w3.org/2000/svg", "");
    let page = page
        .replace("http://10.2.3.4:8000", "")
        .replace("http://vllm:8000", "");
    for foreign in ["http://", "https://", "//cdn", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn failing_probes_come_first_and_say_why() {
    let page = status_page(&troubled_view());
    let place = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is missing"))
    };
    assert!(page.contains("<title>3 of 7 probes failing – Sonde</title>"));
    assert!(page.contains("7 probes · 3 failing · 1 in doubt · 1 never run · 1 target pending"));
    assert!(place(">edge-tgi<") < place(">ollama-gemma<"));
    assert!(place(">long-context<") < place(">ollama-gemma<"));
    assert!(place(">ollama-gemma<") < place(">new-one<"));
    assert!(page.contains("412 requests are waiting"));
    assert!(page.contains("<b>8 bad runs in a row</b> · HTTP 503"));
    assert!(page.contains("<b>at least 5 bad runs in a row</b>"));
    assert!(page.contains(">overdue 1 min<"));
    assert!(page.contains("not detected yet: connection refused"));
    assert!(page.contains("hint: write `http://vllm:8000`"));
}

#[test]
fn a_good_page_is_calm() {
    let page = status_page(&healthy_view());
    assert!(page.contains("<h2>All 4 probes good</h2>"));
    assert!(page.contains("183<small> ms</small>"));
    assert!(page.contains("2.21<small> s</small>"));
    assert!(page.contains(">12 s ago<"));
    assert!(page.contains(">in 18 s<"));
    assert!(page.contains("17 of the last 18 runs were good"));
    assert!(!page.contains("class=\"why"));
}

#[test]
fn empty_pages_say_what_comes_next() {
    let page = status_page(&empty_view());
    assert!(page.contains("Nothing to probe yet"));
    assert!(page.contains("sonde serve --url"));
    let mut waiting = empty_view();
    waiting.pending = vec![("a".to_owned(), "not detected yet".to_owned())];
    assert!(status_page(&waiting).contains("<h2>Waiting for one target</h2>"));
    let next = Some(now() + SignedDuration::from_secs(12));
    waiting.probes = vec![(
        chat("a"),
        Standing {
            skipped: None,
            next,
            ..Standing::default()
        },
    )];
    let page = status_page(&waiting);
    assert!(page.contains("1 probe waiting for the first run"));
    assert!(page.contains("after the run in 12 s"));
}

#[test]
fn pasted_queries_name_families_that_exist() {
    for (_, query) in QUERIES {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("llm_")) {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            let known = crate::metrics::catalogue()
                .iter()
                .any(|spec| spec.name == name);
            assert!(known, "{word}");
        }
    }
}

/// Writes pages to look at: `SONDE_PAGES=… cargo test pages -- --ignored`.
#[test]
#[ignore = "writes files for the eye"]
fn pages_for_the_eye() {
    #[expect(clippy::disallowed_methods, reason = "a tool for people")]
    let folder = std::env::var("SONDE_PAGES").unwrap();
    for (name, view) in [
        ("good", with_slos(healthy_view(), 0)),
        ("typical", with_slos(typical_view(), 3)),
        ("troubled", with_slos(troubled_view(), 120)),
        ("empty", empty_view()),
        ("crowded", crowded_view()),
    ] {
        std::fs::write(format!("{folder}/{name}.html"), status_page(&view)).unwrap();
    }
}

#[test]
fn a_probe_that_is_held_back_says_why_and_what_to_do() {
    let held = Standing {
        skipped: Some(crate::record::SkipReason::ModelUnloaded),
        ..Standing::default()
    };
    let probe = crate::probe::Probe::example();
    let page = status_page(&view(vec![(probe.labels, held)]));
    assert!(
        page.contains("held back: the model is not in memory; with `wake: true`"),
        "{page}"
    );
}

#[test]
fn a_contaminated_run_is_good_and_says_what_the_cache_did() {
    use crate::probe::Contamination;
    let labels = chat("a");
    let mut run = run(&labels, 3, 100);
    run.contamination = Some(Contamination::UnexpectedCacheHit);
    let page = status_page(&view(vec![(labels, standing(run, ALL_GOOD, 27))]));
    assert!(page.contains(">cache hit</span>"), "{page}");
    assert!(page.contains("<tr class=\"good\">"), "{page}");
}
