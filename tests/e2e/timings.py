"""What the servers say about their own answers. Standard library only."""

import json
import math
import re
from dataclasses import dataclass

from servers import REPOSITORY, Broken


@dataclass(frozen=True)
class ServerTiming:
    """A runtime's own figures of one answer."""

    output_tokens: int
    tokens_per_second: float


PERFORMANCE = re.compile(
    r"prompt eval time = +([\d.]+) ms / +(\d+) tokens.*\n"
    r".* eval time = +[\d.]+ ms / +(\d+) runs.*\n"
    r".* total time = +([\d.]+) ms"
)


def llamacpp_timings(text):
    """llama-cpp-python says nothing over HTTP, but logs some lines per answer, in order.

    `eval time` leaves out sampling and Python's part, which a client waits for too; `total time` has everything. So the
    speed is that of the single-token steps (`runs`) in what of the total is no prefill. A prompt that the cache has but
    for its last token is evaluated in such a step too, and the answer then has as many tokens as there were steps."""
    for match in PERFORMANCE.finditer(text):
        prefill_ms, prompt_tokens, steps, total_ms = map(float, match.groups())
        decode_seconds = (total_ms - prefill_ms) / 1e3
        yield ServerTiming(int(steps) + (prompt_tokens > 1), steps / decode_seconds if decode_seconds else math.nan)


def ollama_timing(run):
    """`eval_duration` leaves out sampling: at the speed of these models it reads some 2 % faster than a client."""
    output = run["tokens"]["usage"]["output"]
    return ServerTiming(output, output / run["server"]["decode"])


def wllama_timings(text):
    """llama.cpp's own, which the server logs. Its speed leaves out the first token, as ours does."""
    for line in text.splitlines():
        if line.startswith('{"cache_n"'):
            timing = json.loads(line)
            yield ServerTiming(timing["predicted_n"], timing["predicted_per_second"])


def reported_timing(run):
    """llama.cpp's server counts the time from the first token on."""
    output = run["tokens"]["usage"]["output"]
    return ServerTiming(output, (output - 1) / run["server"]["decode"])


def told_timing(run):
    """It answers at the pace that it was told, whatever it costs."""
    return ServerTiming(run["tokens"]["usage"]["output"], told("steady").tokens_per_second)


@dataclass(frozen=True)
class Told:
    first_token_seconds: float
    tokens_per_second: float
    output_tokens: int


def told(model):
    """What tests/e2e/aimock.json has aimock do."""
    fixtures = json.loads((REPOSITORY / "tests/e2e/aimock.json").read_text())["fixtures"]
    fixture = next(fixture for fixture in fixtures if fixture["match"]["model"] == model)
    profile, usage = fixture["streamingProfile"], fixture["response"]["usage"]
    return Told(profile["ttft"] / 1e3, profile["tps"], usage["completion_tokens"])


IN_THE_ANSWER = {
    "ollama": ollama_timing,
    "llama-server": reported_timing,
    "vllm-router": reported_timing,
    "sglang-router": reported_timing,
    "aimock": told_timing,
}
IN_THE_LOG = {"llamacpp": llamacpp_timings, "wllama": wllama_timings}


def logged(target, offset):
    """What the server's log has since it was `offset` bytes long, in order."""
    with target.server.log.open("rb") as log:
        log.seek(offset)
        return list(IN_THE_LOG[target.server.name](log.read().decode(errors="replace")))


def server_timings(target, runs, log_offset):
    """Run id -> the runtime's own figures. `runs` are all that it had since its log was `log_offset` bytes long."""
    if target.server.name in IN_THE_ANSWER:
        timing = IN_THE_ANSWER[target.server.name]
        return {run["run_id"]: timing(run) for run in runs if run["outcome"] == "success"}
    timings = logged(target, log_offset)
    if len(timings) != len(runs):
        raise Broken(f"{len(timings)} answers in {target.server.log}, but {len(runs)} runs")
    in_order = sorted(runs, key=lambda run: run["ended"])
    return {run["run_id"]: timing for run, timing in zip(in_order, timings)}
