//! Whose requests are signed, and for which region.

use super::raw::RawAws;
use super::resolve::Context;
use crate::base::secret::Secret;
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
    /// The name of its runtime, where that is known.
    pub(super) runtime: Option<&'static str>,
    /// The service that wants its requests signed.
    pub(super) service: Option<&'static str>,
    /// As in the URL.
    pub(super) host: Option<&'a str>,
}

impl<'a> Peer<'a> {
    /// Where a service of Amazon answers, as far as its host says.
    pub(super) fn region(self) -> Option<&'a str> {
        self.service.and(self.host).and_then(region_of_host)
    }
}

/// A signature that the file asks for; `place` is the target's.
pub(super) fn auth(place: &str, raw: RawAws, peer: Peer<'_>, context: &mut Context<'_>) -> Auth {
    // A runtime that is none has been refused already.
    let is_told = context.findings.has_below(&format!("{place}.runtime"));
    if peer.service.is_none() && !is_told {
        let rule = match peer.runtime {
            Some(runtime) => format!("is given, but `{runtime}` reads no signature"),
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
    let is_open = auth == Auth::None && !own && !refused;
    let Some(service) = peer.service.filter(|_| is_open) else {
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
    let of_profile = region_of_profile(profile.as_deref(), &variables);
    // A profile that the file names must be there; one of the environment may come to be there.
    if let (Some(_), Err(error)) = (&profile, &of_profile) {
        let remedy = "correct the name, or `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`";
        context.refuse(&format!("{place}.profile"), error, remedy);
        return None;
    }
    let key = format!("{place}.region");
    let of_host = host.and_then(region_of_host);
    if let Some(region) = &region {
        check_region(&key, region, of_host, context);
    }
    let known = region.as_deref().or(of_host).or_else(|| variables.region());
    let region = match (known, of_profile) {
        (Some(region), _) => region.to_owned(),
        (None, Ok(Some(region))) => region,
        (None, found) => {
            refuse_without_region(&key, found.err(), context);
            return None;
        }
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
    if region.is_empty() || !region.bytes().all(fits) {
        context.refuse(
            key,
            "is no name of a region",
            "write it like `eu-central-1`",
        );
    } else if let Some(other) = of_host.filter(|other| *other != region) {
        let rule = format!("is not the region of `url`, `{other}`");
        context.refuse(key, rule, "take it out, or correct the URL");
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::{Findings, Problems};
    use super::super::{Environment, LoadInput, source};
    use super::*;

    const BEDROCK: &str = "bedrock-runtime.eu-west-1.amazonaws.com";
    const GATEWAY: &str = "gateway.example";

    fn peer<'a>(service: &'static str, host: &'a str) -> Peer<'a> {
        Peer {
            runtime: Some(service),
            service: Some(service),
            host: Some(host),
        }
    }

    /// What a check says in this environment, or all its problems.
    fn judged(
        pairs: &[(&str, &str)],
        check: impl FnOnce(&mut Context<'_>) -> Auth,
    ) -> Result<Auth, String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        let input = LoadInput {
            path: None,
            file: None,
            environment: &environment,
            overrides: Vec::new(),
        };
        let mut findings = Findings::default();
        let layered = source::merge(&input, &mut findings).unwrap();
        let mut context = Context {
            environment: &environment,
            layered: &layered,
            folder: None,
            findings,
        };
        let auth = check(&mut context);
        match context.findings.problems {
            problems if problems.is_empty() => Ok(auth),
            problems => Err(Problems::new("sonde.yaml", problems).to_string()),
        }
    }

    /// The region that is signed for, with this one in the file.
    fn region(typed: Option<&str>, host: &str, pairs: &[(&str, &str)]) -> Result<String, String> {
        let raw = RawAws {
            region: typed.map(str::to_owned),
            profile: None,
        };
        let home = [("HOME", "/nowhere")];
        let pairs = [pairs, &home].concat();
        match judged(&pairs, |context| {
            auth("t", raw, peer("bedrock", host), context)
        })? {
            Auth::Aws(signer) => Ok(signer.settings().region.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_region_is_that_of_the_host_before_that_of_the_environment() {
        let old = ("AWS_DEFAULT_REGION", "us-east-1");
        let new = ("AWS_REGION", "us-east-2");
        for (typed, host, pairs, expected) in [
            (None, BEDROCK, &[old, new][..], "eu-west-1"),
            (Some("eu-west-1"), BEDROCK, &[], "eu-west-1"),
            (Some("eu-west-3"), GATEWAY, &[old, new], "eu-west-3"),
            (None, GATEWAY, &[old, new], "us-east-2"),
            (None, GATEWAY, &[old], "us-east-1"),
        ] {
            assert_eq!(region(typed, host, pairs).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_region_that_is_missing_or_wrong_is_refused() {
        let missing = region(None, GATEWAY, &[]).unwrap_err();
        assert_eq!(
            missing,
            "sonde.yaml: 1 problem\n  t.auth.aws.region: is required where the host of `url` names none and the \
             environment neither\n    hint: write the service's region, such as `eu-central-1`, or set `AWS_REGION`"
        );
        let other = region(Some("us-east-1"), BEDROCK, &[]).unwrap_err();
        let rule = "t.auth.aws.region: is not the region of `url`, `eu-west-1`";
        assert!(other.contains(rule), "{other}");
        let odd = region(Some("Frankfurt"), GATEWAY, &[]).unwrap_err();
        assert!(
            odd.contains("t.auth.aws.region: is no name of a region"),
            "{odd}"
        );
        let lost = region(None, GATEWAY, &[("AWS_PROFILE", "nobody")]).unwrap_err();
        assert!(
            lost.contains("profile `nobody`: it is in none of"),
            "{lost}"
        );
    }

    #[test]
    fn a_profile_that_the_file_names_must_be_there() {
        let raw = RawAws {
            region: None,
            profile: Some("probes".to_owned()),
        };
        let check = |context: &mut Context<'_>| auth("t", raw, peer("bedrock", BEDROCK), context);
        let found = judged(&[("HOME", "/nowhere")], check).unwrap_err();
        let named = "t.auth.aws.profile: no AWS credentials from the profile `probes`: it is in none of \
                     `/nowhere/.aws/credentials`, `/nowhere/.aws/config`";
        assert!(found.contains(named), "{found}");
    }

    #[test]
    fn without_a_word_a_service_of_aws_gets_what_amazons_tools_would_send() {
        let key = (BEDROCK_KEY.1, "hunter2");
        let own = (AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        let wanted = |service, headers: &[(HeaderName, HeaderValue)], pairs: &[_]| {
            let peer = peer(service, BEDROCK);
            let check =
                |context: &mut Context<'_>| unless_proved("t", Auth::None, headers, peer, context);
            judged(pairs, check).unwrap()
        };
        assert!(matches!(wanted("bedrock", &[], &[]), Auth::Aws(_)));
        assert!(matches!(wanted("bedrock", &[], &[key]), Auth::Bearer(_)));
        assert!(matches!(wanted("sagemaker", &[], &[key]), Auth::Aws(_)));
        assert_eq!(wanted("bedrock", &[own], &[key]), Auth::None);
    }

    #[test]
    fn whoever_wants_no_signature_gets_none() {
        let peer = Peer {
            service: None,
            ..peer("vllm", GATEWAY)
        };
        let check = |context: &mut Context<'_>| unless_proved("t", Auth::None, &[], peer, context);
        assert_eq!(judged(&[], check), Ok(Auth::None));
    }
}
