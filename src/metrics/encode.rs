//! Three encoders over the same samples: text 0.0.4, OpenMetrics 1.0 and Prometheus protobuf.

use super::family::{FamilySpec, Samples};
use super::resource;
use super::store::State;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as proto;
use prost::Message;
use std::fmt::Write as _;
use std::io;

/// How an exposition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4: what everything reads.
    Text,
    /// OpenMetrics 1.0: text with exemplars.
    OpenMetrics,
    /// Delimited `io.prometheus.client.MetricFamily`: native histograms too.
    Protobuf,
}

impl Format {
    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// Writes one family, if it has samples.
pub(super) fn write_family(
    format: Format,
    spec: &FamilySpec,
    state: &State,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut samples = Samples::of(spec);
    (spec.collect)(state, &mut samples);
    resource::collect(spec, state, &mut samples);
    let family = samples.family;
    if family.metric.is_empty() {
        return Ok(());
    }
    match format {
        Format::Protobuf => out.write_all(&family.encode_length_delimited_to_vec()),
        Format::Text => write_text(&family, false, out),
        Format::OpenMetrics => write_text(&family, true, out),
    }
}

/// Writes what stands behind the last family.
pub(super) fn finish(format: Format, out: &mut dyn io::Write) -> io::Result<()> {
    match format {
        Format::OpenMetrics => out.write_all(b"# EOF\n"),
        Format::Text | Format::Protobuf => Ok(()),
    }
}

fn write_text(
    family: &proto::MetricFamily,
    open_metrics: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let kind = match family.r#type() {
        proto::MetricType::Counter => "counter",
        proto::MetricType::Histogram => "histogram",
        _ => "gauge",
    };
    // OpenMetrics names a counter's family without `_total`.
    let name = match open_metrics && kind == "counter" {
        true => family.name.strip_suffix("_total").unwrap_or(&family.name),
        false => &family.name,
    };
    let help = escape(&family.help, open_metrics);
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    let mut line = String::new();
    for metric in &family.metric {
        line.clear();
        let labels = labels_text(&metric.label);
        if let Some(histogram) = &metric.histogram {
            write_histogram(&mut line, &family.name, &labels, histogram, open_metrics);
        } else {
            let counter = metric.counter.as_ref().map(|counter| counter.value);
            let gauge = metric.gauge.as_ref().map(|gauge| gauge.value);
            let value = counter.or(gauge).unwrap_or(f64::NAN);
            sample(&mut line, &family.name, "", &labels, value);
        }
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn write_histogram(
    line: &mut String,
    name: &str,
    labels: &str,
    histogram: &proto::Histogram,
    exemplars: bool,
) {
    let comma = if labels.is_empty() { "" } else { "," };
    for bucket in &histogram.bucket {
        let le = edge(bucket.upper_bound);
        let with_le = format!("{labels}{comma}le=\"{le}\"");
        sample(
            line,
            name,
            "_bucket",
            &with_le,
            bucket.cumulative_count as f64,
        );
        if let Some(exemplar) = bucket.exemplar.as_ref().filter(|_| exemplars) {
            line.pop();
            let at = exemplar.timestamp.as_ref();
            let seconds = at.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9);
            let labels = labels_text(&exemplar.label);
            let value = number(exemplar.value);
            line.push_str(&format!(" # {{{labels}}} {value} {seconds:.3}\n"));
        }
    }
    sample(line, name, "_sum", labels, histogram.sample_sum);
    sample(line, name, "_count", labels, histogram.sample_count as f64);
}

fn sample(line: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    line.push_str(name);
    line.push_str(suffix);
    if !labels.is_empty() {
        line.push('{');
        line.push_str(labels);
        line.push('}');
    }
    line.push(' ');
    line.push_str(&number(value));
    line.push('\n');
}

fn labels_text(labels: &[proto::LabelPair]) -> String {
    let mut text = String::new();
    for (index, label) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = escape(&label.value, true);
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}=\"{value}\"", label.name);
    }
    text
}

/// The shortest form that reads back as the same value.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => format!("{value:.0}"),
        false => format!("{value:?}"),
    }
}

/// A bucket's edge in the canonical form of OpenMetrics: `1.0`, not `1`.
fn edge(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:?}"),
        false => number(value),
    }
}

/// Escapes backslash and line end, and quotes where they would end the text.
fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_themselves() {
        for value in [0.0, 1.0, 0.1, 1e-6, 3.16e-3, 1_700_000_000.123, 1e300, -2.5] {
            assert_eq!(number(value).parse::<f64>().unwrap(), value);
        }
        assert_eq!(number(f64::INFINITY), "+Inf");
    }

    #[test]
    fn label_values_are_escaped() {
        let label = proto::LabelPair {
            name: "model".into(),
            value: "a\"b\\c\nd".into(),
        };
        assert_eq!(labels_text(&[label]), r#"model="a\"b\\c\nd""#);
    }
}
