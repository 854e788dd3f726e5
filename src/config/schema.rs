//! The file's format for editors (JSON Schema) and for people (the README's reference), both from
//! `raw`.

use super::raw::RawConfig;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::fmt::Write;

/// The JSON Schema of the file, draft 2020-12, indented.
pub fn json_schema() -> String {
    // A `Value` prints with two blanks of indentation and cannot fail to.
    format!("{:#}", schema())
}

fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawConfig>()
        .into();
    drop_null_defaults(&mut schema);
    schema
}

/// That an absent key is absent needs no saying.
fn drop_null_defaults(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !(name == "default" && value.is_null()));
            fields.values_mut().for_each(drop_null_defaults);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_null_defaults),
        _ => {}
    }
}

/// A Markdown table of every key with its type, default and meaning.
pub fn reference_markdown() -> String {
    let mut out = String::from("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    add_rows(&schema(), "", &mut out);
    out
}

fn add_rows(schema: &Value, parent: &str, out: &mut String) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let key = match parent {
            "" => name.clone(),
            parent => format!("{parent}.{name}"),
        };
        let property = without_null(property);
        let default = property.get("default").map(|default| match default {
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        });
        let meaning = one_line(property.get("description"));
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            out,
            "| `{key}` | {} | {} | {meaning} |",
            type_name(&property),
            default.unwrap_or_default(),
        );
        match property.get("items") {
            Some(items) => add_rows(items, &format!("{key}[]"), out),
            None => add_rows(&property, &key, out),
        }
    }
}

/// The schema of what stands there when it is not `null`, which every key may be.
fn without_null(property: &Value) -> Value {
    let choices = property.get("anyOf").and_then(Value::as_array);
    let chosen = choices
        .into_iter()
        .flatten()
        .find(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
    let (Some(Value::Object(inner)), Value::Object(outer)) = (chosen, property) else {
        return property.clone();
    };
    let mut merged = inner.clone();
    merged.extend(outer.clone());
    Value::Object(merged)
}

fn type_name(property: &Value) -> String {
    if let Some(title) = property.get("title").and_then(Value::as_str) {
        return title.to_owned();
    }
    let choices: Vec<_> = match property.get("enum").and_then(Value::as_array) {
        Some(choices) => choices.iter().filter_map(Value::as_str).collect(),
        None => constants(property),
    };
    if !choices.is_empty() {
        let quoted: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        return quoted.join(", ");
    }
    let name = match property.get("type") {
        Some(Value::Array(types)) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        Some(name) => name.as_str(),
        None => None,
    };
    match name {
        Some("object") if property.get("properties").is_some() => "section".to_owned(),
        Some("object") => match property
            .get("additionalProperties")
            .and_then(|values| values.get("type"))
        {
            Some(_) => "mapping of text".to_owned(),
            None => "mapping".to_owned(),
        },
        Some("array") => match property.get("items").map(type_name).as_deref() {
            Some("section") => "list of sections".to_owned(),
            _ => "list of text".to_owned(),
        },
        Some("string") => "text".to_owned(),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

/// The choices of an enum whose variants are documented one by one.
fn constants(property: &Value) -> Vec<&str> {
    let choices = property.get("oneOf").and_then(Value::as_array);
    choices
        .into_iter()
        .flatten()
        .filter_map(|choice| choice.get("const").and_then(Value::as_str))
        .collect()
}

fn one_line(description: Option<&Value>) -> String {
    let text = description.and_then(Value::as_str).unwrap_or_default();
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_and_describes_every_key() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        assert_eq!(schema["title"], "Sonde configuration");
        assert!(schema.get("$id").is_none() && schema.get("$defs").is_none());
        assert_eq!(schema["additionalProperties"], false);
        let interval = &schema["properties"]["resources"];
        let text = interval.to_string();
        assert!(text.contains("\"title\":\"duration\""), "{text}");
    }

    #[test]
    fn the_reference_has_a_row_for_every_key() {
        let table = reference_markdown();
        for row in [
            "| `server.listen` | text | `127.0.0.1:10798` |",
            "| `log.format` | `text`, `json` | `text` |",
            "| `defaults.timeouts.total` | duration | `180s` |",
            "| `scenarios[].workload.input_tokens` | integer | `256` |",
            "| `scenarios[].stream` | `true`, `false` | `true` |",
            "| `targets[].labels` | mapping of text |  |",
            "| `targets[].scenarios` | list of text |  |",
            "| `slos[].objective` | ratio |  |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
        for line in table.lines() {
            assert!(!line.contains("|  | See ["), "{line}");
            let cells = line.matches(" | ").count();
            assert!(cells >= 3 || line.starts_with("|-"), "{line}");
        }
    }
}
