//! What is our own: messages, refusals, the name of a region in a host.

use super::super::{chain, metadata};
use super::*;

const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

async fn failure(settings: &AwsSettings) -> String {
    chain::find(settings).await.err().unwrap().to_string()
}

#[tokio::test]
async fn whoever_finds_nothing_says_where_it_has_looked() {
    let message = failure(&settings([OFF, ("HOME", "/nowhere")])).await;
    assert_eq!(
        message,
        "no AWS credentials, though Sonde has looked at the environment (`AWS_ACCESS_KEY_ID` is not set); \
         web identity (`AWS_WEB_IDENTITY_TOKEN_FILE` is not set); the profile `default` (not in \
         `/nowhere/.aws/credentials`, `/nowhere/.aws/config`, or without keys); the container's endpoint \
         (`AWS_CONTAINER_CREDENTIALS_FULL_URI` is not set); EC2's instance metadata (off by \
         `AWS_EC2_METADATA_DISABLED`); hint: give the pod a role (EKS Pod Identity or IRSA), or set \
         `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
    );
}

#[tokio::test]
async fn whoever_fails_says_who_and_why() {
    let folder = Folder::new("aws-messages");
    let home = ("HOME", folder.path());
    for (name, line) in [
        ("role", "role_arn = arn:x\nsource_profile = keys"),
        (
            "sso",
            "sso_session = a\nsso_account_id = 1\nsso_role_name = r",
        ),
        ("program", "credential_process = /bin/echo hunter2"),
        ("login", "login_session = hunter2"),
    ] {
        let config = format!("[profile {name}]\n{line}\n");
        folder.write(".aws/config", &config);
        let message = failure(&settings([OFF, home, ("AWS_PROFILE", name)])).await;
        let start = format!("no AWS credentials from the profile `{name}`: it ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains("; hint: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let nobody = failure(&settings([home, ("AWS_PROFILE", "nobody")])).await;
    let files = format!("`{0}/.aws/credentials`, `{0}/.aws/config`", folder.path());
    assert_eq!(
        nobody,
        format!("no AWS credentials from the profile `nobody`: it is in none of {files}")
    );
    let elsewhere = "http://10.0.0.1:8/a";
    let pairs = [home, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", elsewhere)];
    assert_eq!(
        failure(&settings(pairs)).await,
        "no AWS credentials from the container's endpoint `http://10.0.0.1:8/a`: `10.0.0.1` is neither this \
         machine, nor one of 169.254.170.2, 169.254.170.23, fd00:ec2::23, nor under TLS, so it is not asked"
    );
}

#[test]
fn the_container_of_ecs_is_asked_at_its_usual_address() {
    let path = (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "/v2/credentials/a",
    );
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost/b");
    for (pairs, url) in [
        (
            vec![path, full],
            Some("http://169.254.170.2/v2/credentials/a"),
        ),
        (vec![full], Some("http://localhost/b")),
        (vec![], None),
    ] {
        let found = metadata::container_url(&settings(pairs).variables);
        assert_eq!(found.as_deref(), url);
    }
}

#[test]
fn a_region_is_read_from_amazons_hosts_only() {
    for (host, region) in [
        (
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            Some("us-gov-west-1"),
        ),
        (
            "runtime-fips.sagemaker.us-east-1.amazonaws.com",
            Some("us-east-1"),
        ),
        (
            "vpce-0a1b-2c.bedrock-runtime.eu-central-1.vpce.amazonaws.com",
            Some("eu-central-1"),
        ),
        (
            "vpce-0a1b-2c-eu-central-1a.bedrock-runtime.eu-central-1.vpce.amazonaws.com",
            Some("eu-central-1"),
        ),
        ("bedrock-runtime.eu-central-1.example.com", None),
        ("bedrock-runtime.eu-central-1.notamazonaws.com", None),
        ("amazonaws.com", None),
        ("sts.amazonaws.com", None),
        ("127.0.0.1", None),
    ] {
        assert_eq!(region_of_host(host), region, "{host}");
    }
}

#[test]
fn a_signer_shows_no_secret() {
    let pairs = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "hunter2"),
        ("UNRELATED", "unrelated"),
    ];
    let signer = AwsSigner::new(settings(pairs));
    let shown = format!("{signer:?}");
    assert!(
        shown.contains("AWS_SESSION_TOKEN") && shown.contains("eu-central-1"),
        "{shown}"
    );
    assert!(
        !shown.contains("hunter2") && !shown.contains("UNRELATED"),
        "{shown}"
    );
    assert_eq!(signer, AwsSigner::new(settings(pairs)));
    assert_ne!(signer, AwsSigner::new(settings([])));
}

#[test]
fn the_region_of_a_profile_is_read_from_either_file() {
    let folder = Folder::new("aws-region");
    folder.write(
        ".aws/config",
        "[default]\nregion = eu-west-1\n[profile a]\nregion = eu-west-2\n",
    );
    folder.write(".aws/credentials", "[b]\nregion = eu-west-3\n");
    let home = ("HOME", folder.path());
    let variables = settings([home]).variables;
    let of_a = settings([home, ("AWS_PROFILE", "a")]).variables;
    for (profile, variables, region) in [
        (None, &variables, "eu-west-1"),
        (None, &of_a, "eu-west-2"),
        (Some("b"), &of_a, "eu-west-3"),
    ] {
        let found = region_of_profile(profile, variables).unwrap();
        assert_eq!(found.as_deref(), Some(region));
    }
}
