"""What the daemon is told to probe, and what is known of each target beforehand. Standard library only."""

import json
from dataclasses import dataclass

from servers import Server


@dataclass(frozen=True)
class Scenario:
    interval: int
    output_tokens: int
    settings: dict
    phases: frozenset = frozenset({"schedule", "send", "wait", "stream"})


WARM = {"workload": {"kind": "fixed", "prompt": "Say hello."}, "cache": "warm", "connection": "warm"}
COLD = {"workload": {"kind": "synthetic", "input_tokens": 32}, "cache": "cold", "connection": "cold"}

# With 200 tokens, one more or less, which is what definitions of speed differ by, weighs half a percent. The tiny models
# prefill slowly, so the prompts are short.
SCENARIOS = {
    "chat": Scenario(interval=10, output_tokens=200, settings=WARM),
    "cold-connection": Scenario(
        interval=30,
        output_tokens=200,
        settings=COLD,
        phases=frozenset({"schedule", "connect", "send", "wait", "stream"}),
    ),
    # For the servers that share the machine with those two.
    "short": Scenario(interval=20, output_tokens=64, settings=WARM),
    # As long as tests/e2e/aimock.json has it.
    "told": Scenario(interval=20, output_tokens=30, settings=WARM),
}
LONG = ("chat", "cold-connection")


@dataclass(frozen=True)
class Kind:
    """One way to probe a server."""

    target: str
    server: str
    runtime: str
    # What `sonde detect` says; some can only be told.
    detected: str
    scenarios: tuple = ("short",)
    # What the server reports about each answer.
    phases: frozenset = frozenset()
    # Whether it works on the tokens itself.
    computes: bool = True


OWN = frozenset({"prefill", "decode", "total"})
KINDS = (
    Kind("ollama", "ollama", "ollama", "ollama", LONG, OWN | {"load"}),
    Kind("llamacpp", "llamacpp", "llamacpp", "llamacpp", LONG),
    Kind("llama-server", "llama-server", "llamacpp", "llamacpp", phases=OWN),
    Kind("llama-server-completion", "llama-server", "llamacpp-completion", "llamacpp", phases=OWN),
    Kind("wllama", "wllama", "llamaedge", "llamaedge"),
    # It hands on every question, so what answers is what is behind it.
    Kind("vllm-router", "vllm-router", "vllm", "llamacpp", phases=OWN, computes=False),
    Kind("sglang-router", "sglang-router", "sglang", "openai", phases=OWN, computes=False),
    Kind("aimock-openai", "aimock", "openai", "openai", ("told",), computes=False),
    Kind("aimock-anthropic", "aimock", "anthropic", "openai", ("told",), computes=False),
    Kind("aimock-gemini", "aimock", "gemini", "openai", ("told",), computes=False),
)
# A router's worker.
BEHIND = {"vllm-router": "llama-server", "sglang-router": "llama-server"}
SERVERS = tuple(dict.fromkeys(kind.server for kind in KINDS))


@dataclass(frozen=True)
class Target:
    """A server that was started, as one target of the daemon's configuration."""

    kind: Kind
    server: Server

    @property
    def name(self):
        return self.kind.target


def daemon_configuration(targets, port):
    """In JSON, which is YAML."""
    scenarios = []
    for name in dict.fromkeys(name for target in targets for name in target.kind.scenarios):
        scenario = SCENARIOS[name]
        own = {"name": name, "schedule": f"@every {scenario.interval}s", "wake": True} | scenario.settings
        scenarios.append(own | {"workload": own["workload"] | {"output_tokens": scenario.output_tokens}})
    entries = []
    for target in targets:
        place = {"runtime": target.kind.runtime, "url": target.server.url, "model": target.server.model}
        entries.append({"name": target.name, "scenarios": target.kind.scenarios} | place)
    return json.dumps({"server": {"listen": f"127.0.0.1:{port}"}, "scenarios": scenarios, "targets": entries}, indent=2)
