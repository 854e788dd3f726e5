use super::*;

fn read(stream: bool, event: Option<&str>, data: &str, check: impl FnOnce(Delta<'_>)) {
    let frame = Frame {
        kind: FrameKind::Event,
        event: event.map(str::as_bytes),
        data: data.as_bytes(),
        end: 0,
    };
    check(Bedrock.interpreter(Operation::Chat, stream).on_frame(frame));
}

#[test]
fn only_what_the_model_says_is_a_token() {
    for (event, data) in [
        ("messageStart", r#"{"role":"assistant","p":"abc"}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        (
            "contentBlockDelta",
            r#"{"delta":{"reasoningContent":{"signature":"abc"}}}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"delta":{"reasoningContent":{"redactedContent":"YQ=="}}}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"delta":{"citation":{"title":"t"}},"contentBlockIndex":0}"#,
        ),
        (
            "contentBlockStart",
            r#"{"start":{"toolResult":{"toolUseId":"t"}}}"#,
        ),
        ("somethingOfTomorrow", "neither JSON nor text"),
    ] {
        read(true, Some(event), data, |delta| {
            assert_eq!(delta, Delta::default(), "{event}");
        });
    }
}

#[test]
fn cached_tokens_are_part_of_the_prompt_by_whichever_name() {
    for names in [
        r#""cacheReadInputTokens":40,"cacheWriteInputTokens":3"#,
        r#""cacheReadInputTokenCount":40,"cacheWriteInputTokenCount":3"#,
        r#""cacheReadInputTokenCount":40,"cacheReadInputTokens":40,"cacheWriteInputTokens":3,"cacheWriteInputTokenCount":3"#,
    ] {
        let data = format!(
            r#"{{"usage":{{"inputTokens":10,"outputTokens":7,"totalTokens":60,{names}}},"metrics":{{"latencyMs":250}}}}"#
        );
        read(true, Some("metadata"), &data, |delta| {
            let usage = delta.usage.unwrap();
            let counts = (usage.input, usage.output, usage.cached);
            assert_eq!(counts, (Some(53), Some(7), Some(40)));
            assert_eq!(delta.server.total, Some(Duration::from_millis(250)));
            assert!(delta.terminator);
        });
    }
}

#[test]
fn a_whole_answer_has_all_blocks() {
    let data = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"Ask: "},{"toolUse":{"toolUseId":"t","name":"w","input":{"a":1}}}]}},"stopReason":"tool_use","usage":{"inputTokens":5,"outputTokens":7,"totalTokens":12},"metrics":{"latencyMs":90}}"#;
    read(false, None, data, |delta| {
        assert_eq!(delta.visible.as_deref(), Some(r#"Ask: w{"a":1}"#));
        assert_eq!(delta.reasoning.as_deref(), Some("hm"));
        assert_eq!(delta.finish, Some(FinishReason::Other("tool_use".into())));
        assert!(delta.terminator);
    });
}

#[test]
fn what_is_not_the_dialect_is_malformed() {
    for (stream, event, data) in [
        (true, Some("contentBlockDelta"), "{}"),
        (true, Some("metadata"), "nonsense"),
        (false, None, "{}"),
    ] {
        read(stream, event, data, |delta| {
            let fault = delta.fault;
            assert!(matches!(
                fault,
                Some(crate::measure::delta::Fault::Malformed(_))
            ));
        });
    }
}

#[test]
fn a_profile_is_told_by_its_area_or_by_its_resource_name() {
    let arn = |rest: &str| format!("arn:aws:bedrock:eu-central-1:111122223333:{rest}");
    let application = arn("application-inference-profile/a1b2c3");
    let of_area = arn("inference-profile/eu.meta.llama3-2-3b-instruct-v1:0");
    for (model, profile) in [
        ("anthropic.claude-3-haiku-20240307-v1:0", None),
        ("deepseek.v3-v1:0", None),
        ("eu.amazon.nova-lite-v1:0", Some("eu.amazon.nova-lite-v1:0")),
        ("us-gov.meta.llama", Some("us-gov.meta.llama")),
        (&*application, Some("a1b2c3")),
        (&*of_area, Some("eu.meta.llama3-2-3b-instruct-v1:0")),
        (&*arn("provisioned-model/x9y8"), None),
    ] {
        let labels = inference_profile(model);
        let found = labels.first().map(|(_, value)| value.as_str());
        assert_eq!(found, profile, "{model}");
    }
}

#[test]
fn a_scenarios_fields_join_ours() {
    let prompt = crate::workload::Prompt {
        system: Some("Be brief.".into()),
        user: "Hi".to_owned(),
        generated_words: None,
    };
    let extra = json!({
        "inferenceConfig": {"topP": 0.5, "temperature": null},
        "additionalModelRequestFields": {"top_k": 5},
    });
    let generation = crate::runtime::Generation {
        output_tokens: Some(7),
        temperature: Some(0.0),
        extra_body: extra.as_object().cloned().unwrap(),
    };
    let request = Bedrock.encode(EncodeInput {
        model: "eu.amazon.nova-lite-v1:0",
        operation: Operation::Chat,
        stream: true,
        prompt: &prompt,
        generation: &generation,
    });
    assert_eq!(
        request.path,
        "/model/eu.amazon.nova-lite-v1%3A0/converse-stream"
    );
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let wanted = json!({
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 7, "topP": 0.5},
        "additionalModelRequestFields": {"top_k": 5},
    });
    assert_eq!(body, wanted);
}
