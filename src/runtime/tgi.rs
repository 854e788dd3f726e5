//! Text Generation Inference's own dialect, as versions 1.1 to 3.3 speak it: `/generate_stream`, server-sent
//! events without a terminator of their own, and `/generate`. TGI's own times are in the headers of a whole answer.

use super::openai::whole;
use super::request::request;
use super::text::{Text, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) struct Tgi;

pub(super) const TGI_GENERATE: RuntimeSpec = RuntimeSpec::new(
    "tgi-generate",
    "Text Generation Inference, by its own route `/generate_stream`",
    &Tgi,
    "http://127.0.0.1:8080",
);

impl Runtime for Tgi {
    /// The route takes a text: a chat goes there as one, without the model's template.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        // Without `details` the answer has neither a finish reason nor counts.
        let mut parameters = Map::from_iter([("details".to_owned(), json!(true))]);
        if let Some(tokens) = input.generation.output_tokens {
            parameters.insert("max_new_tokens".into(), tokens.into());
        }
        if let Some(temperature) = input.generation.temperature {
            // TGI refuses a temperature of 0, and takes one of 1 as greedy unless told to sample.
            let samples = temperature > 0.0;
            parameters.insert("do_sample".into(), samples.into());
            if samples {
                parameters.insert("temperature".into(), temperature.into());
            }
        }
        let path = match input.stream {
            true => "/generate_stream",
            false => "/generate",
        };
        let body = Map::from_iter([("inputs".to_owned(), whole(input.prompt).into())]);
        request(path, input, body, Some(("parameters", parameters)))
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(TgiInterpreter { stream })
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

struct TgiInterpreter {
    stream: bool,
}

impl Interpreter for TgiInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        match parse::<Body<'a>>(frame.data) {
            Ok(Body {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            Ok(body) if self.stream => body.into_event(),
            Ok(body) => body.into_whole(),
            Err(error) => Delta::malformed(format!("a frame is not the expected JSON: {error}")),
        }
    }
}

/// An event of a stream, or a whole answer.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    token: Option<Token<'a>>,
    /// The whole text; in a stream the last event alone has it.
    #[serde(borrow)]
    generated_text: Option<Text<'a>>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    /// One that is not text, such as the end of the sequence.
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    generated_tokens: Option<u64>,
    /// Tokens of the prompt; in streams since 2.0.4, never in whole answers.
    input_length: Option<u64>,
}

impl<'a> Body<'a> {
    fn into_event(self) -> Delta<'a> {
        let Some(token) = self.token else {
            return Delta::malformed("an event has no `token`");
        };
        let visible = token.text.filter(|_| !token.special);
        Delta {
            visible: visible.map(|text| text.0),
            terminator: self.generated_text.is_some(),
            ..of_details(self.details)
        }
    }

    fn into_whole(self) -> Delta<'a> {
        let Some(text) = self.generated_text else {
            return Delta::malformed("the answer has no `generated_text`");
        };
        Delta {
            visible: Some(text.0),
            terminator: true,
            ..of_details(self.details)
        }
    }
}

fn of_details<'a>(details: Option<Details<'_>>) -> Delta<'a> {
    let Some(details) = details else {
        return Delta::default();
    };
    let reason = details.finish_reason;
    Delta {
        finish: reason.map(|text| FinishReason::parse(&text.0)),
        usage: Some(Usage {
            input: details.input_length,
            output: details.generated_tokens,
            ..Usage::default()
        }),
        ..Delta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::delta::Fault;
    use crate::runtime::Generation;
    use crate::workload::Prompt;

    fn read(stream: bool, data: &str, check: impl FnOnce(Delta<'_>)) {
        let frame = Frame::bare(data.as_bytes());
        check(TgiInterpreter { stream }.on_frame(frame));
    }

    #[test]
    fn the_end_of_the_sequence_is_no_text_and_ends_the_stream() {
        let data = r#"{"index":3,"token":{"id":2,"text":"</s>","logprob":-0.1,"special":true},"generated_text":" a b","details":{"finish_reason":"eos_token","generated_tokens":3,"seed":null,"input_length":5}}"#;
        read(true, data, |delta| {
            assert_eq!((delta.visible, delta.terminator), (None, true));
            assert_eq!(delta.finish, Some(FinishReason::Stop));
            let usage = delta.usage.unwrap();
            assert_eq!((usage.input, usage.output), (Some(5), Some(3)));
        });
        let data = r#"{"index":1,"token":{"id":9,"text":" a","logprob":-0.1,"special":false},"generated_text":null,"details":null}"#;
        read(true, data, |delta| {
            assert_eq!(
                (delta.visible.as_deref(), delta.terminator),
                (Some(" a"), false)
            );
        });
    }

    #[test]
    fn greedy_is_asked_for_without_a_temperature() {
        let prompt = Prompt {
            system: Some("Be brief.".into()),
            user: "hi".into(),
            generated_words: None,
        };
        let parameters = |temperature| {
            let generation = Generation {
                output_tokens: Some(8),
                temperature: Some(temperature),
                ..Generation::default()
            };
            let request = Tgi.encode(EncodeInput {
                model: "m",
                operation: Operation::Chat,
                stream: true,
                prompt: &prompt,
                generation: &generation,
            });
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["inputs"], "Be brief.\n\nhi");
            body["parameters"].clone()
        };
        let greedy = json!({"details": true, "max_new_tokens": 8, "do_sample": false});
        assert_eq!(parameters(0.0), greedy);
        let warm =
            json!({"details": true, "max_new_tokens": 8, "do_sample": true, "temperature": 1.0});
        assert_eq!(parameters(1.0), warm);
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        let of_a_stream = r#"{"token":{"text":"a"},"generated_text":null}"#;
        for (stream, data) in [(true, r#"{"generated_text":"a"}"#), (false, of_a_stream)] {
            read(stream, data, |delta| {
                assert!(matches!(delta.fault, Some(Fault::Malformed(_))));
            });
        }
    }
}
