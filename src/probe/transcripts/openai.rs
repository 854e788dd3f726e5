//! Answers in the forms of OpenAI's APIs and of the servers that speak them, beside the captured ones.

use super::{judge, transcript};
use crate::probe::outcome::Outcome;
use crate::runtime::find;

/// Complete streams: their runtime, what they say, in how many frames, and the counts of input, output,
/// cached and reasoning.
type Good = (
    &'static str,
    &'static str,
    &'static str,
    u64,
    [Option<u64>; 4],
);

const STORY: &str = "The lamp in the café \"Zur Uhr\" went out.\n";
const CALL: &str = "light_lamp{\"place\":\"café\"}";

const GOOD: [Good; 17] = [
    (
        "openai-text.sse",
        "openai",
        STORY,
        10,
        [Some(2006), Some(10), Some(1920), Some(0)],
    ),
    (
        "openai-tool-call.sse",
        "openai",
        CALL,
        6,
        [Some(88), Some(14), Some(0), Some(0)],
    ),
    (
        "openai-refusal.sse",
        "openai",
        "I will not.",
        4,
        [Some(31), Some(5), Some(0), Some(0)],
    ),
    (
        "openai-reasoning.sse",
        "openai",
        "The wind.",
        8,
        [Some(40), Some(9), Some(16), Some(5)],
    ),
    (
        "vllm-continuous-usage.sse",
        "vllm",
        "The wind did.",
        6,
        [Some(21), Some(9), Some(16), None],
    ),
    (
        "trtllm-chat.sse",
        "tensorrt-llm",
        STORY,
        11,
        [Some(23), Some(11), Some(20), None],
    ),
    (
        "llamaedge-chat.sse",
        "llamaedge",
        STORY,
        10,
        [Some(27), Some(11), None, None],
    ),
    (
        "llamaedge-context-full.sse",
        "llamaedge",
        "The lamp in the café",
        5,
        [Some(500), Some(12), None, None],
    ),
    (
        "llamaedge-tool-call.sse",
        "llamaedge",
        CALL,
        1,
        [Some(180), Some(21), None, None],
    ),
    (
        "azure-text.sse",
        "azure-openai",
        STORY,
        10,
        [Some(24), Some(10), Some(0), Some(0)],
    ),
    (
        "azure-filtered.sse",
        "azure-openai",
        "The lamp in the",
        4,
        [Some(24), Some(4), Some(0), Some(0)],
    ),
    (
        "responses-text.sse",
        "openai-responses",
        STORY,
        10,
        [Some(2006), Some(11), Some(1920), Some(0)],
    ),
    (
        "responses-reasoning.sse",
        "openai-responses",
        "The wind.",
        6,
        [Some(24), Some(132), Some(0), Some(128)],
    ),
    (
        "responses-tool-call.sse",
        "openai-responses",
        CALL,
        6,
        [Some(88), Some(18), Some(0), Some(0)],
    ),
    (
        "responses-refusal.sse",
        "openai-responses",
        "I will not.",
        4,
        [Some(31), Some(6), Some(0), Some(0)],
    ),
    (
        "responses-incomplete.sse",
        "openai-responses",
        "The lamp in",
        3,
        [Some(24), Some(3), Some(0), Some(0)],
    ),
    (
        "ollama-openai-responses.sse",
        "openai-responses",
        "",
        0,
        [None; 4],
    ),
];

#[test]
fn every_complete_stream_says_what_it_says_however_it_is_cut() {
    for (name, runtime, visible, frames, counts) in GOOD {
        let bytes = transcript(name);
        let whole = judge(runtime, true, [bytes.as_slice()]);
        assert_eq!(whole.verdict, Ok(()), "{name}");
        for size in [1, 7, 100] {
            assert_eq!(judge(runtime, true, bytes.chunks(size)), whole, "{name}");
        }
        // Captured: random words.
        if name.starts_with("ollama-") {
            assert!(!whole.visible.is_empty(), "{name}");
            continue;
        }
        assert_eq!(
            (whole.visible.as_str(), whole.text_frames),
            (visible, frames),
            "{name}"
        );
        let usage = whole.tokens.unwrap().usage;
        let found = [usage.input, usage.output, usage.cached, usage.reasoning];
        assert_eq!(found, counts, "{name}");
    }
}

#[test]
fn cut_anywhere_before_its_end_such_a_stream_is_no_success() {
    for (name, runtime, ..) in GOOD {
        let bytes = transcript(name);
        let end = bytes.trim_ascii_end().len() - 1;
        for cut in (0..end).step_by(11) {
            let failed = judge(runtime, true, [&bytes[..cut]]).verdict.unwrap_err();
            let expected = [Outcome::Truncated, Outcome::Malformed];
            assert!(
                expected.contains(&failed.outcome),
                "{name} cut at {cut}: {failed:?}"
            );
        }
    }
}

#[test]
fn each_way_to_fail_inside_a_stream_has_its_outcome_and_its_words() {
    use Outcome::{BudgetExhausted, Empty, InBandError, Truncated};
    const DIED: &str = "The engine died while it told the story.";
    for (name, runtime, outcome, words) in [
        (
            "openai-error.sse",
            "openai",
            InBandError,
            "The server had an error",
        ),
        ("openai-error-object.sse", "vllm", InBandError, DIED),
        ("openai-error-nested.sse", "vllm", InBandError, DIED),
        (
            "openai-truncated.sse",
            "openai",
            Truncated,
            "without its terminator",
        ),
        (
            "trtllm-timeout.sse",
            "tensorrt-llm",
            InBandError,
            "the runtime aborted",
        ),
        (
            "llamaedge-truncated.sse",
            "llamaedge",
            Truncated,
            "without its terminator",
        ),
        (
            "llamaedge-prompt-too-long.sse",
            "llamaedge",
            Empty,
            "has no token",
        ),
        (
            "azure-filter-failed.sse",
            "azure-openai",
            InBandError,
            "The contents are not filtered",
        ),
        (
            "responses-failed.sse",
            "openai-responses",
            InBandError,
            "server_error: The story",
        ),
        (
            "responses-error.sse",
            "openai-responses",
            InBandError,
            "rate_limit_exceeded: Too many",
        ),
        (
            "responses-truncated.sse",
            "openai-responses",
            Truncated,
            "without its terminator",
        ),
        (
            "responses-reasoning-only.sse",
            "openai-responses",
            BudgetExhausted,
            "raise `output_tokens`",
        ),
    ] {
        let bytes = transcript(name);
        for size in [1, bytes.len()] {
            let failed = judge(runtime, true, bytes.chunks(size))
                .verdict
                .unwrap_err();
            assert_eq!(failed.outcome, outcome, "{name}");
            assert!(failed.message.contains(words), "{name}: {failed:?}");
        }
    }
}

#[test]
fn a_stream_without_a_reason_is_good_where_the_server_never_gives_one() {
    let bytes = transcript("llamaedge-chat.sse");
    let elsewhere = judge("openai", true, [bytes.as_slice()]).verdict;
    assert_eq!(elsewhere.unwrap_err().outcome, Outcome::Truncated);
}

#[test]
fn a_refusal_before_the_stream_is_told_in_the_servers_words() {
    for (name, runtime, words) in [
        ("openai-rate-limit.429.json", "openai", "Rate limit reached"),
        (
            "openai-max-tokens.400.json",
            "openai",
            "Unsupported parameter",
        ),
        (
            "vllm-too-long.400.json",
            "vllm",
            "This model's maximum context length",
        ),
        (
            "trtllm-unknown-field.400.json",
            "tensorrt-llm",
            "[{'type': 'extra_forbidden'",
        ),
        (
            "llamaedge-error.500.txt",
            "llamaedge",
            "500 Internal Server Error: Failed",
        ),
        (
            "azure-prompt-filtered.400.json",
            "azure-openai",
            "The response was filtered",
        ),
        ("azure-key.401.json", "azure-openai", "Access denied due to"),
        (
            "azure-quota.429.json",
            "azure-openai",
            "Requests to this deployment",
        ),
        (
            "responses-rate-limit.429.json",
            "openai-responses",
            "Rate limit reached",
        ),
    ] {
        let said = find(runtime)
            .unwrap()
            .adapter
            .error_message(&transcript(name));
        assert!(said.unwrap().starts_with(words), "{name}");
    }
}

#[test]
fn a_whole_answer_says_the_same_as_a_stream_would() {
    for (name, runtime, visible, counts) in [
        (
            "openai-tool-call-whole.json",
            "openai",
            CALL,
            [Some(88), Some(14), Some(64), Some(0)],
        ),
        (
            "llamaedge-whole.json",
            "llamaedge",
            "The lamp went out.",
            [Some(27), Some(6), None, None],
        ),
        (
            "azure-whole.json",
            "azure-openai",
            "The lamp went",
            [Some(24), Some(3), Some(0), Some(0)],
        ),
        (
            "responses-whole.json",
            "openai-responses",
            "The wind.light_lamp{\"place\":\"café\"}",
            [Some(24), Some(40), Some(8), Some(28)],
        ),
    ] {
        let judged = judge(runtime, false, [transcript(name).as_slice()]);
        assert_eq!(judged.verdict, Ok(()), "{name}");
        assert_eq!(judged.visible, visible, "{name}");
        let usage = judged.tokens.unwrap().usage;
        let found = [usage.input, usage.output, usage.cached, usage.reasoning];
        assert_eq!(found, counts, "{name}");
    }
}
