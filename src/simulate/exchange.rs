//! One request: what it is for and how it is answered.

mod read;

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, RETRY_AFTER, SERVER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::body::{AnswerBody, Cut, Delivery, Preparation, ScriptedBody};
use super::character::RuntimeFlavor;
use super::engine::{Engine, Model, Order};
use super::fault::Fault;
use super::generation::Wanted;
use super::log::RequestLog;
use super::pacer::Alarm;
use super::refusal::{Refusal, Surface};
use super::reply::{json, plain, response, text, with_status};
use super::route::{Endpoint, Miss, resolve};
use super::script::{Dialect, Framing, Script, Shape};
use super::server::Shared;
use super::stream::{Arrival, Wire};
use super::timing_headers::{Times, TimingHeaders};
use super::vocabulary::Prompt;
use super::{anthropic, aws, azure, cohere, gemini, inventory, log_lines, metrics};
use super::{native, ollama, openai, responses, retrieval, triton, vertex};

/// Asks for one fault: `ok`, or a name from [`Fault::ALL`].
const FAULT_HEADER: &str = "x-simulate-fault";

/// Identifies a probe's request.
const REQUEST_ID_HEADER: &str = "x-llm-probe";

/// Where the log is, if the character tells it. An id in the query is taken as it stands.
const LOG_PATH: &str = "/simulate/requests";

/// A longer request body is refused.
const LARGEST_REQUEST: usize = 16 << 20;

type Answer = Result<Response<AnswerBody>, Cut>;

/// Answers one request. An error closes the connection without an answer.
pub(super) async fn answer(shared: Arc<Shared>, wire: Wire, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_REQUEST).collect().await;
    let exchange = Exchange {
        arrival: wire.last_arrival(),
        shared,
        wire,
        parts,
    };
    let mut answer = match body {
        Ok(body) => exchange.route(&body.to_bytes()).await,
        Err(_) => {
            let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
            Ok(exchange.refuse(&refusal, Surface::OpenAi))
        }
    };
    if let Ok(response) = &mut answer {
        exchange.mark(response.headers_mut());
    }
    answer
}

/// One request with what it takes to answer it.
struct Exchange {
    shared: Arc<Shared>,
    wire: Wire,
    parts: Parts,
    arrival: Arrival,
}

/// A generation request, read and found good.
struct Generate {
    endpoint: Endpoint,
    model: Arc<Model>,
    prompt: Prompt,
    wanted: Wanted,
    keep_alive: Option<Option<Duration>>,
    stream: bool,
    dialect: Box<dyn Dialect>,
}

impl Exchange {
    fn flavor(&self) -> RuntimeFlavor {
        self.shared.engine.character.flavor
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Nobody is to take this for a real runtime.
    fn mark(&self, headers: &mut HeaderMap) {
        headers.insert("x-simulated", HeaderValue::from_static("true"));
        headers.insert(
            SERVER,
            HeaderValue::from_static(self.flavor().server_header()),
        );
    }

    async fn route(&self, body: &[u8]) -> Answer {
        if self.shared.engine.character.serves_log && self.parts.uri.path() == LOG_PATH {
            return Ok(self.tell_log());
        }
        let google = self.shared.engine.character.google_key.as_ref();
        if let Some(answer) = google.and_then(|google| google.answer(&self.parts, body)) {
            return Ok(answer);
        }
        let endpoint = match resolve(self.flavor(), &self.parts.method, self.parts.uri.path()) {
            Ok(endpoint) => endpoint,
            Err(miss) => return Ok(self.missing(miss)),
        };
        let endpoint = match endpoint {
            Endpoint::Native(kind) => Endpoint::Native(kind.meant_by(body)),
            Endpoint::Retrieval(kind) => Endpoint::Retrieval(kind.meant_by(body)),
            other => other,
        };
        let surface = endpoint.surface();
        if endpoint.is_protected()
            && let Err(refusal) = self.check_proof(surface, body)
        {
            return Ok(self.refuse(&refusal, surface));
        }
        let requested = match self.requested_fault() {
            Ok(requested) => requested,
            Err(refusal) => return Ok(self.refuse(&refusal, surface)),
        };
        let generate = match endpoint {
            Endpoint::OpenAi(kind) => self.read_openai(kind, body),
            Endpoint::Ollama(kind) => self.read_ollama(kind, body),
            Endpoint::Anthropic => self.read_anthropic(body),
            Endpoint::Gemini(kind) => self.read_gemini(kind, body),
            Endpoint::Vertex(kind) => self.read_vertex(kind, body),
            Endpoint::Aws(kind) => self.read_aws(kind, body),
            Endpoint::Native(kind) => self.read_native(kind, body),
            Endpoint::Responses => self.read_responses(body),
            Endpoint::Azure(kind) => self.read_azure(kind, body),
            Endpoint::Cohere => self.read_cohere(body),
            Endpoint::Triton(kind) if kind.generates() => self.read_triton(kind, body),
            Endpoint::Retrieval(kind) => self.read_retrieval(kind, body),
            _ => return self.inform(endpoint, body, requested.flatten()).await,
        };
        match generate {
            Ok(generate) => self.generate(generate, requested).await,
            Err(refusal) => Ok(self.refuse(&refusal, surface)),
        }
    }

    /// A key, or a signature, if either is wanted.
    fn check_proof(&self, surface: Surface, body: &[u8]) -> Result<(), Refusal> {
        let character = &self.shared.engine.character;
        let takes_signatures = matches!(surface, Surface::Bedrock | Surface::SageMaker);
        match &character.aws_key {
            Some(key) if takes_signatures => {
                if character.api_key.is_some() && self.is_authorized(surface) {
                    return Ok(());
                }
                aws::check_signature(key, &self.parts, body)
            }
            _ if surface == Surface::Vertex && character.google_key.is_some() => {
                let google = character.google_key.as_ref();
                google.map_or(Ok(()), |google| google.check(&self.parts))
            }
            _ if self.is_authorized(surface) => Ok(()),
            _ => {
                let message = "Invalid API Key";
                Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
            }
        }
    }

    fn is_authorized(&self, surface: Surface) -> bool {
        let Some(key) = &self.shared.engine.character.api_key else {
            return true;
        };
        let given = match (surface, self.flavor()) {
            (Surface::Anthropic, RuntimeFlavor::All) => self.header("x-api-key"),
            (Surface::Gemini, _) => self.header("x-goog-api-key"),
            (Surface::Azure, _) => self.header("api-key"),
            _ => {
                let given = self.header(AUTHORIZATION.as_str());
                given.and_then(|given| given.strip_prefix("Bearer "))
            }
        };
        given == Some(key)
    }

    /// The fault that the request asks for; `Some(None)` asks for none, whatever the plan says.
    fn requested_fault(&self) -> Result<Option<Option<Fault>>, Refusal> {
        match self.header(FAULT_HEADER) {
            None => Ok(None),
            Some("ok") => Ok(Some(None)),
            Some(name) => match name.parse() {
                Ok(fault) => Ok(Some(Some(fault))),
                Err(error) => Err(Refusal::bad_request(error.to_string())),
            },
        }
    }

    /// Runs a generation, with the fault asked for or else the planned one.
    async fn generate(&self, generate: Generate, requested: Option<Option<Fault>>) -> Answer {
        let engine = &self.shared.engine;
        let number = engine.take_number();
        let fault = requested.unwrap_or_else(|| engine.planned_fault(number));
        let tuning = engine.character.fault_tuning;
        let delivery = Delivery {
            received: self.arrival.read,
            entry: self.shared.history.open(RequestLog {
                number,
                request_id: self.header(REQUEST_ID_HEADER).map(str::to_owned),
                model: generate.model.name.clone(),
                received: self.arrival.read,
                received_kernel: self.arrival.kernel,
                first_token: None,
                token_times: Vec::new(),
                last_frame: None,
                last_frame_written: None,
                ended: None,
                fault,
            }),
            wire: self.wire.clone(),
            alarm: Alarm::new(self.shared.pacer.clone()),
        };
        if let Some(answer) = self.replaced(fault, generate.endpoint.surface()) {
            return answer;
        }
        if fault == Some(Fault::SlowHeaders) {
            sleep_until((delivery.received + tuning.delay).into()).await;
        }
        let Generate {
            endpoint,
            model,
            prompt,
            wanted,
            keep_alive,
            stream,
            dialect,
        } = generate;
        let told = (endpoint.surface() == Surface::Tei).then_some(prompt.tokens);
        let order = Order {
            model,
            number,
            prompt,
            wanted,
            keep_alive,
            fault,
            received: Instant::from_std(delivery.received),
        };
        let content_type = match (stream, endpoint.surface()) {
            (true, _) => dialect.framing().content_type(),
            (false, Surface::Ollama) => "application/json; charset=utf-8",
            (false, _) => "application/json",
        };
        let shape = Shape {
            stream,
            fault,
            tuning,
            frames_per_write: engine.character.frames_per_write,
        };
        let preparation = prepare(Arc::clone(engine), order, dialect, shape);
        let (body, times) = if stream && self.sends_headers_first(fault) {
            (ScriptedBody::preparing(preparation, delivery), None)
        } else {
            prepared(preparation, delivery).await
        };
        let body = AnswerBody::Scripted(Box::new(body));
        let mut response = response(StatusCode::OK, content_type, body);
        if let Some((tokens, times)) = told.zip(times) {
            let headers = response.headers_mut();
            headers.extend(times.headers(TimingHeaders::Tgi, false));
            headers.insert("x-compute-tokens", HeaderValue::from(tokens));
        }
        if let Some((kind, times)) = engine.character.timing_headers.zip(times) {
            response.headers_mut().extend(times.headers(kind, stream));
        }
        Ok(response)
    }

    /// vLLM sends the headers at once, the others with the first chunk.
    fn sends_headers_first(&self, fault: Option<Fault>) -> bool {
        let vllm = matches!(self.flavor(), RuntimeFlavor::Vllm | RuntimeFlavor::All);
        vllm || fault == Some(Fault::StallFirst)
    }

    /// The answer of a fault that leaves nothing of the normal one.
    fn replaced(&self, fault: Option<Fault>, surface: Surface) -> Option<Answer> {
        let fault = fault?;
        if fault == Fault::Refuse {
            return Some(Err(Cut));
        }
        let tuning = self.shared.engine.character.fault_tuning;
        let refusal = Refusal::of_fault(fault, tuning)?;
        Some(Ok(self.refuse(&refusal, surface)))
    }

    /// Answers everything that is not a generation.
    async fn inform(&self, endpoint: Endpoint, body: &[u8], fault: Option<Fault>) -> Answer {
        if let Some(answer) = self.replaced(fault, endpoint.surface()) {
            return answer;
        }
        match fault {
            Some(Fault::SlowHeaders) => {
                sleep(self.shared.engine.character.fault_tuning.delay).await;
            }
            Some(Fault::Stall | Fault::StallFirst) => pending().await,
            _ => {}
        }
        let engine = &self.shared.engine;
        Ok(match endpoint {
            Endpoint::OpenAiModels => json(&inventory::openai_models(engine)),
            Endpoint::VllmVersion => json(&inventory::vllm_version()),
            Endpoint::TgiInfo => json(&inventory::tgi_info(engine)),
            Endpoint::TeiInfo => json(&inventory::tei_info(engine)),
            Endpoint::SglangServerInfo => json(&inventory::sglang_server_info(engine)),
            Endpoint::LlamaEdgeInfo => json(&inventory::llamaedge_info()),
            Endpoint::LlamaCppProps => json(&inventory::llamacpp_props(engine)),
            Endpoint::OllamaVersion => json(&inventory::ollama_version()),
            Endpoint::OllamaTags => json(&inventory::ollama_tags(engine)),
            Endpoint::OllamaPs => json(&inventory::ollama_ps(engine)),
            Endpoint::OllamaShow => match self.read_show(body) {
                Ok(()) => json(&inventory::ollama_show(engine)),
                Err(refusal) => self.refuse(&refusal, Surface::Ollama),
            },
            Endpoint::Metrics => text(StatusCode::OK, metrics::CONTENT_TYPE, engine.metrics_page()),
            Endpoint::Health if self.flavor() == RuntimeFlavor::LlamaCpp => {
                json(&serde_json::json!({"status": "ok"}))
            }
            Endpoint::TritonServer => json(&triton::server()),
            Endpoint::TritonIndex => json(&triton::index(engine)),
            Endpoint::Triton(kind) => match self.find_triton() {
                Ok(model) if kind == triton::Endpoint::Metadata => {
                    json(&triton::metadata(&model.name))
                }
                Ok(_) => plain(StatusCode::OK, ""),
                Err(refusal) => self.refuse(&refusal, Surface::Triton),
            },
            Endpoint::OllamaRoot => plain(StatusCode::OK, "Ollama is running"),
            Endpoint::Health
            | Endpoint::OpenAi(_)
            | Endpoint::Ollama(_)
            | Endpoint::Anthropic
            | Endpoint::Gemini(_)
            | Endpoint::Vertex(_)
            | Endpoint::Aws(_)
            | Endpoint::Native(_)
            | Endpoint::Cohere
            | Endpoint::Responses
            | Endpoint::Retrieval(_)
            | Endpoint::Azure(_) => plain(StatusCode::OK, ""),
        })
    }

    fn read_show(&self, body: &[u8]) -> Result<(), Refusal> {
        let request: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        let name = request
            .get("model")
            .or(request.get("name"))
            .and_then(Value::as_str);
        let name = name.ok_or_else(|| Refusal::bad_request("model is required"))?;
        self.find_model(name, Surface::Ollama).map(drop)
    }

    /// The finished requests, all or those of one `?id=`; or an end to them.
    fn tell_log(&self) -> Response<AnswerBody> {
        let history = &self.shared.history;
        match self.parts.method {
            Method::GET => {
                let mut logs = history.snapshot();
                let query = self.parts.uri.query();
                if let Some(id) = query.and_then(|query| query.strip_prefix("id=")) {
                    logs.retain(|log| log.request_id.as_deref() == Some(id));
                }
                text(
                    StatusCode::OK,
                    Framing::Ndjson.content_type(),
                    log_lines::write(&logs),
                )
            }
            Method::DELETE => {
                history.clear();
                response(
                    StatusCode::NO_CONTENT,
                    Framing::Ndjson.content_type(),
                    AnswerBody::Whole(None),
                )
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "GET or DELETE"),
        }
    }

    /// 404 and 405 in the words of the real ones.
    fn missing(&self, miss: Miss) -> Response<AnswerBody> {
        let (status, detail) = match miss {
            Miss::NoSuchPath => (StatusCode::NOT_FOUND, "Not Found"),
            Miss::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        };
        match self.flavor() {
            RuntimeFlavor::Ollama if miss == Miss::NoSuchPath => {
                plain(status, "404 page not found")
            }
            RuntimeFlavor::Ollama => plain(status, "405 method not allowed"),
            RuntimeFlavor::LlamaCpp => self.refuse(
                &Refusal::new(StatusCode::NOT_FOUND, "File Not Found"),
                Surface::OpenAi,
            ),
            RuntimeFlavor::Triton => self.refuse(&Refusal::new(status, detail), Surface::Triton),
            _ => with_status(status, json(&serde_json::json!({ "detail": detail }))),
        }
    }

    fn refuse(&self, refusal: &Refusal, surface: Surface) -> Response<AnswerBody> {
        let Refusal {
            status, message, ..
        } = refusal;
        let answer = match self.flavor() {
            RuntimeFlavor::LlamaEdge => text(*status, "text/plain", format!("{status}: {message}")),
            flavor => json(&refusal.body(surface, flavor)),
        };
        let mut response = with_status(*status, answer);
        if let Some(retry_after) = refusal.retry_after {
            let seconds = HeaderValue::from(retry_after.as_secs());
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if matches!(surface, Surface::Bedrock | Surface::SageMaker) {
            let error = aws::error(surface, refusal);
            *response.status_mut() = error.status;
            let name = HeaderValue::from_static(error.name);
            response.headers_mut().insert(aws::ERROR_TYPE, name);
        }
        response
    }
}

fn prepare(
    engine: Arc<Engine>,
    order: Order,
    dialect: Box<dyn Dialect>,
    shape: Shape,
) -> Preparation {
    Box::pin(async move {
        let (generation, ticket) = engine.begin(order).await;
        (Script::compose(generation, &*dialect, shape), ticket)
    })
}

/// Waits until the first byte of the body is due, so that the headers go out with it.
async fn prepared(
    preparation: Preparation,
    mut delivery: Delivery,
) -> (ScriptedBody, Option<Times>) {
    let prepared = preparation.await;
    let times = prepared.1.times;
    match prepared.0.steps.first() {
        Some(step) => poll_fn(|context| delivery.poll_due(step.at, context)).await,
        // Stalls before its first byte; the slot stays taken until the client gives up.
        None => pending().await,
    }
    (ScriptedBody::prepared(prepared, delivery), Some(times))
}
