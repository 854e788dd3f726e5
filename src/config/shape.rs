//! From a tree of values to [`RawConfig`], with every wrong type and unknown key reported rather
//! than only the first: what does not fit is noted, taken out, and the rest is read again.
//!
//! Deserialises through an error type of its own, so that causes are told apart by type.

use super::problem::{Findings, Problem, nearest, suggestion};
use super::raw::{RawConfig, RawTarget};
use super::scalar::AXIS_TEXT;
use super::source::Layered;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use std::fmt;

/// A backstop: each round takes one value out of the tree.
const MAX_ROUNDS: usize = 10_000;

/// Keys under `auth` that people write secrets into, and what to write instead.
const PLAIN_SECRETS: [(&str, &str); 7] = [
    ("bearer", "`bearer_env` or `bearer_file`"),
    ("token", "`bearer_env` or `bearer_file`"),
    ("bearer_token", "`bearer_env` or `bearer_file`"),
    ("api_key", "`bearer_env` or `bearer_file`"),
    ("key", "`bearer_env` or `bearer_file`"),
    ("secret", "`bearer_env` or `bearer_file`"),
    ("password", "`password_env` or `password_file`"),
];

/// Reads what can be read and reports the rest. The tree is what could be read.
pub(super) fn read(layered: &Layered, findings: &mut Findings) -> (RawConfig, Value) {
    let mut tree = layered.tree.clone();
    report_holes(&tree, String::new(), findings);
    for _ in 0..MAX_ROUNDS {
        let error = match serde_path_to_error::deserialize(Node(&tree)) {
            Ok(raw) => return (raw, tree),
            Err(error) => error,
        };
        let key = key_of(error.path());
        let Some(culprit) = find(&mut tree, error.path()) else {
            findings.add(describe(&key, error.inner(), None));
            break;
        };
        let text = layered.texts.get(&key);
        match (error.inner(), text) {
            (ShapeError::Type { .. }, Some(text)) if !culprit.is_string() => {
                *culprit = Value::String(text.clone());
                continue;
            }
            _ => findings.add(describe(&key, error.inner(), Some(culprit))),
        }
        if !take_out(&mut tree, error.path()) {
            break;
        }
    }
    (RawConfig::default(), Value::Null)
}

/// Reads one entry of `targets`, made from one that could be read.
///
/// # Errors
/// With what does not fit.
pub(super) fn read_target(tree: &Value) -> Result<RawTarget, impl fmt::Display> {
    RawTarget::deserialize(Node(tree))
}

/// An element of a list that is nothing is a slip of the dash. Request bodies may hold any JSON.
fn report_holes(value: &Value, key: String, findings: &mut Findings) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let key = format!("{key}[{index}]");
                if element.is_null() {
                    findings.add(Problem::new(&key, "is empty", "fill it, or take it out"));
                }
                report_holes(element, key, findings);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(name, _)| *name != "body") {
                let dot = if key.is_empty() { "" } else { "." };
                report_holes(field, format!("{key}{dot}{name}"), findings);
            }
        }
        _ => {}
    }
}

fn describe(key: &str, error: &ShapeError, found: Option<&Value>) -> Problem {
    let problem = match error {
        ShapeError::Message(message) => Problem::new(key, message, ""),
        ShapeError::UnknownKey { name, known } => return unknown_key(key, name, known),
        ShapeError::UnknownVariant { name, known } => {
            let all: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let rule = format!("is not one of {}", all.join(", "));
            let remedy = match nearest(name, known.iter().copied()) {
                Some(candidate) => format!("did you mean `{candidate}`?"),
                None => "write one of these".to_owned(),
            };
            Problem::new(key, rule, remedy)
        }
        ShapeError::Type { expected } => {
            let (expected, remedy) = in_words(expected);
            Problem::new(key, format!("is not {expected}"), remedy)
        }
    };
    match found {
        // A text in the place of a section may hold whatever the section would have held.
        Some(Value::String(_)) if error.wants_section() => problem,
        Some(Value::String(text)) => problem.found(text),
        Some(Value::Array(_)) => problem.found("[…]"),
        Some(Value::Object(_)) => problem.found("{…}"),
        Some(Value::Null) | None => problem,
        Some(scalar) => problem.found(scalar),
    }
}

fn unknown_key(key: &str, name: &str, known: &[&str]) -> Problem {
    let in_auth = key.rsplit('.').nth(1) == Some("auth");
    let secret = PLAIN_SECRETS.iter().find(|(plain, _)| *plain == name);
    match secret {
        Some((_, instead)) if in_auth => Problem::new(
            key,
            "a secret does not belong in the configuration",
            format!("name the environment variable or the file that holds it with {instead}"),
        ),
        _ => Problem::new(
            key,
            "is no key that Sonde knows",
            suggestion(name, known.iter().copied(), "here Sonde knows"),
        ),
    }
}

/// What serde's own visitors say they expect, for people, and what to do.
fn in_words(expected: &str) -> (&str, &'static str) {
    match expected {
        "a string" => ("text", "put it in quotes"),
        AXIS_TEXT => (AXIS_TEXT, "put it in quotes"),
        "a boolean" => ("a switch", "write `true` or `false`"),
        "a sequence" => ("a list", "write `[a, b]`, or one `- a` a line"),
        "a map" | "a mapping" => (
            "a mapping",
            "write `{key: value}`, or one `key: value` a line",
        ),
        "u32" | "u64" | "usize" => ("a whole number from 0", "write digits only, such as `64`"),
        "f64" => ("a number", "write digits only, such as `0.5`"),
        other => (other, "write it in that form"),
    }
}

fn key_of(path: &Path) -> String {
    let mut key = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => key.push_str(&format!("[{index}]")),
            Segment::Map { key: name } if key.is_empty() => key.push_str(name),
            Segment::Map { key: name } => key.push_str(&format!(".{name}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    key
}

fn step<'t>(value: &'t mut Value, segment: &Segment) -> Option<&'t mut Value> {
    match segment {
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Map { key } => value.get_mut(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    }
}

fn find<'t>(tree: &'t mut Value, path: &Path) -> Option<&'t mut Value> {
    path.iter().try_fold(tree, step)
}

/// Removes a key from its mapping; empties an element of a list, so that the others keep their
/// index. Whether there was something to take out.
fn take_out(tree: &mut Value, path: &Path) -> bool {
    let places: Vec<_> = path
        .iter()
        .filter(|segment| matches!(segment, Segment::Seq { .. } | Segment::Map { .. }))
        .collect();
    let Some((last, parents)) = places.split_last() else {
        return false;
    };
    let parent = parents
        .iter()
        .try_fold(tree, |value, segment| step(value, segment));
    match (parent, last) {
        (Some(Value::Object(fields)), Segment::Map { key }) => fields.remove(key).is_some(),
        (Some(Value::Array(elements)), Segment::Seq { index }) => elements
            .get_mut(*index)
            .is_some_and(|element| !element.take().is_null()),
        _ => false,
    }
}

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
enum ShapeError {
    /// A scalar's own rule.
    Message(String),
    /// Another kind of value was wanted.
    Type { expected: String },
    /// No such key.
    UnknownKey {
        name: String,
        known: &'static [&'static str],
    },
    /// No such choice.
    UnknownVariant {
        name: String,
        known: &'static [&'static str],
    },
}

impl ShapeError {
    fn wants_section(&self) -> bool {
        let sections = ["a sequence", "a map", "a mapping"];
        matches!(self, Self::Type { expected } if sections.contains(&expected.as_str()))
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Type { expected } => write!(f, "is not {expected}"),
            Self::UnknownKey { name, .. } => write!(f, "unknown key `{name}`"),
            Self::UnknownVariant { name, .. } => write!(f, "unknown choice `{name}`"),
        }
    }
}

impl std::error::Error for ShapeError {}

impl de::Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        Self::Type { expected }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.to_owned();
        Self::UnknownKey { name, known }
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.to_owned();
        Self::UnknownVariant { name, known }
    }
}

/// A value, strictly: no number is taken for text and no list for a mapping.
struct Node<'a>(&'a Value);

impl Node<'_> {
    fn refuse(&self, expected: &dyn Expected) -> ShapeError {
        de::Error::invalid_type(Unexpected::Other("value"), expected)
    }
}

impl<'de> IntoDeserializer<'de, ShapeError> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(whole), _, _) => visitor.visit_u64(whole),
                (_, Some(whole), _) => visitor.visit_i64(whole),
                (_, _, Some(real)) => visitor.visit_f64(real),
                _ => Err(self.refuse(&visitor)),
            },
            Value::Array(elements) => {
                visitor.visit_seq(SeqDeserializer::new(elements.iter().map(Node)))
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (name.as_str(), Node(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Derived visitors would take a list for the fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(
                IntoDeserializer::<ShapeError>::into_deserializer(text.as_str()),
            ),
            _ => Err(ShapeError::UnknownVariant {
                name: String::new(),
                known,
            }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
