//! Where credentials are looked for, one place after the other: Google's Application Default Credentials.

use super::file::{CredentialsFile, FileProblem};
use super::token::Token;
use super::{GoogleError, GoogleSettings, metadata};
use crate::transport::lease::Lease;
use std::path::PathBuf;

/// A token by the first credentials that there are. A place that is to have some and fails ends the search: whoever
/// set it up would not want others used.
///
/// # Errors
/// When there is none.
pub(super) async fn find(settings: &GoogleSettings) -> Result<Lease<Token>, GoogleError> {
    let variables = &settings.variables;
    let variable = "GOOGLE_APPLICATION_CREDENTIALS";
    let named = settings.credentials_file.clone();
    let named = named.or_else(|| variables.get(variable).map(PathBuf::from));
    if let Some(path) = named {
        let given = of_file(path.clone(), settings).await?;
        return given.ok_or_else(|| refused(&path, "there is no such file"));
    }
    let mut missing = vec![format!("`{variable}` (not set)")];
    match variables.well_known_file() {
        Some(path) => match of_file(path.clone(), settings).await? {
            Some(lease) => return Ok(lease),
            None => missing.push(format!("gcloud's `{}` (not there)", path.display())),
        },
        None => missing.push("gcloud's own file (no `HOME`)".to_owned()),
    }
    match metadata::token(variables).await? {
        Ok(lease) => Ok(lease),
        Err(why) => {
            missing.push(why);
            Err(GoogleError::Nowhere(missing))
        }
    }
}

/// Read each time, since mounted secrets rotate. `None`: it is not there.
async fn of_file(
    path: PathBuf,
    settings: &GoogleSettings,
) -> Result<Option<Lease<Token>>, GoogleError> {
    let at = path.clone();
    let read = tokio::task::spawn_blocking(move || CredentialsFile::read(&at)).await;
    let file = match read {
        Ok(Ok(file)) => file,
        Ok(Err(FileProblem::Absent)) => return Ok(None),
        Ok(Err(FileProblem::Bad(why))) => return Err(refused(&path, why)),
        Err(error) => return Err(refused(&path, error)),
    };
    let quota_project = settings.variables.get("GOOGLE_CLOUD_QUOTA_PROJECT");
    let lease = file.token(quota_project).await;
    lease.map(Some).map_err(|why| refused(&path, why))
}

fn refused(path: &std::path::Path, reason: impl std::fmt::Display) -> GoogleError {
    GoogleError::Refused {
        place: format!("`{}`", path.display()),
        reason: reason.to_string(),
    }
}
