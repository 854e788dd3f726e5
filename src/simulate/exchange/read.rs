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

    pub(super) fn read_gemini(
        &self,
        kind: gemini::Endpoint,
        body: &[u8],
    ) -> Result<Generate, Refusal> {
        let stream = kind == gemini::Endpoint::Stream;
        let query = self.parts.uri.query().unwrap_or_default();
        if stream && !query.split('&').any(|pair| pair == "alt=sse") {
            let message = "simulated: streams come as server-sent events only; ask for `alt=sse`";
            return Err(Refusal::bad_request(message));
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
