//! The simulator over a real socket, read by a client that knows nothing but TCP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    history: RequestHistory,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Running {
    async fn start(character: Character) -> Self {
        let simulator = Simulator::bind("127.0.0.1:0", character).await.unwrap();
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let running = Self {
            address: simulator.local_addr(),
            history: simulator.requests(),
            shutdown: shutdown.clone(),
            tracker: tracker.clone(),
        };
        simulator.serve(shutdown, &tracker);
        running
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request and reads to the end of the connection, or gives up after a while.
    async fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Reply::read(stream, PATIENCE).await
    }

    /// Waits until the simulator works on a request.
    async fn until_busy(&self) {
        let busy = async {
            while !self
                .ask(&get("/metrics"))
                .await
                .text()
                .contains("requests_running{engine=\"0\",model_name=\"sim-model\"} 1\n")
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, busy).await.unwrap();
    }

    async fn ask_for(&self, kind: Kind, fault: &str) -> Reply {
        let mut stream = self.connect().await;
        stream
            .write_all(kind.request(fault).as_bytes())
            .await
            .unwrap();
        let patience = if fault.starts_with("stall") {
            100 * MS
        } else {
            PATIENCE
        };
        Reply::read(stream, patience).await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    StillOpen,
}

#[derive(Debug)]
struct Reply {
    bytes: Vec<u8>,
    reads: Vec<(Instant, usize)>,
    end: End,
}

impl Reply {
    async fn read(mut stream: TcpStream, patience: Duration) -> Self {
        let mut reply = Self {
            bytes: Vec::new(),
            reads: Vec::new(),
            end: End::StillOpen,
        };
        let mut buffer = vec![0; 1 << 16];
        let reading = async {
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => return End::Closed,
                    Ok(length) => {
                        reply.reads.push((Instant::now(), length));
                        reply.bytes.extend_from_slice(&buffer[..length]);
                    }
                    Err(_) => return End::Reset,
                }
            }
        };
        let end = tokio::time::timeout(patience, reading).await;
        reply.end = end.unwrap_or(End::StillOpen);
        reply
    }

    fn head(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_lowercase()
    }

    fn status(&self) -> u16 {
        let head = self.head();
        head.split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    /// The body without its transfer coding, and whether it ended as HTTP wants it.
    fn body(&self) -> (Vec<u8>, bool) {
        let start = self
            .bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(self.bytes.len(), |at| at + 4);
        let mut rest = &self.bytes[start..];
        let head = self.head();
        if let Some(length) = head.split("content-length: ").nth(1) {
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            return (rest.to_vec(), rest.len() == length);
        }
        let mut body = Vec::new();
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size =
                usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                return (body, true);
            }
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
        }
        (body, false)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body().0).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body().0).unwrap()
    }

    /// Every JSON value of the stream; anything else is left out.
    fn values(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn tokens(&self) -> usize {
        let texts = self.values();
        let token = |value: &&Value| {
            let delta = &value["choices"][0]["delta"];
            let candidates = [
                &delta["content"],
                &delta["reasoning_content"],
                &value["response"],
                &value["thinking"],
            ];
            candidates
                .iter()
                .any(|text| text.as_str().is_some_and(|text| !text.is_empty()))
        };
        texts.iter().filter(token).count()
    }

    fn is_terminated(&self) -> bool {
        self.text().contains("data: [DONE]")
            || self.values().iter().any(|value| value["done"] == true)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OpenAi,
    Ollama,
    OpenAiWhole,
    OllamaWhole,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::OpenAi,
        Self::Ollama,
        Self::OpenAiWhole,
        Self::OllamaWhole,
    ];

    fn request(self, fault: &str) -> String {
        let (path, body) = match self {
            Self::OpenAi | Self::OpenAiWhole => (
                "/v1/chat/completions",
                json!({"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8,
                    "stream": self == Self::OpenAi, "stream_options": {"include_usage": true}}),
            ),
            Self::Ollama | Self::OllamaWhole => (
                "/api/generate",
                json!({"model": "sim-model", "prompt": "hi", "stream": self == Self::Ollama,
                    "options": {"num_predict": 8}}),
            ),
        };
        post(
            path,
            &body.to_string(),
            &format!("x-simulate-fault: {fault}\r\nx-llm-probe: {fault}\r\n"),
        )
    }

    fn streams(self) -> bool {
        matches!(self, Self::OpenAi | Self::Ollama)
    }
}

fn post(path: &str, body: &str, headers: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n")
}

fn quick() -> Character {
    Character {
        ttft: Distribution::Constant(4 * MS),
        itl: Distribution::Constant(MS),
        fault_tuning: FaultTuning {
            delay: 30 * MS,
            oversized_bytes: 100_000,
            ..FaultTuning::default()
        },
        ..Character::default()
    }
}

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
