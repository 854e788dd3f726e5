//! A dialect that exists for tests alone: it shows what a new runtime takes, which is this file and its line in
//! [`RUNTIMES`](super::RUNTIMES).

use super::request::request;
use super::text::{Text, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::{Frame, Framing};
use serde::Deserialize;
use serde_json::{Map, Value};

struct Toy;

pub(super) const TOY: RuntimeSpec = RuntimeSpec::new(
    "toy",
    "a dialect for tests: a word a line",
    &Toy,
    "http://127.0.0.1:7007",
);

impl Runtime for Toy {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let text = super::openai::whole(input.prompt);
        let body = Map::from_iter([("text".to_owned(), text.into())]);
        request("/words", input, body, None)
    }

    fn framing(&self, _stream: bool) -> Framing {
        Framing::Ndjson
    }

    fn interpreter(&self, _operation: Operation, _stream: bool) -> Box<dyn Interpreter> {
        Box::new(Words)
    }
}

struct Words;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    word: Option<Text<'a>>,
    #[serde(borrow)]
    end: Option<Text<'a>>,
    words: Option<u64>,
    error: Option<Value>,
}

impl Interpreter for Words {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        let line = match parse::<Line<'a>>(frame.data) {
            Ok(line) => line,
            Err(error) => return Delta::malformed(error.to_string()),
        };
        if let Some(error) = line.error {
            return Delta::in_band(error_text(&error));
        }
        Delta {
            visible: line.word.map(|word| word.0),
            terminator: line.end.is_some(),
            finish: line.end.map(|end| FinishReason::parse(&end.0)),
            usage: line.words.map(|words| Usage {
                output: Some(words),
                ..Usage::default()
            }),
            ..Delta::default()
        }
    }
}

#[test]
fn a_runtime_is_one_file_and_one_line() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut mentions = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("runtime/toy.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(str::trim);
                mentions.extend(
                    lines
                        .filter(|line| line.contains("toy::") || line.contains("mod toy"))
                        .map(str::to_owned),
                );
            }
        }
    }
    // The second is how Rust is told of the file.
    mentions.sort();
    assert_eq!(mentions, ["mod toy;", "toy::TOY,"]);
    assert_eq!(super::find("toy"), Some(&TOY));
}
