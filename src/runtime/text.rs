//! JSON text without copies, and what an error body says.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// Most characters of a peer's error text that we keep.
const MESSAGE_CHARS: usize = 300;

/// A JSON string, borrowed from the frame where it has no escapes. (serde's own `Cow` inside an
/// `Option` always copies.)
#[derive(Debug, PartialEq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads a frame. UTF-8 is checked in one go, which costs a fraction of a check of each string; where that
/// fails, only the strings that somebody reads must be good.
pub(super) fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(data) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(data),
    }
}

/// One text after another, without a copy where there is only one.
pub(super) fn joined<'a>(
    one: Option<Cow<'a, str>>,
    next: Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    match (one, next) {
        (Some(one), Some(next)) => Some(one + next),
        (one, next) => one.or(next),
    }
}

/// The text of an `error` member, which peers write as a string or as an object with a message.
pub(super) fn error_text(error: &Value) -> String {
    let text = match error {
        Value::String(text) => text.clone(),
        Value::Object(map) => match map.get("message").or_else(|| map.get("error")) {
            Some(Value::String(text)) => text.clone(),
            _ => error.to_string(),
        },
        other => other.to_string(),
    };
    one_line(&text)
}

/// What the body of an unsuccessful answer says: its `error`, `message` or `detail`, else its start.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    if let Ok(Value::Object(map)) = serde_json::from_slice(body) {
        let known = ["error", "message", "detail"]
            .iter()
            .find_map(|key| map.get(*key));
        if let Some(value) = known {
            return Some(error_text(value));
        }
    }
    let text = one_line(&String::from_utf8_lossy(body));
    (!text.is_empty()).then_some(text)
}

/// On one line and not too long: a peer's words must not flood a log.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_matter_only_where_they_are_read() {
        #[derive(serde::Deserialize)]
        struct Frame<'a> {
            #[serde(borrow)]
            text: Text<'a>,
        }
        let elsewhere = parse::<Frame<'_>>(b"{\"id\":\"\xff\",\"text\":\"plain\"}");
        assert_eq!(elsewhere.unwrap().text.0, "plain");
        assert!(parse::<Frame<'_>>(b"{\"text\":\"\xff\"}").is_err());
    }
}
