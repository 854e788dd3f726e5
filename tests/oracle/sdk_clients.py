#!/usr/bin/env python3
"""The official clients of OpenAI, Ollama, Anthropic, Google and Hugging Face talk to a simulated runtime.

usage: sdk_clients.py http://127.0.0.1:PORT MODEL

Needs `pip install openai ollama anthropic google-genai huggingface-hub`. Prints one line per check and
`N passed, N failed`; the exit code is 1 if any check failed. The Ollama checks run only where
`/api/version` answers, those of Azure, of the Responses API and of Google only where their paths do, and
those of TGI's own dialect, which Hugging Face's client speaks, only where `/info` does.
"""

import sys
import urllib.error
import urllib.request

import anthropic
import huggingface_hub
import ollama
import openai_clients
import retrieval_clients
from checks import FAULT, MESSAGES, UNKNOWN_MODEL, Checks, require, require_raises
from google import genai
from google.genai import errors, types
from huggingface_hub import errors as hub_errors


def ollama_checks(checks, url, model):
    client = ollama.Client(host=url, timeout=30, headers={FAULT: "ok"})
    limit = {"num_predict": 8}
    durations = ("total_duration", "prompt_eval_duration", "eval_duration")

    def faulty(fault):
        return ollama.Client(host=url, timeout=30, headers={FAULT: fault})

    def listing():
        names = [entry.model for entry in client.list().models]
        require(any(name.removesuffix(":latest") == model for name in names), f"only {names}")

    def show():
        shown = client.show(model)
        require("completion" in shown.capabilities, f"capabilities {shown.capabilities}")
        require(shown.details.format == "gguf", f"details {shown.details}")

    def require_end(last):
        require(last.done and last.done_reason == "length", f"reason {last.done_reason}")
        require(last.eval_count == 8, f"eval_count {last.eval_count}")
        require(last.prompt_eval_count > 0, "no prompt tokens")
        for name in durations:
            require(getattr(last, name) is not None, f"no {name}")
        parts = last.prompt_eval_duration + last.eval_duration + (last.load_duration or 0)
        require(last.total_duration >= parts, "the parts are more than the total")

    def generate_stream():
        parts = list(client.generate(model, "Say hello.", stream=True, options=limit))
        require(any(part.response or part.thinking for part in parts), "no text")
        require(not any(part.done for part in parts[:-1]), "done too early")
        require_end(parts[-1])

    def generate_whole():
        answer = client.generate(model, "Say hello.", options=limit)
        require(answer.response or answer.thinking, "no text")
        require_end(answer)

    def chat_stream():
        parts = list(client.chat(model, MESSAGES, stream=True, options=limit))
        require(all(part.message.role == "assistant" for part in parts), "role")
        require_end(parts[-1])

    def chat_whole():
        require_end(client.chat(model, MESSAGES, options=limit))

    def loaded():
        names = [entry.model for entry in client.ps().models]
        require(any(name.removesuffix(":latest") == model for name in names), f"only {names}")

    def load_only():
        answer = client.generate(model)
        require(answer.done_reason == "load" and answer.response == "", f"{answer}")

    def unknown_model():
        def call():
            client.generate(UNKNOWN_MODEL, "x")

        error = require_raises(ollama.ResponseError, call)
        require(error.status_code == 404, f"status {error.status_code}")
        require("not found" in error.error, f"message {error.error}")

    def server_error():
        error = require_raises(
            ollama.ResponseError, lambda: faulty("5xx").generate(model, "x")
        )
        require(error.status_code == 500, f"status {error.status_code}")

    def in_band():
        error = require_raises(
            ollama.ResponseError,
            lambda: list(faulty("in_band_error").generate(model, "x", stream=True)),
        )
        require("simulated" in error.error, f"message {error.error}")

    def split():
        parts = list(faulty("split_frames").generate(model, "x", stream=True, options=limit))
        require_end(parts[-1])

    checks.run("ollama: lists the model", listing)
    checks.run("ollama: shows the model", show)
    checks.run("ollama: streams generate with durations", generate_stream)
    checks.run("ollama: generate as a whole", generate_whole)
    checks.run("ollama: streams chat with durations", chat_stream)
    checks.run("ollama: chat as a whole", chat_whole)
    checks.run("ollama: ps has the model in memory", loaded)
    checks.run("ollama: an empty prompt loads only", load_only)
    checks.run("ollama: unknown model is 404", unknown_model)
    checks.run("ollama: 500 is ResponseError", server_error)
    checks.run("ollama: an error in the stream is ResponseError", in_band)
    checks.run("ollama: reads through split_frames", split)


def anthropic_checks(checks, url, model):
    client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0, timeout=30)

    def ask(fault, **more):
        headers = {FAULT: fault}
        return {"model": model, "messages": MESSAGES, "max_tokens": 8, "extra_headers": headers} | more

    def require_end(answer):
        require(answer.role == "assistant" and answer.model == model, f"{answer}")
        require(answer.stop_reason == "max_tokens", f"stop_reason {answer.stop_reason}")
        require(answer.usage.output_tokens == 8, f"usage {answer.usage}")
        require(answer.usage.input_tokens > 0, f"usage {answer.usage}")
        kinds = [block.type for block in answer.content]
        require(kinds in (["text"], ["thinking", "text"]), f"blocks {kinds}")
        texts = [getattr(block, block.type) for block in answer.content]
        require(all(texts), f"an empty block: {texts}")
        thought = getattr(answer.usage.output_tokens_details, "thinking_tokens", 0)
        require((thought > 0) == (len(kinds) == 2), f"usage {answer.usage}")
        return texts[-1]

    # The client puts the blocks together itself, and complains of events out of order.
    def stream():
        with client.messages.stream(**ask("ok", system="Be brief.")) as events:
            parts = list(events.text_stream)
            text = require_end(events.get_final_message())
        require("".join(parts) == text, f"{parts} are not {text}")

    def raw_stream():
        events = list(client.messages.create(**ask("ok", stream=True)))
        kinds = [event.type for event in events]
        require(kinds[0] == "message_start" and kinds[-1] == "message_stop", f"{kinds}")
        require(kinds.count("content_block_start") == kinds.count("content_block_stop"), f"{kinds}")

    def whole():
        require_end(client.messages.create(**ask("ok")))

    def without_thinking():
        answer = client.messages.create(**ask("ok", thinking={"type": "disabled"}))
        require([block.type for block in answer.content] == ["text"], f"{answer.content}")

    def rate_limit():
        error = require_raises(
            anthropic.RateLimitError, lambda: client.messages.create(**ask("429"))
        )
        require(error.response.headers.get("retry-after") is not None, "no Retry-After")
        require(error.body["error"]["type"] == "rate_limit_error", f"body {error.body}")

    def unknown_model():
        wanted = ask("ok", model=UNKNOWN_MODEL)
        require_raises(anthropic.NotFoundError, lambda: client.messages.create(**wanted))

    def no_messages():
        wanted = ask("ok", messages=[])
        require_raises(anthropic.BadRequestError, lambda: client.messages.create(**wanted))

    def in_band():
        def call():
            list(client.messages.create(**ask("in_band_error", stream=True)))

        try:
            call()
        except anthropic.APIError as error:
            require("simulated" in str(error), f"message {error}")
            require("overloaded_error" in str(error), f"message {error}")
        else:
            raise AssertionError("no error")

    def odd_but_good(fault):
        with client.messages.stream(**ask(fault)) as events:
            events.until_done()
            require(events.get_final_message().stop_reason is not None, "no stop_reason")

    checks.run("anthropic: streams a message", stream)
    checks.run("anthropic: the events of a stream are in order", raw_stream)
    checks.run("anthropic: message as a whole", whole)
    checks.run("anthropic: thinking can be switched off", without_thinking)
    checks.run("anthropic: 429 is RateLimitError", rate_limit)
    checks.run("anthropic: unknown model is NotFoundError", unknown_model)
    checks.run("anthropic: 400 is BadRequestError", no_messages)
    checks.run("anthropic: an error in the stream is APIError", in_band)
    for fault in ("split_frames", "keepalive", "burst", "buffered"):
        checks.run(f"anthropic: reads through {fault}", lambda fault=fault: odd_but_good(fault))


def gemini_checks(checks, url, model):
    # Tests are not to depend on what the environment of the machine says.
    client = genai.Client(
        vertexai=False, api_key="unused", http_options=types.HttpOptions(base_url=url)
    )
    models = client.models

    def ask(fault="ok", **more):
        options = types.HttpOptions(headers={FAULT: fault}, timeout=30_000)
        config = types.GenerateContentConfig(
            max_output_tokens=8, system_instruction="Be brief.", http_options=options, **more
        )
        return {"model": model, "contents": "Say hello.", "config": config}

    def require_end(last):
        candidate, usage = last.candidates[0], last.usage_metadata
        require(candidate.finish_reason == types.FinishReason.MAX_TOKENS, f"{candidate}")
        counted = usage.candidates_token_count + (usage.thoughts_token_count or 0)
        require(counted == 8 and usage.prompt_token_count > 0, f"usage {usage}")
        require(usage.total_token_count == usage.prompt_token_count + 8, f"usage {usage}")
        require(last.model_version == model, f"model_version {last.model_version}")

    def parts(chunk):
        return chunk.candidates[0].content.parts

    def stream():
        chunks = list(models.generate_content_stream(**ask()))
        texts = [part.text for chunk in chunks for part in parts(chunk) if not part.thought]
        thoughts = [part.text for chunk in chunks for part in parts(chunk) if part.thought]
        require(any(texts), "no text")
        require(not any(chunk.candidates[0].finish_reason for chunk in chunks[:-1]), "an early end")
        require_end(chunks[-1])
        counted = chunks[-1].usage_metadata.thoughts_token_count or 0
        require(len(thoughts) == counted, f"{len(thoughts)} thoughts, {counted} counted")

    def whole():
        answer = models.generate_content(**ask())
        require_end(answer)
        require(answer.text, "no text")

    def without_thinking():
        thinking = types.ThinkingConfig(thinking_budget=0)
        answer = models.generate_content(**ask(thinking_config=thinking))
        require(not any(part.thought for part in parts(answer)), f"{answer}")

    def require_status(wanted, call):
        try:
            call()
        except errors.APIError as error:
            found = (error.code, error.status)
            require(found == wanted, f"{found} instead of {wanted}")
            return error
        raise AssertionError("no error")

    def rate_limit():
        wanted = (429, "RESOURCE_EXHAUSTED")
        require_status(wanted, lambda: models.generate_content(**ask("429")))

    def unknown_model():
        request = ask() | {"model": UNKNOWN_MODEL}
        require_status((404, "NOT_FOUND"), lambda: models.generate_content(**request))

    def server_error():
        wanted = (500, "INTERNAL")
        require_status(wanted, lambda: list(models.generate_content_stream(**ask("5xx"))))

    def odd_but_good(fault):
        chunks = list(models.generate_content_stream(**ask(fault)))
        require(chunks[-1].candidates[0].finish_reason is not None, "no finish reason")

    checks.run("gemini: streams content with usage", stream)
    checks.run("gemini: content as a whole", whole)
    checks.run("gemini: thinking can be switched off", without_thinking)
    checks.run("gemini: 429 is RESOURCE_EXHAUSTED", rate_limit)
    checks.run("gemini: unknown model is NOT_FOUND", unknown_model)
    checks.run("gemini: 500 is INTERNAL", server_error)
    for fault in ("split_frames", "burst", "buffered"):
        checks.run(f"gemini: reads through {fault}", lambda fault=fault: odd_but_good(fault))


def takes_posts(url, path):
    """405 means that the path is there, for POST."""
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=10):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 405


def tgi_checks(checks, url):
    clients = []

    def client(path, fault="ok"):
        made = huggingface_hub.InferenceClient(f"{url}{path}", timeout=30, headers={FAULT: fault})
        # One that is collected closes its streams.
        clients.append(made)
        return made.text_generation

    def stream(fault="ok", **more):
        return client("/generate_stream", fault)(
            "Say hello.", stream=True, max_new_tokens=8, details=True, **more
        )

    def streams(fault="ok"):
        events = list(stream(fault))
        texts = [event.token.text for event in events if not event.token.special]
        last = events[-1]
        require(len(texts) == 8 and all(texts), f"texts {texts}")
        require(last.generated_text == "".join(texts), f"text {last.generated_text}")
        require(last.details.finish_reason == "length", f"reason {last.details}")
        require(last.details.generated_tokens == 8, f"details {last.details}")
        require(last.details.input_length > 0, f"details {last.details}")
        early = [event for event in events[:-1] if event.generated_text or event.details]
        require(not early, f"an early end: {early}")

    def streams_to_the_models_end():
        generate = client("/generate_stream")
        events = list(generate("Say hello.", stream=True, max_new_tokens=4096, details=True))
        require(events[-1].token.special, f"last token {events[-1].token}")
        require(events[-1].details.finish_reason == "eos_token", f"{events[-1].details}")

    def whole():
        answer = client("/generate")("Say hello.", max_new_tokens=8, details=True)
        require(len(answer.generated_text) > 0, "no text")
        require(answer.details.generated_tokens == 8, f"details {answer.details}")
        require(answer.details.finish_reason == "length", f"details {answer.details}")

    def in_band():
        error = require_raises(
            hub_errors.GenerationError, lambda: list(stream("in_band_error"))
        )
        require("simulated" in str(error), f"message {error}")

    def raises(expected, fault, **more):
        return lambda: require_raises(expected, lambda: list(stream(fault, **more)))

    checks.run("tgi: streams with details", streams)
    checks.run("tgi: streams to the model's own end", streams_to_the_models_end)
    checks.run("tgi: generates as a whole", whole)
    invalid = raises(hub_errors.ValidationError, "ok", temperature=0.0)
    broken = raises(hub_errors.IncompleteGenerationError, "5xx")
    checks.run("tgi: a temperature of 0 is ValidationError", invalid)
    checks.run("tgi: 429 is OverloadedError", raises(hub_errors.OverloadedError, "429"))
    checks.run("tgi: 500 is IncompleteGenerationError", broken)
    checks.run("tgi: an error in the stream is GenerationError", in_band)
    checks.run("tgi: reads through split_frames", lambda: streams("split_frames"))


def answers(url, path):
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    url, model = sys.argv[1].rstrip("/"), sys.argv[2]
    checks = Checks()
    openai_clients.openai_checks(checks, url, model)
    retrieval_clients.openai_checks(checks, url, model)
    retrieval_clients.rank_checks(checks, url, model)
    if answers(url, "/api/version"):
        ollama_checks(checks, url, model)
        retrieval_clients.ollama_checks(checks, url, model)
    anthropic_checks(checks, url, model)
    if takes_posts(url, "/openai/v1/chat/completions"):
        openai_clients.azure_checks(checks, url, model)
    if takes_posts(url, "/v1/responses"):
        openai_clients.responses_checks(checks, url, model)
    if takes_posts(url, "/v1beta/models/m:generateContent"):
        gemini_checks(checks, url, model)
        retrieval_clients.gemini_checks(checks, url, model)
    if answers(url, "/info"):
        tgi_checks(checks, url)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
