"""Holds single runs of `sonde detect` and `sonde probe` against each server's own word. Standard library only."""

import json
import math
import statistics
import subprocess

from exposition import read_text
from report import some
from servers import get
from timings import IN_THE_LOG, logged, told
from watch import in_seconds

TOKENS = 16
# Some four times as many as any of the servers takes.
TOO_LONG = 5000
# aimock paces every frame. Before the first token come so many: a role, the starts of the message and of its block.
EMPTY_FRAMES = {"openai": 1, "anthropic": 2, "gemini": 0}
# From the first of ten frames of reasoning to what is visible: with the role, or a signature, an end and a start.
REASONING_FRAMES = {"openai": 11, "anthropic": 13, "gemini": 10}
FIRST_TOKEN_SLACK = 0.04
PACE_TOLERANCE = 0.05
# Tokens that arrive by themselves, at least. Whoever waits for the CPU sends two at once now and then.
ALONE = 0.9
ROUTED_RUNS = 5
ROUTED_TOKENS = 64


class Sonde:
    """The program that is tried."""

    def __init__(self, program):
        self.program = program

    def detect(self, url):
        asked = subprocess.run([self.program, "detect", "--json", url], capture_output=True, text=True)
        return json.loads(asked.stdout) if asked.returncode == 0 else {"runtime": asked.stderr.strip(), "models": []}

    def probe(self, target, *options, model=None):
        """The observation of one run. A failed run is one, too."""
        command = [self.program, "probe", target.server.url, "--json", "--runtime", target.kind.runtime]
        command += ["--model", model or target.server.model, *map(str, options)]
        probed = subprocess.run(command, capture_output=True, text=True)
        if not probed.stdout:
            outcome = f"exit status {probed.returncode}, {probed.stderr.strip()}"
            return {"outcome": outcome, "failure": None, "tokens": None}
        return json.loads(probed.stdout, object_hook=in_seconds)


def said(run):
    return f"{run['outcome']}: {run['failure']['message']}" if run["failure"] else run["outcome"]


def ms(seconds):
    return f"{1e3 * seconds:.1f} ms"


def check_detect(report, sonde, target):
    detected = sonde.detect(target.server.url)
    problem = detected["runtime"] != target.kind.detected and f"it says {detected['runtime']}"
    # SGLang's router calls the model of a worker that does not tell it `unknown`.
    model = "unknown" if target.server.name == "sglang-router" else target.server.model
    if not problem and not {model, f"{model}:latest"} & set(detected["models"]):
        problem = f"its models are {detected['models']}; rule: {model} is one"
    detail = f"{detected['runtime']} {detected.get('version') or 'without a version'}, {detected['models'][:1]}"
    report.check(f"sonde detect knows {target.name} and its model", problem, detail)


def implausible(run, tokens):
    """What of one good answer cannot be."""
    latency, server = run["latency"], run["server"]
    if run["tokens"]["usage"]["output"] != tokens:
        return f"{run['tokens']['usage']['output']} tokens; rule: {tokens}"
    if not ALONE * tokens <= len(run["gaps"]) + 1 <= tokens:
        return f"{len(run['gaps']) + 1} arrivals; rule: one for each of {tokens} tokens"
    if not 0 < latency["first_token"] < latency["last_token"] <= latency["inference"]:
        return f"instants out of order: {latency}"
    if not math.isclose(sum(run["gaps"]), latency["last_token"] - latency["first_token"], abs_tol=1e-6):
        return "the gaps are not what lies between the first and the last token"
    if server["total"] and server["total"] > latency["inference"]:
        return f"the server was busy for {server['total']} s of {latency['inference']} s"
    return None


def check_probe(report, sonde, target):
    """Also makes a runtime load its model."""
    tokens = told("steady").output_tokens if target.server.name == "aimock" else TOKENS
    run = sonde.probe(target, "--input-tokens", 16, "--output-tokens", TOKENS)
    problem = said(run) if run["outcome"] != "success" else implausible(run, tokens)
    detail = ""
    if run["outcome"] == "success":
        latency = run["latency"]
        detail = f"{tokens} tokens by {run['tokens']['source']}, TTFT {ms(latency['first_token'])}"
        detail += f", TPOT {ms(latency['per_output_token'])}, clock {run['instrument']['clock']}"
    report.check(f"sonde probe measures {target.name}", problem, detail)

    run = sonde.probe(target, "--input-tokens", 16, "--output-tokens", TOKENS, "--no-stream")
    # llama-cpp-python counts only what it does not stream.
    counted = run["outcome"] == "success" and run["tokens"]["usage"]["output"]
    problem = said(run) if run["outcome"] != "success" else counted != tokens and f"{counted} tokens; rule: {tokens}"
    report.check(f"sonde probe --no-stream measures {target.name}", problem, f"{counted} tokens")


def counters(server):
    """Tokens that llama.cpp's server has counted in its life: read from prompts, taken from its cache, written."""
    samples = read_text(get(f"{server.url}/metrics"), openmetrics=False).samples
    names = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
    return [samples[f"llamacpp:{name}", ()] for name in names]


def check_counts(report, sonde, target, worker):
    """What a run says it cost is what the server's own counters went up by."""
    before = counters(worker)
    run = sonde.probe(target, "--input-tokens", 16, "--output-tokens", TOKENS)
    usage = run["tokens"] and run["tokens"]["usage"]
    read, cached, written = (now - then for then, now in zip(before, counters(worker)))
    ours = usage and (usage["input"], usage["cached"], usage["output"])
    theirs = (read + cached, cached, written)
    problem = ours != theirs and f"{ours}; the server counts {theirs}; {said(run)}"
    report.check(f"tokens of {target.name} are those of the server's counters: input, cached, output", problem, ours)


def check_logged_counts(report, sonde, target):
    offset = target.server.log.stat().st_size
    run = sonde.probe(target, "--input-tokens", 16, "--output-tokens", TOKENS)
    theirs = [timing.output_tokens for timing in logged(target, offset)]
    ours = run["tokens"] and run["tokens"]["usage"]["output"]
    problem = theirs != [ours] and f"{ours}; the server logs {theirs}; {said(run)}"
    report.check(f"tokens of {target.name} are those of the server's log", problem, f"{ours} tokens")


# --- Failures ---------------------------------------------------------------------------------------------------------

# Servers of one model answer with it, whatever is asked for.
UNKNOWN_MODEL = {"ollama": "http_4xx", "aimock": "http_4xx"}
# llama-cpp-python begins a good answer and then says nothing. Ollama cuts the prompt and reads what is left of it for a
# minute, and aimock has no limit: they are left out.
PROMPT_TOO_LONG = {
    "llamacpp": ("truncated", ""),
    "llama-server": ("http_4xx", "exceeds the available context size"),
    "vllm-router": ("http_4xx", "exceeds the available context size"),
    "sglang-router": ("http_4xx", "exceeds the available context size"),
    "wllama": ("http_5xx", "exceeds the available context size"),
}
# Models of tests/e2e/aimock.json.
INJECTED = {
    "limited": ("rate_limited", "Rate limited"),
    "failing": ("http_5xx", "Out of memory"),
    "cut": ("truncated", "closed within the body"),
}


def check_outcome(report, name, run, outcome, words=""):
    problem = (run["outcome"] != outcome or words not in said(run)) and f"{said(run)[:200]}; rule: {outcome} {words}"
    report.check(name, problem, said(run)[:100])


def check_failures(report, sonde, target):
    server = target.server.name
    run = sonde.probe(target, "--input-tokens", 16, "--output-tokens", 2, model="no-such-model")
    check_outcome(report, f"an unknown model at {target.name}", run, UNKNOWN_MODEL.get(server, "success"))
    if server in PROMPT_TOO_LONG:
        run = sonde.probe(target, "--input-tokens", TOO_LONG)
        check_outcome(report, f"a prompt too long for {target.name}", run, *PROMPT_TOO_LONG[server])
    if server == "aimock":
        for model, expected in INJECTED.items():
            run = sonde.probe(target, model=model)
            check_outcome(report, f"the failure `{model}` of {target.name}", run, *expected)


# --- What a server was told to do -------------------------------------------------------------------------------------


def check_told(report, sonde, target):
    """aimock answers at a pace that is known. Its timers are late by up to a millisecond, never early."""
    wanted = told("steady")
    pace = 1 / wanted.tokens_per_second
    run = sonde.probe(target, "--warm")
    latency = run.get("latency") or {}
    first, per_token = latency.get("first_token") or math.nan, latency.get("per_output_token") or math.nan
    least = wanted.first_token_seconds + EMPTY_FRAMES[target.kind.runtime] * pace
    problem = not least - 1e-3 <= first <= least + FIRST_TOKEN_SLACK and f"{ms(first)}, {said(run)}"
    report.check(f"TTFT of {target.name} is what it was told", problem, f"{ms(first)} of {ms(least)}")
    problem = not pace <= per_token <= pace * (1 + PACE_TOLERANCE) and ms(per_token)
    report.check(f"TPOT of {target.name} is what it was told", problem, f"{ms(per_token)} of {ms(pace)}")

    run = sonde.probe(target, "--warm", model="thinking")
    latency = run.get("latency") or {}
    thought = (latency.get("first_visible") or math.nan) - (latency.get("first_token") or math.nan)
    least = REASONING_FRAMES[target.kind.runtime] * pace
    problem = not least <= thought <= least * (1 + PACE_TOLERANCE) and f"{ms(thought)}, {said(run)}"
    report.check(f"reasoning of {target.name} comes before what is visible", problem, f"{ms(thought)} of {ms(least)}")

    run = sonde.probe(target, model="tool")
    check_outcome(report, f"a call of a tool by {target.name} is an answer", run, "success")


def check_routed(report, sonde, direct, routed):
    """A router may be slower, but must neither merge nor hold what comes; we must see it as it comes."""
    options = ("--input-tokens", 16, "--output-tokens", ROUTED_TOKENS)
    pairs = [(sonde.probe(direct, *options), sonde.probe(routed, *options)) for _ in range(ROUTED_RUNS)]
    failed = [said(run) for pair in pairs for run in pair if run["outcome"] != "success"]
    if failed:
        report.check(f"{routed.name} hands on each token by itself", some(failed))
        return
    arrivals = [[len(run["gaps"]) + 1 for run in runs] for runs in zip(*pairs)]
    merged = [f"{count} arrivals of {ROUTED_TOKENS} tokens" for count in arrivals[1] if count < ALONE * ROUTED_TOKENS]
    report.check(f"{routed.name} hands on each token by itself", some(merged), f"{arrivals[1]}, directly {arrivals[0]}")
    ratios = [run["latency"]["per_output_token"] * (ROUTED_TOKENS - 1) / run["server"]["decode"] for _, run in pairs]
    problem = abs(statistics.median(ratios) - 1) > PACE_TOLERANCE and f"{statistics.median(ratios):.3f}"
    report.check(
        f"TPOT through {routed.name} is that of the server behind it", problem, f"ratio {statistics.median(ratios):.4f}"
    )
    between = [[run["latency"]["inference"] - run["server"]["total"] for run in runs] for runs in zip(*pairs)]
    plain, through = (statistics.median(times) for times in between)
    problem = through <= 0 and f"the server claims {ms(-through)} more than there was"
    report.check(f"time in between through {routed.name}", problem, f"{ms(through)}, directly {ms(plain)}")


def check_all(report, sonde, targets):
    by_name = {target.name: target for target in targets}
    for target in targets:
        check_detect(report, sonde, target)
        check_probe(report, sonde, target)
        if "decode" in target.kind.phases and target.server.name != "ollama":
            check_counts(report, sonde, target, by_name["llama-server"].server)
        if target.server.name in IN_THE_LOG:
            check_logged_counts(report, sonde, target)
        check_failures(report, sonde, target)
        if target.server.name == "aimock":
            check_told(report, sonde, target)
        if target.server.name.endswith("-router"):
            check_routed(report, sonde, by_name["llama-server"], target)
