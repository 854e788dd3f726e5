//! Whose access tokens prove requests to Google's services, and where Vertex AI is asked.

use super::problem::Problem;
use super::raw::RawGoogle;
use super::resolve::Context;
use super::secret;
use crate::runtime::RuntimeSpec;
use crate::transport::{Auth, Endpoint, GoogleCredentials, GoogleSettings, GoogleVariables};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Where API keys of Google's travel.
const KEY_HEADER: &str = "x-goog-api-key";

/// Access tokens that the file asks for; `place` is the target's.
pub(super) fn auth(place: &str, raw: RawGoogle, context: &mut Context<'_>) -> Auth {
    let RawGoogle { credentials_file } = raw;
    let key = format!("{place}.auth.google.credentials_file");
    let credentials_file = match credentials_file {
        Some(name) => match secret::existing_file(&key, &name, context) {
            Some(path) => Some(path),
            None => return Auth::None,
        },
        None => None,
    };
    let environment = context.environment;
    let variables = GoogleVariables::read(|name| environment.get(name));
    Auth::Google(GoogleCredentials::new(GoogleSettings {
        credentials_file,
        variables,
    }))
}

/// What proves requests to a service of Google's where the file says nothing of it: what Google's libraries would take.
pub(super) fn unless_proved(
    place: &str,
    auth: Auth,
    headers: &[(HeaderName, HeaderValue)],
    runtime: Option<&RuntimeSpec>,
    context: &mut Context<'_>,
) -> Auth {
    let own = |(name, _): &(HeaderName, HeaderValue)| *name == AUTHORIZATION || *name == KEY_HEADER;
    let refused = context.findings.has_below(&format!("{place}.auth"));
    let is_open = auth == Auth::None && !refused && !headers.iter().any(own);
    match runtime.filter(|runtime| is_open && runtime.adapter.takes_google_tokens()) {
        Some(_) => self::auth(place, RawGoogle::default(), context),
        None => auth,
    }
}

/// The location in the URL of a target that Vertex AI answers.
pub(super) fn location<'a>(
    runtime: Option<&RuntimeSpec>,
    endpoint: Option<&'a Endpoint>,
) -> Option<&'a str> {
    let path = endpoint?.base_path.as_str();
    runtime.filter(|runtime| runtime.adapter.takes_google_tokens())?;
    let (_, behind) = path.split_once("/locations/")?;
    behind.split('/').next().filter(|name| !name.is_empty())
}

/// Vertex AI has its models below a project and a location, or, for whoever has a key, below a version alone.
pub(super) fn check_url(
    place: &str,
    runtime: Option<&RuntimeSpec>,
    endpoint: Option<&Endpoint>,
    context: &mut Context<'_>,
) {
    let hosted = runtime.filter(|runtime| runtime.adapter.takes_google_tokens());
    let (Some(_), Some(endpoint)) = (hosted, endpoint) else {
        return;
    };
    let mut parts = endpoint.base_path.rsplit('/');
    let is_version = |part: &str| part.starts_with('v') && part.bytes().any(|b| b.is_ascii_digit());
    let last = parts.next().unwrap_or_default();
    let is_located = matches!(
        (last, parts.next(), parts.next(), parts.next()),
        (location, Some("locations"), Some(project), Some("projects"))
            if !location.is_empty() && !project.is_empty()
    );
    if !is_version(last) && !is_located {
        let rule = "names no project and location";
        let remedy = "write `https://HOST/v1/projects/PROJECT/locations/LOCATION`";
        let problem = Problem::new(format!("{place}.url"), rule, remedy);
        context.findings.add(problem.found(endpoint.url()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, LoadInput, load};
    use super::*;
    use crate::probe::TargetSettings;

    const HOST: &str = "https://europe-west4-aiplatform.googleapis.com/v1";

    /// A target of Vertex AI at this place, with more of its settings as YAML.
    fn target(place: &str, more: &str) -> TargetSettings {
        let text = format!("targets: [{{name: a, url: '{HOST}{place}', model: m{more}}}]");
        let settings = load(LoadInput {
            path: None,
            file: Some(&text),
            environment: &Environment::from_pairs([("KEY", "hunter2"), ("HOME", "/nowhere")]),
            overrides: Vec::new(),
        });
        settings.unwrap().targets.remove(0).settings
    }

    #[test]
    fn without_a_word_vertex_gets_what_googles_libraries_would_send() {
        let located = "/projects/p/locations/europe-west4";
        let auth = |more: &str| target(located, more).endpoint.auth;
        assert!(matches!(auth(""), Auth::Google(_)));
        let own = ", runtime: vertex-anthropic, auth: {google: {}}";
        assert!(matches!(auth(own), Auth::Google(_)));
        assert!(matches!(auth(", auth: {bearer_env: KEY}"), Auth::Bearer(_)));
        assert_eq!(auth(", headers_env: {Authorization: KEY}"), Auth::None);
        let express = target("", ", headers_env: {x-goog-api-key: KEY}");
        assert_eq!(express.endpoint.auth, Auth::None);
    }

    #[test]
    fn the_location_is_the_label_of_the_region() {
        let labels = |place| target(place, "").labels;
        let located = labels("/projects/p/locations/europe-west4");
        assert_eq!(located["region"], "europe-west4");
        assert!(labels("").is_empty());
    }
}
