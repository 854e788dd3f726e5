//! What goes wrong, as a client sees it.

use super::*;

/// What a fault looks like to a client of a stream: tokens, terminator, proper end of HTTP, end of TCP.
const STREAM_FAULTS: &[(&str, usize, bool, bool, End)] = &[
    ("ok", 8, true, true, End::Closed),
    ("reset", 3, false, false, End::Reset),
    ("truncated", 3, false, false, End::Closed),
    ("truncated_clean", 3, false, true, End::Closed),
    ("stall", 3, false, false, End::StillOpen),
    ("stall_first", 0, false, false, End::StillOpen),
    ("garbage", 8, true, true, End::Closed),
    ("empty", 0, true, true, End::Closed),
    ("no_finish", 8, true, true, End::Closed),
    ("slow_headers", 8, true, true, End::Closed),
    ("buffered", 8, true, true, End::Closed),
    ("burst", 2, true, true, End::Closed),
    ("split_frames", 8, true, true, End::Closed),
    ("keepalive", 8, true, true, End::Closed),
    ("early_role", 8, true, true, End::Closed),
    ("oversized_line", 8, true, true, End::Closed),
    ("content_filter", 3, true, true, End::Closed),
    ("reasoning_only", 8, true, true, End::Closed),
];

#[tokio::test]
async fn every_fault_of_a_stream_looks_as_promised() {
    let running = Running::start(quick()).await;
    for kind in [Kind::OpenAi, Kind::Ollama] {
        for (fault, tokens, terminated, ended, end) in STREAM_FAULTS {
            let reply = running.ask_for(kind, fault).await;
            let found = (
                reply.status(),
                reply.tokens(),
                reply.is_terminated(),
                reply.body().1,
                reply.end,
            );
            assert_eq!(
                found,
                (200, *tokens, *terminated, *ended, *end),
                "{kind:?} {fault}"
            );
        }
    }
}

#[tokio::test]
async fn faults_that_replace_the_answer_have_their_status() {
    let running = Running::start(quick()).await;
    let statuses = [
        ("4xx", 400),
        ("401", 401),
        ("404", 404),
        ("429", 429),
        ("5xx", 500),
        ("503", 503),
    ];
    for kind in Kind::ALL {
        for (fault, status) in statuses {
            let reply = running.ask_for(kind, fault).await;
            assert_eq!(reply.status(), status, "{kind:?} {fault}");
            assert!(!reply.json()["error"].is_null());
        }
        let refused = running.ask_for(kind, "refuse").await;
        assert_eq!((refused.bytes.len(), refused.end), (0, End::Closed));
    }
    let limited = running.ask_for(Kind::OpenAi, "429").await;
    assert!(limited.head().contains("retry-after: 1"));
    let unknown = running.ask_for(Kind::OpenAi, "fire").await;
    assert_eq!(unknown.status(), 400);
    assert!(unknown.text().contains("unknown fault `fire`"));
}

#[tokio::test]
async fn an_answer_that_is_not_a_stream_goes_wrong_too() {
    let running = Running::start(quick()).await;
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.streams()) {
        for (fault, ended, readable, end) in [
            ("truncated", false, false, End::Closed),
            ("reset", false, false, End::Reset),
            ("truncated_clean", true, false, End::Closed),
            ("garbage", true, false, End::Closed),
            ("in_band_error", true, true, End::Closed),
            ("split_frames", true, true, End::Closed),
        ] {
            let reply = running.ask_for(kind, fault).await;
            let (body, well_ended) = reply.body();
            let is_json = serde_json::from_slice::<Value>(&body).is_ok();
            let found = (reply.status(), well_ended, is_json, reply.end);
            assert_eq!(found, (200, ended, readable, end), "{kind:?} {fault}");
        }
        let stalled = running.ask_for(kind, "stall").await;
        assert_eq!((stalled.bytes.len(), stalled.end), (0, End::StillOpen));
    }
}

#[tokio::test]
async fn errors_in_the_stream_come_after_good_tokens() {
    let running = Running::start(quick()).await;
    for kind in [Kind::OpenAi, Kind::Ollama] {
        let reply = running.ask_for(kind, "in_band_error").await;
        assert_eq!(
            (reply.status(), reply.tokens(), reply.body().1),
            (200, 3, true),
            "{kind:?}"
        );
        assert!(reply.values().iter().any(|value| !value["error"].is_null()));
    }
}

#[tokio::test]
async fn the_details_of_odd_streams() {
    let running = Running::start(quick()).await;
    let split = running.ask_for(Kind::OpenAi, "split_frames").await;
    assert!(split.text().contains("\r\n\r\n"));
    let buffered = running.ask_for(Kind::OpenAi, "buffered").await;
    assert!(buffered.reads.len() <= 3, "{} reads", buffered.reads.len());
    let pinged = running.ask_for(Kind::OpenAi, "keepalive").await;
    assert!(pinged.text().starts_with(": ping\n\n"));
    let garbled = running.ask_for(Kind::OpenAi, "garbage").await;
    assert!(garbled.text().contains("<<<not json>>>"));
    let oversized = running.ask_for(Kind::Ollama, "oversized_line").await;
    assert!(oversized.text().lines().any(|line| line.len() > 100_000));
    let hidden = running.ask_for(Kind::OpenAi, "reasoning_only").await.text();
    assert!(hidden.contains("reasoning_content") && !hidden.contains("\"content\":\" "));
    let unfinished = running.ask_for(Kind::OpenAi, "no_finish").await.text();
    assert!(!unfinished.contains("\"finish_reason\":\""));
    let filtered = running.ask_for(Kind::OpenAi, "content_filter").await.text();
    assert!(filtered.contains("\"finish_reason\":\"content_filter\""));
    let slow = running.ask_for(Kind::OpenAi, "slow_headers").await;
    let log = running.history.find("slow_headers").unwrap();
    assert!(slow.reads[0].0 - log.received >= 30 * MS);
    let early = running.ask_for(Kind::Ollama, "early_role").await;
    let log = running.history.find("early_role").unwrap();
    assert!(log.first_token.unwrap() - early.reads[0].0 >= 20 * MS);
}

#[tokio::test]
async fn shutdown_cuts_streams_in_flight_at_once() {
    let running = Running::start(quick()).await;
    let mut stream = running.connect().await;
    stream
        .write_all(Kind::OpenAi.request("stall").as_bytes())
        .await
        .unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    running.shutdown.cancel();
    running.tracker.close();
    let started = Instant::now();
    tokio::time::timeout(PATIENCE, running.tracker.wait())
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_ne!(Reply::read(stream, PATIENCE).await.end, End::StillOpen);
    assert!(running.history.find("stall").unwrap().ended.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    for kind in [Kind::OpenAi, Kind::OllamaWhole] {
        let running = Running::start(Character {
            slots: 1,
            ..quick()
        })
        .await;
        let mut stream = running.connect().await;
        let request = kind.request("stall");
        stream.write_all(request.as_bytes()).await.unwrap();
        running.until_busy().await;
        drop(stream);
        let reply = running.ask_for(Kind::OpenAi, "ok").await;
        assert_eq!(reply.tokens(), 8, "{kind:?}");
    }
}

#[tokio::test]
async fn a_script_of_faults_is_followed_request_by_request() {
    let faults = "script: ok,5xx,ok".parse().unwrap();
    let running = Running::start(Character { faults, ..quick() }).await;
    let body = json!({"model": "sim-model", "prompt": "hi"}).to_string();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(
            running
                .ask(&post("/v1/completions", &body, ""))
                .await
                .status(),
        );
    }
    assert_eq!(statuses, [200, 500, 200, 200]);
}

#[tokio::test]
async fn a_refusing_simulator_resets_every_connection() {
    let running = Running::start(Character {
        refuse_connections: true,
        ..quick()
    })
    .await;
    let mut stream = running.connect().await;
    let _ = stream.write_all(get("/version").as_bytes()).await;
    let reply = Reply::read(stream, PATIENCE).await;
    assert_eq!((reply.bytes.len(), reply.end), (0, End::Reset));
}
