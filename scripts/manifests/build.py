"""What the manifests come to: kustomize's and Helm's output, and files as they lie there."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
K8S = REPOSITORY / "k8s"
CHART = K8S / "helm/sonde"
TOOLS = REPOSITORY / "scripts/tools"
NAMESPACE = "sonde"

# Every overlay has these; the others are offered.
ALWAYS = {"image", "sidecar"}
MONITORING = {"monitoring-gmp", "monitoring-operator"}
FOR_SIDECARS = {"shared-pid", "spot", "gke-gpu", "dcgm"}
FOR_CENTRAL = {"probe-on-demand"}

API_VERSIONS = (
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "monitoring.googleapis.com/v1/PodMonitoring",
    "monitoring.googleapis.com/v1/ClusterRules",
)


class Missing(Exception):
    """A tool that cannot be had here, and why."""


def tool(name):
    result = subprocess.run([TOOLS, name], capture_output=True, text=True)
    if result.returncode:
        raise Missing((result.stderr.strip().splitlines() or ["no reason given"])[-1])
    return result.stdout.strip()


def sonde_binary():
    """The daemon whose `check` judges configurations: $SONDE_BINARY, or the newest that was built here."""
    if os.environ.get("SONDE_BINARY"):
        return os.environ["SONDE_BINARY"]
    built = [path for path in REPOSITORY.glob("target/*/sonde") if path.is_file()]
    if not built:
        raise Missing("no target/*/sonde and no $SONDE_BINARY; hint: cargo build")
    return max(built, key=lambda path: path.stat().st_mtime)


def parsed(text):
    return [item for item in yaml.safe_load_all(text) if item]


def run(command):
    """Standard output; ValueError with what the command said when it fails."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode:
        raise ValueError(result.stderr.strip() or result.stdout.strip())
    return result.stdout


# --- kustomize --------------------------------------------------------------------------------------------------------


def kustomize(kubectl, folder):
    return parsed(run([kubectl, "kustomize", folder]))


def overlays():
    return sorted(path.name for path in (K8S / "overlays").iterdir() if path.is_dir())


def components_of(overlay):
    """The components that an overlay has, those of overlays below included."""
    kustomization = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8"))
    names = {Path(path).name for path in kustomization.get("components", [])}
    for resource in kustomization["resources"]:
        if (K8S / "overlays" / Path(resource).name).is_dir():
            names |= components_of(Path(resource).name)
    return names


def offered_to(overlay):
    """The components that a user may add to an overlay."""
    have = components_of(overlay)
    offered = {path.name for path in (K8S / "components").iterdir()} - ALWAYS - have
    offered -= FOR_SIDECARS if overlay == "central" else FOR_CENTRAL
    if overlay == "sidecar-vllm":
        offered -= {"gke-gpu"}
    return sorted(offered - MONITORING if have & MONITORING else offered)


def with_components(kubectl, overlay, components):
    """An overlay with more components, as a user would add them."""
    with tempfile.TemporaryDirectory(dir=K8S, prefix=".check-") as folder:
        kustomization = {
            "namespace": NAMESPACE,
            "resources": [f"../overlays/{overlay}"],
            "components": [f"../components/{component}" for component in components],
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return kustomize(kubectl, folder)


def builds(kubectl):
    """(name, a function that builds it) of everything that kustomize can make of k8s/."""
    for overlay in overlays():
        yield overlay, lambda overlay=overlay: kustomize(kubectl, K8S / "overlays" / overlay)
        for component in offered_to(overlay):
            name = f"{overlay} with {component}"
            yield name, lambda overlay=overlay, component=component: with_components(kubectl, overlay, [component])


# --- Helm -------------------------------------------------------------------------------------------------------------


def values_file(folder, values):
    path = Path(folder, "values.yaml")
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def template(helm, values=None, api_versions=API_VERSIONS):
    with tempfile.TemporaryDirectory() as folder:
        command = [
            helm,
            "template",
            "sonde",
            CHART,
            "--namespace",
            NAMESPACE,
            "--values",
            values_file(folder, values or {}),
        ]
        for version in api_versions:
            command += ["--api-versions", version]
        return parsed(run(command))


def notes(helm, values=None):
    """What an installation would print at its end. Asks no cluster."""
    with tempfile.TemporaryDirectory() as folder:
        text = run(
            [helm, "install", "sonde", CHART, "--namespace", NAMESPACE, "--dry-run=client"]
            + ["--values", values_file(folder, values or {})]
        )
    return text.partition("\nNOTES:\n")[2]
