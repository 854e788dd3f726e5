//! A chat answer as vLLM streams it: role chunk, one chunk per token, usage chunk, `[DONE]`.

/// What every chunk begins with.
const HEAD: &str = r#"data: {"id":"chatcmpl-8bb95c8500c941e2ab0de81e2e9507a9","object":"chat.completion.chunk","created":1764093600,"model":"Qwen/Qwen3-8B","choices":["#;

/// Tokens in the mixture of an answer: most are plain, some need an escape, some are not ASCII.
pub const TOKENS: [&str; 16] = [
    " the",
    " answer",
    ",",
    " as",
    " a",
    " stream",
    " of",
    " tokens",
    ".",
    "\\n\\n",
    "The",
    " next",
    " \\\"",
    "paragraph",
    "\\\"",
    " “…”",
];

/// The events of an answer of so many tokens, each with its blank line.
pub fn events(tokens: usize) -> Vec<Vec<u8>> {
    let role = r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}"#;
    let mut events = vec![format!("{HEAD}{role}\n\n").into_bytes()];
    for (count, token) in (1..=tokens).zip(TOKENS.iter().cycle()) {
        let finish = match count == tokens {
            true => r#""length","stop_reason":null"#,
            false => "null",
        };
        let choice = format!(
            r#"{{"index":0,"delta":{{"content":"{token}"}},"logprobs":null,"finish_reason":{finish},"token_ids":null}}]}}"#
        );
        events.push(format!("{HEAD}{choice}\n\n").into_bytes());
    }
    let total = tokens + 23;
    let usage = format!(
        r#"],"usage":{{"prompt_tokens":23,"total_tokens":{total},"completion_tokens":{tokens}}}}}"#
    );
    events.push(format!("{HEAD}{usage}\n\ndata: [DONE]\n\n").into_bytes());
    events
}
