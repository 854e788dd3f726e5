//! A role for a token: `AssumeRoleWithWebIdentity` of the Security Token Service, which IRSA on EKS goes by.

use crate::base::secret::Secret;
use crate::transport::SecretSource;
use crate::transport::lease::Lease;
use crate::transport::question::{Question, form, refusal};
use crate::transport::sigv4::AwsCredentials;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use roxmltree::Document;
use std::path::PathBuf;
use std::time::Duration;

/// Shorter than the time that a run has to connect, so that the run can say what has failed.
const TIME_LIMIT: Duration = Duration::from_secs(3);
const SESSION: &str = "sonde";

/// Which role is wanted, and what shows that we may have it.
pub(super) struct WebIdentity<'a> {
    pub(super) token_file: &'a str,
    pub(super) role_arn: &'a str,
    /// What the role's session is called in audit logs.
    pub(super) session: Option<&'a str>,
    /// The service's URL.
    pub(super) url: &'a str,
}

impl WebIdentity<'_> {
    /// Asks for the role's credentials, for as long as the service gives them by default: an hour.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn assume_role(&self) -> Result<Lease<AwsCredentials>, String> {
        let token = SecretSource::File(PathBuf::from(self.token_file));
        let token = token.read().await;
        let token = token.map_err(|error| format!("cannot read `{}`: {error}", self.token_file))?;
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.role_arn),
            ("RoleSessionName", self.session.unwrap_or(SESSION)),
            ("WebIdentityToken", token.expose()),
        ]);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let question = Question {
            method: Method::POST,
            url: self.url,
            headers: vec![(CONTENT_TYPE, kind)],
            body,
            limit: TIME_LIMIT,
        };
        let (status, body) = question.ask().await?;
        let text = String::from_utf8_lossy(&body);
        let document = Document::parse(&text);
        if status != StatusCode::OK {
            let document = document.ok();
            let said = document.as_ref().and_then(said);
            return Err(refusal(status, said.as_deref()));
        }
        let lease = document.ok().as_ref().and_then(lease);
        lease.ok_or_else(|| "the answer of STS holds no credentials".to_owned())
    }
}

fn lease(document: &Document<'_>) -> Option<Lease<AwsCredentials>> {
    let text = |name| element(document, name);
    Some(Lease {
        credentials: AwsCredentials {
            access_key_id: text("AccessKeyId")?.to_owned(),
            secret_access_key: Secret::new(text("SecretAccessKey")?),
            session_token: Some(Secret::new(text("SessionToken")?)),
        },
        expires: Some(text("Expiration")?.parse::<Timestamp>().ok()?),
    })
}

fn said(document: &Document<'_>) -> Option<String> {
    let code = element(document, "Code")?;
    let message = element(document, "Message").unwrap_or_default();
    Some(format!("{code}: {message}"))
}

/// The text of the first element of that name, in whatever namespace.
fn element<'a>(document: &'a Document<'_>, name: &str) -> Option<&'a str> {
    let mut all = document.descendants();
    let found = all.find(|node| node.tag_name().name() == name)?;
    found.text().map(str::trim)
}
