//! `/metrics`: content negotiation as Prometheus 2 and 3 ask for it, gzip, and off the async threads.

use super::Context;
use crate::metrics::encode::Format;
use crate::metrics::{FamilySpec, Store};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::Arc;

/// Speed over size: a scrape is a matter of milliseconds.
const GZIP: Compression = Compression::fast();

pub(super) async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Response {
    respond(context.store, &headers, |_| true).await
}

/// Encodes the families that are wanted as the request wants them.
pub(super) async fn respond(
    store: Arc<Store>,
    headers: &HeaderMap,
    wanted: fn(&FamilySpec) -> bool,
) -> Response {
    let format = negotiate(text(headers, ACCEPT.as_str()));
    let gzip = accepts_gzip(text(headers, ACCEPT_ENCODING.as_str()));
    let encoded = tokio::task::spawn_blocking(move || encode(&store, format, gzip, wanted)).await;
    let Ok(Ok(body)) = encoded else {
        let sorry = "the metrics cannot be encoded; this is a defect of Sonde\n";
        return (StatusCode::INTERNAL_SERVER_ERROR, sorry).into_response();
    };
    let mut response = Response::builder()
        .header(CONTENT_TYPE, format.content_type())
        .header(VARY, "Accept, Accept-Encoding");
    if gzip {
        response = response.header(CONTENT_ENCODING, "gzip");
    }
    response
        .body(Body::from(body))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn encode(
    store: &Store,
    format: Format,
    gzip: bool,
    wanted: fn(&FamilySpec) -> bool,
) -> io::Result<Vec<u8>> {
    if !gzip {
        let mut body = Vec::new();
        store.encode(format, &mut body, wanted)?;
        return Ok(body);
    }
    let mut body = GzEncoder::new(Vec::new(), GZIP);
    store.encode(format, &mut body, wanted)?;
    body.flush()?;
    body.finish()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// One alternative of an `Accept` header.
struct Alternative<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Alternative<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "q" => quality = value.parse().unwrap_or(0.0),
                name => parameters.push((name, value)),
            }
        }
        Self {
            kind,
            parameters,
            quality,
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }

    /// The format that satisfies it, if we have one.
    fn format(&self) -> Option<Format> {
        match self.kind {
            "application/vnd.google.protobuf" => {
                let proto = self.get("proto") == Some("io.prometheus.client.MetricFamily");
                let delimited = self.get("encoding") == Some("delimited");
                (proto && delimited).then_some(Format::Protobuf)
            }
            "application/openmetrics-text" => {
                let version = self.get("version").unwrap_or("1.0.0");
                matches!(version, "1.0.0" | "0.0.1").then_some(Format::OpenMetrics)
            }
            "text/plain" => {
                let version = self.get("version").unwrap_or("0.0.4");
                (version == "0.0.4").then_some(Format::Text)
            }
            "text/*" | "*/*" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The best format that both sides have. Without one it is text 0.0.4: what everything reads.
fn negotiate(accept: &str) -> Format {
    let mut best = (0.0, Format::Text);
    for alternative in accept.split(',').map(Alternative::parse) {
        if let Some(format) = alternative.format()
            && alternative.quality > best.0
        {
            best = (alternative.quality, format);
        }
    }
    best.1
}

fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding
        .split(',')
        .map(Alternative::parse)
        .any(|alternative| alternative.kind == "gzip" && alternative.quality > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS_3: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

    #[test]
    fn every_scraper_gets_the_best_that_it_reads() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, image/png", Format::Text),
            (PROMETHEUS_3, Format::Protobuf),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
                Format::Text,
            ),
            (
                "text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5",
                Format::Text,
            ),
            (
                "application/vnd.google.protobuf;proto=other;encoding=delimited",
                Format::Text,
            ),
        ] {
            assert_eq!(negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn gzip_is_used_when_it_is_wanted() {
        assert!(accepts_gzip("gzip"));
        assert!(accepts_gzip("deflate, gzip;q=0.5"));
        assert!(!accepts_gzip("gzip;q=0"));
        assert!(!accepts_gzip(""));
    }
}
