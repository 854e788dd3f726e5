#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["botocore==1.44.8"]
# ///
"""Ask botocore, the core of Amazon's own Python client, where it finds credentials and what it calls its hosts.

    tests/oracle/aws_oracle.py            writes tests/golden/aws_credentials.jsonl and tests/golden/aws_hosts.jsonl
    tests/oracle/aws_oracle.py --check    fails if the files differ from what it would write

Each line of the first is an environment, the files in it and a server that answers what it is told to, and what
botocore makes of it: the credentials, "nowhere" or "refused", and what it asked of the server. `{dir}` and `{url}`
stand for a folder and the server. Each line of the second is a host and its region. The tests that compare them with
our own are in src/transport/aws/tests/.

Needs the package named above; `uv run tests/oracle/aws_oracle.py` brings it along.
"""

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
from urllib.parse import parse_qsl, urlsplit

try:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from botocore.session import Session
    from botocore.utils import ContainerMetadataFetcher
except ImportError as missing:
    sys.exit(f"aws_oracle: {missing}; hint: pip install botocore==1.44.8")

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
KEPT_HEADERS = ["authorization", "x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"]
EXPIRES = "2099-01-01T00:00:00Z"
ROLES = "/latest/meta-data/iam/security-credentials/"


def sts(key: str, expires: str = f"<Expiration>{EXPIRES}</Expiration>") -> list:
    """The answer of the API reference's example, with other keys."""
    text = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>amzn1.account.AF6RHO7KZU5XRVQJGXK6HB56KR2A</SubjectFromWebIdentityToken>
    <Audience>client.5498841531868486423.1548@apps.example.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/FederatedWebIdentityRole/app1</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:app1</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>{key}-token/+=&lt;&amp;</SessionToken>
      <SecretAccessKey>{key}-secret</SecretAccessKey>
      {expires}
      <AccessKeyId>{key}</AccessKeyId>
    </Credentials>
    <Provider>www.amazon.com</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
"""
    return [200, text]


STS_ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized &amp; not sorry</Message></Error>
  <RequestId>a</RequestId>
</ErrorResponse>"""


def given(key: str, **more: str) -> list:
    keys = {"AccessKeyId": key, "SecretAccessKey": f"{key}-secret", "Token": f"{key}-token", "Expiration": EXPIRES}
    return [200, json.dumps(keys | more)]


def keys(key: str, *more: str) -> str:
    return "\n".join([f"aws_access_key_id = {key}", f"aws_secret_access_key = {key}-secret", *more, ""])


NO_INSTANCE = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "{url}"}
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "ENV-secret", "AWS_SESSION_TOKEN": "ENV-token"}
WEB_IDENTITY = {
    "AWS_WEB_IDENTITY_TOKEN_FILE": "{dir}/token",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/a+b",
    "AWS_ROLE_SESSION_NAME": "s=1@x",
    "AWS_ENDPOINT_URL_STS": "{url}",
    "AWS_DEFAULT_REGION": "eu-west-1",
}
CONTAINER = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{url}/v1/credentials?a=b"}
CONTAINER_ANSWER = {"GET /v1/credentials?a=b": given("CONTAINER")}
INSTANCE_ANSWERS = {
    "PUT /latest/api/token": [200, "imds-token"],
    f"GET {ROLES}": [200, "a-role"],
    f"GET {ROLES}a-role": given("INSTANCE", Code="Success", Type="AWS-HMAC"),
}
TOKEN = {"token": "header.payload.signature_-"}
SHARED = ".aws/credentials"
CONFIG = ".aws/config"


def case(name: str, environment=None, files=None, answers=None, profile=None) -> dict:
    return {
        "name": name,
        "environment": {"HOME": "{dir}"} | NO_INSTANCE | (environment or {}),
        "files": files or {},
        "answers": answers or {},
        "profile": profile,
    }


def order() -> Iterator[dict]:
    """Each place there or not."""
    places = [
        ("environment", ENVIRONMENT, {}, {}),
        ("web identity", WEB_IDENTITY, TOKEN, {"POST /": sts("WEB")}),
        ("file", {}, {SHARED: f"[default]\n{keys('FILE')}"}, {}),
        ("container", CONTAINER, {}, CONTAINER_ANSWER),
        ("instance", {}, {}, INSTANCE_ANSWERS),
    ]
    for chosen in product([False, True], repeat=len(places)):
        there = [place for place, wanted in zip(places, chosen, strict=True) if wanted]
        merged = [{}, {}, {}]
        for _, *parts in there:
            merged = [one | other for one, other in zip(merged, parts, strict=True)]
        yield case("order: " + ", ".join(name for name, *_ in there), *merged)


def profiles() -> Iterator[dict]:
    two = {
        SHARED: f"[default]\n{keys('DEFAULT')}\n[a]\n{keys('A', 'aws_session_token = A-token')}",
        CONFIG: f"[profile a]\nregion = eu-north-1\n{keys('A-CONFIG')}\n[profile b]\n{keys('B')}\n[c]\n{keys('C')}",
    }
    yield case("a profile by the environment's word", {"AWS_PROFILE": "a"}, two)
    yield case("the environment's keys before its profile", ENVIRONMENT | {"AWS_PROFILE": "a"}, two)
    yield case("an own profile before the environment's keys", ENVIRONMENT, two, profile="a")
    yield case("an own profile before the environment's", {"AWS_PROFILE": "a"}, two, profile="b")
    yield case("a profile of the config file only", {"AWS_PROFILE": "b"}, two)
    yield case("a section that is no profile", {"AWS_PROFILE": "c"}, two)
    yield case("a profile that is nowhere", {"AWS_PROFILE": "nobody"}, two)
    yield case("an own profile that is nowhere", {}, two, profile="nobody")
    yield case(
        "an own profile before the environment's web identity",
        WEB_IDENTITY,
        two | TOKEN,
        {"POST /": sts("WEB")},
        profile="a",
    )
    yield case("a profile without keys", CONTAINER, {CONFIG: "[profile a]\nregion=x\n"}, CONTAINER_ANSWER, "a")
    federated = "[profile w]\nrole_arn = arn:aws:iam::123456789012:role/w\nweb_identity_token_file = {dir}/token\nrole_session_name = mine\n"
    sts_there = {"AWS_ENDPOINT_URL_STS": "{url}", "AWS_DEFAULT_REGION": "eu-west-1"}
    answer = {"POST /": sts("WEB")}
    yield case("a profile with web identity", sts_there, {CONFIG: federated} | TOKEN, answer, "w")
    yield case(
        "variables before the profile's web identity",
        WEB_IDENTITY | {"AWS_PROFILE": "w"},
        {CONFIG: federated, "token": "other"},
        answer,
    )
    yield case(
        "web identity in the credentials file",
        sts_there | {"AWS_PROFILE": "w"},
        {SHARED: federated.replace("profile w", "w")} | TOKEN,
        answer,
    )
    yield case(
        "keys of the credentials file before a program",
        {},
        {SHARED: f"[default]\n{keys('FILE')}credential_process = /bin/false\n"},
    )
    elsewhere = {"AWS_SHARED_CREDENTIALS_FILE": "{dir}/c", "AWS_CONFIG_FILE": "~/k"}
    both = {SHARED: f"[default]\n{keys('FILE')}", CONFIG: f"[default]\n{keys('CONFIG')}"}
    yield case("the credentials file before the config file", {}, both)
    yield case("files elsewhere", elsewhere, {"c": f"[default]\n{keys('C')}", SHARED: f"[default]\n{keys('FILE')}"})
    yield case("a config file elsewhere", elsewhere, {"k": f"[default]\n{keys('K')}"})
    yield case("files that are not there", elsewhere)


def spellings() -> Iterator[dict]:
    for name, text in {
        "indented": "[default]\n  aws_access_key_id = I\n  aws_secret_access_key = I-secret\n",
        "tight": "[default]\naws_access_key_id=I\naws_secret_access_key=I/+=x=y\n",
        "comments": f"# a\n; b\n[default]\n# aws_access_key_id = NO\n{keys('I')}\n#[a]\n",
        "no inline comments": "[default]\naws_access_key_id = I\naws_secret_access_key = a #b ;c\n",
        "capitals": "[default]\nAWS_Access_Key_ID = I\naws_secret_ACCESS_key = S\n",
        "subsection": "[default]\ns3 =\n  aws_access_key_id = NO\n  b = c\n" + keys("I"),
        "subsection after": f"[default]\n{keys('I')}s3 =\n    aws_access_key_id = NO\n    a = b\n",
        "windows": f"[default]\n{keys('I')}".replace("\n", "\r\n"),
        "blank lines": f"\n\n[default]\n\n{keys('I')}\n\n[other]\n{keys('O')}",
        "no line end": f"[default]\n{keys('I')}".rstrip(),
        "half": "[default]\naws_access_key_id = I\n",
        "other half": "[default]\naws_secret_access_key = I\n",
        "empty": "",
        "no keys": "[default]\nregion = a\n",
    }.items():
        yield case(f"credentials file: {name}", {}, {SHARED: text})
        yield case(f"config file: {name}", {}, {CONFIG: text})
    for name, title in {
        "quoted": 'profile "a b"',
        "single quotes": "profile 'a b'",
        "not quoted": "profile a b",
        "wide": 'profile   "a b"',
    }.items():
        yield case(f"name: {name}", {"AWS_PROFILE": "a b"}, {CONFIG: f"[{title}]\n{keys('I')}"})
    yield case("name: default as a profile", {}, {CONFIG: f"[profile default]\n{keys('I')}"})


def trouble() -> Iterator[dict]:
    half = dict(list(ENVIRONMENT.items())[:1])
    yield case("half of the environment's keys", half, {SHARED: f"[default]\n{keys('FILE')}"})
    yield case("the other half", {"AWS_SECRET_ACCESS_KEY": "a"}, {SHARED: f"[default]\n{keys('FILE')}"})
    yield case("empty variables", dict.fromkeys(ENVIRONMENT, ""), {SHARED: f"[default]\n{keys('FILE')}"})
    without = {key: value for key, value in ENVIRONMENT.items() if key != "AWS_SESSION_TOKEN"}
    yield case("keys without a token", without)
    rest = CONTAINER, CONTAINER_ANSWER
    for name, answer in {
        "refused": [403, STS_ERROR],
        "expired": [400, STS_ERROR.replace("AccessDenied", "ExpiredTokenException")],
        "no XML": [200, "<a"],
        "something else": [200, "<a/>"],
        "no expiry": sts("WEB", expires=""),
    }.items():
        yield case(f"web identity: {name}", WEB_IDENTITY | rest[0], TOKEN, {"POST /": answer} | rest[1])
    yield case("web identity: no token", WEB_IDENTITY | rest[0], {}, {"POST /": sts("WEB")} | rest[1])
    no_role = {key: value for key, value in WEB_IDENTITY.items() if key != "AWS_ROLE_ARN"}
    yield case("web identity: no role", no_role, TOKEN, {"POST /": sts("WEB")})
    authorised = CONTAINER | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "from-variable"}
    yield case("container: a token", authorised, {}, CONTAINER_ANSWER)
    by_file = authorised | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{dir}/pod"}
    yield case("container: a token in a file", by_file, {"pod": "from-file"}, CONTAINER_ANSWER)
    yield case("container: no such token", by_file, {}, CONTAINER_ANSWER)
    for name, answer in {
        "refused": [403, '{"code":"AccessDeniedException","message":"no association"}'],
        "broken": [500, "oops"],
        "no JSON": [200, "oops"],
        "half": [200, '{"AccessKeyId":"A"}'],
    }.items():
        answers = {"GET /v1/credentials?a=b": answer} | INSTANCE_ANSWERS
        yield case(f"container: {name}", CONTAINER, {}, answers)
    for host in ["example.com", "169.254.170.24", "169.254.169.254", "10.0.0.1", "127.0.0.1.example.com"]:
        uri = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host}/a"}
        yield case(f"container: not asked of {host}", uri, {}, INSTANCE_ANSWERS)
    yield case("instance: off", {"AWS_EC2_METADATA_DISABLED": "true"}, {}, INSTANCE_ANSWERS)
    yield case("instance: no role", {}, {}, INSTANCE_ANSWERS | {f"GET {ROLES}": [404, ""]})
    failed = [200, '{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"}']
    yield case("instance: no credentials", {}, {}, INSTANCE_ANSWERS | {f"GET {ROLES}a-role": failed})


class Server(HTTPServer):
    answers: dict
    questions: list


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        headers = [[name, self.headers[name]] for name in KEPT_HEADERS if name in self.headers]
        form = sorted(map(list, parse_qsl(body, keep_blank_values=True)))
        self.server.questions.append([self.command, self.path, headers, form])
        status, text = self.server.answers.get(f"{self.command} {self.path}", (404, ""))
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


def ask(question: dict, server: Server) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{server.server_port}"
        fill = lambda text: text.replace("{dir}", folder).replace("{url}", url)
        for name, text in question["files"].items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(fill(text).encode())
        server.answers, server.questions = question["answers"], []
        environment = {name: fill(value) for name, value in question["environment"].items()}
        with patch.dict(os.environ, environment, clear=True):
            try:
                found = Session(profile=question["profile"]).get_credentials()
                frozen = found and found.get_frozen_credentials()
                answer = [frozen.access_key, frozen.secret_key, frozen.token] if frozen else "nowhere"
            except (BotoCoreError, ClientError, ResponseParserError, ValueError, KeyError, OSError):
                answer = "refused"
        asked = server.questions if isinstance(answer, list) else []
    return question | {"found": answer, "asked": asked}


def credentials() -> Iterator[str]:
    ContainerMetadataFetcher.RETRY_ATTEMPTS = 1
    ContainerMetadataFetcher.SLEEP_TIME = 0
    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    for question in [*order(), *profiles(), *spellings(), *trouble()]:
        yield json.dumps(ask(question, server), separators=(",", ":"))
    server.shutdown()


def hosts() -> Iterator[str]:
    """Of every region of every partition. Those of the token service are what our own questions go to."""
    session = Session()
    loader = session.get_component("data_loader").load_data("partitions")
    for partition in loader["partitions"]:
        for region in sorted(partition["regions"]):
            if region.endswith("-global"):
                continue
            for service in ["sts", "bedrock-runtime", "sagemaker-runtime"]:
                for dual_stack in [False, True]:
                    config = Config(use_dualstack_endpoint=dual_stack)
                    options = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "config": config}
                    try:
                        client = session.create_client(service, region_name=region, **options)
                    except BotoCoreError:
                        continue
                    host = urlsplit(client.meta.endpoint_url).hostname
                    line = {"service": service, "host": host, "region": region, "dual_stack": dual_stack}
                    yield json.dumps(line, separators=(",", ":"))


def main() -> None:
    for name, lines in [("aws_credentials.jsonl", credentials), ("aws_hosts.jsonl", hosts)]:
        path, text = GOLDEN / name, "".join(f"{line}\n" for line in lines())
        match sys.argv[1:]:
            case []:
                path.write_text(text)
            case ["--check"] if path.read_text() == text:
                print(f"{name} is up to date")
            case ["--check"]:
                sys.exit(f"aws_oracle: {path} is out of date; hint: run this script and review the difference")
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    main()
