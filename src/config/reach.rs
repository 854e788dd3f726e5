//! Where a target is, and the way there.

use super::problem::Problem;
use super::raw::RawTls;
use super::resolve::Context;
use super::scalar::HttpText;
use super::{proxy, runtime_metrics, secret, trust};
use crate::resource::runtime_metrics::PageSource;
use crate::runtime;
use crate::transport::{Dialer, Endpoint, EndpointError, HttpChoice};

/// Ends of URLs that the adapters add themselves.
const API_PATHS: [&str; 13] = [
    "/v1",
    "/v1/chat/completions",
    "/v1/completions",
    "/api/chat",
    "/api/generate",
    "/v1/models",
    "/v1/messages",
    "/v1/responses",
    "/v1beta",
    "/v2/chat",
    "/v1/embeddings",
    "/v1/rerank",
    "/api/embed",
];

/// Calls of Amazon's services and Google's, whose paths hold a name: how they begin and end.
const API_CALLS: [(&str, &str); 10] = [
    ("/model/", "/converse"),
    ("/model/", "/converse-stream"),
    ("/model/", "/invoke"),
    ("/model/", "/invoke-with-response-stream"),
    ("/endpoints/", "/invocations"),
    ("/endpoints/", "/invocations-response-stream"),
    ("/publishers/", ":generateContent"),
    ("/publishers/", ":streamGenerateContent"),
    ("/publishers/", ":rawPredict"),
    ("/publishers/", ":streamRawPredict"),
];

/// How a target's endpoint is reached, as typed.
pub(super) struct Way {
    pub(super) http: Option<HttpText>,
    pub(super) proxy: Option<String>,
    pub(super) tls: Option<RawTls>,
    pub(super) metrics_url: Option<String>,
}

/// Host and port or Unix socket, as far as a name may hold them.
pub(super) fn default_name(endpoint: Option<&Endpoint>) -> String {
    endpoint
        .map(Endpoint::place)
        .unwrap_or_default()
        .replace(['[', ']'], "")
}

/// Where `url` leads to.
pub(super) fn endpoint(
    place: &str,
    url: Option<&str>,
    runtime: Option<&str>,
    context: &mut Context<'_>,
) -> Option<Endpoint> {
    let key = format!("{place}.url");
    let Some(url) = url else {
        context.refuse(
            &key,
            "is required",
            "write it like `http://127.0.0.1:11434`",
        );
        return None;
    };
    if secret::literal_reference(&key, url, context) {
        return None;
    }
    let elsewhere = "credentials go into `auth`, extra fields into a scenario's `body`";
    let endpoint = parse_url(&key, url, elsewhere, context)?;
    let path = endpoint.base_path.as_str();
    let call = |(begin, end): &(&str, &str)| {
        let at = path.find(begin).filter(|_| path.ends_with(end))?;
        path.get(..at)
    };
    let named = match runtime {
        None | Some("auto") => runtime::of_host(&endpoint.host).map(|spec| spec.name),
        named => named,
    };
    // Vertex AI's version stands before the project, or alone.
    let is_vertex = named.is_some_and(|name| name.starts_with("vertex"));
    let mut ends = API_PATHS.iter().filter(|_| !is_vertex);
    let kept = ends.find_map(|end| path.strip_suffix(end));
    let kept = kept.or_else(|| API_CALLS.iter().find_map(call));
    // Azure's own paths have one part more in front, which other runtimes leave to the URL.
    let is_azure = named == Some("azure-openai");
    let shorter = kept.unwrap_or(path).strip_suffix("/openai");
    let kept = shorter.filter(|_| is_azure).or(kept);
    let Some(path) = kept.and_then(|kept| path.get(kept.len()..)) else {
        return Some(endpoint);
    };
    let rule = format!("ends with `{path}`, which Sonde adds itself");
    let short = endpoint.url();
    let short = short
        .strip_suffix(path)
        .unwrap_or(&short)
        .trim_end_matches(':');
    let problem = Problem::new(key, rule, format!("write `{short}`"));
    context.findings.add(problem.found(url));
    None
}

/// A URL as typed at this key; `elsewhere` says where what it may not carry belongs.
pub(super) fn parse_url(
    key: &str,
    url: &str,
    elsewhere: &str,
    context: &mut Context<'_>,
) -> Option<Endpoint> {
    let bare = !url.contains("://") && !url.starts_with("unix:");
    let problem = match Endpoint::parse(url) {
        Ok(endpoint) => return Some(endpoint),
        Err(_) if bare => {
            let guess = format!("http://{url}");
            let remedy = match Endpoint::parse(&guess) {
                Ok(_) => format!("write `{guess}`"),
                Err(_) => "write scheme, host and port".to_owned(),
            };
            Problem::new(key, EndpointError::Syntax, remedy)
        }
        Err(EndpointError::Syntax) => {
            let rule = EndpointError::Syntax;
            Problem::new(key, rule, "write scheme, host and port")
        }
        Err(EndpointError::Scheme) => {
            let rule = "has a scheme other than `http` and `https`";
            Problem::new(key, rule, "write `http://…` or `https://…`")
        }
        Err(EndpointError::Socket) => {
            let remedy = "write its whole path, and behind `:/` what requests begin with";
            Problem::new(key, EndpointError::Socket, remedy)
        }
        Err(EndpointError::Extra) => {
            let rule = "has a user name, a query or a fragment";
            Problem::new(key, rule, elsewhere)
        }
    };
    context.findings.add(problem.found(url));
    None
}

/// The endpoint with its way there, and where its runtime's own metrics are.
pub(super) fn connect(
    place: &str,
    mut endpoint: Endpoint,
    way: Way,
    context: &mut Context<'_>,
) -> Option<(Endpoint, Dialer, PageSource)> {
    let proxy = way.proxy.as_deref();
    endpoint.proxy = proxy::choose(place, proxy, &endpoint, context);
    endpoint.http = way.http.map_or(HttpChoice::default(), |http| http.0);
    if endpoint.http == HttpChoice::Http2 && endpoint.tls.is_none() && endpoint.proxy.is_some() {
        let rule = "is `2`, but a proxy on the way to `http://…` speaks HTTP/1.1";
        let remedy = "take `http` out, or write `proxy: none` to go straight";
        context.refuse(&format!("{place}.http"), rule, remedy);
    }
    let dialer = trust::dialer(place, way.tls, &mut endpoint, context)?;
    let page = runtime_metrics::page(place, way.metrics_url, (&endpoint, proxy), context)?;
    Some((endpoint, dialer, page))
}
