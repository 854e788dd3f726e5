"""Counts checks, asks podman and buildah, and waits for what is served. Standard library only."""

import fcntl
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60


class Checks:
    """Says and counts what passed, failed and was skipped."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def that(self, name, good, found=""):
        """Counts one check; what was found is told where it failed."""
        if good:
            self.passed += 1
            print(f"pass  {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {name}: found {found!r}", flush=True)
        return good

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIP  {name}: {reason}", flush=True)

    def close(self):
        """Prints the closing line; the result is the exit status."""
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def tool(name):
    """The path of a tool, or None and the reason."""
    command = [REPOSITORY / "scripts/tools", name]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        return None, reason
    return result.stdout.strip(), None


def with_containers():
    """Puts podman and buildah on PATH, or ends with status 3 and the reason. The result is a lock to hold on to: names,
    images and networks are shared by all that checks on this machine."""
    folder, reason = tool("containers")
    if folder is None:
        print(reason, file=sys.stderr)
        sys.exit(3)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    reason = refusal()
    if reason:
        print(f"this machine does not let containers run: {reason}", file=sys.stderr)
        sys.exit(3)
    lock = open(Path(tempfile.gettempdir()) / "sonde-containers.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def refusal():
    """Why containers cannot run here, or None: they need namespaces of their own, and file systems laid over each other."""
    with tempfile.TemporaryDirectory() as folder:
        overlay = "mount -t tmpfs tmpfs . && mkdir lower upper work merged && " \
                  "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
        command = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "sh", "-c", f'cd "$0" && {overlay}', folder]
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError as error:
            return str(error)
    lines = result.stdout.strip().splitlines()
    return (lines or [f"unshare ended with {result.returncode}"])[-1] if result.returncode else None


def run(*command, check=True, **options):
    """Standard output of a command; its standard error is told when it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if check and result.returncode:
        sys.exit(f"`{' '.join(map(str, command))}` failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout.strip()


def inspect(name):
    """What podman knows of a container."""
    return json.loads(run("podman", "container", "inspect", name))[0]


def ended(name):
    """The state of a container once it has ended. `exited` it is only after podman has tidied up."""
    return patiently(lambda: inspect(name)["State"], lambda state: state["Status"] in ("stopped", "exited"))


def address(name):
    """The container's address on its own network; this machine reaches it, nothing else does."""
    networks = inspect(name)["NetworkSettings"]["Networks"]
    return next(iter(networks.values()))["IPAddress"]


def fetch(url):
    """The body, or None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException):
        return None


def patiently(look, good=bool):
    """Looks until what is seen is good, or patience ends; what was seen last."""
    end = time.monotonic() + PATIENCE_SECONDS
    seen = look()
    while not good(seen) and time.monotonic() < end:
        time.sleep(0.5)
        seen = look()
    return seen


def values(metrics, name):
    """The samples of one name in a text exposition: labels to value."""
    found = {}
    for line in (metrics or "").splitlines():
        match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if match:
            found[match[1] or ""] = float(match[2])
    return found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
