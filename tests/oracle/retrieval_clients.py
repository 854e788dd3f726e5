"""The clients of OpenAI, Ollama and Google ask a simulated runtime for vectors; `sdk_clients.py` runs these."""

import json
import math
import urllib.request

import ollama
import openai
from google import genai
from google.genai import types

FAULT = "x-simulate-fault"
TEXTS = ["which lamp?", "the lamp in the café"]


def require_vectors(vectors, count, dimensions=64):
    if len(vectors) != count:
        raise AssertionError(f"{len(vectors)} vectors instead of {count}")
    for vector in vectors:
        if len(vector) != dimensions:
            raise AssertionError(f"{len(vector)} dimensions instead of {dimensions}")
        length = math.sqrt(sum(x * x for x in vector))
        if abs(length - 1) > 1e-3:
            raise AssertionError(f"length {length} instead of 1")


def require_equal(one, other):
    for a, b in zip(one, other, strict=True):
        if abs(a - b) > 1e-6:
            raise AssertionError(f"{a} and {b}")


def openai_checks(checks, url, model):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30)

    def embed(**more):
        return client.embeddings.create(
            model=model, input=TEXTS, extra_headers={FAULT: "ok"}, **more
        )

    def both_forms():
        # The client asks for base64 unless it is told otherwise.
        encoded, plain = embed(), embed(encoding_format="float")
        for answer in (encoded, plain):
            require_vectors([entry.embedding for entry in answer.data], 2)
            if answer.usage.prompt_tokens != answer.usage.total_tokens or not answer.usage.total_tokens:
                raise AssertionError(f"usage {answer.usage}")
        require_equal(encoded.data[1].embedding, plain.data[1].embedding)

    def dimensions():
        require_vectors([entry.embedding for entry in embed(dimensions=8).data], 2, 8)

    def rate_limit():
        try:
            client.embeddings.create(model=model, input=TEXTS, extra_headers={FAULT: "429"})
        except openai.RateLimitError:
            return
        raise AssertionError("no RateLimitError")

    checks.run("openai: embeddings in both forms", both_forms)
    checks.run("openai: embeddings of other dimensions", dimensions)
    checks.run("openai: 429 of embeddings is RateLimitError", rate_limit)


def ollama_checks(checks, url, model):
    client = ollama.Client(host=url, timeout=30, headers={FAULT: "ok"})

    def embed():
        answer = client.embed(model=model, input=TEXTS)
        require_vectors(answer.embeddings, 2)
        if not answer.prompt_eval_count or not answer.total_duration:
            raise AssertionError(f"{answer.prompt_eval_count}, {answer.total_duration}")
        require_vectors(client.embed(model=model, input="one").embeddings, 1)

    def unknown_model():
        try:
            client.embed(model="no-such-model", input="one")
        except ollama.ResponseError as error:
            if error.status_code != 404:
                raise AssertionError(f"status {error.status_code}") from error
            return
        raise AssertionError("no error")

    checks.run("ollama: embed", embed)
    checks.run("ollama: embed with an unknown model is 404", unknown_model)


def gemini_checks(checks, url, model):
    options = types.HttpOptions(base_url=url)
    client = genai.Client(vertexai=False, api_key="unused", http_options=options)

    def embed():
        for texts in (TEXTS, TEXTS[0]):
            answer = client.models.embed_content(model=model, contents=texts)
            count = 1 if isinstance(texts, str) else len(texts)
            require_vectors([embedding.values for embedding in answer.embeddings], count)

    checks.run("gemini: embeds content", embed)


def rank_checks(checks, url, model):
    """No client of the installed ones ranks: the answer's form is looked at as Jina's reference has it."""

    def rank():
        body = {"model": model, "query": TEXTS[0], "documents": ["a café", "the lamp? which"], "top_n": 1}
        headers = {"Content-Type": "application/json", FAULT: "ok"}
        request = urllib.request.Request(f"{url}/v1/rerank", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        [best] = found["results"]
        if best["index"] != 1 or not 0 < best["relevance_score"] <= 1 or not found["usage"]["total_tokens"]:
            raise AssertionError(f"{found}")

    checks.run("rerank: the best document first", rank)
