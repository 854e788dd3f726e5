//! The part of a request that is the same for every dialect: address, proof, our marks; and a small
//! client for questions that are not measured.

use super::aws::SignatureError;
use super::clocks::Clocks;
use super::dial::{DialPhases, Dialer};
use super::exchange::ExchangeError;
use super::google::GoogleError;
use super::http1::{ResponseHead, ThroughProxy};
use super::settings::{Auth, Endpoint};
use crate::base::build::USER_AGENT;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
};
use http::{Method, Request};
use std::time::Duration;

/// Marks probe traffic, so that it can be told apart and subtracted. Its value is the run's id.
pub const PROBE_HEADER: HeaderName = HeaderName::from_static("x-llm-probe");

/// Most bytes of an answer that is not measured.
const SMALL_BODY: usize = 1 << 20;

/// Why a request cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The secret's file cannot be read.
    #[error("cannot read the secret: {0}")]
    Secret(std::io::Error),
    /// The secret holds characters that a header cannot.
    #[error("the secret holds characters that an HTTP header cannot")]
    SecretText,
    /// There are no credentials for a signature, or they make none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// There is no access token.
    #[error(transparent)]
    Google(#[from] GoogleError),
    /// The pieces make no request.
    #[error("the request cannot be built: {0}")]
    Http(#[from] http::Error),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// See [`RequestError`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// See [`super::DialError`].
    #[error(transparent)]
    Dial(#[from] super::DialError),
    /// See [`ExchangeError`].
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What a request is, but for what its endpoint adds.
#[derive(Clone, Debug)]
pub struct RequestParts<'a> {
    /// How it asks.
    pub method: Method,
    /// Path behind the endpoint's prefix, with its slash, and the query if there is one.
    pub path: &'a str,
    /// Its own headers.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The header that carries a key; `None` is `Authorization: Bearer`.
    pub key_header: Option<HeaderName>,
    /// The service that wants its requests signed, by its signing name; `None` wants no signature.
    pub aws_service: Option<&'static str>,
    /// What it says; empty where it says nothing.
    pub body: Bytes,
}

impl<'a> RequestParts<'a> {
    /// A request without headers of its own and without a body.
    pub fn bare(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            headers: &[],
            key_header: None,
            aws_service: None,
            body: Bytes::new(),
        }
    }
}

/// Writes a request to `endpoint`. The user's headers come last and replace ours; a signature is over all of them.
///
/// # Errors
/// When the secret is unreadable, there are no credentials, or the pieces make no request.
pub async fn build_request(
    endpoint: &Endpoint,
    parts: RequestParts<'_>,
) -> Result<Request<Bytes>, RequestError> {
    let RequestParts {
        method,
        path,
        headers,
        key_header,
        aws_service,
        body,
    } = parts;
    let mut request = unproved(endpoint, method, path, body)?;
    let map = request.headers_mut();
    if let Some((name, value)) = proof(&endpoint.auth, key_header).await? {
        map.insert(name, value);
    }
    // Rarely taken, and large: whoever proves may have to ask for credentials first.
    if let Auth::Google(google) = &endpoint.auth {
        Box::pin(google.prove(map)).await?;
    }
    for (name, value) in headers.iter().chain(&endpoint.headers) {
        map.insert(name.clone(), value.clone());
    }
    if let (Auth::Aws(signer), Some(service)) = (&endpoint.auth, aws_service) {
        Box::pin(signer.sign(&mut request, service)).await?;
    }
    Ok(request)
}

/// What any request has.
pub(super) fn unproved(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Bytes>, http::Error> {
    let has_body = !body.is_empty();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", endpoint.base_path))
        .header(HOST, endpoint.authority())
        .header(http::header::USER_AGENT, USER_AGENT)
        .header(ACCEPT, "*/*")
        .body(body)?;
    if has_body {
        let kind = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, kind);
    }
    // Under TLS the proxy has made a tunnel, and sees no request.
    let proxy = endpoint.proxy.as_ref().filter(|_| endpoint.tls.is_none());
    if let Some(value) = proxy.and_then(|proxy| proxy.authorization.clone()) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    if proxy.is_some() {
        let origin = ThroughProxy(format!("http://{}", endpoint.authority()));
        request.extensions_mut().insert(origin);
    }
    Ok(request)
}

async fn proof(
    auth: &Auth,
    key_header: Option<HeaderName>,
) -> Result<Option<(HeaderName, HeaderValue)>, RequestError> {
    let mut name = AUTHORIZATION;
    let text = match auth {
        Auth::None | Auth::Aws(_) | Auth::Google(_) => return Ok(None),
        Auth::Bearer(source) => {
            let key = source.read().await.map_err(RequestError::Secret)?;
            match key_header {
                Some(own) => {
                    name = own;
                    key.expose().to_owned()
                }
                None => format!("Bearer {}", key.expose()),
            }
        }
        Auth::Basic { username, password } => {
            let password = password.read().await.map_err(RequestError::Secret)?;
            let pair = format!("{username}:{}", password.expose());
            format!("Basic {}", STANDARD.encode(pair))
        }
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| RequestError::SecretText)?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

/// Asks something that is not measured, on a connection of its own, and reads at most 1 MiB.
///
/// # Errors
/// When there is no complete answer within `limit`.
pub async fn ask(
    endpoint: &Endpoint,
    dialer: &Dialer,
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<(ResponseHead, Vec<u8>), AskError> {
    let answer = async {
        let parts = RequestParts {
            body,
            ..RequestParts::bare(method, path)
        };
        let request = build_request(endpoint, parts).await?;
        exchange(endpoint, dialer, request).await
    };
    within(limit, answer).await
}

/// As [`ask`], of a request that is written already.
pub(super) async fn ask_as_written(
    endpoint: &Endpoint,
    dialer: &Dialer,
    request: Request<Bytes>,
    limit: Duration,
) -> Result<(ResponseHead, Vec<u8>), AskError> {
    within(limit, exchange(endpoint, dialer, request)).await
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or(Err(AskError::Timeout(limit)))
}

async fn exchange(
    endpoint: &Endpoint,
    dialer: &Dialer,
    request: Request<Bytes>,
) -> Result<(ResponseHead, Vec<u8>), AskError> {
    let mut connection = dialer
        .dial(endpoint, &Clocks::plain(), &mut DialPhases::default())
        .await?;
    let head = connection.send(request).await?;
    let mut body = Vec::new();
    while let Some(chunk) = connection.chunk().await? {
        let room = SMALL_BODY.saturating_sub(body.len());
        body.extend(chunk.data.iter().take(room));
        if room < chunk.data.len() {
            break;
        }
    }
    Ok((head, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::transport::sigv4::{AMZ_DATE, AwsCredentials, SigningScope, sign};
    use crate::transport::{AwsSettings, AwsSigner, AwsVariables, SecretSource};

    #[tokio::test]
    async fn a_key_travels_in_one_header_and_never_in_the_url() {
        let mut endpoint = Endpoint::parse("https://llm.example/team").unwrap();
        endpoint.auth = Auth::Bearer(SecretSource::Value(Secret::new("hunter2".to_owned())));
        for (key_header, name, value) in [
            (None, "authorization", "Bearer hunter2"),
            (
                Some(HeaderName::from_static("x-api-key")),
                "x-api-key",
                "hunter2",
            ),
        ] {
            let parts = RequestParts {
                key_header,
                ..RequestParts::bare(Method::POST, "/v1beta/models/m:generate?alt=sse")
            };
            let request = build_request(&endpoint, parts).await.unwrap();
            let target = "/team/v1beta/models/m:generate?alt=sse";
            assert_eq!(request.uri().to_string(), target);
            let headers = request.headers().iter();
            let telling: Vec<_> = headers.filter(|(_, value)| value.is_sensitive()).collect();
            assert_eq!(telling.len(), 1, "{telling:?}");
            assert_eq!(telling[0].0, name);
            assert_eq!(telling[0].1, value);
        }
    }

    #[tokio::test]
    async fn a_signature_is_over_all_headers_and_only_where_a_service_wants_it() {
        let variables = AwsVariables::read(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKID"),
            "AWS_SECRET_ACCESS_KEY" => Some("hunter2"),
            "AWS_SESSION_TOKEN" => Some("token"),
            _ => None,
        });
        let settings = AwsSettings {
            region: "eu-central-1".to_owned(),
            profile: None,
            variables,
        };
        let mut endpoint = Endpoint::parse("https://llm.example/team").unwrap();
        endpoint.auth = Auth::Aws(AwsSigner::new(settings));
        endpoint.headers = vec![(
            HeaderName::from_static("x-team"),
            HeaderValue::from_static("a"),
        )];
        let parts = |aws_service| RequestParts {
            aws_service,
            body: Bytes::from_static(b"{}"),
            ..RequestParts::bare(Method::POST, "/model/a%3A0/converse")
        };

        let plain = build_request(&endpoint, parts(None)).await.unwrap();
        assert!(plain.headers().values().all(|value| !value.is_sensitive()));

        let signed = build_request(&endpoint, parts(Some("bedrock")));
        let signed = signed.await.unwrap();
        let text = |name| signed.headers()[&name].to_str().unwrap();
        let scope = SigningScope {
            region: "eu-central-1",
            service: "bedrock",
            time: text(AMZ_DATE).parse().unwrap(),
        };
        let credentials = AwsCredentials {
            access_key_id: "AKID".to_owned(),
            secret_access_key: Secret::new("hunter2"),
            session_token: Some(Secret::new("token")),
        };
        for (name, value) in sign(&plain, &credentials, scope).unwrap() {
            assert_eq!(signed.headers()[&name], value);
        }
        let names =
            "SignedHeaders=accept;content-type;host;x-amz-date;x-amz-security-token;x-team,";
        assert!(text(AUTHORIZATION).contains(names));
    }
}
