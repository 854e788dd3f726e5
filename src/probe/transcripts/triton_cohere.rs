//! Answers of the dialects below `/v2`: Triton's, KServe's and Cohere's.

use super::{judge, transcript};
use crate::measure::tokens::TokenSource;
use crate::probe::outcome::Outcome;
use crate::runtime::find;
use std::time::Duration;

#[test]
fn each_way_to_fail_inside_an_answer_has_its_outcome() {
    for (name, runtime, outcome, words) in [
        (
            "triton-vllm-error.sse",
            "triton",
            Outcome::InBandError,
            "the engine is dead",
        ),
        (
            "triton-vllm-truncated.sse",
            "triton",
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "kserve-error.sse",
            "kserve",
            Outcome::InBandError,
            "failed during generation",
        ),
        (
            "kserve-truncated.sse",
            "kserve",
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "cohere-error.sse",
            "cohere",
            Outcome::InBandError,
            "aborted by the server",
        ),
        (
            "cohere-truncated.sse",
            "cohere",
            Outcome::Truncated,
            "without its terminator",
        ),
        (
            "cohere-thinking-only.sse",
            "cohere",
            Outcome::BudgetExhausted,
            "raise `output_tokens`",
        ),
    ] {
        let bytes = transcript(name);
        for size in [1, bytes.len()] {
            let failed = judge(runtime, true, bytes.chunks(size)).verdict;
            let failed = failed.unwrap_err();
            assert_eq!(failed.outcome, outcome, "{name}");
            assert!(failed.message.contains(words), "{name}: {failed:?}");
        }
    }
}

#[test]
fn a_refusal_before_the_answer_tells_why() {
    for (name, runtime, words) in [
        (
            "triton-refused.400.sse",
            "triton",
            "in ensemble 'ensemble', prompt length",
        ),
        (
            "triton-unknown-model.404.json",
            "triton",
            "Request for unknown model",
        ),
        (
            "triton-overloaded.503.json",
            "triton",
            "Exceeds maximum queue size",
        ),
        (
            "kserve-overloaded.429.json",
            "kserve",
            "Model is overloaded",
        ),
        (
            "cohere-rate-limit.429.json",
            "cohere",
            "You have sent too many requests",
        ),
        ("cohere-key.401.json", "cohere", "invalid api token"),
    ] {
        let adapter = find(runtime).unwrap().adapter;
        let said = adapter.error_message(&transcript(name)).unwrap();
        assert!(said.starts_with(words), "{name}: {said}");
    }
}

#[test]
fn a_server_that_tells_nothing_but_text_is_taken_at_its_word() {
    // Parts, one of them twice, and the text so far, as TensorRT-LLM's pipelines send them.
    for name in [
        "triton-tensorrtllm.sse",
        "triton-tensorrtllm-accumulated.sse",
    ] {
        let bytes = transcript(name);
        let whole = judge("triton", true, [bytes.as_slice()]);
        assert_eq!(whole.verdict, Ok(()), "{name}");
        assert_eq!(whole.visible, "The lamp lamp is lit.", "{name}");
        let tokens = whole.tokens.unwrap();
        let counted = (tokens.usage.output, tokens.source);
        assert_eq!(counted, (Some(6), TokenSource::Chunks), "{name}");
        for size in [1, 7, 100] {
            assert_eq!(judge("triton", true, bytes.chunks(size)), whole, "{name}");
        }
    }
}

#[test]
fn whole_answers_are_counted_by_what_they_tell() {
    for (name, runtime, wanted, source) in [
        // Input, output, cached.
        (
            "triton-vllm-whole.json",
            "triton",
            (Some(11), Some(5), None),
            TokenSource::Runtime,
        ),
        (
            "triton-tensorrtllm-metrics.json",
            "triton",
            (Some(9), Some(5), None),
            TokenSource::Runtime,
        ),
        (
            "kserve-whole.json",
            "kserve",
            (None, Some(6), None),
            TokenSource::Runtime,
        ),
        (
            "cohere-whole.json",
            "cohere",
            (Some(203), Some(9), Some(192)),
            TokenSource::Usage,
        ),
    ] {
        let judged = judge(runtime, false, [transcript(name).as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        let tokens = judged.tokens.unwrap();
        let usage = tokens.usage;
        assert_eq!((usage.input, usage.output, usage.cached), wanted, "{name}");
        assert_eq!(tokens.source, source, "{name}");
    }
}

#[test]
fn tensorrt_llms_own_clock_gives_the_servers_time() {
    let answer = transcript("triton-tensorrtllm-metrics.json");
    let judged = judge("triton", false, [answer.as_slice()]);
    assert_eq!(judged.server_total, Some(Duration::from_millis(62)));
}

#[test]
fn a_stream_of_coheres_is_counted_by_its_last_event() {
    for (name, visible, wanted) in [
        ("cohere-text.sse", "The lamp lamp is lit.", (203, 8, 192)),
        ("cohere-thinking.sse", "The lamp is lit.", (203, 13, 0)),
        (
            "cohere-tool-call.sse",
            r#"tide{"port": "Kiel"}"#,
            (917, 21, 0),
        ),
    ] {
        let judged = judge("cohere", true, [transcript(name).as_slice()]);
        assert_eq!(judged.visible, visible, "{name}");
        let usage = judged.tokens.unwrap().usage;
        let found = [usage.input, usage.output, usage.cached].map(Option::unwrap);
        assert_eq!(<(u64, u64, u64)>::from(found), wanted, "{name}");
    }
}
