//! `sonde detect`.

use super::{CliError, printer};
use crate::base::secret::Secret;
use crate::config::{self, Environment};
use crate::runtime::detect::{Detection, detect};
use crate::transport::{Auth, Dialer, Endpoint, SecretSource};
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub(super) struct DetectArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where to ask, and with which proof.
#[derive(Args)]
pub(super) struct EndpointArgs {
    /// The endpoint, such as http://127.0.0.1:11434
    url: String,
    #[command(flatten)]
    proof: ProofArgs,
}

/// How to prove who we are, and whether to ask for the other side's proof.
#[derive(Args)]
pub(super) struct ProofArgs {
    /// Environment variable that holds a bearer token
    #[arg(long, value_name = "VARIABLE")]
    bearer_env: Option<String>,
    /// Trust any certificate
    #[arg(long)]
    insecure_skip_verify: bool,
}

impl EndpointArgs {
    /// The endpoint with its proof, and the way there.
    pub(super) fn resolve(
        &self,
        environment: &Environment,
    ) -> Result<(Endpoint, Dialer), CliError> {
        self.proof.resolve(&self.url, environment)
    }
}

impl ProofArgs {
    /// The first option that was given, if any.
    pub(super) fn given(&self) -> Option<&'static str> {
        match (&self.bearer_env, self.insecure_skip_verify) {
            (Some(_), _) => Some("--bearer-env"),
            (None, true) => Some("--insecure-skip-verify"),
            (None, false) => None,
        }
    }

    /// The endpoint at this URL with its proof, and the way there.
    pub(super) fn resolve(
        &self,
        url: &str,
        environment: &Environment,
    ) -> Result<(Endpoint, Dialer), CliError> {
        let mut endpoint =
            Endpoint::parse(url).map_err(|error| CliError::Usage(format!("`{url}` {error}")))?;
        endpoint.proxy = config::proxy_of(&endpoint, environment)
            .map_err(|(name, error)| CliError::Usage(format!("`{name}` {error}")))?;
        if let Some(name) = &self.bearer_env {
            let token = environment.get(name).map(Secret::new).ok_or_else(|| {
                CliError::Usage(format!("`--bearer-env {name}`: that variable is not set"))
            })?;
            endpoint.auth = Auth::Bearer(SecretSource::Value(token));
        }
        if let Some(tls) = &mut endpoint.tls {
            tls.insecure_skip_verify = self.insecure_skip_verify;
        }
        let dialer = Dialer::new(&endpoint).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok((endpoint, dialer))
    }
}

impl DetectArgs {
    pub(super) async fn run(self, environment: Environment) -> Result<(), CliError> {
        let (endpoint, dialer) = self.endpoint.resolve(&environment)?;
        let found = detect(&endpoint, &dialer).await;
        let found = found.map_err(|error| CliError::Failed(error.to_string()))?;
        let text = match self.json {
            true => json!({
                "url": endpoint.url(),
                "runtime": found.runtime.name,
                "version": found.version,
                "models": found.models,
                "evidence": found.evidence,
            })
            .to_string(),
            false => describe(&found),
        };
        Ok(printer::line(text)?)
    }
}

fn describe(found: &Detection) -> String {
    let version = found.version.as_deref().unwrap_or("version unknown");
    let mut out = format!(
        "{} ({version}), known by {}\n{}\nmodels:",
        found.runtime.name, found.evidence, found.runtime.summary
    );
    if found.models.is_empty() {
        out.push_str(" none");
    }
    for model in &found.models {
        out.push_str(&format!("\n  {model}"));
    }
    out
}
