"""That what is written in several places says the same: sidecar and central, overlays and chart, k8s/gke and its overlay."""

import copy
import json

import yaml

from .build import K8S, REPOSITORY, parsed
from .pods import label, pods, sonde_in

# What may differ between Sonde alone and Sonde as a sidecar, see components/sidecar/sidecar.yaml.
SIDECAR_DIFFERENCES = {"restartPolicy", "startupProbe", "readinessProbe"}
# Components that give the sidecar's container more.
MORE_FOR_SONDE = "with dcgm"
# What only the chart says, and defaults that it spells out.
CHART_LABELS = {
    "helm.sh/chart",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
}
# k8s/gke, file by file, and the overlay with components that it must equal.
GKE_FILES = ("namespace.yaml", "ollama-gemma.yaml", "sonde.yaml")
GKE_OVERLAY = "sidecar-ollama"
GKE_MONITORS = {"monitoring.yaml": "monitoring-operator", "gmp.yaml": "monitoring-gmp"}


def differences(expected, found, path=""):
    """Where two values differ, by path."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key not in found or key not in expected:
                yield f"{path}.{key} is only in {'the first' if key in expected else 'the second'}"
            else:
                yield from differences(expected[key], found[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found)):
            yield from differences(one, other, f"{path}[{index}]")
    elif expected != found:
        yield f"{path} is `{short(expected)}` in the first and `{short(found)}` in the second"


def short(value):
    text = json.dumps(value)
    return text if len(text) < 100 else text[:97] + "..."


def same_container_problems(built):
    """Sonde is configured the same alone and as a sidecar, but for what a sidecar must not do."""
    found = {}
    for name, items in built.items():
        for owner, template in pods(items):
            sonde = sonde_in(template["spec"])
            if sonde and MORE_FOR_SONDE not in name:
                found[name] = {key: value for key, value in sonde.items() if key not in SIDECAR_DIFFERENCES}
    (first, expected), *others = found.items()
    for name, container in others:
        for difference in differences(expected, container):
            yield f"{first} and {name}: {difference}"


# --- Chart ------------------------------------------------------------------------------------------------------------


def plain(item):
    """An object without what only the chart says; a configuration as its value."""
    item = copy.deepcopy(item)
    drop_labels(item)
    if item["kind"] in ("ClusterRules",):
        # kustomize writes it, the API server drops it.
        item["metadata"].pop("namespace", None)
    if item["kind"] == "ConfigMap":
        item["data"] = {key: yaml.safe_load(text) for key, text in item["data"].items()}
    if item["kind"] == "NetworkPolicy":
        # The chart's own test.
        for rule in item["spec"]["ingress"]:
            rule["from"] = [peer for peer in rule["from"] if "namespaceSelector" in peer]
    if item["kind"] == "Deployment":
        for container in item["spec"]["template"]["spec"]["containers"]:
            # What Kubernetes assumes of a tag that is not `latest`.
            if container.get("imagePullPolicy") == "IfNotPresent":
                del container["imagePullPolicy"]
    return item


def drop_labels(value):
    """Removes the chart's labels wherever there are labels or selectors, and metadata that becomes empty."""
    if isinstance(value, dict):
        for key in CHART_LABELS & value.keys():
            del value[key]
        # kustomize gives the base's objects no name of an application, and the chart all of its own.
        for key in ("app.kubernetes.io/name", "app.kubernetes.io/part-of"):
            value.pop(key, None)
        for key, part in list(value.items()):
            drop_labels(part)
            if key == "labels" and not part:
                del value[key]
    elif isinstance(value, list):
        for part in value:
            drop_labels(part)


def chart_problems(kustomized, rendered):
    """Every object that both have is the same."""
    expected = {label(item): plain(item) for item in kustomized}
    found = {label(item): plain(item) for item in rendered}
    common = expected.keys() & found.keys()
    if not common:
        yield "nothing in common"
    for name in sorted(common):
        for difference in differences(expected[name], found[name]):
            yield f"kustomize and chart: {name}{difference}"


def missing_from_chart(kustomized, rendered, allowed):
    found = {label(item) for item in rendered}
    for item in kustomized:
        if label(item) not in found and item["kind"] not in allowed:
            yield f"the chart has no {label(item)}"


def sidecar_patch_problems(rendered, sidecar_items):
    """The chart's patch brings the container, the volume and the label that the component brings."""
    texts = [item["data"]["patch.yaml"] for item in rendered if "patch.yaml" in item.get("data", {})]
    if len(texts) != 1:
        yield f"{len(texts)} patches"
        return
    template = yaml.safe_load(texts[0])["spec"]["template"]
    _, expected = next(iter(pods(sidecar_items)))
    ours, theirs = sonde_in({**template["spec"], "containers": []}), sonde_in(expected["spec"])
    ours = {key: value for key, value in ours.items() if key != "imagePullPolicy"}
    yield from (f"sidecar and patch: {difference}" for difference in differences(theirs, ours))
    for volume in template["spec"]["volumes"]:
        if volume not in expected["spec"]["volumes"]:
            yield f"the volume {short(volume)} is not the component's"
    for key, value in template["metadata"]["labels"].items():
        if expected["metadata"]["labels"].get(key) != value:
            yield f"the label `{key}` is not the component's"


# --- prometheus/rules --------------------------------------------------------------------------------------------------


def rules_problems(items):
    """What k8s/generate took over as text still says what the rule files say."""
    for path in sorted((REPOSITORY / "prometheus/rules").glob("*.yml")):
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = [item for item in items if item["metadata"]["name"] == f"sonde-{path.stem}"]
        if len(found) != 1:
            yield f"{len(found)} objects of {path.name}"
        for item in found:
            yield from (
                f"{path.name} and {label(item)}: {difference}" for difference in differences(source, item["spec"])
            )


# --- k8s/gke ----------------------------------------------------------------------------------------------------------


def gke_items(*names):
    return [item for name in names for item in parsed((K8S / "gke" / name).read_text(encoding="utf-8"))]


def gke_problems(expected, names):
    """The readable files bring what the overlay brings, object by object."""
    wanted = {label(item): plain(item) for item in expected}
    found = {label(item): plain(item) for item in gke_items(*names)}
    for name in sorted(wanted.keys() - found.keys()):
        yield f"k8s/gke has no {name}"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"{name} is only in k8s/gke"
    for name in sorted(wanted.keys() & found.keys()):
        yield from (f"overlay and k8s/gke: {name}{difference}" for difference in differences(wanted[name], found[name]))
