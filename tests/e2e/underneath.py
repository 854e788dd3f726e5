"""What the daemon tells about the processes behind its targets. Standard library only."""

import subprocess
import time

from exposition import read_text
from report import some
from servers import REPOSITORY, free_port, get, running, wait_for
from targets import daemon_configuration
from watch import total


def underneath(exposition, name, target, **labels):
    return total(exposition, name, target=target, **labels)


def check_underneath(report, watch, targets):
    """The processes are found without a word in the configuration, and what they use is told."""
    last = watch.last
    for target in targets:
        name = target.name
        memory = underneath(last, "llm_resource_memory_bytes", name, scope="process", kind="rss")
        report.check(f"the process of {name} is found", not memory and "no memory", f"{memory / 2**20:.0f} MiB resident")
        cpu = underneath(last, "llm_resource_cpu_seconds_total", name, scope="process")
        report.check(f"the CPU time of {name} is told", not cpu and "none", f"{cpu:.1f} s")
        if target.kind.computes:
            spent = underneath(last, "llm_probe_cpu_seconds_total", name)
            tokens = underneath(last, "llm_probe_tokens_total", name, token_type="output")
            detail = f"{1000 * spent / tokens:.2f} ms a token" if tokens else ""
            report.check(f"runs at {name} tell the CPU time of a token", not (spent and tokens) and "none", detail)
        states = {
            dict(pairs)["state"]: value
            for (own, pairs), value in last.samples.items()
            if own == "llm_probe_forward_progress" and ("target", name) in pairs
        }
        holding = [state for state, value in states.items() if value]
        report.check(f"{name} makes progress", holding not in (["idle"], ["busy"]) and str(holding), *holding)
        if target.name == "llama-server":
            check_own_word(report, watch, target)
    if any(target.server.name == "ollama" for target in targets):
        loaded = underneath(last, "llm_runtime_model_loaded", "ollama")
        report.check("Ollama's own word is read: the model is loaded", loaded != 1 and str(loaded))


# A series of ours -> those of llama.cpp's server that it is the sum of.
OWN_WORD = {
    "prompt_tokens": ("prompt_tokens_total",),
    "generation_tokens": ("tokens_predicted_total",),
    "prefix_cache_hits": ("prompt_tokens_cached_total",),
    "prefix_cache_queries": ("prompt_tokens_total", "prompt_tokens_cached_total"),
}
SCRAPE_PATIENCE = 15


def check_own_word(report, watch, target):
    """The server's page is read between two of the daemon's scrapes of it, so its counters lie between theirs."""
    before = watch.exposition()
    theirs, at = read_text(get(f"{target.server.url}/metrics"), openmetrics=False), time.time()
    deadline = time.monotonic() + SCRAPE_PATIENCE
    after = watch.exposition()
    while underneath(after, "llm_runtime_last_scrape_timestamp_seconds", target.name) < at:
        if time.monotonic() > deadline:
            report.check(f"{target.name}'s own word is read as it is", f"no scrape in {SCRAPE_PATIENCE} s")
            return
        time.sleep(0.2)
        after = watch.exposition()
    wrong, told = [], []
    for quantity, parts in OWN_WORD.items():
        least, most = (underneath(page, f"llm_runtime_{quantity}_total", target.name) for page in (before, after))
        own = sum(total(theirs, f"llamacpp:{part}") for part in parts)
        told.append(f"{quantity} {own:g}")
        if not 0 < least <= own <= most:
            wrong.append(f"{quantity} are {least:g}, then {most:g}; the server says {own:g}")
    report.check(f"{target.name}'s own word is read as it is", some(wrong), ", ".join(told))


def check_restart(report, sonde, target, folder):
    """A runtime that is killed and started again is seen to be another process within two samples."""
    port, log, file = free_port(), folder / "restart.log", folder / "restart.yaml"
    file.write_text(daemon_configuration([target], port))
    url = f"http://127.0.0.1:{port}/metrics"
    script = str(REPOSITORY / "scripts/runtimes")
    server, own_port = target.server.name, target.server.port()

    def look(name):
        return underneath(read_text(get(url), openmetrics=False), name, target.name)

    with running([sonde, "serve", "--config", file], log) as daemon:
        wait_for(f"http://127.0.0.1:{port}/-/ready", daemon, log)
        deadline = time.monotonic() + 20
        while not look("llm_resource_process_start_time_seconds") and time.monotonic() < deadline:
            time.sleep(0.2)
        before = look("llm_resource_process_start_time_seconds")
        subprocess.run([script, "stop", server, own_port], capture_output=True)
        subprocess.run([script, "start", server, own_port], stdout=subprocess.DEVNULL)
        back = time.monotonic()
        while not look("llm_resource_restarts_total") and time.monotonic() < back + 10:
            time.sleep(0.1)
        took, after = time.monotonic() - back, look("llm_resource_process_start_time_seconds")
        problem = not (before and after > before and took <= 2.5) and f"started at {before}, then at {after}"
        report.check(f"a restart of {target.name} is seen within two samples", problem, f"after {took:.1f} s")
