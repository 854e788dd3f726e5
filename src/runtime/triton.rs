//! Triton Inference Server's generate extension, whose form depends on the model behind it (vLLM's backend, or
//! TensorRT-LLM's `ensemble` and `tensorrt_llm_bls`), and KServe's Open Inference Protocol, which made a standard of
//! it: `/v2/models/MODEL/generate_stream`, server-sent events, and `/generate`.

use super::detect::{Question, text};
use super::openai::whole;
use super::request::{drop_nulls, encoded, segment};
use super::sglang::TextSoFar;
use super::text::{OneOrMany, Text, error_message, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What Triton's models are asked for. Each takes those that are its inputs; the others reach it as parameters that
/// nobody reads.
const WANTED: [&str; 4] = [
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
];

/// Models of a TensorRT-LLM repository that are parts of the first two.
const WHOLES: [&str; 2] = ["ensemble", "tensorrt_llm_bls"];
const PARTS: [&str; 3] = ["preprocessing", "tensorrt_llm", "postprocessing"];

pub(super) struct Generate {
    /// Triton's models want to be told what goes without saying in KServe's protocol.
    is_triton: bool,
}

pub(super) const TRITON: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/v2",
        models: "POST /v2/repository/index",
        native: None,
        recognise: |answer| {
            text(answer, &["name"]).filter(|name| name == "triton")?;
            text(answer, &["version"])
        },
    }),
    ..RuntimeSpec::new(
        "triton",
        "Triton Inference Server's generate extension, with vLLM or TensorRT-LLM behind it",
        &Generate { is_triton: true },
        "http://127.0.0.1:8000",
    )
};

pub(super) const KSERVE: RuntimeSpec = RuntimeSpec::new(
    "kserve",
    "a server with the text generation of KServe's Open Inference Protocol",
    &Generate { is_triton: false },
    "http://127.0.0.1:8080",
);

/// Names of those in a repository's index that answer prompts, the ready ones alone, each once.
pub(super) fn models(index: &[Value]) -> Vec<String> {
    let ready = index
        .iter()
        .filter(|entry| text(entry, &["state"]).is_none_or(|state| state == "READY"));
    let mut names: Vec<String> = ready.filter_map(|entry| text(entry, &["name"])).collect();
    names.dedup();
    if names.iter().any(|name| WHOLES.contains(&name.as_str())) {
        names.retain(|name| !PARTS.contains(&name.as_str()));
    }
    names
}

impl Runtime for Generate {
    /// The route takes a text: a chat goes there as one, without the model's template.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let mut parameters = Map::new();
        if let Some(tokens) = input.generation.output_tokens {
            parameters.insert("max_tokens".into(), tokens.into());
        }
        if let Some(temperature) = input.generation.temperature {
            parameters.insert("temperature".into(), temperature.into());
        }
        if self.is_triton {
            parameters.insert("stream".into(), input.stream.into());
            parameters.extend(WANTED.map(|name| (name.to_owned(), json!(true))));
        }
        let mut extra = input.generation.extra_body.clone();
        match extra.remove("parameters") {
            Some(Value::Object(more)) => parameters.extend(more),
            Some(other) => drop(extra.insert("parameters".to_owned(), other)),
            None => {}
        }
        drop_nulls(&mut parameters);
        let mut body = Map::from_iter([("text_input".to_owned(), whole(input.prompt).into())]);
        if !parameters.is_empty() {
            body.insert("parameters".to_owned(), parameters.into());
        }
        body.extend(extra);
        drop_nulls(&mut body);
        let method = match input.stream {
            true => "generate_stream",
            false => "generate",
        };
        let path = format!("/v2/models/{}/{method}", resource(input.model));
        encoded(path, input.stream, &Value::Object(body))
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(GenerateInterpreter {
            stream,
            text: TextSoFar::of_parts(),
            output: None,
            ending: Ending::default(),
        })
    }

    /// Triton refuses a stream with an event, too.
    fn error_message(&self, body: &[u8]) -> Option<String> {
        let body = body.trim_ascii();
        error_message(body.strip_prefix(b"data:").unwrap_or(body).trim_ascii())
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

/// `NAME`, or `NAME/versions/NUMBER` of `NAME/NUMBER`, in the form that a path can hold: the server chooses where
/// no version is named. A model's name is that of a folder, so it has no slash.
fn resource(model: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let escaped = |name| segment(name);
    match model.rsplit_once('/') {
        Some((name, version)) if is_number(version) => {
            format!("{}/versions/{version}", escaped(name))
        }
        _ => escaped(model).to_string(),
    }
}

struct GenerateInterpreter {
    stream: bool,
    text: TextSoFar,
    /// Tokens of the answer so far: each event tells its own.
    output: Option<u64>,
    ending: Ending,
}

/// What the events have said of the end. A server has neither, one or both of these fields.
#[derive(Default)]
struct Ending {
    began: bool,
    tells_reasons: bool,
    finished: bool,
    tells_done: bool,
}

impl Interpreter for GenerateInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        match parse::<Body<'a>>(frame.data) {
            Ok(Body {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            Ok(body) => self.read(body),
            Err(error) => Delta::malformed(format!("a frame is not the expected JSON: {error}")),
        }
    }

    /// Without a last word and without reasons, the body's proper end is all there is to go by.
    fn ends_with_body(&self) -> bool {
        let Ending {
            began,
            tells_reasons,
            finished,
            tells_done,
        } = self.ending;
        began && !tells_done && (finished || !tells_reasons)
    }
}

impl GenerateInterpreter {
    fn read<'a>(&mut self, body: Body<'a>) -> Delta<'a> {
        // Several of them are answers to one prompt, for which we never ask.
        let Some(text) = first(body.text_output) else {
            return Delta::malformed("a frame has no `text_output`");
        };
        let server = phases([
            first(body.arrival_time_ns),
            first(body.first_scheduled_time_ns),
            first(body.first_token_time_ns),
            first(body.last_token_time_ns),
        ]);
        let details = body.details.unwrap_or_default();
        let finish = self.finish(first(body.finish_reason).or(details.finish_reason));
        self.ending.tells_done |= body.done.is_some();
        let listed = details.logprobs.as_ref().and_then(Value::as_array);
        let listed = listed
            .filter(|_| !self.stream)
            .map(|tokens| tokens.len() as u64);
        if let Some(tokens) = first(body.num_output_tokens).or(listed) {
            self.output = Some(self.output.unwrap_or(0).saturating_add(tokens));
        }
        let usage = Usage {
            input: first(body.num_input_tokens).filter(|tokens| *tokens > 0),
            output: self.output,
            ..Usage::default()
        };
        Delta {
            visible: Some(self.text.advance(text.0)),
            finish,
            usage: (usage != Usage::default()).then_some(usage),
            server,
            model: body.model_name.map(|text| text.0),
            terminator: !self.stream || body.done == Some(true),
            ..Delta::default()
        }
    }

    fn finish(&mut self, reason: Option<Text<'_>>) -> Option<FinishReason> {
        let ending = &mut self.ending;
        ending.began = true;
        ending.tells_reasons |= reason.is_some();
        match reason {
            // Python's `None`, written out, until there is one.
            Some(text) if matches!(&*text.0, "" | "None") => None,
            Some(text) => {
                ending.finished = true;
                Some(FinishReason::parse(&text.0))
            }
            None => (!ending.tells_reasons).then_some(FinishReason::Unreported),
        }
    }
}

/// What lies between arrival, start of work, first and last token, in nanoseconds of one clock.
fn phases(times: [Option<u64>; 4]) -> ServerTimings {
    let [arrival, scheduled, first, last] = times.map(|time| time.filter(|time| *time > 0));
    let between =
        |from: Option<u64>, to: Option<u64>| Some(Duration::from_nanos(to?.checked_sub(from?)?));
    ServerTimings {
        load: None,
        queue: between(arrival, scheduled),
        prefill: between(scheduled, first),
        decode: between(first, last),
        total: between(arrival, last),
    }
}

fn first<T>(values: Option<OneOrMany<T>>) -> Option<T> {
    match values? {
        OneOrMany::One(value) => Some(value),
        OneOrMany::Many(values) => values.into_iter().next(),
    }
}

/// An event of a stream, or a whole answer: they have the same form. Outputs of one element are written as that
/// element, of several as a list.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text_output: Option<OneOrMany<Text<'a>>>,
    #[serde(borrow)]
    model_name: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<OneOrMany<Text<'a>>>,
    /// KServe's.
    #[serde(borrow)]
    details: Option<Details<'a>>,
    /// KServe's.
    done: Option<bool>,
    num_input_tokens: Option<OneOrMany<u64>>,
    /// Of this event alone.
    num_output_tokens: Option<OneOrMany<u64>>,
    /// TensorRT-LLM's own clock, where `return_perf_metrics` asks for it, else 0.
    arrival_time_ns: Option<OneOrMany<u64>>,
    first_scheduled_time_ns: Option<OneOrMany<u64>>,
    first_token_time_ns: Option<OneOrMany<u64>>,
    last_token_time_ns: Option<OneOrMany<u64>>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    /// The tokens: a list of all in a whole answer, one in an event.
    logprobs: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Generation;
    use crate::workload::Prompt;

    fn encoded(is_triton: bool, model: &str, extra: Value) -> (String, Value) {
        let generation = Generation {
            output_tokens: Some(8),
            temperature: Some(0.0),
            extra_body: extra.as_object().cloned().unwrap(),
        };
        let prompt = Prompt {
            system: Some("Be brief.".into()),
            user: "hi".into(),
            generated_words: None,
        };
        let request = Generate { is_triton }.encode(EncodeInput {
            model,
            operation: Operation::Chat,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        });
        let body = serde_json::from_slice(&request.body).unwrap();
        (request.path.into_owned(), body)
    }

    fn reader(stream: bool) -> Box<dyn Interpreter> {
        TRITON.adapter.interpreter(Operation::Chat, stream)
    }

    fn frame(data: &str) -> Frame<'_> {
        Frame::bare(data.as_bytes())
    }

    #[test]
    fn a_number_behind_the_models_name_is_its_version() {
        for (model, resource) in [
            ("ensemble", "ensemble"),
            ("ensemble/3", "ensemble/versions/3"),
            ("org/m", "org%2Fm"),
            ("org/m/12", "org%2Fm/versions/12"),
            ("m/", "m%2F"),
        ] {
            let (path, _) = encoded(true, model, json!({}));
            assert_eq!(path, format!("/v2/models/{resource}/generate_stream"));
        }
    }

    #[test]
    fn triton_is_told_what_kserve_knows_and_a_scenario_has_the_last_word() {
        let extra = json!({"parameters": {"return_finish_reason": null, "top_k": 1}, "id": "x"});
        let (_, body) = encoded(true, "m", extra.clone());
        let parameters = json!({
            "max_tokens": 8, "temperature": 0.0, "top_k": 1, "stream": true,
            "exclude_input_in_output": true,
            "return_num_input_tokens": true, "return_num_output_tokens": true,
        });
        let wanted = json!({"text_input": "Be brief.\n\nhi", "parameters": parameters, "id": "x"});
        assert_eq!(body, wanted);
        let (_, body) = encoded(false, "m", extra);
        let parameters = json!({"max_tokens": 8, "temperature": 0.0, "top_k": 1});
        let wanted = json!({"text_input": "Be brief.\n\nhi", "parameters": parameters, "id": "x"});
        assert_eq!(body, wanted);
    }

    #[test]
    fn counts_of_the_events_add_up() {
        let mut reader = reader(true);
        let mut count = |data: &str| reader.on_frame(frame(data)).usage.unwrap().output;
        let event = |tokens: u32| {
            format!(r#"{{"text_output":" a","num_input_tokens":5,"num_output_tokens":{tokens}}}"#)
        };
        assert_eq!(count(&event(1)), Some(1));
        assert_eq!(count(&event(3)), Some(4));
        assert_eq!(
            count(r#"{"text_output":["b","c"],"num_output_tokens":[2,9]}"#),
            Some(6)
        );
    }

    #[test]
    fn the_body_may_end_the_answer_only_where_the_events_promise_no_better_end() {
        let ends = |events: &[&str]| {
            let mut reader = reader(true);
            let mut finish = None;
            for event in events {
                finish = reader.on_frame(frame(event)).finish.or(finish);
            }
            (reader.ends_with_body(), finish)
        };
        let bare = r#"{"text_output":" a"}"#;
        assert_eq!(ends(&[]), (false, None));
        assert_eq!(ends(&[bare, bare]), (true, Some(FinishReason::Unreported)));
        let open = r#"{"text_output":" a","finish_reason":"None"}"#;
        let end = r#"{"text_output":"","finish_reason":"length"}"#;
        assert_eq!(ends(&[open]), (false, None));
        assert_eq!(ends(&[open, end]), (true, Some(FinishReason::Length)));
        let more = r#"{"text_output":" a","done":false}"#;
        let done = r#"{"text_output":"","done":true,"details":{"finish_reason":"eos_token"}}"#;
        assert!(!ends(&[more]).0);
        assert_eq!(ends(&[more, done]).1, Some(FinishReason::Stop));
        assert!(reader(true).on_frame(frame(done)).terminator);
    }

    #[test]
    fn texts_so_far_are_told_from_parts() {
        let read = |texts: &[&str]| -> Vec<String> {
            let mut reader = reader(true);
            let one = |text: &&str| {
                let data = json!({ "text_output": text }).to_string();
                let delta = reader.on_frame(frame(&data));
                delta.visible.unwrap().into_owned()
            };
            texts.iter().map(one).collect()
        };
        assert_eq!(read(&["ha", "ha", "!"]), ["ha", "ha", "!"]);
        assert_eq!(read(&["", "ha", "", "ha"]), ["", "ha", "", "ha"]);
        assert_eq!(
            read(&["ha", "haha", "haha", "haha!"]),
            ["ha", "ha", "", "!"]
        );
    }

    #[test]
    fn tensorrt_llms_clock_gives_phases_where_it_was_asked_for() {
        let data = r#"{"text_output":"a","arrival_time_ns":1000,"first_scheduled_time_ns":1500,"first_token_time_ns":3500,"last_token_time_ns":9000}"#;
        let told = reader(true).on_frame(frame(data)).server;
        let nanos = |phase: Option<Duration>| phase.unwrap().as_nanos();
        assert_eq!((nanos(told.queue), nanos(told.prefill)), (500, 2000));
        assert_eq!((nanos(told.decode), nanos(told.total)), (5500, 8000));
        let data = r#"{"text_output":"a","arrival_time_ns":0,"first_scheduled_time_ns":0,"first_token_time_ns":0,"last_token_time_ns":0}"#;
        let told = reader(true).on_frame(frame(data)).server;
        assert_eq!(told, ServerTimings::default());
    }

    #[test]
    fn an_error_is_told_inside_the_stream_and_before_it_as_event_or_document() {
        let data = r#"{"error":"queue is full"}"#;
        assert_eq!(
            reader(true).on_frame(frame(data)),
            Delta::in_band("queue is full")
        );
        for body in [data.to_owned(), format!("data: {data}\n\n")] {
            let said = TRITON.adapter.error_message(body.as_bytes());
            assert_eq!(said.as_deref(), Some("queue is full"));
        }
    }

    #[test]
    fn parts_of_a_pipeline_are_not_offered_beside_the_whole() {
        let index = |names: &[&str]| -> Vec<Value> {
            let entry = |name: &&str| json!({"name": name, "version": "1", "state": "READY"});
            names.iter().map(entry).collect()
        };
        let pipeline = [
            "ensemble",
            "postprocessing",
            "preprocessing",
            "tensorrt_llm",
        ];
        assert_eq!(models(&index(&pipeline)), ["ensemble"]);
        assert_eq!(models(&index(&["tensorrt_llm"])), ["tensorrt_llm"]);
        let versions = json!([
            {"name": "m", "version": "1", "state": "READY"},
            {"name": "m", "version": "2", "state": "READY"},
            {"name": "n", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
            {"name": "o"},
        ]);
        assert_eq!(models(versions.as_array().unwrap()), ["m", "o"]);
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        for data in ["nonsense", "{}", r#"{"text_output":3}"#, "null"] {
            let fault = reader(true).on_frame(frame(data)).fault;
            let malformed = matches!(fault, Some(crate::measure::delta::Fault::Malformed(_)));
            assert!(malformed, "{data}");
        }
    }
}
