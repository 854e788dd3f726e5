//! Embeddings and ranks, from the request to the exposition.

use crate::support::{probe, quick, run, scenario, simulate, target};
use http::header::{HeaderName, HeaderValue};
use sonde::measure::tokens::TokenSource;
use sonde::metrics::{MetricsSettings, ProbeShape, Store};
use sonde::probe::{Limits, Observation, Outcome, RetrievalSettings, ScenarioSettings};
use sonde::record::Sink;
use sonde::runtime::Retrieval::{self, Embeddings, Rerank};
use sonde::runtime::detect::detect;
use sonde::simulate::{Character, Fault, FaultTuning, RuntimeFlavor};
use sonde::transport::{Dialer, Endpoint};
use std::sync::Arc;
use std::time::Duration;

/// Every dialect of both.
const DIALECTS: [(&str, Retrieval); 8] = [
    ("openai", Embeddings),
    ("vllm", Embeddings),
    ("ollama", Embeddings),
    ("gemini", Embeddings),
    ("tei", Embeddings),
    ("openai", Rerank),
    ("vllm", Rerank),
    ("tei", Rerank),
];

fn retrieval(kind: Retrieval, inputs: u32) -> ScenarioSettings {
    let mut settings = scenario();
    settings.retrieval = Some(RetrievalSettings {
        kind,
        inputs,
        dimensions: (kind == Embeddings).then_some(64),
    });
    settings.stream = false;
    settings.workload.kind = "synthetic".to_owned();
    settings.workload.prompt = None;
    settings.workload.input_tokens = Some(24);
    settings
}

async fn run_with(fault: Fault, runtime: &str, kind: Retrieval) -> Observation {
    let character = Character {
        fault_tuning: FaultTuning {
            oversized_bytes: 256 * 1024,
            ..FaultTuning::default()
        },
        ..quick()
    };
    let server = simulate(character).await;
    let mut target = target(runtime, &server.url());
    let header = HeaderName::from_static("x-simulate-fault");
    let wanted = HeaderValue::from_static(fault.name());
    target.endpoint.headers.push((header, wanted));
    let mut settings = retrieval(kind, 3);
    settings.timeouts.total = Duration::from_millis(700);
    settings.limits = Limits {
        body_bytes: 64 * 1024,
        ..Limits::default()
    };
    run(&probe(target, settings)).await
}

fn expected(fault: Fault) -> Outcome {
    match fault {
        Fault::Refuse => Outcome::Refused,
        Fault::Reset | Fault::Truncated => Outcome::Truncated,
        // Half a document is none.
        Fault::TruncatedClean | Fault::Garbage => Outcome::Malformed,
        Fault::BadRequest | Fault::ModelNotFound => Outcome::Http4xx,
        Fault::Unauthorized => Outcome::Auth,
        Fault::RateLimited => Outcome::RateLimited,
        Fault::ServerError | Fault::Unavailable => Outcome::Http5xx,
        Fault::InBandError => Outcome::InBandError,
        Fault::Stall | Fault::StallFirst | Fault::SlowHeaders => Outcome::TimeoutTotal,
        Fault::Empty => Outcome::Empty,
        Fault::OversizedLine => Outcome::Oversized,
        // Of streams and of text only.
        Fault::NoFinish
        | Fault::ReasoningOnly
        | Fault::Buffered
        | Fault::Burst
        | Fault::SplitFrames
        | Fault::KeepAlive
        | Fault::EarlyRole
        | Fault::ContentFilter => Outcome::Success,
    }
}

#[tokio::test]
async fn every_fault_has_its_own_outcome_for_vectors_and_ranks_too() {
    let mut wrong = Vec::new();
    for (runtime, kind) in DIALECTS {
        for (fault, name) in Fault::ALL {
            let observation = run_with(*fault, runtime, kind).await;
            let wanted = expected(*fault);
            if observation.outcome != wanted {
                let found = observation.outcome;
                let why = observation.failure.map(|failure| failure.message);
                wrong.push(format!(
                    "{runtime} {kind:?} {name}: {found} instead of {wanted}: {why:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_good_run_has_a_whole_and_no_first_token() {
    let server = simulate(quick()).await;
    for (runtime, kind) in DIALECTS {
        let made = run(&probe(target(runtime, &server.url()), retrieval(kind, 5))).await;
        assert_eq!(
            made.outcome,
            Outcome::Success,
            "{runtime}: {:?}",
            made.failure
        );
        let latency = made.latency;
        assert!(latency.inference >= Duration::from_millis(20));
        assert_eq!((latency.first_token, latency.end_to_end_tps), (None, None));
        assert!(made.gaps.is_empty() && made.finish_reason.is_none());
        assert_eq!(made.inputs, Some(5));
        let tokens = made.tokens.unwrap();
        let read = tokens.usage.input.unwrap();
        assert!(
            read > 5 * 4 && tokens.usage.output.is_none(),
            "{runtime}: {read}"
        );
        let source = match runtime {
            "ollama" | "tei" => TokenSource::Runtime,
            _ => TokenSource::Usage,
        };
        assert_eq!(tokens.source, source, "{runtime}");
        let speed = latency.input_tps.unwrap();
        let by_hand = read as f64 / latency.inference.as_secs_f64();
        assert!((speed / by_hand - 1.0).abs() < 1e-9);
    }
}

#[tokio::test]
async fn lengths_settle_at_what_is_wanted_of_each_text() {
    let server = simulate(quick()).await;
    let mut settings = retrieval(Embeddings, 8);
    settings.workload.input_tokens = Some(200);
    let probe = probe(target("openai", &server.url()), settings);
    let mut each = 0;
    for _ in 0..6 {
        each = run(&probe).await.tokens.unwrap().usage.input.unwrap() / 8;
    }
    assert!((190..=210).contains(&each), "{each} tokens a text");
}

#[tokio::test]
async fn a_text_that_is_too_long_is_the_requests_own_fault() {
    let narrow = Character {
        context_tokens: 16,
        ..quick()
    };
    let server = simulate(narrow).await;
    for (runtime, kind) in DIALECTS {
        let mut settings = retrieval(kind, 2);
        settings.workload.input_tokens = Some(64);
        let made = run(&probe(target(runtime, &server.url()), settings)).await;
        assert_eq!(made.outcome, Outcome::Http4xx, "{runtime}");
        let message = made.failure.unwrap().message;
        assert!(message.contains("maximum context length"), "{message}");
    }
}

#[tokio::test]
async fn megabytes_of_vectors_are_read_whole() {
    let server = simulate(quick()).await;
    let mut settings = retrieval(Embeddings, 64);
    settings.retrieval.as_mut().unwrap().dimensions = Some(4096);
    let extra = &mut settings.generation.extra_body;
    extra.insert("dimensions".to_owned(), 4096.into());
    let made = run(&probe(target("openai", &server.url()), settings)).await;
    assert_eq!(made.outcome, Outcome::Success, "{:?}", made.failure);
    assert!(made.body_bytes > 3_000_000, "{}", made.body_bytes);
}

#[tokio::test]
async fn text_embeddings_inference_is_told_from_text_generation_inference() {
    for (flavor, name) in [(RuntimeFlavor::Tei, "tei"), (RuntimeFlavor::Tgi, "tgi")] {
        let server = simulate(Character { flavor, ..quick() }).await;
        let endpoint = Endpoint::parse(&server.url()).unwrap();
        let dialer = Dialer::new(&endpoint).unwrap();
        let found = detect(&endpoint, &dialer).await.unwrap();
        assert_eq!(found.runtime.name, name);
        assert_eq!(found.models, ["sim"]);
    }
}

/// What is exposed after one run.
async fn page_of(runtime: &str, settings: ScenarioSettings) -> String {
    let server = simulate(quick()).await;
    let probe = probe(target(runtime, &server.url()), settings);
    let store = Store::new(MetricsSettings::default(), Arc::default());
    let shape = ProbeShape::of(&probe, &[]);
    store.retain_probes(vec![(probe.labels.clone(), shape)]);
    store.observe(&Arc::new(run(&probe).await));
    let mut page = Vec::new();
    let text = sonde::metrics::encode::Format::Text;
    store.encode(text, &mut page, |_| true).unwrap();
    String::from_utf8(page).unwrap()
}

/// Families that only a stream has.
const OF_STREAMS: [&str; 5] = [
    "llm_probe_time_to_first_token_seconds",
    "llm_probe_inter_token_latency_seconds",
    "llm_probe_time_per_output_token_seconds",
    "llm_probe_max_stall_seconds",
    "llm_probe_tokens_per_arrival",
];

fn require(page: &str, there: &[&str], absent: &[&str]) {
    for series in there {
        assert!(page.contains(&format!("\n{series}")), "{series}\n{page}");
    }
    for family in absent {
        assert!(!page.contains(&format!("\n{family}")), "{family}");
    }
}

#[tokio::test]
async fn its_series_are_of_reading_and_none_is_of_tokens_written() {
    let page = page_of("tei", retrieval(Embeddings, 4)).await;
    let there = [
        "llm_probe_input_tokens_per_second_count{",
        "llm_probe_inputs_total{",
        "llm_probe_inference_seconds_count{",
        "llm_probe_tokens_total{",
        "llm_probe_server_seconds_count{",
    ];
    require(&page, &there, &OF_STREAMS);
    require(&page, &[], &["llm_probe_output_tokens_per_second"]);
    assert!(
        page.lines()
            .any(|line| line.starts_with("llm_probe_inputs_total{") && line.ends_with(" 4"))
    );
}

#[tokio::test]
async fn an_answer_without_a_stream_has_a_speed_from_end_to_end_and_no_first_token() {
    let mut settings = scenario();
    settings.stream = false;
    let page = page_of("openai", settings).await;
    let there = [
        "llm_probe_inference_seconds_count{",
        "llm_probe_output_tokens_per_second_count{",
    ];
    require(&page, &there, &OF_STREAMS);
    require(
        &page,
        &[],
        &[
            "llm_probe_input_tokens_per_second",
            "llm_probe_inputs_total",
        ],
    );
}
