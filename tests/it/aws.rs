//! Requests to Amazon's services are signed, and the fake checks that as they do.

use crate::support::{probe, quick, run, scenario, simulate, target};
use sonde::base::secret::Secret;
use sonde::probe::{Observation, Outcome, TargetSettings};
use sonde::simulate::Character;
use sonde::transport::{Auth, AwsSettings, AwsSigner, AwsVariables, SecretSource};
use std::sync::Arc;

/// Each service, with names that are encoded once on the wire and twice in what is signed.
const SERVICES: [(&str, &str); 4] = [
    (
        "bedrock",
        "arn:aws:bedrock:eu-central-1::foundation-model/meta.sim",
    ),
    ("bedrock-invoke", "us.meta.sim"),
    ("sagemaker", "sim"),
    ("sagemaker-tgi", "sim"),
];

fn signer(id: &str, secret: &str) -> Auth {
    let variables = AwsVariables::read(|name| match name {
        "AWS_ACCESS_KEY_ID" => Some(id),
        "AWS_SECRET_ACCESS_KEY" => Some(secret),
        "AWS_SESSION_TOKEN" => Some("token"),
        _ => None,
    });
    Auth::Aws(AwsSigner::new(AwsSettings {
        region: "eu-central-1".to_owned(),
        profile: None,
        variables,
    }))
}

async fn run_as(auth: Auth, (runtime, model): (&str, &str), url: &str) -> Observation {
    let mut target = TargetSettings {
        model: Some(Arc::from(model)),
        ..target(runtime, url)
    };
    target.endpoint.auth = auth;
    run(&probe(target, scenario())).await
}

#[tokio::test]
async fn a_run_that_is_signed_with_the_key_is_answered_and_no_other() {
    let server = simulate(Character {
        aws_key: Some("AKIDEXAMPLE:right".parse().unwrap()),
        ..quick()
    })
    .await;
    for service in SERVICES {
        let good = run_as(signer("AKIDEXAMPLE", "right"), service, &server.url()).await;
        assert_eq!(
            good.outcome,
            Outcome::Success,
            "{service:?}: {:?}",
            good.failure
        );
        for (auth, why) in [
            (
                signer("AKIDEXAMPLE", "wrong"),
                "InvalidSignatureException: ",
            ),
            (
                signer("AKIDOTHER", "right"),
                "UnrecognizedClientException: ",
            ),
            (Auth::None, "MissingAuthenticationTokenException: "),
        ] {
            let bad = run_as(auth, service, &server.url()).await;
            assert_eq!(bad.outcome, Outcome::Auth, "{service:?}");
            let message = bad.failure.unwrap().message;
            assert!(message.contains(why), "{service:?}: {message}");
        }
    }
}

#[tokio::test]
async fn a_key_of_the_service_travels_as_a_bearer_token() {
    let server = simulate(Character {
        aws_key: Some("AKIDEXAMPLE:right".parse().unwrap()),
        api_key: Some("bedrock-api-key".to_owned()),
        ..quick()
    })
    .await;
    let bearer = Auth::Bearer(SecretSource::Value(Secret::new("bedrock-api-key")));
    let good = run_as(bearer, ("bedrock", "sim"), &server.url()).await;
    assert_eq!(good.outcome, Outcome::Success, "{:?}", good.failure);
}
