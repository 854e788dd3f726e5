//! What goes well, and what the simulator says about itself.

use super::*;

#[tokio::test]
async fn a_good_stream_is_complete_in_both_dialects() {
    let running = Running::start(quick()).await;
    let reply = running.ask_for(Kind::OpenAi, "ok").await;
    assert_eq!(
        (reply.status(), reply.tokens(), reply.end),
        (200, 8, End::Closed)
    );
    assert!(reply.body().1 && reply.text().ends_with("data: [DONE]\n\n"));
    assert!(reply.head().contains("x-simulated: true"));
    assert!(reply.head().contains("content-type: text/event-stream"));
    let values = reply.values();
    assert_eq!(values[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(values[8]["choices"][0]["finish_reason"], "length");
    assert_eq!(values[9]["choices"], json!([]));
    assert_eq!(values[9]["usage"]["completion_tokens"], 8);

    let reply = running.ask_for(Kind::Ollama, "ok").await;
    assert_eq!(
        (reply.status(), reply.tokens(), reply.end),
        (200, 8, End::Closed)
    );
    let values = reply.values();
    let last = values.last().unwrap();
    assert_eq!(
        (&last["done"], &last["done_reason"]),
        (&json!(true), &json!("length"))
    );
    assert_eq!(
        (&last["eval_count"], &last["eval_duration"]),
        (&json!(8), &json!(7_000_000))
    );
    assert_eq!(last["prompt_eval_duration"], 4_000_000);
}

#[tokio::test]
async fn whole_answers_come_with_a_length() {
    let running = Running::start(Character {
        reasoning_tokens: 3,
        ..quick()
    })
    .await;
    let reply = running.ask_for(Kind::OpenAiWhole, "ok").await;
    assert!(reply.head().contains("content-length: "));
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(
        body["usage"]["completion_tokens_details"]["reasoning_tokens"],
        3
    );
    assert!(body["choices"][0]["message"]["reasoning_content"].is_string());
    let body = running.ask_for(Kind::OllamaWhole, "ok").await.json();
    assert_eq!(
        (&body["done"], &body["eval_count"]),
        (&json!(true), &json!(8))
    );
    assert!(!body["thinking"].as_str().unwrap().is_empty());
    let log = &running.history.snapshot()[0];
    assert_eq!((log.token_times.len(), log.token_times[0].tokens), (1, 8));
}

#[tokio::test]
async fn the_log_knows_every_write_and_deadlines_do_not_drift() {
    let character = Character {
        ttft: Distribution::Constant(20 * MS),
        itl: Distribution::Constant(5 * MS),
        ..quick()
    };
    let running = Running::start(character).await;
    let before = Instant::now();
    running.ask_for(Kind::OpenAi, "ok").await;
    let log = running.history.find("ok").unwrap();
    assert!(log.received >= before && log.ended.is_some());
    assert_eq!(log.first_token, Some(log.token_times[0].at));
    let lateness: Vec<Duration> = (0_u32..)
        .zip(&log.token_times)
        .map(|(position, token)| {
            token
                .at
                .checked_duration_since(log.received + 20 * MS + position * 5 * MS)
        })
        .map(|late| late.expect("no token goes out before it is due"))
        .collect();
    assert_eq!(lateness.len(), 8);
    // One late wake-up is the machine's; if all later ones were late too, it would be drift.
    assert!(*lateness.iter().min().unwrap() < 5 * MS, "{lateness:?}");
    // Each stamp is taken in a write call of its own.
    assert!(log.token_times.is_sorted_by(|one, next| one.at < next.at));
}

#[tokio::test]
async fn one_connection_carries_several_requests() {
    let running = Running::start(quick()).await;
    let first = Kind::Ollama
        .request("ok")
        .replace("connection: close\r\n", "");
    let reply = running.ask(&(first + &get("/api/ps"))).await;
    let text = String::from_utf8_lossy(&reply.bytes);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(text.contains("\"size_vram\""), "the model is loaded now");
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_form_of_the_dialect() {
    let character = Character {
        api_key: Some("secret".into()),
        ..quick()
    };
    let running = Running::start(character).await;
    let key = "authorization: Bearer secret\r\n";
    let chat = "/v1/chat/completions";
    for (path, body, headers, status) in [
        (chat, r#"{"model":"sim-model","messages":[]}"#, key, 400),
        (chat, r#"{"model":"sim-model"}"#, key, 400),
        (chat, "{", key, 400),
        (
            chat,
            r#"{"model":"sim-model","messages":[{"role":"user","content":"x"}],"max_tokens":0}"#,
            key,
            400,
        ),
        (
            chat,
            r#"{"model":"other","messages":[{"role":"user","content":"x"}]}"#,
            key,
            404,
        ),
        (
            chat,
            r#"{"model":"sim-model","messages":[{"role":"user","content":"x"}]}"#,
            "",
            401,
        ),
        ("/api/chat", r#"{"messages":[]}"#, key, 400),
        ("/api/generate", r#"{"model":"other"}"#, key, 404),
        (
            "/api/generate",
            r#"{"model":"sim-model","prompt":"x","think":true}"#,
            key,
            400,
        ),
        ("/nowhere", "", key, 404),
        ("/v1/models", "", key, 405),
    ] {
        let reply = running.ask(&post(path, body, headers)).await;
        assert_eq!(reply.status(), status, "{path} {body}");
        assert!(serde_json::from_slice::<Value>(&reply.body().0).is_ok());
    }
}

#[tokio::test]
async fn servers_with_a_dialect_of_their_own_refuse_in_it() {
    let running = Running::start(quick()).await;
    for (path, body, status, wanted) in [
        (
            "/generate_stream",
            r#"{"inputs":"x","parameters":{"temperature":0}}"#,
            422,
            r#""error_type":"validation""#,
        ),
        ("/generate", r#"{"inputs":""}"#, 422, "cannot be empty"),
        ("/generate", r#"{"text":7}"#, 400, r#"{"error":{"message":"#),
        (
            "/completion",
            "{}",
            400,
            r#""type":"invalid_request_error""#,
        ),
    ] {
        let reply = running.ask(&post(path, body, "")).await;
        assert_eq!(reply.status(), status, "{path} {body}");
        assert!(reply.text().contains(wanted), "{}", reply.text());
    }
}

#[tokio::test]
async fn sglang_repeats_the_text_and_tgi_gives_the_whole_at_the_end() {
    let running = Running::start(quick()).await;
    let ask = async |path, body| running.ask(&post(path, body, "")).await;
    let body =
        r#"{"text":"hi","sampling_params":{"max_new_tokens":4},"stream":true,"model":"any"}"#;
    let reply = ask("/generate", body).await;
    let values = reply.values();
    let texts: Vec<&str> = values.iter().filter_map(|v| v["text"].as_str()).collect();
    assert_eq!(texts.len(), 4);
    assert!(texts.is_sorted_by(|one, next| next.len() > one.len() && next.starts_with(one)));
    assert_eq!(values[3]["meta_info"]["finish_reason"]["type"], "length");
    assert!(reply.text().ends_with("data: [DONE]\n\n"));

    let body = r#"{"inputs":"hi","parameters":{"max_new_tokens":4,"details":true}}"#;
    let text = ask("/generate_stream", body).await.text();
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let parts = events.iter().map(|event| event["token"]["text"].as_str());
    let parts: String = parts.map(Option::unwrap).collect();
    assert_eq!(events[3]["generated_text"], parts);
    assert_eq!(events[3]["details"]["generated_tokens"], 4);
}

#[tokio::test]
async fn each_flavor_describes_itself() {
    for (flavor, path, wanted) in [
        (RuntimeFlavor::Vllm, "/version", "sonde-simulate"),
        (RuntimeFlavor::Vllm, "/metrics", "vllm:num_requests_running"),
        (RuntimeFlavor::LlamaCpp, "/props", "total_slots"),
        (RuntimeFlavor::LlamaCpp, "/health", r#"{"status":"ok"}"#),
        (
            RuntimeFlavor::LlamaCpp,
            "/metrics",
            "llamacpp:requests_processing",
        ),
        (RuntimeFlavor::Ollama, "/", "Ollama is running"),
        (RuntimeFlavor::Ollama, "/api/version", "sonde-simulate"),
        (RuntimeFlavor::Ollama, "/api/tags", "sim-model:latest"),
        (RuntimeFlavor::Ollama, "/v1/models", "sim-model:latest"),
        (RuntimeFlavor::Vllm, "/v1/models", "max_model_len"),
        (RuntimeFlavor::Tgi, "/info", "model_id"),
        (RuntimeFlavor::TensorRtLlm, "/v1/models", "tensorrt_llm"),
        (RuntimeFlavor::LlamaEdge, "/v1/info", "api_server"),
        (
            RuntimeFlavor::Sglang,
            "/get_server_info",
            "served_model_name",
        ),
    ] {
        let running = Running::start(Character { flavor, ..quick() }).await;
        let reply = running.ask(&get(path)).await;
        assert_eq!(reply.status(), 200, "{flavor} {path}");
        assert!(
            reply.text().contains(wanted),
            "{flavor} {path}: {}",
            reply.text()
        );
        assert!(reply.head().contains(flavor.server_header()));
    }
}

#[tokio::test]
async fn llamacpp_ends_with_its_timings_and_ollama_repeats_the_role() {
    let running = Running::start(Character {
        flavor: RuntimeFlavor::LlamaCpp,
        ..quick()
    })
    .await;
    let values = running.ask_for(Kind::OpenAi, "ok").await.values();
    let last = values.last().unwrap();
    assert_eq!(
        (
            &last["timings"]["predicted_n"],
            &last["usage"]["completion_tokens"]
        ),
        (&json!(8), &json!(8))
    );
    assert_eq!(
        values[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": null})
    );
    assert_eq!(values[9]["choices"][0]["delta"], json!({}));
    let running = Running::start(Character {
        flavor: RuntimeFlavor::Ollama,
        ..quick()
    })
    .await;
    let values = running.ask_for(Kind::OpenAi, "ok").await.values();
    assert_eq!(values[3]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(values[8]["choices"][0]["delta"]["content"], "");
    assert_eq!(values[8]["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn ollama_loads_and_unloads_on_demand() {
    let character = Character {
        load_delay: Distribution::Constant(20 * MS),
        unload_after: Some(PATIENCE),
        ..quick()
    };
    let running = Running::start(character).await;
    let generate = |body: Value| post("/api/generate", &body.to_string(), "");
    let only_load = running
        .ask(&generate(json!({"model": "sim-model"})))
        .await
        .json();
    assert_eq!(
        (&only_load["done_reason"], &only_load["response"]),
        (&json!("load"), &json!(""))
    );
    assert!(only_load.get("eval_count").is_none());
    let warm = running
        .ask(&generate(
            json!({"model": "sim-model", "prompt": "x", "stream": false}),
        ))
        .await
        .json();
    assert_eq!(warm["load_duration"], 0);
    let unload = running
        .ask(&generate(json!({"model": "sim-model", "keep_alive": 0})))
        .await
        .json();
    assert_eq!(unload["done_reason"], "unload");
    let cold = running
        .ask(&generate(
            json!({"model": "sim-model", "prompt": "x", "stream": false}),
        ))
        .await
        .json();
    assert_eq!(cold["load_duration"], 20_000_000);
}

#[tokio::test]
async fn the_metrics_page_counts_what_happened() {
    let running = Running::start(Character {
        prefix_cache: true,
        ..quick()
    })
    .await;
    running.ask_for(Kind::OpenAi, "ok").await;
    running.ask_for(Kind::OpenAi, "truncated").await;
    let page = running.ask(&get("/metrics")).await;
    assert!(page.head().contains("text/plain; version=0.0.4"));
    let page = page.text();
    let labels = r#"engine="0",model_name="sim-model""#;
    for line in [
        format!("vllm:generation_tokens_total{{{labels}}} 11"),
        format!("vllm:request_success_total{{{labels},finished_reason=\"length\"}} 1"),
        format!("vllm:request_success_total{{{labels},finished_reason=\"abort\"}} 1"),
        format!("vllm:time_to_first_token_seconds_count{{{labels}}} 2"),
        format!("vllm:num_requests_running{{{labels}}} 0"),
        format!("vllm:kv_cache_usage_perc{{{labels}}} 0"),
    ] {
        assert!(page.contains(&line), "{line} not in\n{page}");
    }
}

#[tokio::test]
async fn answers_are_the_same_for_the_same_seed_and_request_number() {
    let mut texts = Vec::new();
    for _ in 0..2 {
        let running = Running::start(quick()).await;
        let reply = running.ask_for(Kind::OpenAi, "ok").await;
        let deltas = reply
            .values()
            .into_iter()
            .map(|value| value["choices"][0]["delta"]["content"].clone());
        texts.push(deltas.collect::<Vec<_>>());
    }
    assert_eq!(texts[0], texts[1]);
}
