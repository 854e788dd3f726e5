"""What is started: servers, the daemon, Prometheus. All of it is stopped by its pid. Standard library only."""

import contextlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from report import progress

REPOSITORY = Path(__file__).resolve().parents[2]
SCRAPE_SECONDS = 5
NOT_AVAILABLE = 3


class Unavailable(Exception):
    """Something that is needed cannot be had on this machine."""


class Broken(Exception):
    """Something that was started does not work, so that there is nothing to check."""


@dataclass(frozen=True)
class Server:
    """One that was started."""

    name: str
    url: str
    model: str
    log: Path

    def port(self):
        return self.url.rsplit(":", 1)[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def wait_for(url, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return get(url)
        time.sleep(0.05)
    raise Broken(f"`{url}` does not answer; hint: see {log}")


def stop_on_signals():
    """Turns the first signal into an exit that unwinds; what follows it must not interrupt the unwinding."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(number, _frame):
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in signals:
        signal.signal(each, leave)


def start(stack, name, worker=None):
    """Installs a server if need be and starts it; `worker` is the URL behind a router."""
    progress(f"starting {name}")
    script, port = str(REPOSITORY / "scripts/runtimes"), str(free_port())
    # Registered first: a start that is interrupted may have left a server behind.
    stack.callback(subprocess.run, [script, "stop", name, port], capture_output=True)
    command = [script, "start", name, port] + ([worker] if worker else [])
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if started.returncode == NOT_AVAILABLE:
        raise Unavailable(f"`scripts/runtimes install {name}` could not install it")
    if started.returncode:
        raise Broken(f"`{' '.join(command)}` failed")
    *_, model, url = started.stdout.splitlines()
    tools = Path(os.environ.get("SONDE_TOOLS") or REPOSITORY / "target/tools")
    return Server(name, url, model, tools / f"servers/{name}-{port}/log")


@contextlib.contextmanager
def running(command, log):
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        end(process)


def end(process, patience=20):
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def prometheus_directory():
    found = subprocess.run([REPOSITORY / "scripts/tools", "prometheus"], stdout=subprocess.PIPE, text=True)
    return Path(found.stdout.strip()) if found.returncode == 0 else None


class Prometheus:
    """A real one that scrapes the daemon, with the alerts that we ship."""

    def __init__(self, stack, directory, folder, daemon):
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.log = folder / "prometheus.log"
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(REPOSITORY / "prometheus/rules/*.yml")],
            "scrape_configs": [{"job_name": "sonde", "static_configs": [{"targets": [daemon]}]}],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration, indent=2))
        command = [
            directory / "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self.process = stack.enter_context(running(command, self.log))
        wait_for(f"{self.base}/-/ready", self.process, self.log)
        self.since = time.time()

    def api(self, path, **parameters):
        try:
            return json.loads(get(f"{self.base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise Broken(f"Prometheus refuses {path} {parameters}: {said}") from error

    def query(self, expression):
        """(labels, value) of an instant query."""
        result = self.api("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def number(self, expression):
        """The value of a query that has one series; none where it has none."""
        return next((value for _, value in self.query(expression)), math.nan)
