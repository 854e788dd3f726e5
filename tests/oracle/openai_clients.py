"""OpenAI's client, as such, as Azure's and by the Responses API; `sdk_clients.py` runs these."""

import openai
from checks import FAULT, MESSAGES, UNKNOWN_MODEL, require, require_raises


def openai_checks(checks, url, model):
    # One connection per request would hide problems with keep-alive, so the client is shared.
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30)
    completions, chat = client.completions, client.chat.completions
    good = {FAULT: "ok"}

    def chat_with(fault, **more):
        return chat.create(
            model=model, messages=MESSAGES, max_tokens=8, extra_headers={FAULT: fault}, **more
        )

    def models():
        names = [entry.id for entry in client.models.list()]
        require(any(name.removesuffix(":latest") == model for name in names), f"only {names}")

    def chat_stream():
        chunks = list(chat_with("ok", stream=True, stream_options={"include_usage": True}))
        texts = [c.choices[0].delta.content for c in chunks if c.choices]
        hidden = [
            getattr(c.choices[0].delta, "reasoning_content", None)
            or getattr(c.choices[0].delta, "reasoning", None)
            for c in chunks
            if c.choices
        ]
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
        usage = chunks[-1].usage
        require(any(texts) or any(hidden), "no text")
        require(finishes[-1] == "length", f"finish {finishes[-1]}")
        require(finishes[:-1] == [None] * (len(finishes) - 1), "an early finish reason")
        require(usage is not None and usage.completion_tokens == 8, f"usage {usage}")
        require(usage.total_tokens == usage.prompt_tokens + 8, f"usage {usage}")
        require(len({c.id for c in chunks}) == 1, "the id changes")

    def chat_stream_without_usage():
        chunks = list(chat_with("ok", stream=True))
        require(all(c.choices for c in chunks), "a chunk without choices")

    def chat_whole():
        answer = chat_with("ok")
        require(answer.choices[0].message.role == "assistant", "role")
        require(answer.usage.completion_tokens == 8, f"usage {answer.usage}")

    def completion_stream():
        chunks = list(
            completions.create(
                model=model,
                prompt="Say hello.",
                max_tokens=8,
                stream=True,
                stream_options={"include_usage": True},
                extra_headers=good,
            )
        )
        require(any(c.choices[0].text for c in chunks if c.choices), "no text")
        require(chunks[-1].usage.completion_tokens == 8, f"usage {chunks[-1].usage}")

    def completion_whole():
        answer = completions.create(
            model=model, prompt="Say hello.", max_tokens=8, extra_headers=good
        )
        require(answer.choices[0].finish_reason == "length", "finish")
        require(len(answer.choices[0].text) > 0, "no text")

    def rate_limit():
        error = require_raises(openai.RateLimitError, lambda: chat_with("429"))
        require(error.response.headers.get("retry-after") is not None, "no Retry-After")

    def unknown_model():
        def call():
            chat.create(model=UNKNOWN_MODEL, messages=MESSAGES)

        require_raises(openai.NotFoundError, call)

    def no_messages():
        def call():
            chat.create(model=model, messages=[])

        require_raises(openai.BadRequestError, call)

    def in_band():
        error = require_raises(
            openai.APIError, lambda: list(chat_with("in_band_error", stream=True))
        )
        require("simulated" in str(error), f"message {error}")

    def odd_but_good(fault):
        chunks = list(chat_with(fault, stream=True))
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
        require(finishes[-1] is not None, "no finish reason")

    def refused():
        require_raises(openai.APIConnectionError, lambda: chat_with("refuse"))

    def statuses(fault, expected):
        return lambda: require_raises(expected, lambda: chat_with(fault))

    checks.run("openai: lists the model", models)
    checks.run("openai: streams a chat with usage", chat_stream)
    checks.run("openai: streams a chat without usage", chat_stream_without_usage)
    checks.run("openai: chat as a whole", chat_whole)
    checks.run("openai: streams a completion with usage", completion_stream)
    checks.run("openai: completion as a whole", completion_whole)
    checks.run("openai: 400 is BadRequestError", no_messages)
    checks.run("openai: 401 is AuthenticationError", statuses("401", openai.AuthenticationError))
    checks.run("openai: unknown model is NotFoundError", unknown_model)
    checks.run("openai: 429 is RateLimitError with Retry-After", rate_limit)
    checks.run("openai: 500 is InternalServerError", statuses("5xx", openai.InternalServerError))
    checks.run("openai: 503 is InternalServerError", statuses("503", openai.InternalServerError))
    checks.run("openai: an error in the stream is APIError", in_band)
    checks.run("openai: a refused request is APIConnectionError", refused)
    for fault in ("split_frames", "keepalive", "buffered", "burst", "oversized_line"):
        checks.run(f"openai: reads through {fault}", lambda fault=fault: odd_but_good(fault))


def azure_checks(checks, url, model):
    def client(fault="ok", **more):
        return openai.AzureOpenAI(
            azure_endpoint=url,
            api_version="2024-10-21",
            max_retries=0,
            timeout=30,
            default_headers={FAULT: fault},
            **{"api_key": "unused", **more},
        ).chat.completions

    def newest():
        base = f"{url}/openai/v1"
        made = openai.OpenAI(base_url=base, api_key="unused", max_retries=0, timeout=30)
        return made.chat.completions

    def ask(**more):
        return {"model": model, "messages": MESSAGES, "max_completion_tokens": 8, **more}

    def require_stream(chunks):
        require(not chunks[0].choices and chunks[0].prompt_filter_results, "no filter results")
        texts = [c.choices[0].delta.content for c in chunks if c.choices]
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
        require(any(texts), "no text")
        require(finishes[-1] == "length", f"finish {finishes[-1]}")

    def stream():
        require_stream(list(client().create(**ask(stream=True))))

    def stream_of_the_newest():
        require_stream(list(newest().create(**ask(stream=True))))

    def whole():
        answer = client().create(**ask())
        require(answer.usage.completion_tokens == 8, f"usage {answer.usage}")

    def unknown_model():
        wanted = ask(model=UNKNOWN_MODEL)
        error = require_raises(openai.NotFoundError, lambda: client().create(**wanted))
        require(error.code == "DeploymentNotFound", f"code {error.code}")

    def rate_limit():
        error = require_raises(openai.RateLimitError, lambda: client("429").create(**ask()))
        require(error.response.headers.get("retry-after") is not None, "no Retry-After")

    checks.run("azure: streams a chat after the filter's word", stream)
    checks.run("azure: streams a chat by the newest path", stream_of_the_newest)
    checks.run("azure: chat as a whole", whole)
    checks.run("azure: unknown deployment is NotFoundError", unknown_model)
    checks.run("azure: 429 is RateLimitError with Retry-After", rate_limit)


def responses_checks(checks, url, model):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30)
    responses = client.responses

    def ask(fault="ok", **more):
        wanted = {
            "model": model,
            "input": "Say hello.",
            "instructions": "Be brief.",
            "max_output_tokens": 8,
            "extra_headers": {FAULT: fault},
        }
        return wanted | more

    def require_end(answer):
        require(answer.status == "incomplete", f"status {answer.status}")
        require(answer.incomplete_details.reason == "max_output_tokens", f"{answer}")
        require(answer.usage.output_tokens == 8, f"usage {answer.usage}")
        require(answer.usage.input_tokens > 0, f"usage {answer.usage}")
        kinds = [item.type for item in answer.output]
        require(kinds in (["message"], ["reasoning", "message"]), f"items {kinds}")
        thought = answer.usage.output_tokens_details.reasoning_tokens
        require((thought > 0) == (len(kinds) == 2), f"usage {answer.usage}")

    # The client puts the items together itself, and complains of events out of order. To it an answer is
    # final only if the model ended it.
    def stream():
        with responses.stream(**ask(max_output_tokens=4096)) as events:
            texts = [event.delta for event in events if event.type == "response.output_text.delta"]
            answer = events.get_final_response()
        require(answer.status == "completed" and texts, f"status {answer.status}")
        require("".join(texts) == answer.output_text, f"{texts} are not {answer.output_text}")

    def raw_stream():
        events = list(responses.create(**ask(stream=True)))
        kinds = [event.type for event in events]
        require(kinds[0] == "response.created" and kinds[-1] == "response.incomplete", f"{kinds}")
        numbers = [event.sequence_number for event in events]
        require(numbers == list(range(len(numbers))), f"numbers {numbers}")
        for part in ("output_item", "content_part"):
            begun, ended = f"response.{part}.added", f"response.{part}.done"
            require(kinds.count(begun) == kinds.count(ended) > 0, f"{kinds}")

    def whole():
        require_end(responses.create(**ask()))

    def without_reasoning():
        answer = responses.create(**ask(reasoning={"effort": "none"}))
        require([item.type for item in answer.output] == ["message"], f"{answer.output}")

    def messages():
        require_end(responses.create(**ask(input=MESSAGES)))

    def failure():
        events = list(responses.create(**ask("in_band_error", stream=True)))
        require(events[-1].type == "response.failed", f"{events[-1]}")
        require("simulated" in events[-1].response.error.message, f"{events[-1]}")

    def raises(expected, fault="ok", **more):
        return lambda: require_raises(expected, lambda: responses.create(**ask(fault, **more)))

    def odd_but_good(fault):
        with responses.stream(**ask(fault, max_output_tokens=4096)) as events:
            events.until_done()
            require(events.get_final_response().output_text, "no text")

    checks.run("responses: streams an answer", stream)
    checks.run("responses: the events of a stream are in order", raw_stream)
    checks.run("responses: answer as a whole", whole)
    checks.run("responses: reasoning can be switched off", without_reasoning)
    checks.run("responses: takes messages", messages)
    checks.run("responses: a failure ends the stream", failure)
    limited = raises(openai.RateLimitError, "429")
    unknown = raises(openai.NotFoundError, model=UNKNOWN_MODEL)
    checks.run("responses: 429 is RateLimitError", limited)
    checks.run("responses: unknown model is NotFoundError", unknown)
    for fault in ("split_frames", "keepalive", "burst", "buffered"):
        checks.run(f"responses: reads through {fault}", lambda fault=fault: odd_but_good(fault))
