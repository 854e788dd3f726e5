//! Credentials from an address that only this container or this machine reaches: that of EKS Pod Identity and of ECS,
//! and EC2's instance metadata.

use super::AwsVariables;
use crate::base::secret::Secret;
use crate::transport::lease::Lease;
use crate::transport::question::{Question, refusal, secret_header, taken_apart};
use crate::transport::sigv4::AwsCredentials;
use crate::transport::{Endpoint, SecretSource};
use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// As in botocore.
const CONTAINER_TIME_LIMIT: Duration = Duration::from_secs(2);
/// As in botocore. Where there is no such service, nobody answers.
const INSTANCE_TIME_LIMIT: Duration = Duration::from_secs(1);
/// What `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` goes behind.
const ECS: &str = "http://169.254.170.2";
/// Who may be asked in clear, beside this machine: the endpoints of ECS and of EKS, the latter in IPv4 and IPv6.
const LINK_LOCAL: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_ROLES: &str = "latest/meta-data/iam/security-credentials/";
const INSTANCE_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const INSTANCE_TOKEN_TTL: HeaderName =
    HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: Timestamp,
}

/// What is wrong with it is not said: serde would repeat a part of it.
fn lease(body: &[u8]) -> Result<Lease<AwsCredentials>, String> {
    let given: Given = serde_json::from_slice(body)
        .map_err(|_| "the answer holds no complete credentials".to_owned())?;
    Ok(Lease {
        credentials: AwsCredentials {
            access_key_id: given.access_key_id,
            secret_access_key: Secret::new(given.secret_access_key),
            session_token: Some(Secret::new(given.token)),
        },
        expires: Some(given.expiration),
    })
}

/// Where the container's own endpoint is; `None` where there is none.
pub(super) fn container_url(variables: &AwsVariables) -> Option<String> {
    let relative = variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let relative = relative.map(|path| format!("{ECS}{path}"));
    relative.or_else(|| {
        let full = variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")?;
        Some(full.to_owned())
    })
}

/// Asks the container's endpoint.
///
/// # Errors
/// Why it gives nothing.
pub(super) async fn of_container(
    url: &str,
    variables: &AwsVariables,
) -> Result<Lease<AwsCredentials>, String> {
    let (endpoint, _) = taken_apart(url)?;
    if !may_be_asked(&endpoint) {
        return Err(format!(
            "`{}` is neither this machine, nor one of {}, nor under TLS, so it is not asked",
            endpoint.host,
            LINK_LOCAL.join(", ")
        ));
    }
    let mut headers = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
    if let Some(token) = container_token(variables).await? {
        headers.push((AUTHORIZATION, secret_header(token.expose())?));
    }
    let question = Question {
        method: Method::GET,
        url,
        headers,
        body: String::new(),
        limit: CONTAINER_TIME_LIMIT,
    };
    match question.ask().await? {
        (StatusCode::OK, body) => lease(&body),
        (status, body) => Err(json_refusal(status, &body)),
    }
}

/// The message in a JSON error, in either of the ways in which Amazon's services write it.
fn json_refusal(status: StatusCode, body: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let said = said.as_ref().and_then(|said| {
        let message = said.get("message").or_else(|| said.get("Message"))?;
        message.as_str()
    });
    refusal(status, said)
}

/// Read for every question: the kubelet renews it.
async fn container_token(variables: &AwsVariables) -> Result<Option<Secret>, String> {
    let Some(path) = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") else {
        return Ok(variables
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(Secret::new));
    };
    let token = SecretSource::File(PathBuf::from(path)).read().await;
    let token = token.map_err(|error| format!("cannot read `{path}`: {error}"))?;
    Ok(Some(token))
}

/// Credentials come from nowhere that somebody on the way could play.
fn may_be_asked(endpoint: &Endpoint) -> bool {
    let host = endpoint.host.as_str();
    let address = host.parse::<IpAddr>().ok();
    let is_known = |address: IpAddr| LINK_LOCAL.iter().any(|known| known.parse() == Ok(address));
    endpoint.tls.is_some()
        || host == "localhost"
        || address.is_some_and(|address| address.is_loopback() || is_known(address))
}

/// Asks EC2's instance metadata, version 2.
///
/// # Errors
/// Why it gives nothing: there is no such service, or the machine has no role.
pub(super) async fn of_instance(variables: &AwsVariables) -> Result<Lease<AwsCredentials>, String> {
    let base = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = base.unwrap_or(INSTANCE).trim_end_matches('/');
    let asked = async |method, path: &str, header| {
        let question = Question {
            method,
            url: &format!("{base}/{path}"),
            headers: vec![header],
            body: String::new(),
            limit: INSTANCE_TIME_LIMIT,
        };
        match question.ask().await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(refusal(status, None)),
        }
    };
    // Six hours, as botocore asks for.
    let ttl = (INSTANCE_TOKEN_TTL, HeaderValue::from_static("21600"));
    let token = asked(Method::PUT, "latest/api/token", ttl).await?;
    let token = secret_header(&String::from_utf8_lossy(&token))?;
    let token = (INSTANCE_TOKEN, token);
    let roles = asked(Method::GET, INSTANCE_ROLES, token.clone()).await?;
    let roles = String::from_utf8_lossy(&roles);
    let role = roles.trim();
    if role.is_empty() {
        return Err("the instance has no role".to_owned());
    }
    let body = asked(Method::GET, &format!("{INSTANCE_ROLES}{role}"), token).await?;
    lease(&body)
}
