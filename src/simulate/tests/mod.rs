//! The simulator over a real socket, read by a client that knows nothing but TCP.

mod answers;
mod faults;
mod truth;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
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
        Self::serve(Simulator::bind("127.0.0.1:0", character).await.unwrap())
    }

    fn serve(simulator: Simulator) -> Self {
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
    async fn read(mut stream: impl AsyncRead + Unpin, patience: Duration) -> Self {
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
        let (chunks, complete) = self.chunks();
        (chunks.concat(), complete)
    }

    /// The chunks of the transfer coding; a body with a length is one.
    fn chunks(&self) -> (Vec<Vec<u8>>, bool) {
        let start = self
            .bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(self.bytes.len(), |at| at + 4);
        let mut rest = &self.bytes[start..];
        let head = self.head();
        if let Some(length) = head.split("content-length: ").nth(1) {
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            return (vec![rest.to_vec()], rest.len() == length);
        }
        let mut chunks = Vec::new();
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size =
                usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                return (chunks, true);
            }
            chunks.push(rest[line + 2..line + 2 + size].to_vec());
            rest = &rest[line + 4 + size..];
        }
        (chunks, false)
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
