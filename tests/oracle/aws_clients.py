#!/usr/bin/env python3
"""Amazon's own client talks to a simulated runtime, and says what it thinks of Sonde's requests.

usage: aws_clients.py http://127.0.0.1:PORT MODEL ID:SECRET SONDE

The simulated runtime is to want requests signed with that access key (`--aws-key`); SONDE is the command. Needs
`pip install boto3`. Prints one line per check and `N passed, N failed`; the exit code is 1 if any check failed.
"""

import http.server
import json
import os
import subprocess
import sys
import threading

import boto3
import botocore.config
import botocore.session
from botocore.exceptions import ClientError, EventStreamError
from botocore.validate import ParamValidator
from checks import FAULT, Checks, require

REGION = "eu-central-1"
LIMIT = 8
FAMILIES = ("eu.anthropic.{}", "meta.{}", "amazon.nova-{}", "mistral.{}")


class Client:
    """A service's client, whose requests ask for a fault."""

    def __init__(self, url, service, key, fault="ok"):
        key_id, secret = key.split(":")
        config = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=30)
        self.made = boto3.session.Session().client(
            service,
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token="simulated-token",
            config=config,
        )
        self.made.meta.events.register(
            "before-sign.*", lambda request, **_: request.headers.add_header(FAULT, fault)
        )


def require_error(expected, call):
    """`expected`: the code and the status."""
    try:
        call()
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        require(found == expected, f"{found} instead of {expected}")
        return error
    raise AssertionError("no error")


def converse_checks(checks, url, model, key):
    def asked(fault="ok", of=key, **more):
        wanted = {
            "modelId": model,
            "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": LIMIT, "temperature": 0.0},
        }
        return Client(url, "bedrock-runtime", of, fault).made, wanted | more

    def stream(fault="ok"):
        client, wanted = asked(fault)
        return list(client.converse_stream(**wanted)["stream"])

    def require_usage(usage, metrics):
        require(usage["outputTokens"] == LIMIT and usage["inputTokens"] > 0, f"usage {usage}")
        require(usage["totalTokens"] == usage["inputTokens"] + LIMIT, f"usage {usage}")
        require(metrics["latencyMs"] > 0, f"metrics {metrics}")

    def streams(fault="ok"):
        # What this client does not know by name it leaves out.
        events = [event for event in stream(fault) if event]
        kinds = [kind for event in events for kind in event]
        require(kinds[0] == "messageStart", f"{kinds}")
        require(kinds[-2:] == ["messageStop", "metadata"], f"{kinds}")
        require(events[-2]["messageStop"]["stopReason"] == "max_tokens", f"{events[-2]}")
        require_usage(events[-1]["metadata"]["usage"], events[-1]["metadata"]["metrics"])
        deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
        texts = [delta["delta"]["text"] for delta in deltas if "text" in delta["delta"]]
        thoughts = [
            delta["delta"]["reasoningContent"]["text"]
            for delta in deltas
            if "text" in delta["delta"].get("reasoningContent", {})
        ]
        require(all(texts) and all(thoughts), f"an empty text: {texts} {thoughts}")
        require(bool(texts), "no text")
        stops = [event for event in events if "contentBlockStop" in event]
        require(len(stops) == 1 + bool(thoughts), f"{len(stops)} blocks end")

    def whole():
        client, wanted = asked()
        answer = client.converse(**wanted)
        require(answer["stopReason"] == "max_tokens", f"{answer}")
        require_usage(answer["usage"], answer["metrics"])
        require("text" in answer["output"]["message"]["content"][-1], f"{answer}")

    def in_band():
        try:
            stream("in_band_error")
        except EventStreamError as error:
            require("modelStreamErrorException" in str(error), f"{error}")
            return
        raise AssertionError("no error")

    def refused(fault, expected):
        return lambda: require_error(expected, lambda: stream(fault))

    def with_key(other, expected):
        def call():
            client, wanted = asked(of=other)
            client.converse(**wanted)

        return lambda: require_error(expected, call)

    checks.run("bedrock: streams a conversation", streams)
    checks.run("bedrock: conversation as a whole", whole)
    checks.run("bedrock: an error in the stream is EventStreamError", in_band)
    checks.run("bedrock: 429 is ThrottlingException", refused("429", ("ThrottlingException", 429)))
    unavailable = refused("503", ("ServiceUnavailableException", 503))
    checks.run("bedrock: 503 is ServiceUnavailableException", unavailable)
    checks.run("bedrock: 500 is InternalServerException", refused("5xx", ("InternalServerException", 500)))
    checks.run("bedrock: 400 is ValidationException", refused("4xx", ("ValidationException", 400)))
    wrong = with_key(f"{key.split(':')[0]}:wrong", ("InvalidSignatureException", 403))
    checks.run("bedrock: a wrong signature is InvalidSignatureException", wrong)
    unknown = with_key("AKIDOTHER:wrong", ("UnrecognizedClientException", 403))
    checks.run("bedrock: an unknown key is UnrecognizedClientException", unknown)
    for fault in ("split_frames", "keepalive", "buffered"):
        checks.run(f"bedrock: reads through {fault}", lambda fault=fault: streams(fault))


def invoke_checks(checks, url, model, key):
    client = Client(url, "bedrock-runtime", key).made
    messages = [{"role": "user", "content": "Say hello."}]
    blocks = [{"role": "user", "content": [{"text": "Say hello."}]}]
    bodies = (
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": LIMIT, "messages": messages},
        {"prompt": "Say hello.", "max_gen_len": LIMIT},
        {"messages": blocks, "inferenceConfig": {"maxTokens": LIMIT}},
        {"messages": messages, "max_tokens": LIMIT},
    )

    def streams(family, body):
        answer = client.invoke_model_with_response_stream(
            modelId=family.format(model), body=json.dumps(body)
        )
        chunks = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
        metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
        require(metrics["outputTokenCount"] == LIMIT, f"{metrics}")
        require(metrics["invocationLatency"] >= metrics["firstByteLatency"] > 0, f"{metrics}")
        early = [chunk for chunk in chunks[:-1] if "amazon-bedrock-invocationMetrics" in chunk]
        require(not early and len(chunks) > LIMIT, f"{len(chunks)} chunks, {early}")

    def whole(family, body):
        answer = client.invoke_model(modelId=family.format(model), body=json.dumps(body))
        require(bool(json.loads(answer["body"].read())), "no answer")

    for family, body in zip(FAMILIES, bodies, strict=True):
        name = family.format("…")
        checks.run(f"invoke: streams {name}", lambda family=family, body=body: streams(family, body))
        checks.run(f"invoke: {name} as a whole", lambda family=family, body=body: whole(family, body))


def sagemaker_checks(checks, url, model, key):
    def asked(body, fault="ok"):
        made = Client(url, "sagemaker-runtime", key, fault).made
        return made, {"EndpointName": model, "Body": json.dumps(body), "ContentType": "application/json"}

    chat = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": LIMIT, "stream": True}
    text = {"inputs": "Say hello.", "parameters": {"max_new_tokens": LIMIT, "details": True}, "stream": True}

    def within(body, fault="ok"):
        client, wanted = asked(body, fault)
        events = client.invoke_endpoint_with_response_stream(**wanted)["Body"]
        parts = [event["PayloadPart"]["Bytes"] for event in events]
        events = b"".join(parts).decode().replace("\r\n", "\n").split("\n\n")
        return [event.removeprefix("data:").strip() for event in events if event.startswith("data:")]

    def streams_chat(fault="ok"):
        *events, last = within(chat, fault)
        require(last == "[DONE]", f"last {last}")
        chunks = [json.loads(event) for event in events]
        require(chunks[-1]["usage"]["completion_tokens"] == LIMIT, f"{chunks[-1]}")

    def streams_text():
        events = [json.loads(event) for event in within(text)]
        require(events[-1]["details"]["generated_tokens"] == LIMIT, f"{events[-1]}")

    def whole():
        client, wanted = asked(chat)
        answer = json.loads(client.invoke_endpoint(**wanted)["Body"].read())
        require(answer["usage"]["completion_tokens"] == LIMIT, f"{answer}")

    def in_band():
        try:
            within(chat, "in_band_error")
        except EventStreamError as error:
            require("ModelStreamError" in str(error), f"{error}")
            return
        raise AssertionError("no error")

    def model_error():
        error = require_error(("ModelError", 424), lambda: within(chat, "5xx"))
        require(error.response["OriginalStatusCode"] == 500, f"{error.response}")

    checks.run("sagemaker: streams what a chat's container sends", streams_chat)
    checks.run("sagemaker: streams what TGI sends", streams_text)
    checks.run("sagemaker: chat as a whole", whole)
    checks.run("sagemaker: an error in the stream is EventStreamError", in_band)
    checks.run("sagemaker: a container's failure is ModelError", model_error)
    throttled = lambda: require_error(("ThrottlingException", 429), lambda: within(chat, "429"))
    checks.run("sagemaker: 429 is ThrottlingException", throttled)
    checks.run("sagemaker: reads through split_frames", lambda: streams_chat("split_frames"))


def recorded(sonde, runtime, model, *more):
    """What Sonde sends: path and body."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, json.loads(body)))
            self.send_response(500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    command = [sonde, "probe", url, "--runtime", runtime, "--model", model, "--prompt", "Hi", *more]
    keys = {"AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | keys
    )
    server.shutdown()
    require(len(seen) == 1, f"{len(seen)} requests: {said.stdout}{said.stderr}")
    return seen[0]


def request_checks(checks, sonde):
    session = botocore.session.Session()
    profile = "arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.meta.sim-v1:0"

    def own(service, operation, parameters):
        """The path that Amazon's client has for it."""
        paths = []
        client = session.create_client(
            service, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
        )

        def stop(request, **_):
            paths.append(request.url.split(".com", 1)[1])
            raise InterruptedError

        client.meta.events.register("before-send.*", stop)
        try:
            getattr(client, operation)(**parameters)
        except InterruptedError:
            return paths[0]
        raise AssertionError("nothing was sent")

    def converses(operation, shape, *more):
        path, body = recorded(sonde, "bedrock", profile, *more)
        wanted = session.get_service_model("bedrock-runtime").operation_model(shape).input_shape
        parameters = body | {"modelId": profile}
        report = ParamValidator().validate(parameters, wanted)
        require(not report.has_errors(), report.generate_report())
        unknown = set(body) - set(wanted.members)
        require(not unknown, f"unknown fields {unknown}")
        theirs = own("bedrock-runtime", operation, parameters)
        require(path == theirs, f"path {path}, theirs {theirs}")

    def path_is(runtime, model, service, operation, parameters):
        path, _ = recorded(sonde, runtime, model)
        theirs = own(service, operation, parameters)
        require(path == theirs, f"path {path}, theirs {theirs}")

    def invokes():
        wanted = {"modelId": profile, "body": b"{}"}
        operation = "invoke_model_with_response_stream"
        path_is("bedrock-invoke", profile, "bedrock-runtime", operation, wanted)

    def invokes_endpoint():
        wanted = {"EndpointName": "my-endpoint", "Body": b"{}"}
        operation = "invoke_endpoint_with_response_stream"
        path_is("sagemaker", "my-endpoint", "sagemaker-runtime", operation, wanted)

    stream = lambda: converses("converse_stream", "ConverseStream")
    checks.run("our requests: ConverseStream is as its model has it", stream)
    whole = lambda: converses("converse", "Converse", "--no-stream")
    checks.run("our requests: Converse is as its model has it", whole)
    checks.run("our requests: InvokeModelWithResponseStream goes where theirs does", invokes)
    checks.run("our requests: InvokeEndpointWithResponseStream goes where theirs does", invokes_endpoint)


def main():
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    url, model, key, sonde = sys.argv[1].rstrip("/"), *sys.argv[2:]
    checks = Checks()
    converse_checks(checks, url, model, key)
    invoke_checks(checks, url, model, key)
    sagemaker_checks(checks, url, model, key)
    request_checks(checks, sonde)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
