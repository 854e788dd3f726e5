#!/usr/bin/env python3
"""The official clients of the APIs below `/v2`, Cohere's and Triton's, talk to a simulated runtime.

usage: cohere_triton_clients.py http://127.0.0.1:PORT MODEL

Needs `pip install cohere tritonclient[http]`. Prints one line per check and
`N passed, N failed`; the exit code is 1 if any check failed.
"""

import sys

import cohere
import tritonclient.http
from checks import FAULT, MESSAGES, UNKNOWN_MODEL, Checks, require, require_raises
from tritonclient.utils import InferenceServerException


def cohere_checks(checks, url, model):
    client = cohere.ClientV2(api_key="unused", base_url=url, timeout=30)

    def ask(fault="ok", **more):
        options = {"additional_headers": {FAULT: fault}, "max_retries": 0}
        messages = [{"role": "system", "content": "Be brief."}] + MESSAGES
        wanted = {"model": model, "messages": messages, "max_tokens": 8, "request_options": options}
        return wanted | more

    def require_end(reason, usage):
        require(reason == "MAX_TOKENS", f"finish_reason {reason}")
        require(usage.tokens.output_tokens == 8 and usage.tokens.input_tokens > 0, f"usage {usage}")
        require(usage.cached_tokens is not None, f"usage {usage}")

    def stream(**more):
        events = list(client.chat_stream(**ask(**more)))
        kinds = [event.type for event in events]
        require(kinds[0] == "message-start" and kinds[-1] == "message-end", f"{kinds}")
        begun = [event for event in events if event.type == "content-start"]
        require(len(begun) == kinds.count("content-end"), f"{kinds}")
        blocks = [event.delta.message.content.type for event in begun]
        parts = [event.delta.message.content for event in events if event.type == "content-delta"]
        require(any(part.text for part in parts), f"no text: {parts}")
        require(any(part.thinking for part in parts) == ("thinking" in blocks), f"{blocks}: {parts}")
        require_end(events[-1].delta.finish_reason, events[-1].delta.usage)
        return blocks

    def whole():
        answer = client.chat(**ask())
        require(answer.message.content[-1].text, f"{answer}")
        require_end(answer.finish_reason, answer.usage)

    def without_thinking():
        require(stream(thinking={"type": "disabled"}) == ["text"], "a block of thoughts")

    def in_band():
        events = list(client.chat_stream(**ask("in_band_error")))
        last = events[-1].delta
        require(last.finish_reason == "ERROR" and "simulated" in last.error, f"{last}")

    def raises(expected, fault="ok", **more):
        return lambda: require_raises(expected, lambda: list(client.chat_stream(**ask(fault, **more))))

    checks.run("cohere: streams a chat", stream)
    checks.run("cohere: chat as a whole", whole)
    checks.run("cohere: thinking can be switched off", without_thinking)
    checks.run("cohere: 401 is UnauthorizedError", raises(cohere.UnauthorizedError, "401"))
    checks.run("cohere: unknown model is NotFoundError", raises(cohere.NotFoundError, model=UNKNOWN_MODEL))
    checks.run("cohere: 429 is TooManyRequestsError", raises(cohere.TooManyRequestsError, "429"))
    checks.run("cohere: no message is BadRequestError", raises(cohere.BadRequestError, messages=[]))
    checks.run("cohere: 503 is ServiceUnavailableError", raises(cohere.ServiceUnavailableError, "503"))
    checks.run("cohere: an error in the stream is its last event", in_band)
    for fault in ("split_frames", "keepalive", "burst", "buffered"):
        checks.run(f"cohere: reads through {fault}", lambda fault=fault: stream(fault=fault))


def triton_checks(checks, url, model):
    """What surrounds the generate extension: for that itself the client has no call."""
    client = tritonclient.http.InferenceServerClient(url.removeprefix("http://"))

    def server():
        require(client.is_server_live() and client.is_server_ready(), "not live or not ready")
        metadata = client.get_server_metadata()
        require(metadata["name"] == "triton" and metadata["version"], f"{metadata}")

    def index():
        entries = client.get_model_repository_index()
        ready = [entry["name"] for entry in entries if entry["state"] == "READY"]
        require(ready == [model], f"{entries}")

    def metadata():
        require(client.is_model_ready(model, "1"), "not ready")
        told = client.get_model_metadata(model)
        require(told["name"] == model and told["versions"] == ["1"], f"{told}")
        names = [tensor["name"] for tensor in told["inputs"] + told["outputs"]]
        require({"text_input", "text_output"} <= set(names), f"{told}")

    def unknown_model():
        require(not client.is_model_ready(UNKNOWN_MODEL), "ready")
        error = require_raises(
            InferenceServerException, lambda: client.get_model_metadata(UNKNOWN_MODEL)
        )
        require("unknown model" in error.message(), f"message {error}")

    checks.run("triton: the server is live, ready and named", server)
    checks.run("triton: the repository lists the model", index)
    checks.run("triton: the model is ready and takes a text", metadata)
    checks.run("triton: unknown model is InferenceServerException", unknown_model)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    url, model = sys.argv[1].rstrip("/"), sys.argv[2]
    checks = Checks()
    cohere_checks(checks, url, model)
    triton_checks(checks, url, model)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
