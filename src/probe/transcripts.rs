//! Captured answers of real runtimes, fed to the answer reader in every way a network may cut them.

mod aws;
mod captured;
mod openai;
mod triton_cohere;

use super::judged::{Judged, judged};
use super::outcome::Outcome;
use crate::measure::tokens::TokenSource;
use crate::runtime::{Operation, RUNTIMES, RuntimeSpec, find};
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn transcript(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/transcripts")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn judge<'a>(runtime: &str, stream: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> Judged {
    judged(find(runtime).unwrap(), Operation::Chat, stream, parts)
}

/// Complete streams: of real runtimes, and, where nobody answers without a key or (`written-`) cannot be run, in
/// the form that the documentation, the sources and the clients of an API have.
const STREAMS: [(&str, &str); 29] = [
    ("ollama-chat.ndjson", "ollama"),
    ("ollama-generate.ndjson", "ollama"),
    ("ollama-chat-stop.ndjson", "ollama"),
    ("ollama-generate-load.ndjson", "ollama"),
    ("llamacpp-chat-stop.sse", "llamacpp"),
    ("ollama-openai-chat.sse", "openai"),
    ("ollama-openai-completions.sse", "openai"),
    ("llamacpp-chat.sse", "llamacpp"),
    ("llamacpp-completions.sse", "llamacpp"),
    ("ollama-anthropic-messages.sse", "anthropic"),
    ("anthropic-text.sse", "anthropic"),
    ("anthropic-tool-call.sse", "anthropic"),
    ("anthropic-thinking.sse", "anthropic"),
    ("gemini-text.sse", "gemini"),
    ("gemini-tool-call.sse", "gemini"),
    ("gemini-thoughts.sse", "gemini"),
    ("written-tgi-generate.sse", "tgi-generate"),
    ("written-tgi-generate-stop.sse", "tgi-generate"),
    ("written-llamacpp-completion.sse", "llamacpp-completion"),
    (
        "written-llamacpp-completion-b4000.sse",
        "llamacpp-completion",
    ),
    ("written-sglang-generate.sse", "sglang-generate"),
    ("written-sglang-generate-stop.sse", "sglang-generate"),
    ("written-sglang-generate-incremental.sse", "sglang-generate"),
    ("written-triton-vllm.sse", "triton"),
    ("kserve-text.sse", "kserve"),
    ("cohere-text.sse", "cohere"),
    ("cohere-thinking.sse", "cohere"),
    ("cohere-tool-call.sse", "cohere"),
    ("vertex-text.sse", "vertex"),
];

#[test]
fn every_complete_stream_is_a_success_with_its_tokens() {
    for (name, runtime) in STREAMS {
        let bytes = transcript(name);
        let judged = judge(runtime, true, [bytes.as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        let output = judged.tokens.unwrap().usage.output.unwrap();
        assert!(
            output >= 2 && judged.text_frames >= 2,
            "{name}: {output} tokens"
        );
        assert!(!judged.visible.is_empty(), "{name}");
        if runtime == "ollama" {
            assert!(judged.server_total.unwrap() > Duration::ZERO, "{name}");
        }
    }
}

#[test]
fn cut_anywhere_before_its_end_a_stream_is_no_success() {
    for (name, runtime) in STREAMS {
        let bytes = transcript(name);
        let end = bytes.trim_ascii_end().len() - 1;
        for cut in (0..end).step_by(7) {
            let judged = judge(runtime, true, [&bytes[..cut]]);
            let outcome = judged.verdict.unwrap_err().outcome;
            let expected = [Outcome::Truncated, Outcome::Malformed];
            assert!(
                expected.contains(&outcome),
                "{name} cut at {cut}: {outcome}"
            );
        }
    }
}

fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_observation(
        index in 0..STREAMS.len(),
        cuts in proptest::collection::vec(0usize..100_000, 0..40),
    ) {
        let (name, runtime) = STREAMS[index];
        let bytes = transcript(name);
        let whole = judge(runtime, true, [bytes.as_slice()]);
        prop_assert_eq!(judge(runtime, true, split(&bytes, &cuts)), whole);
    }

    #[test]
    fn damage_never_panics(
        index in 0..STREAMS.len(),
        damage in proptest::collection::vec((0usize..100_000, any::<u8>()), 1..20),
        stream in any::<bool>(),
    ) {
        let (name, runtime) = STREAMS[index];
        let mut bytes = transcript(name);
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        judge(runtime, stream, bytes.chunks(37));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000), stream in any::<bool>()) {
        for RuntimeSpec { name: runtime, .. } in RUNTIMES {
            judge(runtime, stream, bytes.chunks(100));
        }
    }
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    for (name, runtime) in STREAMS {
        let bytes = transcript(name);
        let whole = judge(runtime, true, [bytes.as_slice()]);
        assert_eq!(judge(runtime, true, bytes.chunks(1)), whole, "{name}");
    }
}

#[test]
fn one_story_is_the_same_in_every_dialect_of_the_servers_own() {
    const STORY: &str = " Once upon a time the café \"lamp\" 東京 went out.\n";
    for (name, runtime) in STREAMS {
        if !name.starts_with("written-") {
            continue;
        }
        let judged = judge(runtime, true, [transcript(name).as_slice()]);
        assert_eq!(judged.visible, STORY, "{name}");
        let tokens = judged.tokens.unwrap();
        // The end of the sequence is a token too, where it is counted.
        let ended = name.contains("-stop") || name.contains("-incremental");
        assert_eq!(tokens.usage.output, Some(12 + u64::from(ended)), "{name}");
        assert_eq!(tokens.source, TokenSource::Runtime, "{name}");
        // SGLang's events have several tokens each.
        let frames = if runtime.starts_with("sglang") { 6 } else { 12 };
        assert_eq!(judged.text_frames, frames, "{name}");
        assert_eq!(tokens.usage.input, Some(11), "{name}");
        let cached = match runtime {
            "llamacpp-completion" => Some(3),
            "sglang-generate" => Some(4),
            _ => None,
        };
        assert_eq!(tokens.usage.cached, cached, "{name}");
    }
}

#[test]
fn an_error_inside_a_stream_is_told_in_the_servers_words() {
    for (name, runtime, words) in [
        (
            "written-tgi-generate-error.sse",
            "tgi-generate",
            "CUDA out of memory",
        ),
        (
            "written-llamacpp-completion-error.sse",
            "llamacpp-completion",
            "Context size has been exceeded.",
        ),
        (
            "written-sglang-generate-error.sse",
            "sglang-generate",
            "the scheduler died",
        ),
        (
            "written-sglang-generate-abort.sse",
            "sglang-generate",
            "Aborted by AbortReq.",
        ),
    ] {
        let bytes = transcript(name);
        let failed = judge(runtime, true, bytes.chunks(5)).verdict.unwrap_err();
        assert_eq!(failed.outcome, Outcome::InBandError, "{name}");
        assert!(failed.message.ends_with(words), "{}", failed.message);
    }
}

#[test]
fn an_error_before_the_stream_is_told_in_the_servers_words() {
    for (name, runtime, words) in [
        (
            "written-tgi-generate-too-long.422.json",
            "tgi-generate",
            "Input validation error",
        ),
        (
            "written-llamacpp-completion-too-long.400.json",
            "llamacpp-completion",
            "the request exceeds",
        ),
        (
            "written-sglang-generate-too-long.400.json",
            "sglang-generate",
            "The input (5000 tokens)",
        ),
        (
            "written-tgi-generate-overloaded.429.json",
            "tgi-generate",
            "Model is overloaded",
        ),
        (
            "written-sglang-generate-queue-full.503.json",
            "sglang-generate",
            "The request queue is full.",
        ),
        (
            "written-llamacpp-completion-loading.503.json",
            "llamacpp-completion",
            "Loading model",
        ),
        ("written-ollama-busy.503.json", "ollama", "server busy"),
    ] {
        let said = find(runtime)
            .unwrap()
            .adapter
            .error_message(&transcript(name));
        assert!(said.unwrap().starts_with(words), "{name}");
    }
}

fn chat(events: &[&str]) -> Judged {
    let stream: String = events.iter().map(|event| format!("{event}\n\n")).collect();
    judge("openai", true, [stream.as_bytes()])
}

#[test]
fn an_answer_that_the_runtime_aborts_is_no_success() {
    // As vLLM ends its streams when it shuts down or sleeps.
    let judged = chat(&[
        r#"data: {"choices":[{"delta":{"content":"half"}}]}"#,
        r#"data: {"choices":[{"delta":{},"finish_reason":"abort"}]}"#,
        "data: [DONE]",
    ]);
    assert_eq!(judged.verdict.unwrap_err().outcome, Outcome::InBandError);
}

#[test]
fn an_error_in_a_field_of_its_own_is_read() {
    // As llama.cpp's server wrote its errors until September 2025.
    let judged = chat(&[
        r#"data: {"choices":[{"delta":{"content":"half"}}]}"#,
        r#"error: {"code":500,"message":"out of memory","type":"server_error"}"#,
        "data: [DONE]",
    ]);
    let failed = judged.verdict.unwrap_err();
    assert_eq!(failed.outcome, Outcome::InBandError);
    assert_eq!(failed.message, "out of memory");
}

#[test]
fn each_api_has_its_own_ways_to_fail_inside_a_stream() {
    for (name, runtime, outcome, message) in [
        (
            "anthropic-overloaded.sse",
            "anthropic",
            Outcome::InBandError,
            "overloaded_error: Overloaded",
        ),
        (
            "anthropic-truncated.sse",
            "anthropic",
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "anthropic-refusal.sse",
            "anthropic",
            Outcome::Empty,
            "counts 5 tokens, but sent no text",
        ),
        (
            "gemini-unavailable.sse",
            "gemini",
            Outcome::InBandError,
            "UNAVAILABLE: The model is overloaded.",
        ),
        (
            "vertex-exhausted.sse",
            "vertex",
            Outcome::RateLimited,
            "RESOURCE_EXHAUSTED: Resource exhausted.",
        ),
        (
            "gemini-truncated.sse",
            "gemini",
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "gemini-thoughts-only.sse",
            "gemini",
            Outcome::BudgetExhausted,
            "raise `output_tokens`",
        ),
        (
            "gemini-blocked.sse",
            "gemini",
            Outcome::Empty,
            "has no token",
        ),
    ] {
        let bytes = transcript(name);
        for size in [1, bytes.len()] {
            let failed = judge(runtime, true, bytes.chunks(size)).verdict;
            let failed = failed.unwrap_err();
            assert_eq!(failed.outcome, outcome, "{name}");
            assert!(failed.message.contains(message), "{name}: {failed:?}");
        }
    }
}

#[test]
fn a_refusal_before_the_stream_tells_why() {
    for (name, runtime, message) in [
        (
            "anthropic-overloaded.529.json",
            "anthropic",
            "overloaded_error: Overloaded",
        ),
        (
            "anthropic-rate-limit.429.json",
            "anthropic",
            "rate_limit_error: This request would exceed",
        ),
        (
            "anthropic-key.401.json",
            "anthropic",
            "authentication_error: invalid x-api-key",
        ),
        ("gemini-quota.429.json", "gemini", "You exceeded your"),
        ("gemini-key.400.json", "gemini", "API key not valid."),
        (
            "vertex-token.401.json",
            "vertex",
            "UNAUTHENTICATED: Request had invalid",
        ),
    ] {
        let adapter = find(runtime).unwrap().adapter;
        let said = adapter.error_message(&transcript(name)).unwrap();
        assert!(said.starts_with(message), "{name}: {said}");
    }
}

#[test]
fn usage_is_read_in_the_terms_of_each_api() {
    for (name, runtime, stream, wanted) in [
        // Input, output, cached, reasoning.
        (
            "anthropic-text.sse",
            "anthropic",
            true,
            (1225, 12, Some(1200), None),
        ),
        (
            "anthropic-thinking.sse",
            "anthropic",
            true,
            (1225, 73, Some(1200), Some(62)),
        ),
        (
            "anthropic-whole.json",
            "anthropic",
            false,
            (125, 6, Some(0), None),
        ),
        (
            "ollama-anthropic-messages.sse",
            "anthropic",
            true,
            (51, 64, None, None),
        ),
        ("gemini-text.sse", "gemini", true, (9, 101, None, Some(94))),
        ("vertex-text.sse", "vertex", true, (9, 101, None, Some(94))),
        (
            "gemini-thoughts.sse",
            "gemini",
            true,
            (9, 40, Some(4), Some(38)),
        ),
        (
            "gemini-whole.json",
            "gemini",
            false,
            (9, 23, None, Some(20)),
        ),
    ] {
        let bytes = transcript(name);
        let judged = judge(runtime, stream, [bytes.as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        let usage = judged.tokens.unwrap().usage;
        let (input, output) = (usage.input.unwrap(), usage.output.unwrap());
        let found = (input, output, usage.cached, usage.reasoning);
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn a_dialect_of_one_file_is_judged_like_any_other() {
    let bytes = b"{\"word\":\"Once\"}\n{\"word\":\" more\"}\n{\"end\":\"stop\",\"words\":2}\n";
    let judged = judge("toy", true, bytes.chunks(3));
    assert_eq!(judged.verdict, Ok(()));
    assert_eq!(
        (judged.visible.as_str(), judged.text_frames),
        ("Once more", 2)
    );
    assert_eq!(judged.tokens.unwrap().usage.output, Some(2));
    let cut = judge("toy", true, [&bytes[..33]]);
    assert_eq!(cut.verdict.unwrap_err().outcome, Outcome::Truncated);
}
