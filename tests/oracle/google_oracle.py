#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["google-auth==2.63.0", "cryptography"]
# ///
"""Ask google-auth, Google's own Python library, where it finds credentials and what it says to get a token.

    tests/oracle/google_oracle.py            writes tests/golden/google_credentials.jsonl and google_assertion.json
    tests/oracle/google_oracle.py --check    fails if the files differ from what it would write

Each line of the first is an environment, the files in it and a server that answers what it is told to, and what
google-auth makes of it: token and quota project, "nowhere" or "refused", and what it asked of the server. `{dir}`,
`{url}` and `{host}` stand for a folder and the server, `{key}` for the private key in google_key.pem, which is for
tests alone and nobody's. An assertion stands as its header and its claims, without times. The second file is an
assertion in full, at a given time. The tests that compare them with our own are in src/transport/google/tests.rs.

Needs the packages named above; `uv run tests/oracle/google_oracle.py` brings them along.
"""

import datetime
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from unittest.mock import patch
from urllib.parse import parse_qsl

try:
    import google.auth
    from google.auth import _helpers, exceptions, jwt
    from google.auth.compute_engine import _metadata
    from google.auth.transport._http_client import Request
    from google.oauth2 import credentials as persons
    from google.oauth2 import service_account
except ImportError as missing:
    sys.exit(f"google_oracle: {missing}; hint: pip install google-auth==2.63.0 cryptography")

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
KEY = (GOLDEN / "google_key.pem").read_text()
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EMAIL = "probe@my-project.iam.gserviceaccount.com"
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default/"
TOKEN = f"{ACCOUNT}token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform"
WELL_KNOWN = ".config/gcloud/application_default_credentials.json"
NOBODY = "127.0.0.1:1"

KEY_FILE = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "simulated",
    "private_key": "{key}",
    "client_email": EMAIL,
    "token_uri": "{url}/token",
}
PERSON = {
    "type": "authorized_user",
    "client_id": "id.apps.example.com",
    "client_secret": "client-secret/+ ",
    "refresh_token": "1//refresh-secret_-",
    "token_uri": "{url}/token",
}


def given(name: str, **more) -> list:
    return [200, json.dumps({"access_token": f"{name}-token", "expires_in": 3599, "token_type": "Bearer"} | more)]


def metadata(answer=None) -> dict:
    info = {"aliases": ["default"], "email": EMAIL, "scopes": [SCOPE]}
    return {
        "GET /": [200, "computeMetadata/\n"],
        f"GET {ACCOUNT}?recursive=true": [200, json.dumps(info)],
        f"GET {TOKEN}": answer or given("metadata"),
    }


def case(name: str, environment=None, files=None, answers=None) -> dict:
    files = {path: text if isinstance(text, str) else json.dumps(text) for path, text in (files or {}).items()}
    reachable = "{host}" if answers and "GET /" in answers else NOBODY
    environment = {"HOME": "{dir}", "GCE_METADATA_HOST": reachable, "GCE_METADATA_IP": reachable} | (environment or {})
    return {"name": name, "environment": environment, "files": files, "answers": answers or {}}


NAMED = {"GOOGLE_APPLICATION_CREDENTIALS": "{dir}/key.json"}


def order() -> Iterator[dict]:
    """Each place there or not."""
    places = [
        ("named", NAMED, {"key.json": KEY_FILE}, {"POST /token": given("exchanged")}),
        ("well-known", {}, {WELL_KNOWN: PERSON}, {"POST /token": given("exchanged")}),
        ("metadata", {}, {}, metadata()),
    ]
    for chosen in product([False, True], repeat=len(places)):
        there = [place for place, wanted in zip(places, chosen, strict=True) if wanted]
        merged = [{}, {}, {}]
        for _, *parts in there:
            merged = [one | other for one, other in zip(merged, parts, strict=True)]
        yield case("order: " + ", ".join(name for name, *_ in there), *merged)


def of_files() -> Iterator[dict]:
    one = lambda name, file, answer=None, **environment: case(
        name, NAMED | environment, {"key.json": file}, {"POST /token": answer or given("exchanged")} | metadata()
    )
    without = lambda file, name: {key: value for key, value in file.items() if key != name}
    yield one("a person's file by name", PERSON)
    yield one("a person's project", PERSON | {"quota_project_id": "paying"})
    yield one("the environment's project first", PERSON | {"quota_project_id": "paying"}, GOOGLE_CLOUD_QUOTA_PROJECT="other")
    yield one("a service account's project", KEY_FILE | {"quota_project_id": "paying"})
    yield one("the environment's project for a service account", KEY_FILE, GOOGLE_CLOUD_QUOTA_PROJECT="other")
    yield one("a key without an id", without(KEY_FILE, "private_key_id"))
    yield one("an answer without an end", KEY_FILE, [200, json.dumps({"access_token": "endless-token"})])
    yield one("an end as text", KEY_FILE, given("text", expires_in="3599"))
    yield one("an answer without a token", KEY_FILE, [200, "{}"])
    denied = json.dumps({"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    yield one("a refusal", KEY_FILE, [400, denied])
    yield one("a person's refusal", PERSON, [400, denied])
    yield one("a file that is no JSON", "private_key")
    yield one("a file without a type", without(KEY_FILE, "type"))
    yield one("a file of a type that is none", KEY_FILE | {"type": "key"})
    for name in ["client_email", "token_uri", "private_key"]:
        yield one(f"a key without {name}", without(KEY_FILE, name))
    for name in ["client_id", "client_secret", "refresh_token"]:
        yield one(f"a person's file without {name}", without(PERSON, name))
    yield one("a key that is none", KEY_FILE | {"private_key": "private-secret"})
    yield case("a named file that is not there", NAMED, {}, metadata())
    elsewhere = {"CLOUDSDK_CONFIG": "{dir}/cloud"}
    answers = {"POST /token": given("exchanged")}
    yield case("gcloud's file elsewhere", elsewhere, {"cloud/application_default_credentials.json": PERSON}, answers)
    yield case("gcloud's file that is broken", {}, {WELL_KNOWN: "{"}, metadata())


def of_metadata() -> Iterator[dict]:
    yield case("the metadata server by its old variable", {"GCE_METADATA_HOST": "", "GCE_METADATA_ROOT": "{host}"}, {}, metadata())
    yield case("the metadata server switched off", {"NO_GCE_CHECK": "true"}, {}, metadata())
    yield case("a metadata server that refuses", {}, {}, metadata([403, "Permission denied on the service account"]))
    yield case("a metadata server without a token", {}, {}, metadata([200, "{}"]))


class Server(HTTPServer):
    answers: dict
    questions: list


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        headers = [[name, self.headers[name]] for name in ["metadata-flavor"] if name in self.headers]
        form = sorted([name, said(value) if name == "assertion" else value] for name, value in parse_qsl(body))
        # Whether somebody is there, and who the account is, need not be asked to get a token.
        if self.path.partition("?")[0].endswith("/token"):
            self.server.questions.append([self.command, self.path, headers, form])
        status, text = self.server.answers.get(f"{self.command} {self.path}", (404, ""))
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.send_header("metadata-flavor", "Google")
        self.send_header("content-type", "application/json" if text.startswith("{") else "text/plain")
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


def said(assertion: str) -> list:
    header = jwt.decode_header(assertion)
    claims = dict(jwt.decode(assertion, verify=False))
    lifetime = claims.pop("exp") - claims.pop("iat")
    return [header, claims, lifetime]


def ask(question: dict, server: Server) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        host = f"127.0.0.1:{server.server_port}"
        key = json.dumps(KEY)[1:-1]
        places = {"{dir}": folder, "{url}": f"http://{host}", "{host}": host, "{key}": key}

        def fill(text: str) -> str:
            for name, value in places.items():
                text = text.replace(name, value)
            return text

        for name, text in question["files"].items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fill(text))
        server.answers, server.questions = question["answers"], []
        environment = {name: fill(value) for name, value in question["environment"].items()}
        endpoint = patch.object(persons, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"http://{host}/token")
        with patch.dict(os.environ, environment, clear=True), patch("time.sleep"), endpoint:
            importlib.reload(_metadata)
            try:
                found, _ = google.auth.default(scopes=[SCOPE], request=Request())
                found.refresh(Request())
                answer = [found.token, found.quota_project_id]
            except exceptions.DefaultCredentialsError as error:
                answer = "nowhere" if "were not found" in str(error) and "File" not in str(error) else "refused"
            except (exceptions.GoogleAuthError, ValueError, KeyError):
                answer = "refused"
        asked = server.questions if isinstance(answer, list) else []
    return question | {"found": answer, "asked": asked}


def credentials() -> str:
    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    lines = [json.dumps(ask(question, server), separators=(",", ":")) for question in [*order(), *of_files(), *of_metadata()]]
    server.shutdown()
    return "".join(f"{line}\n" for line in lines)


def assertion() -> str:
    time = datetime.datetime(2027, 1, 15, 8, 0, 0)
    info = KEY_FILE | {"private_key": KEY}
    account = service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    with patch.object(_helpers, "utcnow", lambda: time):
        text = account._make_authorization_grant_assertion().decode()
    line = {"time": f"{time.isoformat()}Z", "email": EMAIL, "key_id": "simulated", "assertion": text}
    return json.dumps(line, indent=2) + "\n"


def main() -> None:
    for name, made in [("google_credentials.jsonl", credentials), ("google_assertion.json", assertion)]:
        path, text = GOLDEN / name, made()
        match sys.argv[1:]:
            case []:
                path.write_text(text)
            case ["--check"] if path.read_text() == text:
                print(f"{name} is up to date")
            case ["--check"]:
                sys.exit(f"google_oracle: {path} is out of date; hint: run this script and review the difference")
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    main()
