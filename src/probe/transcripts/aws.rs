//! Amazon's services. Their streams are kept as text and written by Amazon's own code for event streams.

use super::{Judged, judge, split, transcript};
use crate::probe::outcome::Outcome;
use crate::runtime::find;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// One message by one line: `event NAME JSON`, `exception NAME JSON`, `chunk JSON` whose JSON travels as base64, or
/// `part "…"`, a piece of a stream within.
fn message(line: &str) -> Vec<u8> {
    let (kind, rest) = line.split_once(' ').unwrap();
    let (kind, name, payload) = match kind {
        "chunk" => {
            let value = json!({"bytes": STANDARD.encode(rest), "p": "abcd"});
            ("event", "chunk", value.to_string())
        }
        "part" => ("event", "PayloadPart", serde_json::from_str(rest).unwrap()),
        kind => {
            let (name, payload) = rest.split_once(' ').unwrap();
            (kind, name, payload.to_owned())
        }
    };
    let header =
        |name: String, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let headers = vec![
        header(format!(":{kind}-type"), name),
        header(":content-type".to_owned(), "application/json"),
        header(":message-type".to_owned(), kind),
    ];
    let mut bytes = Vec::new();
    let message = Message::new_from_parts(headers, payload.into_bytes());
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn stream(name: &str) -> Vec<u8> {
    let text = String::from_utf8(transcript(name)).unwrap();
    text.lines().flat_map(message).collect()
}

fn judged(name: &str, runtime: &str) -> Judged {
    judge(runtime, true, [stream(name).as_slice()])
}

const STREAMS: [(&str, &str); 15] = [
    ("bedrock-text.events", "bedrock"),
    ("bedrock-tool-call.events", "bedrock"),
    ("bedrock-reasoning.events", "bedrock"),
    ("bedrock-guardrail.events", "bedrock"),
    ("bedrock-invoke-anthropic.events", "bedrock-invoke"),
    (
        "bedrock-invoke-anthropic-tool-call.events",
        "bedrock-invoke",
    ),
    ("bedrock-invoke-llama.events", "bedrock-invoke"),
    ("bedrock-invoke-nova.events", "bedrock-invoke"),
    ("bedrock-invoke-mistral.events", "bedrock-invoke"),
    ("bedrock-invoke-mistral-text.events", "bedrock-invoke"),
    ("bedrock-invoke-openai.events", "bedrock-invoke"),
    ("sagemaker-vllm.events", "sagemaker"),
    ("sagemaker-vllm-reasoning.events", "sagemaker"),
    ("sagemaker-lmi-lines.events", "sagemaker"),
    ("sagemaker-tgi.events", "sagemaker-tgi"),
];

#[test]
fn every_complete_stream_is_a_success_with_its_tokens() {
    for (name, runtime) in STREAMS {
        let bytes = stream(name);
        let judged = judge(runtime, true, [bytes.as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        assert!(judged.text_frames >= 2, "{name}");
        assert_eq!(judge(runtime, true, bytes.chunks(1)), judged, "{name}");
        let timed = runtime.starts_with("bedrock");
        assert_eq!(judged.server_total.is_some(), timed, "{name}");
    }
}

#[test]
fn cut_anywhere_before_its_end_a_stream_is_no_success() {
    for (name, runtime) in STREAMS {
        let text = String::from_utf8(transcript(name)).unwrap();
        let messages: Vec<Vec<u8>> = text.lines().map(message).collect();
        // Whatever follows the reason to stop only counts.
        let finished = messages.len().saturating_sub(3);
        let bytes = messages[..finished].concat();
        for cut in (0..bytes.len()).step_by(7) {
            let judged = judge(runtime, true, [&bytes[..cut]]);
            let outcome = judged.verdict.unwrap_err().outcome;
            // Where a container's last line ends within its document, that is all that is known.
            let half_a_line = name.contains("lines") && outcome == Outcome::Malformed;
            assert!(
                outcome == Outcome::Truncated || half_a_line,
                "{name} cut at {cut}: {outcome}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_gives_the_same_observation(
        index in 0..STREAMS.len(),
        cuts in proptest::collection::vec(0usize..100_000, 0..40),
    ) {
        let (name, runtime) = STREAMS[index];
        let bytes = stream(name);
        let whole = judge(runtime, true, [bytes.as_slice()]);
        prop_assert_eq!(judge(runtime, true, split(&bytes, &cuts)), whole);
    }

    #[test]
    fn a_payload_that_is_not_what_it_should_be_never_panics(
        index in 0..STREAMS.len(),
        damage in proptest::collection::vec((0usize..100_000, any::<u8>()), 1..20),
    ) {
        let (name, runtime) = STREAMS[index];
        let text = String::from_utf8(transcript(name)).unwrap();
        let lines = text.lines().map(|line| {
            let (kind, payload) = line.split_once(' ').unwrap();
            let mut payload = payload.as_bytes().to_vec();
            for (at, byte) in &damage {
                let at = at % payload.len();
                payload[at] = *byte;
            }
            let payload = String::from_utf8_lossy(&payload);
            match kind {
                "part" => format!("part {}", Value::from(payload)),
                "chunk" => format!("chunk {payload}"),
                _ => format!("event contentBlockDelta {payload}"),
            }
        });
        let bytes: Vec<u8> = lines.flat_map(|line| message(&line)).collect();
        judge(runtime, true, bytes.chunks(37));
    }
}

#[test]
fn one_story_is_the_same_in_every_family() {
    const STORY: &str = " The lamp in the café went out, \"twice\". 東京 slept.";
    for (name, runtime, frames, counts) in [
        // Input, output, cached.
        (
            "bedrock-text.events",
            "bedrock",
            12,
            Some((1236, 14, Some(1200))),
        ),
        (
            "bedrock-invoke-anthropic.events",
            "bedrock-invoke",
            12,
            Some((1236, 14, Some(1200))),
        ),
        (
            "bedrock-invoke-llama.events",
            "bedrock-invoke",
            12,
            Some((11, 13, None)),
        ),
        (
            "bedrock-invoke-nova.events",
            "bedrock-invoke",
            12,
            Some((11, 13, Some(0))),
        ),
        (
            "bedrock-invoke-mistral.events",
            "bedrock-invoke",
            12,
            Some((11, 13, None)),
        ),
        (
            "bedrock-invoke-mistral-text.events",
            "bedrock-invoke",
            12,
            Some((11, 13, None)),
        ),
        (
            "bedrock-invoke-openai.events",
            "bedrock-invoke",
            12,
            Some((11, 13, None)),
        ),
        (
            "sagemaker-vllm.events",
            "sagemaker",
            12,
            Some((11, 13, None)),
        ),
        ("sagemaker-lmi-lines.events", "sagemaker", 12, None),
        (
            "sagemaker-tgi.events",
            "sagemaker-tgi",
            12,
            Some((11, 13, None)),
        ),
    ] {
        let judged = judged(name, runtime);
        assert_eq!(judged.visible, STORY, "{name}");
        assert_eq!(judged.text_frames, frames, "{name}");
        let usage = judged.tokens.unwrap().usage;
        let found = usage
            .input
            .map(|input| (input, usage.output.unwrap(), usage.cached));
        assert_eq!(found, counts, "{name}");
    }
}

#[test]
fn a_tool_call_is_what_its_caller_waits_for() {
    let said = judged("bedrock-tool-call.events", "bedrock").visible;
    assert_eq!(said, r#"Asking the station.departures{"from":"Zoo"}"#);
    let said = judged(
        "bedrock-invoke-anthropic-tool-call.events",
        "bedrock-invoke",
    )
    .visible;
    assert_eq!(said, r#"departures{"from":"Zoo"}"#);
}

#[test]
fn each_service_has_its_own_ways_to_fail_inside_a_stream() {
    let (bedrock, invoke) = ("bedrock", "bedrock-invoke");
    for (name, runtime, outcome, message) in [
        (
            "bedrock-throttled.events",
            bedrock,
            Outcome::RateLimited,
            "throttlingException: Too many",
        ),
        (
            "bedrock-model-error.events",
            bedrock,
            Outcome::InBandError,
            "modelStreamErrorException: The model",
        ),
        (
            "bedrock-truncated.events",
            bedrock,
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "bedrock-invoke-throttled.events",
            invoke,
            Outcome::RateLimited,
            "throttlingException: Too many",
        ),
        (
            "bedrock-invoke-anthropic-overloaded.events",
            invoke,
            Outcome::InBandError,
            "overloaded_error: Overloaded",
        ),
        (
            "bedrock-invoke-truncated.events",
            invoke,
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "sagemaker-stream-error.events",
            "sagemaker",
            Outcome::InBandError,
            "ModelStreamError: The model took",
        ),
        (
            "sagemaker-container-error.events",
            "sagemaker",
            Outcome::InBandError,
            "out of memory",
        ),
        (
            "sagemaker-truncated.events",
            "sagemaker",
            Outcome::Truncated,
            "without its terminator",
        ),
    ] {
        let bytes = stream(name);
        for size in [1, bytes.len()] {
            let failed = judge(runtime, true, bytes.chunks(size))
                .verdict
                .unwrap_err();
            assert_eq!(failed.outcome, outcome, "{name}: {failed:?}");
            assert!(failed.message.contains(message), "{name}: {failed:?}");
        }
    }
}

#[test]
fn a_refusal_before_the_stream_tells_who_refused_and_why() {
    for (file, runtime, name, status, said) in [
        (
            "bedrock-throttling.429.json",
            "bedrock",
            "ThrottlingException",
            429,
            "ThrottlingException: Too many requests",
        ),
        (
            "bedrock-denied.403.json",
            "bedrock",
            "AccessDeniedException",
            403,
            "AccessDeniedException: User: arn",
        ),
        (
            "bedrock-model-error.424.json",
            "bedrock-invoke",
            "ModelErrorException",
            503,
            "ModelErrorException: The model",
        ),
        (
            "sagemaker-model-error.424.json",
            "sagemaker",
            "ModelError",
            429,
            "ModelError: Received client error",
        ),
        (
            "sagemaker-validation.400.json",
            "sagemaker-tgi",
            "ValidationError",
            400,
            "ValidationError: Endpoint e",
        ),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", name.parse().unwrap());
        let code: u16 = file.rsplit('.').nth(1).unwrap().parse().unwrap();
        let sent = StatusCode::from_u16(code).unwrap();
        let adapter = find(runtime).unwrap().adapter;
        let (found, words) = adapter.refusal(sent, &headers, &transcript(file));
        assert_eq!(found.as_u16(), status, "{file}");
        assert!(words.unwrap().starts_with(said), "{file}");
    }
}

#[test]
fn a_whole_answer_is_complete_by_being_whole() {
    for (name, runtime, output, total) in [
        ("bedrock-whole.json", "bedrock", 18, Some(931)),
        ("bedrock-invoke-llama-whole.json", "bedrock-invoke", 6, None),
        ("bedrock-invoke-nova-whole.json", "bedrock-invoke", 6, None),
        ("sagemaker-whole.json", "sagemaker", 6, None),
        ("sagemaker-tgi-whole.json", "sagemaker-tgi", 6, None),
    ] {
        let bytes = transcript(name);
        let judged = judge(runtime, false, [bytes.as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        assert_eq!(judged.visible, "The lamp went out.", "{name}");
        assert_eq!(judged.tokens.unwrap().usage.output, Some(output), "{name}");
        assert_eq!(
            judged.server_total,
            total.map(Duration::from_millis),
            "{name}"
        );
    }
}
