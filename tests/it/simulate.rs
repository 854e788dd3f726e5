//! `sonde simulate` as a process of its own, whose log another process takes for the truth.

use sonde::simulate::{RequestLog, parse_requests};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

/// A fake runtime that ends with its standard input.
struct Simulated {
    process: Child,
    input: Option<ChildStdin>,
    line: String,
}

impl Simulated {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_sonde"))
            .args(["simulate", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        Self {
            input: process.stdin.take(),
            process,
            line,
        }
    }

    fn ask(&self, request: &str) -> Vec<u8> {
        let (_, rest) = self.line.split_once("http://").unwrap();
        let (address, _) = rest.split_once(';').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        reply
    }

    fn requests(&self) -> Vec<RequestLog> {
        let reply =
            self.ask("GET /simulate/requests HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n");
        let reply = String::from_utf8(reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        parse_requests(body.as_bytes()).unwrap()
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn another_process_reads_the_log_on_its_own_clock_and_takes_the_fake_along() {
    let fake = Simulated::start(&[
        "--log-requests=1",
        "--ttft=5ms",
        "--itl=1ms",
        "--output-tokens=4",
        "--model=m",
    ]);
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\nx-llm-probe: run\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..2 {
        let before = Instant::now();
        fake.ask(&request);
        let after = Instant::now();
        let [log] = &fake.requests()[..] else {
            panic!("the log keeps one request");
        };
        assert_eq!(log.request_id.as_deref(), Some("run"));
        assert_eq!(log.token_times.len(), 4);
        let first = log.token_times[0];
        assert!(before < log.received && log.received < first.at);
        assert!(first.at <= first.written && log.last_frame.unwrap() < after);
    }
    fake.end();
}

#[test]
fn the_certificate_is_there_before_the_address_is_told() {
    let file = std::env::temp_dir().join(format!("sonde-simulate-{}.pem", std::process::id()));
    let out = format!("--certificate-out={}", file.display());
    let fake = Simulated::start(&["--tls", &out]);
    assert!(fake.line.contains("https://127.0.0.1:"), "{}", fake.line);
    let pem = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    fake.end();
}
