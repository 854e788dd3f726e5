//! Whose requests are signed, and for which region.

use super::problem::Problem;
use super::raw::RawAws;
use super::resolve::Context;
use crate::base::secret::Secret;
use crate::runtime::RuntimeSpec;
use crate::transport::{
    Auth, AwsError, AwsSettings, AwsSigner, AwsVariables, SecretSource, region_of_host,
    region_of_profile,
};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Where Amazon's SDKs look for an API key of Bedrock, before they sign.
const BEDROCK_KEY: (&str, &str) = ("bedrock", "AWS_BEARER_TOKEN_BEDROCK");

/// Who is asked, as far as a signature depends on it.
#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) runtime: Option<&'static RuntimeSpec>,
    pub(super) host: Option<&'a str>,
}

impl<'a> Peer<'a> {
    fn service(self) -> Option<&'static str> {
        self.runtime?.adapter.aws_service()
    }

    /// Where a service of Amazon answers, as far as its host says.
    pub(super) fn region(self) -> Option<&'a str> {
        self.service().and(self.host).and_then(region_of_host)
    }
}

/// A signature that the file asks for; `place` is the target's.
pub(super) fn auth(place: &str, raw: RawAws, peer: Peer<'_>, context: &mut Context<'_>) -> Auth {
    let is_known = !context.findings.has_below(&format!("{place}.runtime"));
    if peer.service().is_none() && is_known {
        let rule = match peer.runtime {
            Some(runtime) => format!("is given, but `{}` reads no signature", runtime.name),
            None => "is given, but without a runtime that reads signatures".to_owned(),
        };
        let remedy = "take it out, or name a service of AWS in `runtime`";
        context.refuse(&format!("{place}.auth.aws"), rule, remedy);
        return Auth::None;
    }
    signer(place, raw, peer.host, context).map_or(Auth::None, Auth::Aws)
}

/// What proves requests to a service of AWS where the file says nothing of it: what Amazon's SDKs would take.
pub(super) fn unless_proved(
    place: &str,
    auth: Auth,
    headers: &[(HeaderName, HeaderValue)],
    peer: Peer<'_>,
    context: &mut Context<'_>,
) -> Auth {
    let own = headers.iter().any(|(name, _)| *name == AUTHORIZATION);
    let refused = context.findings.has_below(&format!("{place}.auth"));
    let Some(service) = peer
        .service()
        .filter(|_| auth == Auth::None && !own && !refused)
    else {
        return auth;
    };
    let (keyed, variable) = BEDROCK_KEY;
    let key = context.environment.secret(variable);
    match key.filter(|_| service == keyed) {
        Some(key) => bearer(place, variable, key, context),
        None => self::auth(place, RawAws::default(), peer, context),
    }
}

fn bearer(place: &str, variable: &str, key: Secret, context: &mut Context<'_>) -> Auth {
    if HeaderValue::try_from(key.expose()).is_err() {
        let rule = format!("is `{variable}`, which holds characters that an HTTP header cannot");
        context.refuse(
            &format!("{place}.auth"),
            rule,
            "look for line ends inside of it",
        );
        return Auth::None;
    }
    Auth::Bearer(SecretSource::Value(key))
}

fn signer(
    place: &str,
    raw: RawAws,
    host: Option<&str>,
    context: &mut Context<'_>,
) -> Option<AwsSigner> {
    let RawAws { region, profile } = raw;
    let place = format!("{place}.auth.aws");
    let environment = context.environment;
    let variables = AwsVariables::read(|name| environment.get(name));
    // A profile that the file names must be there; one of the environment may come to be there.
    let found = match profile {
        Some(_) => region_of_profile(profile.as_deref(), &variables),
        None => Ok(None),
    };
    let mut of_profile = match found {
        Ok(region) => region,
        Err(error) => {
            let remedy = "correct the name, or `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`";
            context.refuse(&format!("{place}.profile"), error, remedy);
            return None;
        }
    };
    let of_host = host.and_then(region_of_host);
    if let Some(region) = &region {
        check_region(&format!("{place}.region"), region, of_host, context);
    }
    let known = region.as_deref().or(of_host).or_else(|| variables.region());
    let mut why = None;
    if known.is_none() && profile.is_none() {
        match region_of_profile(None, &variables) {
            Ok(region) => of_profile = region,
            Err(error) => why = Some(error),
        }
    }
    let Some(region) = known.or(of_profile.as_deref()).map(str::to_owned) else {
        refuse_without_region(&format!("{place}.region"), why, context);
        return None;
    };
    Some(AwsSigner::new(AwsSettings {
        region,
        profile,
        variables,
    }))
}

fn refuse_without_region(key: &str, why: Option<AwsError>, context: &mut Context<'_>) {
    let rule = "is required where the host of `url` names none and the environment neither";
    let rule = match why {
        Some(error) => format!("{rule} ({error})"),
        None => rule.to_owned(),
    };
    let remedy = "write the service's region, such as `eu-central-1`, or set `AWS_REGION`";
    context.refuse(key, rule, remedy);
}

/// A service accepts no signature for another region than its own.
fn check_region(key: &str, region: &str, of_host: Option<&str>, context: &mut Context<'_>) {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let problem = if region.is_empty() || !region.bytes().all(fits) {
        let remedy = "write it like `eu-central-1`";
        Problem::new(key, "is no name of a region", remedy)
    } else if let Some(other) = of_host.filter(|other| *other != region) {
        let rule = format!("is not the region of `url`, `{other}`");
        Problem::new(key, rule, "take it out, or correct the URL")
    } else {
        return;
    };
    context.findings.add(problem.found(region));
}
