//! Files with credentials: a service account's key, and what `gcloud auth application-default login` writes.

use super::assertion::ServiceAccount;
use super::token::{Token, exchange};
use crate::base::secret::Secret;
use crate::transport::lease::Lease;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

/// Where tokens are given, unless the file says otherwise.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const BY_ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Why a file gives nothing.
pub(super) enum FileProblem {
    /// It is not there.
    Absent,
    /// What is wrong with it.
    Bad(String),
}

/// Who a file says that we are.
enum Owner {
    Account(ServiceAccount),
    Person {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        quota_project: Option<String>,
    },
}

/// What a file holds.
pub(super) struct CredentialsFile {
    owner: Owner,
    token_uri: String,
}

impl CredentialsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// That it is not there, or what is wrong with it. A message repeats nothing of the file but its type.
    pub(super) fn read(path: &Path) -> Result<Self, FileProblem> {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => FileProblem::Absent,
            _ => FileProblem::Bad(format!("it cannot be read: {error}")),
        })?;
        Self::parse(&bytes).map_err(FileProblem::Bad)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let fields: Value = serde_json::from_slice(bytes).map_err(|_| "it is not JSON")?;
        let optional = |name: &str| fields.get(name).and_then(Value::as_str);
        let text = |name: &str| optional(name).ok_or_else(|| format!("it has no `{name}`"));
        let owner = match text("type")? {
            "service_account" => Owner::Account(ServiceAccount {
                email: text("client_email")?.to_owned(),
                key_id: optional("private_key_id").map(str::to_owned),
                private_key: Secret::new(text("private_key")?),
            }),
            "authorized_user" => Owner::Person {
                client_id: text("client_id")?.to_owned(),
                client_secret: Secret::new(text("client_secret")?),
                refresh_token: Secret::new(text("refresh_token")?),
                quota_project: optional("quota_project_id").map(str::to_owned),
            },
            other => return Err(unsupported(other)),
        };
        let token_uri = match &owner {
            // A key names its issuer; Google's libraries want that.
            Owner::Account(_) => text("token_uri")?,
            Owner::Person { .. } => optional("token_uri").unwrap_or(TOKEN_URI),
        };
        Ok(Self {
            owner,
            token_uri: token_uri.to_owned(),
        })
    }

    /// Asks for a token. The environment's quota project has precedence over a person's.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn token(self, quota_project: Option<&str>) -> Result<Lease<Token>, String> {
        let (mut lease, own_project) = match self.owner {
            Owner::Account(account) => {
                // Signing takes a millisecond or so.
                let made = tokio::task::spawn_blocking(move || account.assertion());
                let made = made.await.map_err(|error| error.to_string())??;
                let fields = [("assertion", made.as_str()), ("grant_type", BY_ASSERTION)];
                (exchange(&self.token_uri, &fields).await?, None)
            }
            Owner::Person {
                client_id,
                client_secret,
                refresh_token,
                quota_project,
            } => {
                let fields = [
                    ("client_id", client_id.as_str()),
                    ("client_secret", client_secret.expose()),
                    ("grant_type", "refresh_token"),
                    ("refresh_token", refresh_token.expose()),
                ];
                let given = exchange(&self.token_uri, &fields).await?;
                (given, quota_project)
            }
        };
        let quota_project = quota_project.map(str::to_owned);
        lease.credentials.quota_project = quota_project.or(own_project);
        Ok(lease)
    }
}

fn unsupported(kind: &str) -> String {
    let hint = "hint: on GKE give the pod a service account (Workload Identity), else use a service account's key";
    match kind {
        "external_account" => format!(
            "it is of workload identity federation (`external_account`), which Sonde does not do; {hint}"
        ),
        "external_account_authorized_user"
        | "impersonated_service_account"
        | "gdch_service_account" => {
            format!("it is of type `{kind}`, which Sonde does not do; {hint}")
        }
        _ => "its `type` is neither `service_account` nor `authorized_user`".to_owned(),
    }
}
