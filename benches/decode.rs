//! Decoding: bytes of a body to frames, and to what they mean.
//!
//! Measured: tokens per second of one thread, by the decoder alone (`frames`) and with the adapter's
//! interpreter behind it, which parses the JSON of every frame (`deltas`). The bytes come in pieces of one
//! token, of 16 tokens, and of 4 KiB wherever that cuts. A fresh decoder for each answer is part of it.
//! Not measured: sockets, HTTP's transfer coding, stamps, timelines; see `run` and `saturation`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has no result"
)]

#[path = "canned/sse.rs"]
mod sse;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sonde::runtime::{Operation, Runtime, find};
use sonde::wire::Framing;
use std::hint::black_box;
use std::time::Duration;

/// As a probe's own limit.
const FRAME_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 4096;

/// The lines of an answer as Ollama's `/api/chat` streams it.
fn ndjson(tokens: usize) -> Vec<Vec<u8>> {
    const HEAD: &str = r#"{"model":"gemma3:4b","created_at":"2026-11-23T16:05:06.170796922Z","message":{"role":"assistant","content":""#;
    let words = sse::TOKENS.iter().cycle().take(tokens);
    let lines = words.map(|token| format!("{HEAD}{token}\"}},\"done\":false}}\n").into_bytes());
    let last = format!(
        "{HEAD}\"}},\"done\":true,\"done_reason\":\"length\",\"total_duration\":4140000000,\"load_duration\":1360000000,\
         \"prompt_eval_count\":138,\"prompt_eval_duration\":283000000,\"eval_count\":{tokens},\"eval_duration\":2490000000}}\n"
    );
    lines.chain([last.into_bytes()]).collect()
}

/// An answer as Bedrock's `ConverseStream` frames it, without what comes before and behind the text.
fn event_stream(tokens: usize) -> Vec<Vec<u8>> {
    let words = sse::TOKENS.iter().cycle().take(tokens);
    let messages = words.map(|token| {
        let payload =
            format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{token}"}},"p":"abcdefghijkl"}}"#);
        let message = [
            (":event-type", "contentBlockDelta"),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ]
        .into_iter()
        .fold(Message::new(payload), |message, (name, value)| {
            message.add_header(Header::new(name, HeaderValue::String(value.into())))
        });
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    });
    messages.collect()
}

/// Feeds an answer to a fresh decoder and interpreter, and counts the frames with text.
fn deltas(dialect: &dyn Runtime, pieces: &[Vec<u8>]) -> usize {
    let mut decoder = dialect.framing(true).decoder(FRAME_BYTES);
    let mut interpreter = dialect.interpreter(Operation::Chat, true);
    let mut texts = 0;
    for piece in pieces {
        let fed = decoder.feed(black_box(piece), &mut |frame| {
            let delta = black_box(interpreter.on_frame(frame));
            texts += usize::from(delta.visible.is_some_and(|text| !text.is_empty()));
        });
        fed.unwrap();
    }
    texts
}

/// Feeds an answer to a fresh decoder, and counts the frames.
fn frames(framing: Framing, pieces: &[Vec<u8>]) -> usize {
    let mut decoder = framing.decoder(FRAME_BYTES);
    let mut frames = 0;
    for piece in pieces {
        let fed = decoder.feed(black_box(piece), &mut |frame| {
            black_box(frame);
            frames += 1;
        });
        fed.unwrap();
    }
    frames
}

/// One answer in pieces of three sizes, and what to call them.
fn in_pieces(answer: &[Vec<u8>]) -> [(Vec<Vec<u8>>, &'static str); 3] {
    let joined = answer.chunks(16).map(<[_]>::concat);
    let whole = answer.concat();
    let cut = whole.chunks(PIECE_BYTES).map(<[_]>::to_vec);
    [
        (answer.to_vec(), "by_token"),
        (joined.collect(), "by_16_tokens"),
        (cut.collect(), "by_4_KiB"),
    ]
}

/// No adapter reads this framing yet, so there is no interpreter to measure.
fn decode_event_stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/event_stream");
    for tokens in [64, 500] {
        group.throughput(Throughput::Elements(tokens as u64));
        for (pieces, name) in in_pieces(&event_stream(tokens)) {
            let run = || frames(Framing::EventStream, &pieces);
            assert_eq!(run(), tokens);
            let id = BenchmarkId::new(format!("frames/{name}"), tokens);
            group.bench_function(id, |bencher| bencher.iter(run));
        }
    }
}

fn decode(criterion: &mut Criterion) {
    for (framing, runtime) in [("sse", "vllm"), ("ndjson", "ollama")] {
        let dialect = find(runtime).unwrap().adapter;
        let mut group = criterion.benchmark_group(format!("decode/{framing}"));
        for tokens in [64, 500] {
            let answer = match framing {
                "sse" => sse::events(tokens),
                _ => ndjson(tokens),
            };
            group.throughput(Throughput::Elements(tokens as u64));
            let framing = dialect.framing(true);
            for (pieces, name) in in_pieces(&answer) {
                assert_eq!(deltas(dialect, &pieces), tokens);
                let id = BenchmarkId::new(format!("frames/{name}"), tokens);
                group.bench_function(id, |bencher| bencher.iter(|| frames(framing, &pieces)));
                let id = BenchmarkId::new(format!("deltas/{name}"), tokens);
                group.bench_function(id, |bencher| bencher.iter(|| deltas(dialect, &pieces)));
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = decode, decode_event_stream
}
criterion_main!(benches);
