//! Who asks, where Google wants an access token: found as Google's own libraries find it, renewed before it expires.
//!
//! Our own, since Google's crate for it brings some sixty others and an HTTP client, and does not say what it has
//! tried. Not done: workload identity federation, impersonation, programs that print credentials. A file that needs
//! them is refused by its type.

mod assertion;
mod chain;
mod file;
mod metadata;
#[cfg(test)]
mod tests;
mod token;

use super::lease::Leases;
use super::question::secret_header;
use crate::base::clock::wall_now;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use token::Token;

/// What a token may be used for: all that its owner may do. Vertex AI has no narrower one.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Who pays, where the credentials are a person's.
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoogleError {
    /// Nobody has credentials. Holds the places that were looked at, each with what was wrong there.
    #[error(
        "no Google credentials, though Sonde has looked at {}; hint: give the pod a service account (Workload Identity on GKE), or name a key file in `auth.google.credentials_file`",
        .0.join("; ")
    )]
    Nowhere(Vec<String>),
    /// Whoever is to have them does not give them.
    #[error("no Google credentials from {place}: {reason}")]
    Refused {
        /// Who is to have them.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}

/// The environment variables that Google's libraries go by, as far as Sonde does. None holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleVariables(BTreeMap<&'static str, String>);

impl GoogleVariables {
    const NAMES: [&str; 7] = [
        "CLOUDSDK_CONFIG",
        "GCE_METADATA_HOST",
        "GCE_METADATA_ROOT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_QUOTA_PROJECT",
        "HOME",
        "NO_GCE_CHECK",
    ];

    /// Takes what an environment has of them. An empty variable counts as none.
    pub fn read<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let set = Self::NAMES.iter().filter_map(|name| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some((*name, value.to_owned()))
        });
        Self(set.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where `gcloud auth application-default login` leaves credentials.
    fn well_known_file(&self) -> Option<PathBuf> {
        let folder = self.get("CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(Path::new(self.get("HOME")?).join(".config/gcloud")));
        folder.map(|folder| folder.join("application_default_credentials.json"))
    }
}

/// Where access tokens come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleSettings {
    /// The file of a service account's key, or of a person's credentials, rather than the application default.
    pub credentials_file: Option<PathBuf>,
    /// Where credentials may be.
    pub variables: GoogleVariables,
}

/// Proves requests by an access token. Clones share the one that they have.
#[derive(Clone)]
pub struct GoogleCredentials {
    settings: Arc<GoogleSettings>,
    leases: Arc<Leases<Token>>,
}

impl GoogleCredentials {
    /// Has no token yet.
    pub fn new(settings: GoogleSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            leases: Arc::default(),
        }
    }

    /// Adds the headers that show the token.
    pub(super) async fn prove(&self, headers: &mut HeaderMap) -> Result<(), GoogleError> {
        let found = chain::find(&self.settings);
        let token = self.leases.credentials(wall_now(), found).await?;
        let refused = |reason| GoogleError::Refused {
            place: "the token's issuer".to_owned(),
            reason,
        };
        let bearer = format!("Bearer {}", token.secret.expose());
        headers.insert(AUTHORIZATION, secret_header(&bearer).map_err(refused)?);
        if let Some(project) = &token.quota_project {
            let value = HeaderValue::try_from(project);
            let value = value.map_err(|_| refused("`quota_project_id` fits no header".to_owned()));
            headers.insert(QUOTA_PROJECT, value?);
        }
        Ok(())
    }
}

/// By the settings: what was found is no difference.
impl PartialEq for GoogleCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for GoogleCredentials {}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
