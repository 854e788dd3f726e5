//! Where credentials are looked for, one place after the other: the order of botocore.

use super::profile::Profile;
use super::region::sts_url;
use super::sts::WebIdentity;
use super::{AwsError, AwsSettings, AwsVariables, metadata};
use crate::base::secret::Secret;
use crate::transport::lease;
use crate::transport::sigv4::AwsCredentials;

type Lease = lease::Lease<AwsCredentials>;

/// What one place has; without a lease, what was missing there.
type Looked = Result<Result<Lease, String>, AwsError>;

/// The first credentials that there are. A place that is to have some and fails ends the search: whoever set it up
/// would not want others used.
///
/// # Errors
/// When there are none.
pub(super) async fn find(settings: &AwsSettings) -> Result<Lease, AwsError> {
    let variables = &settings.variables;
    let mut missing = Vec::new();
    match of_environment(settings)? {
        Ok(lease) => return Ok(lease),
        Err(why) => missing.push(why),
    }
    let profile = profile(settings).await?;
    match of_web_identity(settings, &profile).await? {
        Ok(lease) => return Ok(lease),
        Err(why) => missing.push(why),
    }
    match of_profile(&profile)? {
        Ok(lease) => return Ok(lease),
        Err(why) => missing.push(why),
    }
    match of_container(variables).await? {
        Ok(lease) => return Ok(lease),
        Err(why) => missing.push(why),
    }
    match of_instance(variables).await {
        Ok(lease) => Ok(lease),
        Err(why) => {
            missing.push(why);
            Err(AwsError::Nowhere(missing))
        }
    }
}

fn of_environment(settings: &AwsSettings) -> Looked {
    let get = |name| settings.variables.get(name);
    let place = "the environment";
    if let Some(profile) = &settings.profile {
        return Ok(Err(format!(
            "{place} (not used beside the profile `{profile}`)"
        )));
    }
    let Some(id) = get("AWS_ACCESS_KEY_ID") else {
        return Ok(Err(format!("{place} (`AWS_ACCESS_KEY_ID` is not set)")));
    };
    let Some(secret) = get("AWS_SECRET_ACCESS_KEY") else {
        return Err(AwsError::Refused {
            place: place.to_owned(),
            reason: "`AWS_ACCESS_KEY_ID` is set without `AWS_SECRET_ACCESS_KEY`".to_owned(),
        });
    };
    Ok(Ok(lasting(AwsCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::new(secret),
        session_token: get("AWS_SESSION_TOKEN").map(Secret::new),
    })))
}

/// Read each time, since files are mended and mounted secrets rotate.
async fn profile(settings: &AwsSettings) -> Result<Profile, AwsError> {
    let (wanted, variables) = (settings.profile.clone(), settings.variables.clone());
    let read = tokio::task::spawn_blocking(move || Profile::read(wanted.as_deref(), &variables));
    read.await.unwrap_or_else(|error| {
        Err(AwsError::Refused {
            place: "the shared files".to_owned(),
            reason: error.to_string(),
        })
    })
}

/// The variables have precedence over the profile, one by one, unless the profile is the settings' own choice.
async fn of_web_identity(settings: &AwsSettings, profile: &Profile) -> Looked {
    let own_token = profile.get("web_identity_token_file");
    if own_token.is_none() && profile.get("role_arn").is_some() {
        let reason = "it assumes a role with other credentials (`role_arn`), which Sonde does not; \
                      hint: give the pod that role, or name a profile with keys";
        return Err(profile.refused(reason));
    }
    let variables = &settings.variables;
    let of = |variable, key| {
        let set = variables
            .get(variable)
            .filter(|_| settings.profile.is_none());
        set.or_else(|| profile.get(key))
    };
    let place = "web identity";
    let Some(token_file) = of("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file") else {
        return Ok(Err(format!(
            "{place} (`AWS_WEB_IDENTITY_TOKEN_FILE` is not set)"
        )));
    };
    let refused = |reason| AwsError::Refused {
        place: place.to_owned(),
        reason,
    };
    let role_arn = of("AWS_ROLE_ARN", "role_arn").ok_or_else(|| {
        refused(
            "there is a token, but neither `AWS_ROLE_ARN` nor the profile names a role".to_owned(),
        )
    })?;
    // Where Sonde runs: what is asked may be elsewhere, out of reach of an interface endpoint for STS.
    let home = variables.region().or_else(|| profile.get("region"));
    let url = match variables.get("AWS_ENDPOINT_URL_STS") {
        Some(url) => url.to_owned(),
        None => sts_url(home.unwrap_or(&settings.region)),
    };
    let identity = WebIdentity {
        token_file,
        role_arn,
        session: of("AWS_ROLE_SESSION_NAME", "role_session_name"),
        url: &url,
    };
    let assumed = identity.assume_role().await;
    let lease = assumed.map_err(|reason| refused(format!("{url} for `{role_arn}`: {reason}")))?;
    Ok(Ok(lease))
}

fn of_profile(profile: &Profile) -> Looked {
    if profile.get("sso_account_id").is_some() || profile.get("sso_role_name").is_some() {
        return Err(profile.refused(unsupported("IAM Identity Center (`sso_account_id`)")));
    }
    if let Some(keys) = profile.keys(&profile.credentials)? {
        return Ok(Ok(lasting(keys)));
    }
    for (key, kind) in [
        ("login_session", "a login (`login_session`)"),
        ("credential_process", "a program (`credential_process`)"),
    ] {
        if profile.get(key).is_some() {
            return Err(profile.refused(unsupported(kind)));
        }
    }
    match profile.keys(&profile.config)? {
        Some(keys) => Ok(Ok(lasting(keys))),
        None => Ok(Err(profile.without_keys())),
    }
}

fn unsupported(kind: &str) -> String {
    format!(
        "it has its credentials from {kind}, which Sonde does not ask; \
         hint: put what `aws configure export-credentials` prints into the environment"
    )
}

async fn of_container(variables: &AwsVariables) -> Looked {
    let Some(url) = metadata::container_url(variables) else {
        return Ok(Err(
            "the container's endpoint (`AWS_CONTAINER_CREDENTIALS_FULL_URI` is not set)".to_owned(),
        ));
    };
    let given = metadata::of_container(&url, variables).await;
    let lease = given.map_err(|reason| AwsError::Refused {
        place: format!("the container's endpoint `{url}`"),
        reason,
    })?;
    Ok(Ok(lease))
}

/// The last place, and most machines are no instances: whatever fails here, there is nothing.
async fn of_instance(variables: &AwsVariables) -> Result<Lease, String> {
    let place = "EC2's instance metadata";
    let disabled = variables.get("AWS_EC2_METADATA_DISABLED");
    if disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(format!("{place} (off by `AWS_EC2_METADATA_DISABLED`)"));
    }
    let given = metadata::of_instance(variables).await;
    given.map_err(|why| format!("{place} ({why})"))
}

fn lasting(credentials: AwsCredentials) -> Lease {
    Lease {
        credentials,
        expires: None,
    }
}
