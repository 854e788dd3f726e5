//! What is asked for, as each API says it.

use super::*;

impl Exchange {
    pub(super) fn read_openai(
        &self,
        kind: openai::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let request = openai::Request::parse(body)?;
        let template = self.shared.engine.character.template_tokens;
        let prompt = request.prompt(kind, template)?;
        let wanted = request.wanted()?;
        let model = match &request.model {
            Some(name) => self.find_model(name, Surface::OpenAi)?,
            None => return Err(Refusal::bad_request("`model` is required")),
        };
        Ok(Generate {
            endpoint: Endpoint::OpenAi(kind),
            model,
            prompt: self.fitting(prompt)?,
            wanted,
            keep_alive: None,
            stream: request.stream,
            dialect: Box::new(request.dialect(kind, self.flavor())),
        })
    }

    pub(super) fn read_azure(
        &self,
        kind: openai::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let request = openai::Request::parse(body)?;
        let (path, query) = (self.parts.uri.path(), self.parts.uri.query());
        let named = azure::endpoint(path).and_then(|(_, name)| name);
        let is_dated = query.is_some_and(|query| query.contains("api-version="));
        if named.is_some() && !is_dated {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "Resource not found"));
        }
        let named = named.or_else(|| request.model.clone()).unwrap_or_default();
        let template = self.shared.engine.character.template_tokens;
        let prompt = request.prompt(kind, template)?;
        Ok(Generate {
            endpoint: Endpoint::Azure(kind),
            model: self.find_model(&named, Surface::Azure)?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted()?,
            keep_alive: None,
            stream: request.stream,
            dialect: Box::new(azure::Azure(request.dialect(kind, self.flavor()))),
        })
    }

    pub(super) fn read_responses(&self, body: &[u8]) -> Result<Generate, Refusal> {
        let request = responses::Request::parse(body)?;
        let prompt = request.prompt(self.shared.engine.character.template_tokens);
        Ok(Generate {
            endpoint: Endpoint::Responses,
            model: self.find_model(&request.model, Surface::OpenAi)?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted(),
            keep_alive: None,
            stream: request.stream,
            dialect: Box::<responses::Responses>::default(),
        })
    }

    pub(super) fn read_ollama(
        &self,
        kind: ollama::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let request = ollama::Request::parse(body)?;
        let model = self.find_model(&request.model, Surface::Ollama)?;
        let character = &self.shared.engine.character;
        let thinks = character.reasoning_tokens > 0;
        let prompt = request.prompt(kind, character.template_tokens);
        let wanted = request.wanted(kind, thinks)?;
        Ok(Generate {
            endpoint: Endpoint::Ollama(kind),
            model,
            prompt: self.fitting(prompt)?,
            wanted,
            keep_alive: request.keep_alive()?,
            // Ollama answers with one object when there is nothing to stream.
            stream: request.streams() && wanted.only.is_none(),
            dialect: Box::new(ollama::Ollama { endpoint: kind }),
        })
    }

    pub(super) fn read_anthropic(&self, body: &[u8]) -> Result<Generate, Refusal> {
        // The runtimes that offer this beside their own API do not insist.
        let insists = self.flavor() == RuntimeFlavor::All;
        if insists && self.header("anthropic-version").is_none() {
            let message = "anthropic-version: header is required";
            return Err(Refusal::bad_request(message));
        }
        let request = anthropic::Request::parse(body)?;
        let prompt = request.prompt(self.shared.engine.character.template_tokens);
        Ok(Generate {
            endpoint: Endpoint::Anthropic,
            model: self.find_model(&request.model, Surface::Anthropic)?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted(),
            keep_alive: None,
            stream: request.stream,
            dialect: Box::new(anthropic::Anthropic),
        })
    }

    /// Google's streams are lists otherwise.
    fn check_form_of_stream(&self) -> Result<(), Refusal> {
        let query = self.parts.uri.query().unwrap_or_default();
        match query.split('&').any(|pair| pair == "alt=sse") {
            true => Ok(()),
            false => Err(Refusal::bad_request(
                "simulated: streams come as server-sent events only; ask for `alt=sse`",
            )),
        }
    }

    pub(super) fn read_gemini(
        &self,
        kind: gemini::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let stream = kind == gemini::Endpoint::Stream;
        if stream {
            self.check_form_of_stream()?;
        }
        let request = gemini::Request::parse(body)?;
        let prompt = request.prompt(self.shared.engine.character.template_tokens);
        let named = gemini::Endpoint::of(self.parts.uri.path());
        let (_, model) = named.unwrap_or((kind, String::new()));
        Ok(Generate {
            endpoint: Endpoint::Gemini(kind),
            model: self.find_model(&model, Surface::Gemini)?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted(),
            keep_alive: None,
            stream,
            dialect: Box::new(gemini::Gemini),
        })
    }

    pub(super) fn read_vertex(
        &self,
        kind: vertex::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let named = vertex::Endpoint::of(self.parts.uri.path());
        let (_, name) = named.unwrap_or((kind, String::new()));
        let model = self.find_model(&name, Surface::Vertex)?;
        let template = self.shared.engine.character.template_tokens;
        let stream = kind.streams();
        let (prompt, wanted, dialect): (_, _, Box<dyn Dialect>) = match kind {
            vertex::Endpoint::Gemini { .. } => {
                if stream {
                    self.check_form_of_stream()?;
                }
                let request = gemini::Request::parse(body)?;
                let prompt = request.prompt(template);
                (prompt, request.wanted(), Box::new(gemini::Gemini))
            }
            vertex::Endpoint::Anthropic { .. } => {
                let request = vertex::read_anthropic(body, stream, &name)?;
                let prompt = request.prompt(template);
                (prompt, request.wanted(), Box::new(anthropic::Anthropic))
            }
        };
        Ok(Generate {
            endpoint: Endpoint::Vertex(kind),
            model,
            prompt: self.fitting(prompt)?,
            wanted,
            keep_alive: None,
            stream,
            dialect,
        })
    }

    pub(super) fn read_aws(&self, kind: aws::Endpoint, body: &[u8]) -> Result<Generate, Refusal> {
        let character = &self.shared.engine.character;
        let named = aws::Endpoint::of(self.parts.uri.path());
        let (_, name) = named.unwrap_or((kind, String::new()));
        let asked = kind.read(&name, body, character)?;
        Ok(Generate {
            endpoint: Endpoint::Aws(kind),
            model: self.find_model(aws::served_name(&name), kind.surface())?,
            prompt: self.fitting(asked.prompt)?,
            wanted: asked.wanted,
            keep_alive: None,
            stream: kind.streams(),
            dialect: asked.dialect,
        })
    }

    pub(super) fn read_native(
        &self,
        kind: native::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let asked = kind.read(body)?;
        let engine = &self.shared.engine;
        // These servers have one model, and answer whatever name is given.
        let named = asked.model.as_deref().and_then(|name| engine.model(name));
        let model = named.or(engine.models.first()).map(Arc::clone);
        let none = || Refusal::model_not_found(kind.surface(), self.flavor(), "any");
        let mut prompt = Prompt::template(0);
        prompt.push(&asked.prompt);
        Ok(Generate {
            endpoint: Endpoint::Native(kind),
            model: model.ok_or_else(none)?,
            prompt: self.fitting(prompt)?,
            wanted: asked.wanted,
            keep_alive: None,
            stream: asked.stream,
            dialect: asked.dialect,
        })
    }

    pub(super) fn read_cohere(&self, body: &[u8]) -> Result<Generate, Refusal> {
        let request = cohere::Request::parse(body)?;
        let prompt = request.prompt(self.shared.engine.character.template_tokens);
        Ok(Generate {
            endpoint: Endpoint::Cohere,
            model: self.find_model(&request.model, Surface::Cohere)?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted(),
            keep_alive: None,
            stream: request.stream,
            dialect: Box::new(cohere::Cohere),
        })
    }

    pub(super) fn read_triton(
        &self,
        kind: triton::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let all = self.flavor() == RuntimeFlavor::All;
        let request = triton::Request::parse(body, kind, all)?;
        let mut prompt = Prompt::template(0);
        prompt.push(&request.prompt);
        Ok(Generate {
            endpoint: Endpoint::Triton(kind),
            model: self.find_triton()?,
            prompt: self.fitting(prompt)?,
            wanted: request.wanted,
            keep_alive: None,
            stream: kind == triton::Endpoint::GenerateStream,
            dialect: Box::new(request.dialect),
        })
    }

    /// The model that the path names.
    pub(super) fn find_triton(&self) -> Result<Arc<Model>, Refusal> {
        let named = triton::Endpoint::of(self.parts.uri.path());
        let (_, name) = named.unwrap_or((triton::Endpoint::Ready, String::new()));
        self.find_model(&name, Surface::Triton)
    }

    pub(super) fn read_retrieval(
        &self,
        kind: retrieval::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let asked = kind.read(body, self.flavor())?;
        let surface = kind.surface();
        let named = retrieval::Endpoint::of_gemini(self.parts.uri.path());
        let name = named.map(|(_, model)| model).or(asked.model);
        let engine = &self.shared.engine;
        let model = match (name, surface) {
            // One model, whatever is asked for.
            (_, Surface::Tei) => engine.models.first().map(Arc::clone),
            (Some(name), _) => Some(self.find_model(&name, surface)?),
            (None, _) => None,
        };
        let mut prompt = Prompt::default();
        for text in &asked.texts {
            let mut one = Prompt::default();
            one.push(text);
            self.fitting(one)
                .map_err(|refusal| kind.refuse(&refusal.message))?;
            prompt.push(text);
        }
        Ok(Generate {
            endpoint: Endpoint::Retrieval(kind),
            model: model.ok_or_else(|| kind.refuse("`model` is required"))?,
            prompt,
            wanted: Wanted {
                reads_only: true,
                ..Wanted::default()
            },
            keep_alive: None,
            stream: false,
            dialect: asked.dialect,
        })
    }

    pub(super) fn find_model(&self, name: &str, surface: Surface) -> Result<Arc<Model>, Refusal> {
        let found = self.shared.engine.model(name).map(Arc::clone);
        found.ok_or_else(|| Refusal::model_not_found(surface, self.flavor(), name))
    }

    pub(super) fn fitting(&self, prompt: Prompt) -> Result<Prompt, Refusal> {
        let most = self.shared.engine.character.context_tokens;
        if prompt.tokens < most {
            return Ok(prompt);
        }
        Err(Refusal::bad_request(format!(
            "This model's maximum context length is {most} tokens. However, your request has {} input tokens.",
            prompt.tokens
        )))
    }
}
