//! What requests carry to prove who they are: authentication and headers.

use super::aws::{self, Peer};
use super::google;
use super::raw::RawAuth;
use super::resolve::Context;
use super::secret;
use crate::base::secret::Secret;
use crate::transport::Auth;
use http::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Headers that frame the message or mark it as a probe's: the request would break, or could not
/// be told apart.
const OWN_HEADERS: [&str; 6] = [
    "accept-encoding",
    "connection",
    "content-length",
    "te",
    "transfer-encoding",
    "x-llm-probe",
];

/// Headers whose values are secret by their nature.
const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "x-auth-token",
];

/// How requests to the target at this place prove who they are.
pub(super) fn auth(target: &str, raw: RawAuth, peer: Peer<'_>, context: &mut Context<'_>) -> Auth {
    let RawAuth {
        bearer_env,
        bearer_file,
        username,
        password_env,
        password_file,
        aws,
        google,
    } = raw;
    let place = format!("{target}.auth");
    let has_bearer = bearer_env.is_some() || bearer_file.is_some();
    let has_password = password_env.is_some() || password_file.is_some();
    if has_bearer && (username.is_some() || has_password) {
        let rule = "mixes a bearer token with a user name or password";
        context.refuse(&place, rule, "keep one of the two ways");
        return Auth::None;
    }
    if let Some(raw) = aws {
        if has_bearer || username.is_some() || has_password || google.is_some() {
            let rule = "mixes a signature with another proof";
            context.refuse(&place, rule, "keep one of the two ways");
            return Auth::None;
        }
        return aws::auth(target, raw, peer, context);
    }
    if let Some(raw) = google {
        if has_bearer || username.is_some() || has_password {
            let rule = "mixes an access token with another proof";
            context.refuse(&place, rule, "keep one of the two ways");
            return Auth::None;
        }
        return google::auth(target, raw, context);
    }
    let bearer = (bearer_env.as_deref(), bearer_file.as_deref());
    if let Some(source) = secret::source(&place, "bearer", bearer, context) {
        return Auth::Bearer(source);
    }
    match (username, has_password) {
        (None, false) => Auth::None,
        // A password that was taken out was given all the same.
        _ if context.findings.has_below(&place) => Auth::None,
        (None, true) => {
            let key = format!("{place}.username");
            context.refuse(&key, "is required beside a password", "add it");
            Auth::None
        }
        (Some(_), false) => {
            let rule = "has a user name without a password";
            context.refuse(&place, rule, "add `password_env` or `password_file`");
            Auth::None
        }
        (Some(username), true) => {
            if username.contains(':') {
                let rule = "holds a colon, which basic authentication cannot send";
                context.refuse(&format!("{place}.username"), rule, "take the colon out");
            }
            let password = (password_env.as_deref(), password_file.as_deref());
            secret::source(&place, "password", password, context)
                .map_or(Auth::None, |password| Auth::Basic { username, password })
        }
    }
}

type HeaderMap = Option<BTreeMap<String, String>>;

/// Headers by name; every value is marked sensitive, so that it never prints itself.
pub(super) fn headers(
    place: &str,
    maps: [(&str, HeaderMap); 3],
    context: &mut Context<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (map, entries) in maps {
        for (name, text) in entries.unwrap_or_default() {
            let key = format!("{place}.{map}.{name}");
            let Some(header) = header_name(&key, &name, map == "headers", context) else {
                continue;
            };
            if headers.iter().any(|(taken, _)| *taken == header) {
                context.refuse(&key, "is given twice", "keep one of them");
                continue;
            }
            let value = match map {
                "headers_env" => secret::from_variable(&key, &text, context),
                "headers_file" => secret::from_file(&key, &text, context).map(|(_, secret)| secret),
                _ if secret::literal_reference(&key, &text, context) => None,
                _ => Some(Secret::new(text)),
            };
            let Some(value) = value else {
                continue;
            };
            match HeaderValue::try_from(value.expose()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.push((header, value));
                }
                Err(_) => {
                    let rule = "has a value with characters that an HTTP header cannot hold";
                    context.refuse(&key, rule, "use visible ASCII only");
                }
            }
        }
    }
    headers
}

fn header_name(
    key: &str,
    name: &str,
    in_clear: bool,
    context: &mut Context<'_>,
) -> Option<HeaderName> {
    let Ok(header) = HeaderName::try_from(name) else {
        context.refuse(
            key,
            "is no name of an HTTP header",
            "use letters, digits and `-`",
        );
        return None;
    };
    if OWN_HEADERS.contains(&header.as_str()) {
        let rule = "is a header that Sonde sets itself";
        context.refuse(key, rule, "take it out");
        return None;
    }
    if in_clear && SECRET_HEADERS.contains(&header.as_str()) {
        let rule = "a secret does not belong in the configuration";
        let remedy = match header.as_str() {
            "authorization" => {
                "use `auth`, or name its variable in `headers_env` or its file in `headers_file`"
            }
            _ => "name its variable in `headers_env` or its file in `headers_file`",
        };
        context.refuse(key, rule, remedy);
        return None;
    }
    Some(header)
}
