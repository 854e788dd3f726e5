"""compose.yaml as Docker Compose reads it, and started by podman-compose. Standard library only."""

import json
import os
import re
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from containers import REPOSITORY, ended, fetch, free_port, patiently, run, tool, values

FILE = REPOSITORY / "compose.yaml"
STARTED = ["sonde", "vllm-simulated", "ollama-simulated", "prometheus"]
PROMETHEUS = "localhost/sonde-check-prometheus:1"


def check_compose(checks, image, base):
    """Both halves; without their tools they are skipped."""
    parser, reason = tool("compose-go")
    if parser:
        check_model(checks, parser)
    else:
        checks.skip("Docker Compose's view of compose.yaml", reason)
    composer, reason = tool("podman-compose")
    prometheus, prometheus_reason = tool("prometheus")
    if composer and prometheus:
        check_started(checks, composer, Path(prometheus) / "prometheus", image, base)
    else:
        checks.skip("compose.yaml started", reason or prometheus_reason)


def check_model(checks, parser):
    """Docker Compose's own loader: the schema, references, variables; and what it makes of them."""

    def load(path):
        command = [parser, "-format", "json", path]
        return subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    loaded = load(FILE)
    if not checks.that("Docker Compose reads compose.yaml", loaded.returncode == 0 and "{" in loaded.stdout,
                       loaded.stderr):
        return
    services = json.loads(loaded.stdout)["services"]
    open_ports = [port for service in services.values() for port in service.get("ports", [])
                  if port.get("host_ip") != "127.0.0.1"]
    checks.that("every port is open to this machine only", not open_ports, open_ports)
    ours = [service for service in services.values() if service["image"] == "sonde"]
    loose = [service for service in ours if not service.get("read_only") or service.get("cap_drop") != ["ALL"]
             or service.get("security_opt") != ["no-new-privileges:true"]]
    checks.that("our containers have no rights", len(ours) == 3 and not loose, loose)
    sources = [volume["source"] for service in services.values() for volume in service.get("volumes", [])
               if volume["type"] == "bind"]
    missing = [source for source in sources if not Path(source).exists()]
    checks.that("everything that is mounted is there", len(sources) == 6 and not missing, missing or sources)

    # That the parser would have said so.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=REPOSITORY / "target") as broken:
        broken.write(FILE.read_text().replace("read_only:", "readonly:"))
        broken.flush()
        refused = load(broken.name)
        checks.that("a key that Compose does not know is refused", "readonly" in refused.stderr, refused.stderr)


def check_started(checks, composer, prometheus, image, base):
    """Started by podman-compose, with Debian's Prometheus in the place of its image. Of Grafana there is none."""
    make_prometheus(prometheus, base)
    ports = {name: str(free_port()) for name in ("SONDE_PORT", "PROMETHEUS_PORT")}
    environment = os.environ | ports | {"SONDE_IMAGE": image, "PROMETHEUS_IMAGE": PROMETHEUS}
    compose = [composer, "--project-name", "sonde-check", "--in-pod", "false", "--file", FILE]
    chosen = run(*compose, "config", env=environment | {"SONDE_CONFIG": "chosen"}, cwd=REPOSITORY)
    checks.that("SONDE_CONFIG picks the configuration", "/etc/sonde/chosen.yaml" in chosen, chosen)
    for name in ("simulated", "ollama"):
        check_configuration(checks, image, name)
    try:
        run(*compose, "up", "--detach", "--no-build", *STARTED, env=environment, cwd=REPOSITORY)
        sonde = f"http://127.0.0.1:{ports['SONDE_PORT']}"
        successes = patiently(lambda: values(fetch(f"{sonde}/metrics"), "llm_probe_success"),
                              lambda found: len(found) == 4 and all(found.values()))
        checks.that("every probe of the simulated runtimes succeeds", len(successes) == 4 and all(successes.values()),
                    successes)
        server = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        up = patiently(lambda: query(server, 'up{job="sonde"}'), lambda found: found == ["1"])
        checks.that("Prometheus scrapes Sonde by its name", up == ["1"], up)
        native = 'histogram_count(sum(llm_probe_time_to_first_token_seconds)) > 0'
        counted = patiently(lambda: query(server, native))
        checks.that("with native histograms", counted, counted)
        files = [path for folder in ("rules", "native") for path in (REPOSITORY / "prometheus" / folder).glob("*.yml")]
        groups = json.loads(fetch(f"{server}/api/v1/rules") or "{}").get("data", {}).get("groups", [])
        loaded = {Path(group["file"]).relative_to("/etc/prometheus") for group in groups}
        expected = {path.relative_to(REPOSITORY / "prometheus") for path in files}
        checks.that("all of our rules are loaded", expected and loaded == expected, loaded)
        log = run("podman", "logs", "sonde-check_prometheus_1", check=False)
        complaints = re.findall(r".*level=(?:WARN|ERROR).*", log)
        checks.that("Prometheus has nothing to complain of", not complaints, complaints)
    finally:
        subprocess.run([*compose, "down", "--volumes"], env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    checks.skip("Grafana started by compose.yaml", "its image cannot be had; scripts/check-dashboards asks its queries")


def check_configuration(checks, image, name):
    """What `sonde check` says of a configuration, in the container that shall read it."""
    container = f"sonde-check-{name}"
    folder = REPOSITORY / "deploy/compose/sonde"
    run("podman", "run", "--detach", f"--name={container}", "--network=none", f"--volume={folder}:/etc/sonde:ro", image,
        "check", f"/etc/sonde/{name}.yaml")
    state = ended(container)
    said = run("podman", "logs", container)
    checks.that(f"the configuration `{name}` is good", state["ExitCode"] == 0 and "good:" in said, said)
    run("podman", "rm", container)


def query(server, expression):
    """The values of an instant query."""
    body = fetch(f"{server}/api/v1/query?query={urllib.parse.quote(expression)}")
    return [sample["value"][1] for sample in json.loads(body)["data"]["result"]] if body else []


def make_prometheus(prometheus, base):
    if subprocess.run(["podman", "image", "exists", PROMETHEUS]).returncode == 0:
        return
    container = run("buildah", "from", base)
    run("buildah", "copy", "--quiet", container, prometheus, "/bin/prometheus")
    run("buildah", "config", "--user", "0", "--entrypoint", '["/bin/prometheus"]', container)
    run("buildah", "commit", "--quiet", "--rm", container, PROMETHEUS)
