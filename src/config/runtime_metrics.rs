//! Where the runtimes' own metrics are, and how often they are read.

use super::problem::Problem;
use super::proxy;
use super::raw::RawRuntimeMetrics;
use super::resolve::Context;
use super::secret;
use crate::resource::runtime_metrics::{
    PageAddress, PageSource, RuntimeMetricsSettings, SHORTEST_SCRAPE_INTERVAL,
};
use crate::transport::{Dialer, Endpoint};

/// The word for "nowhere".
const OFF: &str = "off";

pub(super) fn settings(
    raw: RawRuntimeMetrics,
    context: &mut Context<'_>,
) -> RuntimeMetricsSettings {
    let RawRuntimeMetrics { enabled, interval } = raw;
    let standard = RuntimeMetricsSettings::default();
    if let Some(interval) = interval.filter(|interval| interval.0 < SHORTEST_SCRAPE_INTERVAL) {
        let rule = "is less than `1s`, the shortest time between two questions to a runtime";
        let remedy = "write `5s`, or `enabled: false`";
        let problem = Problem::new("runtime_metrics.interval", rule, remedy);
        context.findings.add(problem.found(interval));
    }
    RuntimeMetricsSettings {
        enabled: enabled.unwrap_or(standard.enabled),
        interval: interval.map_or(standard.interval, |interval| interval.0),
    }
}

/// The page of a target whose own endpoint is good. `None` where a problem was found.
pub(super) fn page(
    place: &str,
    url: Option<String>,
    (target, proxy): (&Endpoint, Option<&str>),
    context: &mut Context<'_>,
) -> Option<PageSource> {
    let Some(url) = url else {
        return Some(PageSource::Usual);
    };
    if url == OFF {
        return Some(PageSource::Off);
    }
    let key = format!("{place}.metrics_url");
    if secret::literal_reference(&key, &url, context) {
        return None;
    }
    let (before, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url.as_str(), None),
    };
    let mut endpoint = match Endpoint::parse(before) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let remedy = "write a whole URL such as `http://127.0.0.1:8002/metrics`, or `off`";
            let problem = Problem::new(key, error, remedy);
            context.findings.add(problem.found(&url));
            return None;
        }
    };
    // The page's own path: nothing is put behind it.
    let mut path = std::mem::take(&mut endpoint.base_path);
    if path.is_empty() {
        path.push('/');
    }
    if let Some(query) = query {
        path = format!("{path}?{query}");
    }
    trust_as(target, &mut endpoint);
    // A proxy that is named is no reason to reach a Unix socket through it.
    let proxy = proxy.filter(|_| endpoint.socket.is_none());
    endpoint.proxy = proxy::choose(place, proxy, &endpoint, context);
    match Dialer::new(&endpoint) {
        Ok(dialer) => Some(PageSource::At(Box::new(PageAddress {
            endpoint,
            dialer,
            path,
        }))),
        Err(error) => {
            let remedy = "write `http://…`, or correct the target's `tls`";
            context.findings.add(Problem::new(key, error, remedy));
            None
        }
    }
}

/// What proves us to a target proves us to its page, but is not shown to another host.
fn trust_as(target: &Endpoint, page: &mut Endpoint) {
    let same_host = target.same_host(page);
    // Nor in the open, where the target itself is asked under TLS.
    let as_safe = page.tls.is_some() || target.tls.is_none();
    if let (Some(ours), Some(theirs)) = (&mut page.tls, &target.tls) {
        *ours = theirs.clone();
        ours.server_name = theirs.server_name.clone().filter(|_| same_host);
    }
    if same_host && as_safe {
        page.auth = target.auth.clone();
        page.headers.clone_from(&target.headers);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, LoadInput, load};
    use super::*;
    use crate::transport::Auth;

    fn target(text: &str) -> PageSource {
        let auth = "auth: {bearer_env: KEY}, headers: {X-Team: a}";
        let file = format!("targets: [{{name: a, model: m, {auth}, {text}}}]");
        let settings = load(LoadInput {
            path: None,
            file: Some(&file),
            environment: &Environment::from_pairs([("KEY", "s3cret")]),
            overrides: Vec::new(),
        });
        let targets = settings.unwrap().targets;
        targets.into_iter().next().unwrap().runtime_page
    }

    fn address(text: &str) -> PageAddress {
        match target(text) {
            PageSource::At(address) => *address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_word_the_page_is_where_it_usually_is() {
        let url = "url: 'http://h:8000'";
        assert!(matches!(target(url), PageSource::Usual));
        for off in ["off", "'off'"] {
            let text = format!("{url}, metrics_url: {off}");
            assert!(matches!(target(&text), PageSource::Off), "{off}");
        }
    }

    #[test]
    fn a_page_may_be_anywhere_and_have_a_query() {
        let page =
            address("url: 'http://h:8000/v2', metrics_url: 'http://h:8002/a/metrics?model=x'");
        assert_eq!(page.endpoint.url(), "http://h:8002");
        assert_eq!(page.path, "/a/metrics?model=x");
        let root = address("url: 'http://h:8000', metrics_url: 'http://h:8002'");
        assert_eq!(root.path, "/");
    }

    #[test]
    fn credentials_go_to_the_same_host_only_and_never_from_tls_into_the_open() {
        for (url, page, shown) in [
            ("http://h:8000", "http://h:8002/metrics", true),
            ("https://h", "https://h:8002/metrics", true),
            ("http://h:8000", "https://h:8002/metrics", true),
            ("http://h:8000", "http://other:8000/metrics", false),
            ("https://h", "http://h:8002/metrics", false),
        ] {
            let page = address(&format!("url: '{url}', metrics_url: '{page}'"));
            assert_eq!(page.endpoint.auth != Auth::None, shown, "{page:?}");
            assert_eq!(!page.endpoint.headers.is_empty(), shown, "{page:?}");
        }
    }

    #[test]
    fn certificates_are_judged_as_those_of_the_target_but_for_the_name() {
        let tls = "tls: {insecure_skip_verify: true, server_name: llm.internal}";
        for (host, name) in [("h", Some("llm.internal")), ("other", None)] {
            let text = format!("url: 'https://h', {tls}, metrics_url: 'https://{host}:9/metrics'");
            let found = address(&text).endpoint.tls.unwrap();
            assert!(found.insecure_skip_verify);
            assert_eq!(found.server_name.as_deref(), name, "{host}");
        }
    }
}
