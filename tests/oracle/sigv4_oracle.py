#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["botocore==1.44.8"]
# ///
"""Ask botocore, the core of Amazon's own Python client, to sign requests, and keep its answers.

    tests/oracle/sigv4_oracle.py            writes tests/golden/sigv4.jsonl
    tests/oracle/sigv4_oracle.py --check    fails if the file differs from what it would write

Each line is one request with its answer: method, target, headers, body, session token, region, service, seconds since
the Unix epoch, and the `Authorization` header. The test that compares them with our own is
src/transport/sigv4/tests.rs. The requests after the first few are random but seeded, so every run writes the same
bytes.

Needs the package named above; `uv run tests/oracle/sigv4_oracle.py` brings it along.
"""

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError as missing:
    sys.exit(f"sigv4_oracle: {missing}; hint: pip install botocore==1.44.8")

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "sigv4.jsonl"
SEED = 20250101
RANDOM_REQUESTS = 100

# Amazon's own example, which is no one's.
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////token+/=="
JSON_BODY = '{"messages":[{"role":"user","content":[{"text":"Grüße"}]}],"inferenceConfig":{"maxTokens":8}}'

# What adapters for Bedrock and SageMaker would send.
EXPECTED = [
    ("bedrock", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream"),
    ("bedrock", "/model/anthropic.claude-3-haiku-20240307-v1:0/converse-stream"),
    (
        "bedrock",
        "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A111122223333%3Ainference-profile%2Feu.some.model-v1%3A0/converse",
    ),
    ("bedrock", "/model/amazon.titan-text-lite-v1/invoke-with-response-stream"),
    ("sagemaker", "/endpoints/my-endpoint/invocations-response-stream"),
]

HEADERS = {
    "accept": ["*/*", "application/vnd.amazon.eventstream"],
    "content-type": ["application/json", "application/json;  charset=utf-8"],
    "user-agent": ["sonde/1"],
    "traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    "connection": ["keep-alive"],
    "x-llm-probe": ["0123456789abcdef"],
    "x-amzn-bedrock-trace": ["ENABLED"],
    "x-amzn-sagemaker-target-model": ["a/model.tar.gz"],
    "x-blanks": ["  a   b\tc ", '"quoted   text"', ""],
}
SEGMENTS = ["a", "model", ".", "..", "", "~x_y-z", "a%20b", "a+b", "v1:0", "%C3%BC", "(1)", "@b", "c,d;e=f", "$&'*!"]
WORDS = ["a", "A", "b", "prefix", "a b", "ü", "1/2", "x=y", "a+b", "~_-.", "*"]


def answer(question: dict) -> str:
    host = dict(question["headers"])["host"]
    body = question["body"].encode()
    request = AWSRequest(question["method"], f"https://{host}{question['target']}", data=body)
    for name, value in question["headers"]:
        request.headers[name] = value
    now = datetime.fromtimestamp(question["time"], UTC)
    with patch("botocore.auth.get_current_datetime", lambda: now):
        credentials = Credentials(KEY_ID, SECRET, question["token"])
        SigV4Auth(credentials, question["service"], question["region"]).add_auth(request)
    return request.headers["Authorization"]


class Requests:
    """Random requests. Only `random()` is used, whose numbers no Python version changes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, bound: int) -> int:
        return int(self.random() * bound)

    def one_of(self, choices: list) -> object:
        return choices[self.below(len(choices))]

    def target(self) -> str:
        path = "/" + "/".join(self.one_of(SEGMENTS) for _ in range(self.below(6)))
        words = (quote(self.one_of(WORDS), safe="-_.~") for _ in iter(int, 1))
        pairs = [next(words) + self.one_of(["", "=", "=" + next(words)]) for _ in range(self.below(5))]
        return path + ("?" + "&".join(pairs) if pairs else "")

    def headers(self) -> Iterator[tuple[str, str]]:
        for name, values in HEADERS.items():
            if self.random() < 0.5:
                yield name, self.one_of(values)
                if name == "x-blanks":
                    yield name, "once more"

    def request(self) -> dict:
        return {
            "method": self.one_of(["GET", "POST", "PUT"]),
            "target": self.target(),
            "headers": [("host", self.one_of(["example.amazonaws.com", "127.0.0.1:4566"])), *self.headers()],
            "body": self.one_of(["", "{}", JSON_BODY]),
            "token": self.one_of([None, TOKEN]),
            "region": self.one_of(["us-east-1", "eu-central-1", "cn-north-1"]),
            "service": self.one_of(["bedrock", "sagemaker", "execute-api"]),
            "time": 1_440_938_160 + self.below(600_000_000),
        }


def expected_requests() -> Iterator[dict]:
    for service, target in EXPECTED:
        for token in (None, TOKEN):
            host = {"bedrock": "bedrock-runtime", "sagemaker": "runtime.sagemaker"}[service]
            yield {
                "method": "POST",
                "target": target,
                "headers": [
                    ("host", f"{host}.eu-west-1.amazonaws.com"),
                    ("content-type", "application/json"),
                    ("user-agent", "sonde/1"),
                ],
                "body": JSON_BODY,
                "token": token,
                "region": "eu-west-1",
                "service": service,
                "time": 1_764_255_600,
            }


def lines() -> Iterator[str]:
    requests = Requests(SEED)
    for question in [*expected_requests(), *(requests.request() for _ in range(RANDOM_REQUESTS))]:
        yield json.dumps(question | {"authorization": answer(question)}, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    text = "".join(f"{line}\n" for line in lines())
    match sys.argv[1:]:
        case []:
            GOLDEN.write_text(text)
        case ["--check"] if GOLDEN.read_text() == text:
            print(f"{GOLDEN.name} is up to date")
        case ["--check"]:
            sys.exit(f"sigv4_oracle: {GOLDEN} is out of date; hint: run this script and review the difference")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
