//! Which endpoints a flavor has.

use http::Method;

use super::character::RuntimeFlavor::{
    self, All, LlamaCpp, LlamaEdge, Ollama, Sglang, Tei, TensorRtLlm, Tgi, Triton, Vllm,
};
use super::refusal::Surface;
use super::{aws, azure, gemini, native, ollama, openai, retrieval, triton, vertex};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    OpenAi(openai::Endpoint),
    Ollama(ollama::Endpoint),
    Anthropic,
    Gemini(gemini::Endpoint),
    Vertex(vertex::Endpoint),
    Aws(aws::Endpoint),
    Native(native::Endpoint),
    Responses,
    Azure(openai::Endpoint),
    Cohere,
    Triton(triton::Endpoint),
    TritonServer,
    TritonIndex,
    Retrieval(retrieval::Endpoint),
    OpenAiModels,
    Health,
    VllmVersion,
    LlamaCppProps,
    TgiInfo,
    TeiInfo,
    SglangServerInfo,
    LlamaEdgeInfo,
    Metrics,
    OllamaRoot,
    OllamaVersion,
    OllamaTags,
    OllamaPs,
    OllamaShow,
}

impl Endpoint {
    /// The API that it belongs to.
    pub(super) fn surface(self) -> Surface {
        match self {
            Self::Ollama(_) | Self::OllamaTags | Self::OllamaPs | Self::OllamaShow => {
                Surface::Ollama
            }
            Self::Anthropic => Surface::Anthropic,
            Self::Gemini(_) => Surface::Gemini,
            Self::Vertex(_) => Surface::Vertex,
            Self::Aws(kind) => kind.surface(),
            Self::Native(kind) => kind.surface(),
            Self::Azure(_) => Surface::Azure,
            Self::Cohere => Surface::Cohere,
            Self::Triton(_) | Self::TritonServer | Self::TritonIndex => Surface::Triton,
            Self::Retrieval(kind) => kind.surface(),
            _ => Surface::OpenAi,
        }
    }

    /// Whether it wants the API key, if there is one.
    pub(super) fn is_protected(self) -> bool {
        matches!(
            self,
            Self::OpenAi(_)
                | Self::OpenAiModels
                | Self::Anthropic
                | Self::Gemini(_)
                | Self::Vertex(_)
                | Self::Aws(_)
                | Self::Ollama(_)
                | Self::Native(_)
                | Self::Responses
                | Self::Azure(_)
                | Self::Cohere
                | Self::Triton(_)
                | Self::Retrieval(_)
                | Self::OllamaTags
                | Self::OllamaPs
                | Self::OllamaShow
        )
    }
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    NoSuchPath,
    WrongMethod,
}

const EVERY: &[RuntimeFlavor] = &[
    Vllm,
    LlamaCpp,
    Ollama,
    Tgi,
    Sglang,
    TensorRtLlm,
    LlamaEdge,
    All,
];

/// Method, path, meaning and the flavors that have it.
const ROUTES: &[(Method, &str, Endpoint, &[RuntimeFlavor])] = &[
    (
        Method::POST,
        "/v1/chat/completions",
        Endpoint::OpenAi(openai::Endpoint::Chat),
        EVERY,
    ),
    (
        Method::POST,
        "/v1/completions",
        Endpoint::OpenAi(openai::Endpoint::Completions),
        EVERY,
    ),
    // All three real ones offer it beside their own.
    (Method::POST, "/v1/messages", Endpoint::Anthropic, EVERY),
    (
        Method::POST,
        "/v1/responses",
        Endpoint::Responses,
        &[Vllm, LlamaCpp, Ollama, Sglang, TensorRtLlm, All],
    ),
    (Method::GET, "/v1/models", Endpoint::OpenAiModels, EVERY),
    (
        Method::GET,
        "/health",
        Endpoint::Health,
        &[Vllm, LlamaCpp, Tgi, Tei, Sglang, TensorRtLlm, All],
    ),
    (
        Method::GET,
        "/version",
        Endpoint::VllmVersion,
        &[Vllm, TensorRtLlm, All],
    ),
    (
        Method::GET,
        "/v1/info",
        Endpoint::LlamaEdgeInfo,
        &[LlamaEdge, All],
    ),
    (
        Method::GET,
        "/props",
        Endpoint::LlamaCppProps,
        &[LlamaCpp, All],
    ),
    (Method::GET, "/info", Endpoint::TgiInfo, &[Tgi, All]),
    (Method::GET, "/info", Endpoint::TeiInfo, &[Tei]),
    (
        Method::GET,
        "/get_server_info",
        Endpoint::SglangServerInfo,
        &[Sglang, All],
    ),
    (
        Method::POST,
        "/generate",
        Endpoint::Native(native::Endpoint::TgiGenerate),
        &[Tgi, All],
    ),
    (
        Method::POST,
        "/generate_stream",
        Endpoint::Native(native::Endpoint::TgiGenerateStream),
        &[Tgi, All],
    ),
    (
        Method::POST,
        "/generate",
        Endpoint::Native(native::Endpoint::SglangGenerate),
        &[Sglang],
    ),
    (
        Method::POST,
        "/completion",
        Endpoint::Native(native::Endpoint::LlamaCppCompletion),
        &[LlamaCpp, All],
    ),
    (
        Method::GET,
        "/metrics",
        Endpoint::Metrics,
        &[Vllm, LlamaCpp, All],
    ),
    (Method::GET, "/", Endpoint::OllamaRoot, &[Ollama, All]),
    (
        Method::GET,
        "/api/version",
        Endpoint::OllamaVersion,
        &[Ollama, All],
    ),
    (
        Method::GET,
        "/api/tags",
        Endpoint::OllamaTags,
        &[Ollama, All],
    ),
    (Method::GET, "/api/ps", Endpoint::OllamaPs, &[Ollama, All]),
    (
        Method::POST,
        "/api/show",
        Endpoint::OllamaShow,
        &[Ollama, All],
    ),
    (
        Method::POST,
        "/api/generate",
        Endpoint::Ollama(ollama::Endpoint::Generate),
        &[Ollama, All],
    ),
    (
        Method::POST,
        "/api/chat",
        Endpoint::Ollama(ollama::Endpoint::Chat),
        &[Ollama, All],
    ),
    (Method::POST, "/v2/chat", Endpoint::Cohere, &[All]),
    (Method::GET, "/v2", Endpoint::TritonServer, &[Triton, All]),
    (
        Method::POST,
        "/v2/repository/index",
        Endpoint::TritonIndex,
        &[Triton, All],
    ),
    (
        Method::GET,
        "/v2/health/live",
        Endpoint::Health,
        &[Triton, All],
    ),
    (
        Method::GET,
        "/v2/health/ready",
        Endpoint::Health,
        &[Triton, All],
    ),
    (
        Method::POST,
        "/v1/embeddings",
        Endpoint::Retrieval(retrieval::Endpoint::OpenAiEmbeddings),
        &[Vllm, LlamaCpp, Ollama, Tei, Sglang, All],
    ),
    (
        Method::POST,
        "/v1/rerank",
        Endpoint::Retrieval(retrieval::Endpoint::Rerank),
        &[Vllm, LlamaCpp, Sglang, All],
    ),
    (
        Method::POST,
        "/v2/rerank",
        Endpoint::Retrieval(retrieval::Endpoint::Rerank),
        &[Vllm, All],
    ),
    (
        Method::POST,
        "/api/embed",
        Endpoint::Retrieval(retrieval::Endpoint::OllamaEmbed),
        &[Ollama, All],
    ),
    (
        Method::POST,
        "/embed",
        Endpoint::Retrieval(retrieval::Endpoint::TeiEmbed),
        &[Tei, All],
    ),
    (
        Method::POST,
        "/rerank",
        Endpoint::Retrieval(retrieval::Endpoint::TeiRerank),
        &[Tei, All],
    ),
];

/// Finds the endpoint. HEAD counts as GET.
pub(super) fn resolve(
    flavor: RuntimeFlavor,
    method: &Method,
    path: &str,
) -> Result<Endpoint, Miss> {
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    // The only paths that hold a name.
    if let (Triton | All, Some((endpoint, _))) = (flavor, triton::Endpoint::of(path)) {
        return match (method, endpoint.generates()) {
            (&Method::POST, true) | (&Method::GET, false) => Ok(Endpoint::Triton(endpoint)),
            _ => Err(Miss::WrongMethod),
        };
    }
    let retrieval =
        retrieval::Endpoint::of_gemini(path).map(|(endpoint, _)| Endpoint::Retrieval(endpoint));
    let gemini = || gemini::Endpoint::of(path).map(|(endpoint, _)| Endpoint::Gemini(endpoint));
    let aws = || aws::Endpoint::of(path).map(|(endpoint, _)| Endpoint::Aws(endpoint));
    let azure = || azure::endpoint(path).map(|(endpoint, _)| Endpoint::Azure(endpoint));
    let vertex = || vertex::Endpoint::of(path).map(|(endpoint, _)| Endpoint::Vertex(endpoint));
    let named = retrieval.or_else(gemini).or_else(aws).or_else(azure);
    let named = named.or_else(vertex);
    if let (All, Some(endpoint)) = (flavor, named) {
        return match *method {
            Method::POST => Ok(endpoint),
            _ => Err(Miss::WrongMethod),
        };
    }
    let here = ROUTES
        .iter()
        .filter(|(_, at, _, flavors)| *at == path && flavors.contains(&flavor));
    let mut miss = Miss::NoSuchPath;
    for (wanted, _, endpoint, _) in here {
        if wanted == method {
            return Ok(*endpoint);
        }
        miss = Miss::WrongMethod;
    }
    Err(miss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavor_has_its_own_detection_endpoints_and_not_those_of_others() {
        let found = |flavor, path| resolve(flavor, &Method::GET, path).is_ok();
        assert!(found(Vllm, "/version") && !found(Vllm, "/props") && !found(Vllm, "/api/tags"));
        assert!(
            found(LlamaCpp, "/props")
                && !found(LlamaCpp, "/version")
                && !found(LlamaCpp, "/api/tags")
        );
        assert!(
            found(Ollama, "/api/tags") && !found(Ollama, "/health") && !found(Ollama, "/metrics")
        );
        for (method, path, ..) in ROUTES {
            assert!(resolve(All, method, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_method_matters() {
        assert_eq!(
            resolve(Ollama, &Method::HEAD, "/"),
            Ok(Endpoint::OllamaRoot)
        );
        let gemini = "/v1beta/models/m:generateContent";
        assert_eq!(resolve(All, &Method::GET, gemini), Err(Miss::WrongMethod));
        assert_eq!(resolve(Vllm, &Method::POST, gemini), Err(Miss::NoSuchPath));
        let wrong = resolve(Vllm, &Method::GET, "/v1/chat/completions");
        assert_eq!(wrong, Err(Miss::WrongMethod));
    }
}
