//! What the requests of several dialects have in common.

use super::{EncodeInput, EncodedRequest, Runtime};
use http::header::{ACCEPT, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What must not stand as it is in one segment of a path; a colon may begin a method there.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name in the form that one segment of a path, or a value of a query, can hold.
pub(super) fn segment(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, SEGMENT)
}

/// Writes such a request as [`encoded`] does. The
/// scenario's own fields go over `body`; where the dialect keeps options in an object of their own,
/// the scenario's join ours there.
pub(super) fn request(
    path: impl Into<Cow<'static, str>>,
    input: EncodeInput<'_>,
    mut body: Map<String, Value>,
    options: Option<(&str, Map<String, Value>)>,
) -> EncodedRequest {
    let mut extra = input.generation.extra_body.clone();
    if let Some((name, mut ours)) = options {
        match extra.remove(name) {
            Some(Value::Object(more)) => ours.extend(more),
            Some(other) => drop(extra.insert(name.to_owned(), other)),
            None => {}
        }
        drop_nulls(&mut ours);
        body.insert(name.to_owned(), ours.into());
    }
    // The server itself knows one model only; gateways in front of it choose by this.
    body.insert("model".to_owned(), input.model.into());
    body.insert("stream".to_owned(), input.stream.into());
    body.extend(extra);
    drop_nulls(&mut body);
    encoded(path, input.stream, &Value::Object(body))
}

/// A request in another dialect without fields that a host of it knows from elsewhere and refuses, unless the
/// scenario wants them, and with others of that host.
pub(super) fn encoded_without<const N: usize>(
    dialect: &dyn Runtime,
    input: EncodeInput<'_>,
    unwanted: &[&str],
    more: [(&str, Value); N],
) -> EncodedRequest {
    let mut generation = input.generation.clone();
    let nulls = unwanted.iter().map(|name| (*name, Value::Null));
    for (name, value) in nulls.chain(more) {
        let field = generation.extra_body.entry(name);
        field.or_insert(value);
    }
    let input = EncodeInput {
        generation: &generation,
        ..input
    };
    dialect.encode(input)
}

/// A request whose answer is server-sent events, or one JSON document without a stream.
pub(super) fn encoded(
    path: impl Into<Cow<'static, str>>,
    stream: bool,
    body: &Value,
) -> EncodedRequest {
    let accept = match stream {
        true => HeaderValue::from_static("text/event-stream"),
        false => HeaderValue::from_static("application/json"),
    };
    EncodedRequest {
        path: path.into(),
        headers: vec![(ACCEPT, accept)],
        body: body.to_string().into(),
    }
}

/// `null` in a scenario's `body` takes a field out: some servers refuse fields that others need.
pub(super) fn drop_nulls(body: &mut Map<String, Value>) {
    body.retain(|_, value| !value.is_null());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Generation, Operation};
    use crate::workload::Prompt;
    use serde_json::json;

    fn body(extra: &Value) -> Value {
        let generation = Generation {
            extra_body: extra.as_object().cloned().unwrap(),
            ..Generation::default()
        };
        let prompt = Prompt {
            system: None,
            user: String::new(),
            generated_words: None,
        };
        let input = EncodeInput {
            model: "m",
            operation: Operation::Completion,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        };
        let ours = Map::from_iter([("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
        let request = request("/x", input, Map::new(), Some(("options", ours)));
        serde_json::from_slice(&request.body).unwrap()
    }

    #[test]
    fn a_scenarios_options_join_ours_and_null_takes_one_out() {
        let seen = body(&json!({"options": {"b": 3, "c": 4, "a": null}, "model": null}));
        assert_eq!(
            seen,
            json!({"options": {"b": 3, "c": 4}, "stream": true}),
            "and the model as well"
        );
        let seen = body(&json!({ "options": null }));
        assert_eq!(seen, json!({"model": "m", "stream": true}));
    }
}
