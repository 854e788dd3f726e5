//! Durations and ratios as they stand in the file: read where they are typed, so that a bad one is
//! a problem of that very key.

use crate::base::units::{format_duration, parse_duration, parse_ratio};
use crate::transport::HttpChoice;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// `500ms`, `30s`, `1h30m`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// `99.9%` or `0.999`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioText(pub f64);

/// A GPU by UUID, or by an index that may be written as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuText(pub String);

/// A value of a matrix's axis: text, or a whole number for its digits. A fraction needs quotes, since
/// `1.10` would become `1.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisText(pub String);

/// A version of HTTP, which may be written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpText(pub HttpChoice);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

/// What an axis wants, in the words of its messages.
pub(super) const AXIS_TEXT: &str = "text or a whole number";

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = DurationText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `500ms`, `30s`, `1h30m` or `30d`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<DurationText, E> {
        parse_duration(text).map(DurationText).map_err(|error| {
            E::custom(format!(
                "is {error}\nhint: write a number and its unit: `ns`, `us`, `ms`, `s`, `m`, `h` or `d`"
            ))
        })
    }

    /// `0` alone needs no unit; any other number does.
    fn visit_u64<E: Error>(self, number: u64) -> Result<DurationText, E> {
        match number {
            0 => Ok(DurationText(Duration::ZERO)),
            _ => Err(unitless(number)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<DurationText, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<DurationText, E> {
        Err(unitless(number))
    }
}

fn unitless<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format!(
        "is a number without its unit\nhint: write `{number}s` for seconds"
    ))
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct RatioVisitor;

impl Visitor<'_> for RatioVisitor {
    type Value = RatioText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ratio such as `99.9%` or `0.999`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RatioText, E> {
        let remedy = "hint: write a percentage up to `100%` or a number from 0 to 1";
        parse_ratio(text)
            .map(RatioText)
            .map_err(|error| E::custom(format!("is {error}\n{remedy}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<RatioText, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<RatioText, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<RatioText, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for RatioText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RatioVisitor)
    }
}

struct GpuVisitor;

impl Visitor<'_> for GpuVisitor {
    type Value = GpuText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GPU's UUID or index")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GpuText, E> {
        match text.trim() {
            "" => Err(E::custom("is empty\nhint: write a GPU's UUID or index")),
            text => Ok(GpuText(text.to_owned())),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<GpuText, E> {
        Ok(GpuText(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for GpuText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GpuVisitor)
    }
}

struct AxisVisitor;

impl Visitor<'_> for AxisVisitor {
    type Value = AxisText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AXIS_TEXT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AxisText, E> {
        match text.trim() {
            "" => Err(E::custom("is empty\nhint: fill it, or take it out")),
            text => Ok(AxisText(text.to_owned())),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<AxisText, E> {
        Ok(AxisText(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<AxisText, E> {
        Ok(AxisText(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for AxisText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AxisVisitor)
    }
}

impl JsonSchema for AxisText {
    fn schema_name() -> Cow<'static, str> {
        "axis".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

struct HttpVisitor;

impl Visitor<'_> for HttpVisitor {
    type Value = HttpText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`auto`, `1.1` or `2`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HttpText, E> {
        match text.trim() {
            "auto" => Ok(HttpText(HttpChoice::Auto)),
            "1.1" => Ok(HttpText(HttpChoice::Http1)),
            "2" => Ok(HttpText(HttpChoice::Http2)),
            _ => Err(E::custom(
                "is no version of HTTP\nhint: write `auto`, `1.1` or `2`",
            )),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<HttpText, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<HttpText, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<HttpText, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for HttpText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HttpVisitor)
    }
}

impl JsonSchema for HttpText {
    fn schema_name() -> Cow<'static, str> {
        "http".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "version of HTTP",
            "enum": ["auto", "1.1", 1.1, "2", 2],
        })
    }
}

impl JsonSchema for GpuText {
    fn schema_name() -> Cow<'static, str> {
        "gpu".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "GPU",
            "type": ["string", "integer"],
            "minimum": 0,
            "examples": ["GPU-8f6e4c2a-0000-0000-0000-000000000000", 0],
        })
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "duration",
            "type": "string",
            "pattern": r"^\s*(0|([0-9.]+(ns|us|µs|ms|s|m|h|d))+)\s*$",
            "examples": ["500ms", "30s", "1h30m", "30d"],
        })
    }
}

impl JsonSchema for RatioText {
    fn schema_name() -> Cow<'static, str> {
        "ratio".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "ratio",
            "type": ["string", "number"],
            "examples": ["99.9%", 0.999],
        })
    }
}
