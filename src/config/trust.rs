//! Whether the target is who it says: certificates, and warnings where nobody looks.

use super::problem::Problem;
use super::raw::RawTls;
use super::resolve::Context;
use crate::transport::{Auth, Dialer, Endpoint, TlsError, TlsSettings};
use std::net::IpAddr;
use std::path::PathBuf;

/// Reads certificates; warns of secrets in the open.
pub(super) fn dialer(
    place: &str,
    raw: Option<RawTls>,
    endpoint: &mut Endpoint,
    context: &mut Context<'_>,
) -> Option<Dialer> {
    let place = format!("{place}.tls");
    match (&mut endpoint.tls, raw) {
        (Some(settings), Some(raw)) => *settings = tls_settings(&place, raw, context),
        (None, Some(_)) => {
            let rule = match endpoint.socket {
                Some(_) => "is given, but `url` is a Unix socket",
                None => "is given, but the scheme of `url` is `http`",
            };
            context.refuse(&place, rule, "write `https://…`, or take `tls` out");
        }
        (_, None) => {}
    }
    let shown = endpoint.url();
    match &endpoint.tls {
        None if endpoint.auth != Auth::None && !is_local(&endpoint.host) => {
            context.findings.warn(format!(
                "`{shown}` is asked with a secret that is not encrypted"
            ));
        }
        Some(tls) if tls.insecure_skip_verify => {
            context.findings.warn(format!(
                "`{shown}` may be anyone: `insecure_skip_verify` is on"
            ));
        }
        _ => {}
    }
    match Dialer::new(endpoint) {
        Ok(dialer) => Some(dialer),
        Err(error) => {
            let key = tls_key(&place, &error, endpoint.tls.as_ref());
            let remedy = tls_remedy(&error);
            context.findings.add(Problem::new(key, error, remedy));
            None
        }
    }
}

fn tls_settings(place: &str, raw: RawTls, context: &Context<'_>) -> TlsSettings {
    let RawTls {
        ca_file,
        cert_file,
        key_file,
        server_name,
        insecure_skip_verify,
    } = raw;
    let path = |field: &str, name: Option<String>| {
        name.map(|name| context.path(&format!("{place}.{field}"), &name))
    };
    TlsSettings {
        ca_file: path("ca_file", ca_file),
        cert_file: path("cert_file", cert_file),
        key_file: path("key_file", key_file),
        server_name,
        insecure_skip_verify: insecure_skip_verify.unwrap_or(false),
    }
}

/// The key to blame for what the transport says.
fn tls_key(place: &str, error: &TlsError, settings: Option<&TlsSettings>) -> String {
    let field = match error {
        TlsError::Pem { path, .. } => {
            let named = |file: fn(&TlsSettings) -> &Option<PathBuf>| {
                settings.is_some_and(|settings| file(settings).as_ref() == Some(path))
            };
            match (named(|tls| &tls.ca_file), named(|tls| &tls.cert_file)) {
                (true, _) => "ca_file",
                (_, true) => "cert_file",
                _ => "key_file",
            }
        }
        TlsError::ServerName(_) => "server_name",
        TlsError::Certificate(_) => "cert_file",
        TlsError::NoRoots => "ca_file",
        TlsError::HalfPair => return place.to_owned(),
    };
    format!("{place}.{field}")
}

fn tls_remedy(error: &TlsError) -> &'static str {
    match error {
        TlsError::Pem { .. } => {
            "name a PEM file; in the configuration relative paths start at its folder"
        }
        TlsError::HalfPair => "add the other one, or take both out",
        TlsError::ServerName(_) => "write a host name such as `llm.internal`",
        TlsError::Certificate(_) => "check that the key belongs to the certificate",
        TlsError::NoRoots => "set `tls.ca_file`",
    }
}

fn is_local(host: &str) -> bool {
    let loopback = |address: IpAddr| address.is_loopback();
    host == "localhost" || host.parse().is_ok_and(loopback)
}
