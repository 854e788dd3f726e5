use super::*;
use crate::runtime::Generation;
use std::time::Duration;

fn prompt() -> Prompt {
    Prompt {
        system: Some("Be brief.".into()),
        user: "Hi".to_owned(),
        generated_words: None,
    }
}

fn body(model: &str, operation: Operation) -> Value {
    let generation = Generation {
        output_tokens: Some(7),
        ..Generation::default()
    };
    let request = BedrockInvoke.encode(EncodeInput {
        model,
        operation,
        stream: true,
        prompt: &prompt(),
        generation: &generation,
    });
    let path = format!(
        "/model/{}/invoke-with-response-stream",
        request::segment(model)
    );
    assert_eq!(request.path, path);
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn each_family_gets_the_request_that_it_knows() {
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]);
    let llama = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
    for (model, operation, wanted) in [
        (
            "eu.anthropic.claude-x-v1:0",
            Operation::Chat,
            json!({
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 7,
                "system": "Be brief.",
                "messages": [{"role": "user", "content": "Hi"}],
            }),
        ),
        (
            "meta.llama3-1-8b-instruct-v1:0",
            Operation::Chat,
            json!({"prompt": llama, "max_gen_len": 7}),
        ),
        (
            "us.meta.llama4-scout-17b-instruct-v1:0",
            Operation::Completion,
            json!({"prompt": "Be brief.\n\nHi", "max_gen_len": 7}),
        ),
        (
            "amazon.nova-lite-v1:0",
            Operation::Chat,
            json!({
                "schemaVersion": "messages-v1",
                "system": [{"text": "Be brief."}],
                "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
                "inferenceConfig": {"maxTokens": 7},
            }),
        ),
        (
            "mistral.mistral-large-2407-v1:0",
            Operation::Chat,
            json!({"messages": messages, "max_tokens": 7}),
        ),
        (
            "mistral.mistral-7b-instruct-v0:2",
            Operation::Completion,
            json!({"prompt": "Be brief.\n\nHi", "max_tokens": 7}),
        ),
    ] {
        assert_eq!(body(model, operation), wanted, "{model}");
    }
    let newest = llama_chat("meta.llama4-maverick", &prompt());
    assert!(newest.ends_with("Hi<|eot|><|header_start|>assistant<|header_end|>\n\n"));
}

#[test]
fn a_model_whose_family_nobody_can_tell_is_refused() {
    for model in [
        "amazon.titan-text-express-v1",
        "cohere.command-r-v1:0",
        "claude-sonnet-5",
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3",
    ] {
        let problem = BedrockInvoke.check_model(model).unwrap_err();
        assert!(problem.remedy.contains("`bedrock`"), "{model}");
    }
    let arn = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0";
    for model in [
        arn,
        "global.openai.gpt-oss-20b-1:0",
        "us-gov.amazon.nova-pro-v1:0",
    ] {
        assert_eq!(BedrockInvoke.check_model(model), Ok(()), "{model}");
    }
}

#[test]
fn the_services_counts_serve_where_the_model_has_none() {
    let mut reader = BedrockInvoke.interpreter(Operation::Chat, true);
    let mut read = |carried: &str| {
        let data = json!({"bytes": STANDARD.encode(carried), "p": "abc"}).to_string();
        let frame = Frame {
            kind: FrameKind::Event,
            event: Some(b"chunk"),
            data: data.as_bytes(),
            end: 0,
        };
        reader.on_frame(frame).into_owned()
    };
    let said = read(r#"{"outputs":[{"text":" a","stop_reason":null}]}"#);
    assert_eq!(said.visible.as_deref(), Some(" a"));
    let last = read(
        r#"{"outputs":[{"text":"","stop_reason":"length"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":5,"invocationLatency":400,"firstByteLatency":100}}"#,
    );
    let usage = last.usage.unwrap();
    assert_eq!((usage.input, usage.output), (Some(9), Some(5)));
    assert_eq!(last.finish, Some(FinishReason::Length));
    assert_eq!(last.server.total, Some(Duration::from_millis(400)));
    assert_eq!(last.server.prefill, Some(Duration::from_millis(100)));
    assert!(last.terminator);
}

#[test]
fn a_reason_to_stop_is_read_by_either_of_its_names() {
    for choice in [
        r#"{"index":0,"message":{"role":"assistant","content":"."},"stop_reason":"length"}"#,
        r#"{"index":0,"delta":{"content":"."},"finish_reason":"length","stop_reason":7}"#,
        r#"{"text":".","stop_reason":"length"}"#,
    ] {
        let mut reader = BedrockInvoke.interpreter(Operation::Chat, false);
        let data = format!(r#"{{"choices":[{choice}]}}"#);
        let delta = reader.on_frame(Frame::bare(data.as_bytes()));
        assert_eq!(delta.finish, Some(FinishReason::Length), "{choice}");
        assert_eq!(delta.visible.as_deref(), Some("."), "{choice}");
    }
}
