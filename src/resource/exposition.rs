//! Prometheus text, format 0.0.4, as others expose it: read whole, or refused with the line that is
//! wrong. As strict as Prometheus itself, so that what it would drop is not believed here.

use std::borrow::Cow;
use std::collections::HashMap;

/// Everything of one scrape, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exposition<'a> {
    /// Every sample line.
    pub(crate) samples: Vec<Sample<'a>>,
    kinds: HashMap<&'a str, MetricKind>,
}

/// One sample line. A histogram's `_bucket`, `_sum` and `_count` are samples of their own names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// The metric's name.
    pub(crate) name: &'a str,
    /// Names and values, in their order, escapes undone.
    pub(crate) labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be NaN or infinite: the exposer decides, the reader judges.
    pub(crate) value: f64,
    /// When the exposer took it, in milliseconds of Unix time; rarely given.
    pub(crate) timestamp: Option<i64>,
}

/// The word of `# TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Quantiles, sum and count.
    Summary,
    /// Anybody's guess.
    Untyped,
}

/// The line that is no part of the format, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct ExpositionError {
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) problem: &'static str,
}

impl<'a> Exposition<'a> {
    /// Reads all of a scrape. The last line may lack its line feed, as Prometheus allows.
    ///
    /// # Errors
    /// At the first line that is neither blank, comment nor sample.
    pub(crate) fn parse(text: &'a str) -> Result<Self, ExpositionError> {
        let mut exposition = Self::default();
        for (index, line) in text.split('\n').enumerate() {
            exposition.line(line).map_err(|problem| ExpositionError {
                line: index + 1,
                problem,
            })?;
        }
        Ok(exposition)
    }

    /// The samples of this very name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Sample<'a>> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// The kind declared for a family; absent where none is. A histogram's samples have longer
    /// names than the family.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "GPUs need neither; the runtimes' own metrics will"
        )
    )]
    pub(crate) fn kind(&self, family: &str) -> Option<MetricKind> {
        self.kinds.get(family).copied()
    }

    fn line(&mut self, line: &'a str) -> Result<(), &'static str> {
        let line = line.trim_end_matches('\r').trim_matches(BLANK);
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            return self.comment(comment);
        }
        self.samples.push(sample(line)?);
        Ok(())
    }

    /// Any text is a comment, but `TYPE` as its first word binds what follows.
    fn comment(&mut self, comment: &'a str) -> Result<(), &'static str> {
        let mut words = comment.split(BLANK).filter(|word| !word.is_empty());
        if words.next() != Some("TYPE") {
            return Ok(());
        }
        let (Some(family), Some(word), None) = (words.next(), words.next(), words.next()) else {
            return Err("`# TYPE` needs a name and a type");
        };
        if !matches!(name(family, true), Some((_, ""))) {
            return Err("`# TYPE` speaks of no valid metric name");
        }
        let kind = match word {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            "summary" => MetricKind::Summary,
            "untyped" | "unknown" => MetricKind::Untyped,
            _ => return Err("`# TYPE` gives a type that does not exist"),
        };
        match self.kinds.insert(family, kind) {
            Some(_) => Err("a second `# TYPE` of the same name"),
            None => Ok(()),
        }
    }
}

impl Sample<'_> {
    /// The value of a label; absent where the sample does not have it.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_ref())
    }
}

const BLANK: [char; 2] = [' ', '\t'];

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let (name, rest) = name(line, true).ok_or("a line begins with no valid metric name")?;
    let spaced = rest.starts_with(BLANK);
    let rest = rest.trim_start_matches(BLANK);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None if spaced => (Vec::new(), rest),
        None => return Err("a metric name is followed by neither labels nor a value"),
    };
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words.next().ok_or("a sample has no value")?;
    let value = value.parse().map_err(|_| "a value is not a number")?;
    let timestamp = match words.next() {
        Some(word) => Some(word.parse().map_err(|_| "a timestamp is not a number")?),
        None => None,
    };
    if words.next().is_some() {
        return Err("something follows the timestamp");
    }
    Ok(Sample {
        name,
        labels,
        value,
        timestamp,
    })
}

/// The valid name at the front, and what follows it. Only metrics' names may have colons.
fn name(text: &str, colons: bool) -> Option<(&str, &str)> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let end = text.find(|c| !fits(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let valid = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then_some((name, rest))
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels behind their opening brace, and what follows the closing one. A comma may be the last.
fn labels(mut rest: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, behind) = name(rest, false).ok_or("a label has no valid name")?;
        let behind = behind.trim_start_matches(BLANK).strip_prefix('=');
        let behind = behind.map(|behind| behind.trim_start_matches(BLANK));
        let quoted = behind.and_then(|behind| behind.strip_prefix('"'));
        let (value, behind) = value(quoted.ok_or("a label is not `name=\"value\"`")?)?;
        if labels.iter().any(|(known, _)| *known == name) {
            return Err("a label is there twice");
        }
        labels.push((name, value));
        rest = behind.trim_start_matches(BLANK);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("a label is followed by neither `,` nor `}`"),
        }
    }
}

/// A label's value behind its opening quote, and what follows the closing one. Copied only where
/// it has escapes.
fn value(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    const OPEN: &str = "a label's value has no end";
    let mut value = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let (plain, behind) = rest.split_at(rest.find(['"', '\\']).ok_or(OPEN)?);
        value += plain;
        if let Some(behind) = behind.strip_prefix('"') {
            return Ok((value, behind));
        }
        let mut escape = behind.chars();
        escape.next();
        value.to_mut().push(match escape.next() {
            Some('\\') => '\\',
            Some('"') => '"',
            Some('n') => '\n',
            Some(_) => return Err("a label's value has an unknown escape"),
            None => return Err(OPEN),
        });
        rest = escape.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the format's own documentation, with its oddities.
    const DOCUMENTED: &str = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
"#;

    fn only(text: &str) -> Sample<'_> {
        let mut found = Exposition::parse(text).unwrap().samples;
        assert_eq!(found.len(), 1, "{text}");
        found.remove(0)
    }

    #[test]
    fn the_documented_example_is_read_as_documented() {
        let read = Exposition::parse(DOCUMENTED).unwrap();
        assert_eq!(read.samples.len(), 8);
        let posts: Vec<_> = read.named("http_requests_total").collect();
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0].label("code"), Some("200"));
        assert_eq!(posts[0].label("path"), None);
        assert_eq!(
            (posts[1].value, posts[1].timestamp),
            (3.0, Some(1_395_066_363_000))
        );
        let file = read.named("msdos_file_access_time_seconds").next().unwrap();
        assert_eq!(file.label("path"), Some("C:\\DIR\\FILE.TXT"));
        assert_eq!(file.label("error"), Some("Cannot find file:\n\"FILE.TXT\""));
        let weird = read.named("something_weird").next().unwrap();
        assert_eq!(
            (weird.value, weird.timestamp),
            (f64::INFINITY, Some(-3_982_045))
        );
        assert_eq!(read.kind("http_requests_total"), Some(MetricKind::Counter));
        let histogram = "http_request_duration_seconds";
        assert_eq!(read.kind(histogram), Some(MetricKind::Histogram));
        assert_eq!(read.kind("something_weird"), None);
    }

    #[test]
    fn values_may_be_no_finite_numbers() {
        assert!(only("a NaN").value.is_nan());
        assert_eq!(only("a -Inf").value, f64::NEG_INFINITY);
        assert_eq!(only("a{} +Inf\n").value, f64::INFINITY);
        assert_eq!(only("a 1e-3").value, 0.001);
    }

    #[test]
    fn blanks_commas_and_line_ends_may_be_generous() {
        let sample = only("  vllm:up\t{ a = \"1\" , b=\"{2},\" , }  1  \r\n\n");
        assert_eq!(sample.name, "vllm:up");
        assert_eq!(
            (sample.label("a"), sample.label("b")),
            (Some("1"), Some("{2},"))
        );
        assert_eq!(only("a{b=\"\"}1").label("b"), Some(""));
    }

    #[test]
    fn comments_say_nothing_unless_they_are_types() {
        let text = "#\n# HELP a # TYPE a b c\n#TYPE b gauge\n# EOF\n# TYPEs are fun";
        let read = Exposition::parse(text).unwrap();
        assert!(read.samples.is_empty());
        assert_eq!(read.kind("b"), Some(MetricKind::Gauge));
    }

    #[test]
    fn a_value_without_escapes_is_not_copied() {
        let plain = only("a{b=\"no copy\"} 1");
        assert!(matches!(plain.labels[0].1, Cow::Borrowed("no copy")));
    }

    #[test]
    fn whatever_is_no_part_of_the_format_is_refused_with_its_line() {
        let bad = [
            ("<html>", "a line begins with no valid metric name"),
            ("1a 2", "a line begins with no valid metric name"),
            ("{a=\"b\"} 1", "a line begins with no valid metric name"),
            (
                "a-b 1",
                "a metric name is followed by neither labels nor a value",
            ),
            (
                "a",
                "a metric name is followed by neither labels nor a value",
            ),
            ("a{}", "a sample has no value"),
            ("a 1,0", "a value is not a number"),
            ("a 0x1p3", "a value is not a number"),
            ("a 1 2.5", "a timestamp is not a number"),
            ("a 1 2 3", "something follows the timestamp"),
            ("a{b=\"1\"", "a label is followed by neither `,` nor `}`"),
            ("a{b=\"1\",", "a label has no valid name"),
            ("a{,} 1", "a label has no valid name"),
            ("a{b:c=\"1\"} 1", "a label is not `name=\"value\"`"),
            ("a{b} 1", "a label is not `name=\"value\"`"),
            ("a{b=1} 1", "a label is not `name=\"value\"`"),
            ("a{b=\"1} 1", "a label's value has no end"),
            ("a{b=\"1\\", "a label's value has no end"),
            ("a{b=\"\\t\"} 1", "a label's value has an unknown escape"),
            (
                "a{b=\"1\"c=\"2\"} 1",
                "a label is followed by neither `,` nor `}`",
            ),
            ("a{b=\"1\",b=\"2\"} 1", "a label is there twice"),
            ("# TYPE a", "`# TYPE` needs a name and a type"),
            ("# TYPE a gauge now", "`# TYPE` needs a name and a type"),
            (
                "# TYPE a-b gauge",
                "`# TYPE` speaks of no valid metric name",
            ),
            (
                "# TYPE a number",
                "`# TYPE` gives a type that does not exist",
            ),
            ("# TYPE y gauge", "a second `# TYPE` of the same name"),
        ];
        for (line, problem) in bad {
            let text = format!("# TYPE y gauge\ny 1\n{line}");
            let error = Exposition::parse(&text).unwrap_err();
            assert_eq!((error.line, error.problem), (3, problem), "{line}");
        }
        let error = Exposition::parse("a 1\nb").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: a metric name is followed by neither labels nor a value"
        );
    }

    fn escaped(value: &str) -> String {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
            values in prop::collection::vec(any::<String>(), 0..4),
            value in any::<f64>(),
            timestamp in any::<Option<i64>>(),
        ) {
            let labels: Vec<String> = values
                .iter()
                .enumerate()
                .map(|(index, value)| format!("l{index}=\"{}\"", escaped(value)))
                .collect();
            let mut line = format!("{name}{{{}}} {value}", labels.join(","));
            if let Some(at) = timestamp {
                line += &format!(" {at}");
            }
            let sample = only(&line);
            prop_assert_eq!(sample.name, name);
            prop_assert_eq!(sample.timestamp, timestamp);
            prop_assert!(sample.value == value || (sample.value.is_nan() && value.is_nan()));
            let read: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_ref()).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-b{}=\",\\\\# \t\n0-9eTYP]{0,60}") {
            let _ = Exposition::parse(&text);
        }
    }
}
