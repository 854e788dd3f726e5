//! Answers of servers that others wrote, captured byte for byte: they hold for every claim about a dialect that the
//! written transcripts make.

use super::{judge, transcript};
use crate::measure::tokens::TokenSource;
use crate::probe::outcome::Outcome;
use crate::runtime::find;

/// A complete answer, and what its server says about it.
struct Captured {
    name: &'static str,
    runtime: &'static str,
    /// Input, output and cached tokens.
    tokens: (u64, u64, Option<u64>),
    /// How many frames have text: one for each token, but where aimock counts what it was told to.
    text_frames: u64,
}

const fn captured(
    name: &'static str,
    runtime: &'static str,
    tokens: (u64, u64, Option<u64>),
    text_frames: u64,
) -> Captured {
    Captured {
        name,
        runtime,
        tokens,
        text_frames,
    }
}

const STREAMS: &[Captured] = &[
    captured("wllama-chat.sse", "llamaedge", (54, 64, None), 64),
    captured(
        "llama-server-responses.sse",
        "openai-responses",
        (54, 64, Some(53)),
        64,
    ),
    captured("aimock-openai-tool.sse", "openai", (11, 9, None), 4),
    captured("llama-server-chat.sse", "llamacpp", (54, 64, Some(0)), 64),
    captured(
        "llama-server-chat-stop.sse",
        "llamacpp",
        (54, 14, Some(53)),
        14,
    ),
    captured(
        "llama-server-completions.sse",
        "llamacpp",
        (37, 64, Some(2)),
        64,
    ),
    captured(
        "llama-server-completion.sse",
        "llamacpp-completion",
        (37, 64, Some(36)),
        64,
    ),
    captured(
        "llama-server-completion-stop.sse",
        "llamacpp-completion",
        (37, 8, Some(36)),
        8,
    ),
    captured(
        "llama-server-anthropic-messages.sse",
        "anthropic",
        (54, 64, Some(2)),
        64,
    ),
    captured("aimock-openai-thinking.sse", "openai", (11, 20, None), 20),
    captured(
        "aimock-anthropic-thinking.sse",
        "anthropic",
        (11, 20, None),
        20,
    ),
    captured("aimock-gemini-thinking.sse", "gemini", (11, 20, None), 20),
    captured("aimock-anthropic-tool.sse", "anthropic", (11, 9, None), 4),
    captured("aimock-gemini-tool.sse", "gemini", (11, 9, None), 1),
];

const WHOLE: &[Captured] = &[
    captured(
        "llama-server-chat-whole.json",
        "llamacpp",
        (54, 64, Some(53)),
        1,
    ),
    captured(
        "llama-server-completion-whole.json",
        "llamacpp-completion",
        (37, 64, Some(36)),
        1,
    ),
    captured("wllama-chat-whole.json", "llamaedge", (54, 64, None), 1),
];

#[test]
fn an_answer_has_the_tokens_that_its_server_counts() {
    for (stream, answers) in [(true, STREAMS), (false, WHOLE)] {
        for answer in answers {
            let name = answer.name;
            let bytes = transcript(name);
            let judged = judge(answer.runtime, stream, [bytes.as_slice()]);
            assert_eq!(judged.verdict, Ok(()), "{name}");
            let tokens = judged.tokens.unwrap();
            let usage = tokens.usage;
            let counted = (usage.input.unwrap(), usage.output.unwrap(), usage.cached);
            assert_eq!(counted, answer.tokens, "{name}");
            assert_eq!(judged.text_frames, answer.text_frames, "{name}");
            let own = answer.runtime.ends_with("-completion");
            let source = if own {
                TokenSource::Runtime
            } else {
                TokenSource::Usage
            };
            assert_eq!(tokens.source, source, "{name}");
        }
    }
}

#[test]
fn a_stream_is_read_the_same_however_it_is_cut_and_never_good_before_its_end() {
    for Captured { name, runtime, .. } in STREAMS {
        let bytes = transcript(name);
        let whole = judge(runtime, true, [bytes.as_slice()]);
        for size in [1, 2, 7, 97] {
            assert_eq!(judge(runtime, true, bytes.chunks(size)), whole, "{name}");
        }
        // Gemini's answer is complete once its last frame is, and a body that ends then ends properly.
        let end = bytes.trim_ascii_end().len() - 1;
        for cut in (0..end).step_by(11) {
            let outcome = judge(runtime, true, [&bytes[..cut]])
                .verdict
                .unwrap_err()
                .outcome;
            let expected = [Outcome::Truncated, Outcome::Malformed];
            assert!(
                expected.contains(&outcome),
                "{name} cut at {cut}: {outcome}"
            );
        }
    }
}

#[test]
fn a_call_of_a_tool_is_the_answer() {
    for (name, runtime, words) in [
        (
            "aimock-openai-tool.sse",
            "openai",
            r#"set_open{"open":true}"#,
        ),
        (
            "aimock-anthropic-tool.sse",
            "anthropic",
            r#"set_open{"open":true}"#,
        ),
        (
            "aimock-gemini-tool.sse",
            "gemini",
            r#"{"args":{"open":true},"name":"set_open"}"#,
        ),
    ] {
        let judged = judge(runtime, true, transcript(name).chunks(64));
        assert_eq!(judged.visible, words, "{name}");
    }
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let too_long = "request (8102 tokens) exceeds the available context size";
    for (name, runtime, words) in [
        (
            "llama-server-chat-too-long.400.json",
            "llamacpp",
            "request (8119 tokens) exceeds",
        ),
        (
            "llama-server-completion-too-long.400.json",
            "llamacpp-completion",
            too_long,
        ),
        (
            "llama-server-chat-bad-json.400.json",
            "llamacpp",
            "[json.exception.parse_error.101] parse error",
        ),
        (
            "llama-server-chat-wrong-type.400.json",
            "llamacpp",
            "Expected 'messages' to be an array",
        ),
        (
            "wllama-chat-too-long.500.txt",
            "llamaedge",
            "500 Internal Server Error: Failed to get chat completions.",
        ),
        (
            "vllm-router-chat-no-worker.500.txt",
            "vllm",
            "Request failed: error sending request for url",
        ),
        (
            "sglang-router-chat-no-worker.500.json",
            "sglang",
            "error sending request for url",
        ),
        ("aimock-openai-limited.429.json", "openai", "Rate limited"),
        (
            "aimock-anthropic-limited.429.json",
            "anthropic",
            "rate_limit_error: Rate limited",
        ),
        ("aimock-gemini-limited.429.json", "gemini", "Rate limited"),
    ] {
        let said = find(runtime)
            .unwrap()
            .adapter
            .error_message(&transcript(name));
        let said = said.unwrap_or_else(|| panic!("{name} says nothing"));
        assert!(said.starts_with(words), "{name}: {said}");
    }
}
