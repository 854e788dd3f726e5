//! Who asks, where requests are signed: credentials found as Amazon's SDKs find them, renewed before they expire.
//!
//! Our own, since Amazon's crate for it, `aws-config`, brings some sixty others and an HTTP client, and does not say
//! what it has tried. Not done: roles that are assumed with other credentials, IAM Identity Center (SSO), programs that
//! print credentials. A profile that needs them is refused by name.

mod chain;
mod metadata;
mod profile;
mod region;
mod sts;
#[cfg(test)]
mod tests;

pub use region::region_of_host;

use super::lease::Leases;
use super::sigv4::{AwsCredentials, SigningError, SigningScope, sign};
use crate::base::clock::wall_now;
use crate::base::secret::Secret;
use bytes::Bytes;
use http::Request;
use profile::Profile;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why there are no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Nobody has any. Holds the places that were looked at, each with what was wrong there.
    #[error(
        "no AWS credentials, though Sonde has looked at {}; hint: give the pod a role (EKS Pod Identity or IRSA), or set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`",
        .0.join("; ")
    )]
    Nowhere(Vec<String>),
    /// Whoever is to have them does not give them.
    #[error("no AWS credentials from {place}: {reason}")]
    Refused {
        /// Who is to have them.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// See [`AwsError`].
    #[error(transparent)]
    Credentials(#[from] AwsError),
    /// See [`SigningError`].
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// The environment variables that Amazon's SDKs go by, as far as Sonde does. Some hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsVariables(BTreeMap<&'static str, Secret>);

impl AwsVariables {
    const NAMES: [&str; 19] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL_STS",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "HOME",
    ];

    /// Takes what an environment has of them. An empty variable counts as none.
    pub fn read<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let set = Self::NAMES.iter().filter_map(|name| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some((*name, Secret::new(value)))
        });
        Self(set.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    /// The region that they name, if they do.
    pub fn region(&self) -> Option<&str> {
        let region = self.get("AWS_REGION");
        region.or_else(|| self.get("AWS_DEFAULT_REGION"))
    }
}

/// How requests to one endpoint are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region that requests are signed for, as in `eu-central-1`.
    pub region: String,
    /// The profile whose credentials are used, rather than those of the environment.
    pub profile: Option<String>,
    /// Where credentials may be.
    pub variables: AwsVariables,
}

/// The region of a profile: of the one named, else of `AWS_PROFILE`, else of `default`. Reads the files that Amazon's
/// tools share.
///
/// # Errors
/// When a file cannot be read, or a profile that is named is in none.
pub fn region_of_profile(
    profile: Option<&str>,
    variables: &AwsVariables,
) -> Result<Option<String>, AwsError> {
    let profile = Profile::read(profile, variables)?;
    Ok(profile.get("region").map(str::to_owned))
}

/// Signs requests. Clones share the credentials that they have found.
#[derive(Clone)]
pub struct AwsSigner {
    settings: Arc<AwsSettings>,
    leases: Arc<Leases<AwsCredentials>>,
}

impl AwsSigner {
    /// Knows no credentials yet.
    pub fn new(settings: AwsSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            leases: Arc::default(),
        }
    }

    /// As set.
    pub fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// Adds the headers of a signature by the service's signing name, over all that the request has now. Neither
    /// Bedrock nor SageMaker wants the body's digest in a header of its own, so there is none.
    pub(super) async fn sign(
        &self,
        request: &mut Request<Bytes>,
        service: &str,
    ) -> Result<(), SignatureError> {
        let now = wall_now();
        let found = chain::find(&self.settings);
        let credentials = self.leases.credentials(now, found).await?;
        let scope = SigningScope {
            region: &self.settings.region,
            service,
            time: wall_now(),
        };
        for (name, value) in sign(request, &credentials, scope)? {
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }
}

/// By the settings: what was found is no difference.
impl PartialEq for AwsSigner {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for AwsSigner {}

impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
