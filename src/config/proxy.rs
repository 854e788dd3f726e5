//! Which proxy leads to an endpoint: the target's own, or what the environment says, with the names,
//! precedence and meaning of Go's `http.ProxyFromEnvironment`, and `ALL_PROXY` behind them as curl has it.

use super::Environment;
use super::environment::PREFIX;
use super::problem::Problem;
use super::resolve::Context;
use crate::transport::{Endpoint, Proxy, ProxyError};
use std::net::IpAddr;

/// The word for "straight".
const NONE: &str = "none";

/// The proxy on the way to `endpoint`, by the target's key `proxy` or else by the environment.
pub(super) fn choose(
    place: &str,
    typed: Option<&str>,
    endpoint: &Endpoint,
    context: &mut Context<'_>,
) -> Option<Proxy> {
    let key = format!("{place}.proxy");
    let Some(typed) = typed else {
        let found = of_environment(endpoint, context.environment);
        return found.unwrap_or_else(|(name, error)| {
            let mut problem = Problem::new(key, error, remedy(error));
            problem.origin = Some(format!("`{name}`"));
            context.findings.add(problem);
            None
        });
    };
    if typed == NONE {
        return None;
    }
    if endpoint.socket.is_some() {
        let rule = "is given, but `url` is a Unix socket";
        context.refuse(&key, rule, "take it out");
        return None;
    }
    if typed.contains('@') && context.layered.origin(&key).is_none() {
        let rule = "a secret does not belong in the configuration";
        let variable = key
            .replace(['[', '.'], "__")
            .replace(']', "")
            .to_uppercase();
        let remedy = format!(
            "set the whole URL from the environment: `{PREFIX}{variable}`, or `HTTPS_PROXY` for all"
        );
        context.refuse(&key, rule, &remedy);
        return None;
    }
    match Proxy::parse(typed) {
        Ok(proxy) => Some(proxy),
        Err(error) => {
            let problem = Problem::new(key, error, remedy(error));
            let problem = match typed.contains('@') {
                true => problem,
                false => problem.found(typed),
            };
            context.findings.add(problem);
            None
        }
    }
}

fn remedy(error: ProxyError) -> &'static str {
    match error {
        ProxyError::Syntax => "write scheme, host and port, or `proxy: none` to go straight",
        ProxyError::Scheme => "name an `http://` proxy, or write `proxy: none` to go straight",
    }
}

/// The proxy that the environment names for this endpoint.
///
/// # Errors
/// With the variable that names none.
pub fn of_environment<'v>(
    endpoint: &Endpoint,
    environment: &'v Environment,
) -> Result<Option<Proxy>, (&'static str, ProxyError)> {
    let first = |names: &[&'static str]| -> Option<(&'static str, &'v str)> {
        let mut set = names
            .iter()
            .filter_map(|name| Some((*name, environment.get(name)?)));
        set.find(|(_, value)| !value.is_empty())
    };
    // A web server hands the client's header `Proxy` to a CGI program as `HTTP_PROXY`.
    let in_cgi = first(&["REQUEST_METHOD"]).is_some();
    let by_scheme: &[&'static str] = match (endpoint.tls.is_some(), in_cgi) {
        (true, _) => &["HTTPS_PROXY", "https_proxy"],
        (false, false) => &["HTTP_PROXY", "http_proxy"],
        (false, true) => &["http_proxy"],
    };
    let named = first(by_scheme).or_else(|| first(&["ALL_PROXY", "all_proxy"]));
    let Some((name, url)) = named.filter(|_| endpoint.socket.is_none()) else {
        return Ok(None);
    };
    let exempt = first(&["NO_PROXY", "no_proxy"]).map_or("", |(_, list)| list);
    if is_exempt(&endpoint.host, endpoint.port, exempt) {
        return Ok(None);
    }
    Proxy::parse(url).map(Some).map_err(|error| (name, error))
}

/// Whether the host is asked without a proxy: it is this machine, or an entry of the list fits.
fn is_exempt(host: &str, port: u16, list: &str) -> bool {
    let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    let host = host.to_lowercase();
    list.split(',').any(|entry| {
        let entry = entry.trim().to_lowercase();
        fits(&entry, &host, address, port)
    })
}

/// `*`, `10.0.0.0/8`, `10.0.0.1[:port]`, `example.com[:port]` with everything below it, and `.example.com` or
/// `*.example.com` without it.
fn fits(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = network(entry) {
        return address.is_some_and(|address| is_in(address, network, bits));
    }
    let (name, only_port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (entry, None),
    };
    let fits_port = only_port.is_none_or(|only| only.is_empty() || *only == port.to_string());
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let bare = bare.filter(|_| only_port.is_some()).unwrap_or(name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return address == Some(ip.to_canonical()) && fits_port;
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    let fits_name = match name.strip_prefix('.') {
        Some("") => false,
        Some(_) => host.ends_with(name),
        None => host
            .strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    };
    !name.is_empty() && address.is_none() && fits_name && fits_port
}

fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = entry.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn chosen(pairs: &[(&str, &str)], url: &str) -> Option<String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        let found = of_environment(&Endpoint::parse(url).unwrap(), &environment);
        found.unwrap().map(|proxy| proxy.to_string())
    }

    /// Made by `tests/oracle/proxy_oracle.go` from Go's own `http.ProxyFromEnvironment`.
    #[test]
    fn the_environment_means_what_it_means_to_go() {
        let golden = include_str!("../../tests/golden/proxies.jsonl");
        let mut cases = 0;
        for line in golden.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let environment = case["env"].as_object().unwrap();
            let pairs = environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            let pairs: Vec<_> = pairs.collect();
            for (url, expected) in case["proxies"].as_object().unwrap() {
                let found = chosen(&pairs, url).unwrap_or_default();
                assert_eq!(found, expected.as_str().unwrap(), "{pairs:?} {url}");
                cases += 1;
            }
        }
        assert!(cases > 500, "{cases}");
    }

    #[test]
    fn all_proxy_comes_last_and_a_cgi_program_trusts_lower_case_only() {
        let all = ("ALL_PROXY", "http://all:1");
        assert_eq!(chosen(&[all], "http://h"), Some("http://all:1".to_owned()));
        let own = [all, ("HTTPS_PROXY", "s:2"), ("NO_PROXY", "x")];
        assert_eq!(chosen(&own, "https://h"), Some("http://s:2".to_owned()));
        assert_eq!(chosen(&own, "https://x"), None);
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil:1")];
        assert_eq!(chosen(&cgi, "http://h"), None);
        let lower = [
            ("REQUEST_METHOD", "GET"),
            ("HTTP_PROXY", "evil:1"),
            ("http_proxy", "p:1"),
        ];
        assert_eq!(chosen(&lower, "http://h"), Some("http://p:1".to_owned()));
        assert_eq!(chosen(&[all], "unix:///run/llm.sock"), None);
        let bad = Environment::from_pairs([("HTTPS_PROXY", "socks5://p")]);
        let found = of_environment(&Endpoint::parse("https://h").unwrap(), &bad);
        assert_eq!(found, Err(("HTTPS_PROXY", ProxyError::Scheme)));
    }
}
