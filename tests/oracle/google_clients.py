#!/usr/bin/env python3
"""The clients of Google and Anthropic for Vertex AI talk to a simulated runtime, with tokens that it gives them.

usage: google_clients.py SONDE [THOUGHTS]

SONDE is the command; its simulated runtime thinks for so many tokens. Needs `pip install google-genai anthropic
google-auth cryptography requests`. Prints one line per check and `N passed, N failed`; the exit code is 1 if any
check failed.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import anthropic
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google import genai
from google.auth import compute_engine, exceptions
from google.auth.compute_engine import _metadata
from google.auth.transport._http_client import Request
from google.genai import errors, types
from google.oauth2 import credentials, service_account
from sdk_clients import FAULT, MESSAGES, UNKNOWN_MODEL, Checks, require, require_raises

MODEL = "sim-model"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PLACE = {"project": "my-project", "location": "europe-west4"}
LIMIT = 8


def key_file(url):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return {
        "type": "service_account",
        "client_email": "probe@my-project.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": f"{url}/token",
    }


def account(info, scope=SCOPE):
    return service_account.Credentials.from_service_account_info(info, scopes=[scope])


def token_checks(checks, info):
    def refused(wanted, other):
        error = require_raises(exceptions.RefreshError, lambda: other.refresh(Request()))
        require(wanted in str(error), f"{error}")

    def exchanges():
        ours = account(info)
        ours.refresh(Request())
        require(ours.valid and ours.token, f"{ours.expiry}")

    def asks_metadata():
        ours = compute_engine.Credentials(scopes=[SCOPE])
        ours.refresh(Request())
        require(ours.valid and ours.service_account_email == info["client_email"], f"{ours.expiry}")

    other = info | {"private_key": key_file("")["private_key"]}
    stranger = info | {"client_email": "nobody@example.com"}
    checks.run("google: a service account's assertion gets a token", exchanges)
    checks.run("google: another key's assertion gets none", lambda: refused("Signature", account(other)))
    checks.run("google: another account's assertion gets none", lambda: refused("email", account(stranger)))
    checks.run("google: another scope gets none", lambda: refused("scope", account(info, "email")))
    checks.run("google: the metadata server gives a token", asks_metadata)


def gemini_checks(checks, url, owner, thoughts):
    clients = []

    def models(of=owner, fault="ok"):
        options = types.HttpOptions(base_url=url, headers={FAULT: fault})
        made = genai.Client(vertexai=True, credentials=of, http_options=options, **PLACE)
        # One that is collected closes its streams.
        clients.append(made)
        return made.models

    def ask(model=MODEL):
        config = types.GenerateContentConfig(max_output_tokens=LIMIT, system_instruction="Be brief.")
        return {"model": model, "contents": "Say hello.", "config": config}

    def require_end(last):
        require(last.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS, f"{last}")
        usage = last.usage_metadata
        counted = (usage.candidates_token_count or 0), (usage.thoughts_token_count or 0)
        require(counted == (LIMIT - thoughts, thoughts), f"usage {usage}")

    def stream():
        chunks = list(models().generate_content_stream(**ask()))
        require(any(chunk.text for chunk in chunks), "no text")
        require_end(chunks[-1])

    def whole():
        require_end(models().generate_content(**ask()))

    def refused(wanted, **more):
        model = more.pop("model", MODEL)
        try:
            list(models(**more).generate_content_stream(**ask(model)))
        except errors.APIError as error:
            require((error.code, error.status) == wanted, f"{error}")
            return
        raise AssertionError("no error")

    stale = credentials.Credentials("ya29.1.seal")
    checks.run("vertex: streams content with usage", stream)
    checks.run("vertex: content as a whole", whole)
    checks.run("vertex: a token that has ended is UNAUTHENTICATED", lambda: refused((401, "UNAUTHENTICATED"), of=stale))
    checks.run("vertex: 429 is RESOURCE_EXHAUSTED", lambda: refused((429, "RESOURCE_EXHAUSTED"), fault="429"))
    checks.run("vertex: unknown model is NOT_FOUND", lambda: refused((404, "NOT_FOUND"), model=UNKNOWN_MODEL))
    checks.run("vertex: 503 is UNAVAILABLE", lambda: refused((503, "UNAVAILABLE"), fault="503"))


def claude_checks(checks, url, owner):
    def messages(token=None, fault="ok"):
        client = anthropic.AnthropicVertex(
            base_url=f"{url}/v1",
            project_id=PLACE["project"],
            region=PLACE["location"],
            access_token=token or owner.token,
            max_retries=0,
            default_headers={FAULT: fault},
        )
        return client.messages

    def ask(model=MODEL):
        return {"model": model, "messages": MESSAGES, "max_tokens": LIMIT}

    def stream():
        with messages().stream(**ask()) as events:
            require(any(events.text_stream), "no text")
            answer = events.get_final_message()
        require(answer.usage.output_tokens == LIMIT, f"usage {answer.usage}")

    def whole():
        answer = messages().create(**ask())
        require(answer.usage.output_tokens == LIMIT, f"usage {answer.usage}")

    def raises(expected, model=MODEL, **more):
        return lambda: require_raises(expected, lambda: messages(**more).create(**ask(model)))

    checks.run("vertex-anthropic: streams a message", stream)
    checks.run("vertex-anthropic: message as a whole", whole)
    stale = raises(anthropic.AuthenticationError, token="ya29.1.seal")
    checks.run("vertex-anthropic: a token that has ended is AuthenticationError", stale)
    limited = raises(anthropic.RateLimitError, fault="429")
    checks.run("vertex-anthropic: 429 is RateLimitError", limited)
    unknown = raises(anthropic.NotFoundError, UNKNOWN_MODEL)
    checks.run("vertex-anthropic: unknown model is NotFoundError", unknown)


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    sonde, thoughts = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 0
    info = key_file("http://unknown")
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.json"
        path.write_text(json.dumps(info))
        command = [sonde, "simulate", "--listen", "127.0.0.1:0", "--model", MODEL, "--google-key", path]
        command += ["--reasoning-tokens", str(thoughts), "--exit-with-stdin"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as server:
            url = re.search(r"http://[0-9.:]+", server.stdout.readline()).group()
            info["token_uri"] = f"{url}/token"
            os.environ["GCE_METADATA_HOST"] = url.removeprefix("http://")
            importlib.reload(_metadata)
            token_checks(checks, info)
            owner = account(info)
            owner.refresh(Request())
            gemini_checks(checks, url, owner, thoughts)
            claude_checks(checks, url, owner)
            server.stdin.close()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
