//! Every fault has its own outcome, in every dialect.

use crate::support::{probe, quick, run, scenario, simulate, target};
use http::header::{HeaderName, HeaderValue};
use sonde::probe::{
    Assertion, ConnectionState, Limits, Observation, Outcome, Prober, RunContext, TargetSettings,
    Timeouts,
};
use sonde::runtime::Operation;
use sonde::simulate::{Character, Distribution, Fault, FaultTuning, RuntimeFlavor};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runtimes, and models that stand for a dialect of their own.
const DIALECTS: [&str; 21] = [
    "openai",
    "ollama",
    "anthropic",
    "gemini",
    "tgi-generate",
    "llamacpp-completion",
    "sglang-generate",
    "bedrock",
    "bedrock-invoke/eu.anthropic.sim",
    "bedrock-invoke/meta.sim",
    "bedrock-invoke/amazon.nova-sim",
    "bedrock-invoke/mistral.sim",
    "sagemaker",
    "sagemaker-tgi",
    "openai-responses",
    "azure-openai",
    "triton",
    "kserve",
    "cohere",
    "vertex",
    "vertex-anthropic",
];

/// Those that know one operation only.
const ONE_OPERATION: [&str; 9] = [
    "vertex",
    "vertex-anthropic",
    "anthropic",
    "gemini",
    "openai-responses",
    "cohere",
    "bedrock",
    "bedrock-invoke/eu.anthropic.sim",
    "bedrock-invoke/amazon.nova-sim",
];

fn target_of(dialect: &str, url: &str) -> TargetSettings {
    let (runtime, model) = dialect.split_once('/').unwrap_or((dialect, "sim"));
    let url = match runtime.starts_with("vertex") {
        true => format!("{url}/v1/projects/p/locations/l"),
        false => url.to_owned(),
    };
    TargetSettings {
        model: Some(Arc::from(model)),
        ..target(runtime, &url)
    }
}

/// One run whose request asks the simulator for a fault.
async fn run_with(fault: Fault, runtime: &str, operation: Operation) -> Observation {
    run_over(Default::default(), fault, runtime, operation).await
}

async fn run_over(
    http: sonde::transport::HttpChoice,
    fault: Fault,
    runtime: &str,
    operation: Operation,
) -> Observation {
    let character = Character {
        fault_tuning: FaultTuning {
            // Above the limit below, and not so much that SGLang's repetition of it takes long to write.
            oversized_bytes: 256 * 1024,
            ..FaultTuning::default()
        },
        ..quick()
    };
    let server = simulate(character).await;
    let mut target = target_of(runtime, &server.url());
    let header = HeaderName::from_static("x-simulate-fault");
    let wanted = HeaderValue::from_static(fault.name());
    target.endpoint.headers.push((header, wanted));
    target.endpoint.http = http;
    let mut scenario = scenario();
    scenario.operation = operation;
    scenario.timeouts.first_token = match fault {
        // Late but good: the role chunk is there at once, the tokens two seconds later.
        Fault::EarlyRole => Duration::from_secs(5),
        _ => Duration::from_millis(700),
    };
    scenario.limits = Limits {
        frame_bytes: 64 * 1024,
        ..Limits::default()
    };
    run(&probe(target, scenario)).await
}

fn expected(fault: Fault) -> Outcome {
    match fault {
        Fault::Refuse => Outcome::Refused,
        Fault::Reset | Fault::Truncated | Fault::TruncatedClean => Outcome::Truncated,
        Fault::BadRequest | Fault::ModelNotFound => Outcome::Http4xx,
        Fault::Unauthorized => Outcome::Auth,
        Fault::RateLimited => Outcome::RateLimited,
        Fault::ServerError | Fault::Unavailable => Outcome::Http5xx,
        Fault::InBandError => Outcome::InBandError,
        Fault::Stall => Outcome::Stalled,
        Fault::StallFirst | Fault::SlowHeaders => Outcome::TimeoutFirstToken,
        Fault::Garbage => Outcome::Malformed,
        Fault::Empty => Outcome::Empty,
        Fault::NoFinish => Outcome::Truncated,
        Fault::OversizedLine => Outcome::Oversized,
        Fault::ReasoningOnly => Outcome::BudgetExhausted,
        Fault::Buffered
        | Fault::Burst
        | Fault::SplitFrames
        | Fault::KeepAlive
        | Fault::EarlyRole
        | Fault::ContentFilter => Outcome::Success,
    }
}

#[tokio::test]
async fn every_fault_has_its_own_outcome() {
    let mut wrong = Vec::new();
    for runtime in DIALECTS {
        for operation in [Operation::Chat, Operation::Completion] {
            if operation == Operation::Completion && ONE_OPERATION.contains(&runtime) {
                continue;
            }
            for (fault, name) in Fault::ALL {
                let observation = run_with(*fault, runtime, operation).await;
                let mut wanted = expected(*fault);
                // Newline-delimited JSON has no other terminator than the line with the reason, and
                // a missing reason is older Ollama's normal end. KServe's protocol has no reason but
                // among details that a server may leave out.
                if *fault == Fault::NoFinish && matches!(runtime, "ollama" | "kserve") {
                    wanted = Outcome::Success;
                }
                // Text-only dialects have no place for hidden reasoning; OpenAI's completions are one.
                let text_only = match runtime {
                    "openai" | "azure-openai" | "sagemaker" | "bedrock-invoke/mistral.sim" => {
                        operation == Operation::Completion
                    }
                    "ollama" => false,
                    one if ONE_OPERATION.contains(&one) => false,
                    _ => true,
                };
                if *fault == Fault::ReasoningOnly && text_only {
                    wanted = Outcome::Success;
                }
                if observation.outcome != wanted {
                    let why = observation.failure.map(|failure| failure.message);
                    wrong.push(format!(
                        "{runtime} {operation:?} {name}: {} instead of {wanted}: {why:?}",
                        observation.outcome
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_good_run_has_every_figure() {
    let server = simulate(quick()).await;
    for runtime in DIALECTS {
        let observation = run(&probe(target_of(runtime, &server.url()), scenario())).await;
        assert_eq!(
            observation.outcome,
            Outcome::Success,
            "{runtime}: {:?}",
            observation.failure
        );
        let latency = observation.latency;
        let first = latency.first_token.unwrap();
        assert!(first >= Duration::from_millis(20), "{first:?}");
        assert!(latency.first_byte.unwrap() <= first);
        assert_eq!(observation.tokens.unwrap().usage.output, Some(12));
        assert_eq!(
            observation.gaps.len() + 1,
            observation.tokens_per_arrival.len()
        );
        assert!(latency.decode_tps.unwrap() > 50.0);
        assert_eq!(observation.connection, ConnectionState::Cold);
        let phases = observation.phases;
        assert!(phases.connect.is_some() && phases.send.is_some() && phases.stream.is_some());
        assert_eq!((phases.dns, phases.tls), (None, None));
        let log = server
            .requests
            .find(&observation.run_id.to_string())
            .unwrap();
        assert_eq!(log.token_times.len(), 12);
    }
}

#[tokio::test]
async fn a_stream_needs_a_reason_unless_its_server_gives_none() {
    let flavor = RuntimeFlavor::LlamaEdge;
    let server = simulate(Character { flavor, ..quick() }).await;
    for (runtime, wanted) in [
        ("llamaedge", Outcome::Success),
        ("openai", Outcome::Truncated),
    ] {
        let observation = run(&probe(target(runtime, &server.url()), scenario())).await;
        assert_eq!(observation.outcome, wanted, "{:?}", observation.failure);
    }
}

#[tokio::test]
async fn azures_older_routes_are_asked_for_by_their_date() {
    let server = simulate(quick()).await;
    let mut scenario = scenario();
    let body = &mut scenario.generation.extra_body;
    body.insert("api-version".to_owned(), "2024-10-21".into());
    let observation = run(&probe(target("azure-openai", &server.url()), scenario)).await;
    let failure = observation.failure;
    assert_eq!(observation.outcome, Outcome::Success, "{failure:?}");
}

#[tokio::test]
async fn a_buffered_stream_has_no_decode_speed() {
    let observation = run_with(Fault::Buffered, "openai", Operation::Chat).await;
    assert_eq!(observation.latency.decode_tps, None);
    assert_eq!(observation.tokens_per_arrival.len(), 1);
}

#[tokio::test]
async fn an_early_role_chunk_is_not_the_first_token() {
    let observation = run_with(Fault::EarlyRole, "openai", Operation::Chat).await;
    let latency = observation.latency;
    let ahead = latency.first_token.unwrap() - latency.first_event.unwrap();
    assert!(ahead >= Duration::from_millis(10), "{ahead:?}");
}

#[tokio::test]
async fn without_a_stream_there_is_inference_time_only() {
    let server = simulate(quick()).await;
    for runtime in DIALECTS {
        let mut scenario = scenario();
        scenario.stream = false;
        let observation = run(&probe(target_of(runtime, &server.url()), scenario)).await;
        assert_eq!(
            observation.outcome,
            Outcome::Success,
            "{runtime}: {:?}",
            observation.failure
        );
        assert_eq!(observation.latency.first_token, None);
        assert!(observation.latency.end_to_end_tps.is_some());
        assert!(observation.gaps.is_empty());
    }
}

#[tokio::test]
async fn nobody_there_is_refused_and_a_false_name_is_dns() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let observation = run(&probe(target("openai", &url), scenario())).await;
    assert_eq!(observation.outcome, Outcome::Refused);
    let observation = run(&probe(
        target("openai", "http://no-such-host.invalid"),
        scenario(),
    ))
    .await;
    assert_eq!(
        observation.outcome,
        Outcome::Dns,
        "{:?}",
        observation.failure
    );
}

#[tokio::test]
async fn a_slow_stream_runs_into_the_total_limit() {
    let slow = Character {
        itl: Distribution::Constant(Duration::from_millis(80)),
        ..quick()
    };
    let server = simulate(slow).await;
    let mut scenario = scenario();
    scenario.timeouts = Timeouts {
        total: Duration::from_millis(300),
        ..scenario.timeouts
    };
    let observation = run(&probe(target("openai", &server.url()), scenario)).await;
    assert_eq!(observation.outcome, Outcome::TimeoutTotal);
    assert!(
        observation.latency.first_token.is_some(),
        "what was seen is kept"
    );
}

#[tokio::test]
async fn an_answer_must_meet_the_assertion() {
    let server = simulate(quick()).await;
    for assertion in [
        Assertion {
            contains: Some("no such words".to_owned()),
            min_output_tokens: None,
        },
        Assertion {
            contains: None,
            min_output_tokens: Some(13),
        },
    ] {
        let mut scenario = scenario();
        scenario.assertion = assertion;
        let observation = run(&probe(target("openai", &server.url()), scenario)).await;
        assert_eq!(observation.outcome, Outcome::Assertion);
    }
}

#[tokio::test]
async fn a_cancelled_run_still_leaves_its_observation() {
    let server = simulate(quick()).await;
    let probe = probe(target("openai", &server.url()), scenario());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let observation = Prober::default()
        .run(&probe, RunContext::on_demand(cancel))
        .await;
    assert_eq!(observation.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn reasoning_is_a_token_but_not_a_visible_one() {
    let thinker = Character {
        reasoning_tokens: 4,
        ..quick()
    };
    let server = simulate(thinker).await;
    for runtime in ["openai", "ollama"] {
        let observation = run(&probe(target(runtime, &server.url()), scenario())).await;
        let latency = observation.latency;
        let hidden = latency.first_visible.unwrap() - latency.first_token.unwrap();
        assert!(hidden >= Duration::from_millis(8), "{runtime}: {hidden:?}");
    }
}

#[tokio::test]
async fn over_http2_every_fault_has_the_same_outcome() {
    let http = sonde::transport::HttpChoice::Http2;
    let mut wrong = Vec::new();
    for (fault, name) in Fault::ALL {
        let observation = run_over(http, *fault, "openai", Operation::Chat).await;
        if observation.outcome != expected(*fault) {
            wrong.push(format!("{name}: {:?}", observation.failure));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
