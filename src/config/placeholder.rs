//! `{axis}` in text. `{{axis}}` stands for the text `{axis}`; any other brace is itself, and so is
//! `${axis}`, which Sonde expands nowhere.

/// A stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

/// The names that placeholders in this text have.
pub(super) fn names(text: &str) -> Vec<&str> {
    let placeholders = parts(text).into_iter().filter_map(|part| match part {
        Part::Placeholder(name) => Some(name),
        Part::Text(_) => None,
    });
    placeholders.collect()
}

/// The text with its placeholders filled. One without a value is left as it is.
pub(super) fn fill<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Placeholder(name) => match value(name) {
                Some(value) => filled.push_str(value),
                None => filled.push_str(&format!("{{{name}}}")),
            },
        }
    }
    filled
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        parts.push(Part::Text(before));
        let escaped = behind.strip_prefix('{').and_then(name_and_rest);
        let escaped = escaped.and_then(|(name, rest)| Some((name, rest.strip_prefix('}')?)));
        let (part, after) = match (escaped, name_and_rest(behind)) {
            (Some((name, after)), _) => {
                let inner = behind.get(..name.len() + 2).unwrap_or(behind);
                (Part::Text(inner), after)
            }
            (None, Some((name, after))) if !before.ends_with('$') => {
                (Part::Placeholder(name), after)
            }
            _ => (Part::Text("{"), behind),
        };
        parts.push(part);
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// `name}rest`, the name as a label's is.
fn name_and_rest(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('}')?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (plain && starts).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        fill(text, |name| match name {
            "a" => Some("1"),
            "long_name" => Some("{a}"),
            _ => None,
        })
    }

    #[test]
    fn a_placeholder_is_filled_once_and_other_braces_are_themselves() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{a}", "1"),
            ("x-{a}-{a}.y", "x-1-1.y"),
            ("{long_name}", "{a}"),
            ("{b}", "{b}"),
            ("{{a}}", "{a}"),
            ("{{a}", "{1"),
            ("{{{a}}}", "{{a}}"),
            ("${a}", "${a}"),
            ("$ {a}", "$ 1"),
            ("{}{ a}{a b}{9}", "{}{ a}{a b}{9}"),
            ("{\"n\": {\"a\": 1}}", "{\"n\": {\"a\": 1}}"),
            ("é{a}é", "é1é"),
            ("{a", "{a"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn any_text_without_a_known_name_stays_as_it_is() {
        use proptest::prelude::*;
        proptest!(|(text in "[ab${} ]{0,12}")| {
            let untouched = fill(&text, |_| None);
            // Only the escape says less than it holds.
            prop_assert!(untouched == text || text.contains("{{"), "{text} {untouched}");
            for name in names(&text) {
                prop_assert!(text.contains(name));
            }
        });
    }
}
