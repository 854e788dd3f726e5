"""The Helm chart: lint, values that must be refused, every mode rendered, and that it agrees with the overlays."""

import yaml

from . import agreement
from .build import API_VERSIONS, CHART, K8S, notes, run, template
from .schemas import is_custom

DIGEST = "sha256:" + "0123456789abcdef" * 4
EVERYTHING = {
    "image": {"digest": DIGEST, "tag": "ignored"},
    "imagePullSecrets": [{"name": "registry"}],
    "extraEnv": [{"name": "LLM_KEY", "valueFrom": {"secretKeyRef": {"name": "llm", "key": "key", "optional": True}}}],
    "extraVolumes": [{"name": "keys", "secret": {"secretName": "llm", "optional": True}}],
    "extraVolumeMounts": [{"name": "keys", "mountPath": "/var/run/secrets/llm", "readOnly": True}],
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/team": "llm"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "serviceAccount": {"annotations": {"example.com/a": "b"}},
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 9443}]}]},
    "monitoring": {"operator": {"labels": {"release": "monitoring"}}},
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "LLM"}},
}
REFUSED = [
    ("an unknown mode", {"mode": "both"}),
    ("an unknown key", {"replicas": 2}),
    ("a digest that is none", {"image": {"digest": "0.1.0"}}),
    ("a port out of range", {"networkPolicy": {"runtimePorts": [0]}}),
    ("a port as text", {"networkPolicy": {"runtimePorts": ["11434"]}}),
    ("a target without a URL", {"config": {"targets": [{"name": "a"}]}}),
    ("an objective without its share", {"config": {"slos": [{"name": "a"}]}}),
    ("an interval that is none", {"monitoring": {"operator": {"interval": "often"}}}),
    ("nobody who may scrape", {"networkPolicy": {"monitoringNamespaces": []}}),
    ("a label that is no text", {"monitoring": {"operator": {"labels": {"release": 1}}}}),
]
# The chart makes no namespace; `helm install --create-namespace` does. A monitor that finds nothing in a mode is left out.
NOT_IN_CHART = {"Namespace", "PodMonitor", "Probe"}


def cases():
    """name -> values of everything that is rendered and checked like an overlay."""
    sidecar = yaml.safe_load((K8S / "overlays/sidecar-ollama/sonde.yaml").read_text(encoding="utf-8"))
    gmp = {"monitoring": {"operator": {"enabled": False}, "gmp": {"enabled": True}}}
    return {
        "chart": {"dashboards": {"enabled": True}},
        "chart with everything": EVERYTHING,
        "chart for Google Managed Prometheus": gmp,
        "chart for a sidecar": {"mode": "sidecar", "config": sidecar},
        "chart for a sidecar with Google Managed Prometheus": {"mode": "sidecar", "config": sidecar, **gmp},
    }


def refusal_problems(helm, values):
    try:
        template(helm, values)
    except ValueError as error:
        if "values don't meet the specifications" not in str(error):
            yield f"refused for another reason: {error}"
        return
    yield "rendered"


def capability_problems(helm):
    for item in template(helm, {"monitoring": {"gmp": {"enabled": True}}}, api_versions=()):
        if is_custom(item):
            yield f"{item['kind']} is made although the cluster does not know it"


def digest_problems(items):
    images = {
        c["image"] for i in items if i["kind"] == "Deployment" for c in i["spec"]["template"]["spec"]["containers"]
    }
    if images != {f"ghcr.io/sonde-project/sonde@{DIGEST}"}:
        yield f"the image is {images}"


def label_problems(items):
    for item in items:
        if (
            item["apiVersion"].startswith("monitoring.coreos.com/")
            and item["metadata"]["labels"].get("release") != "monitoring"
        ):
            yield f"{item['kind']} lacks the release's label"


def notes_problems(helm):
    for values, words in (
        ({}, ["port-forward service/sonde 10798", "histogram_quantile", "no kind of object"]),
        (
            {"mode": "sidecar"},
            ["sonde-sidecar-patch", "kubectl -n sonde patch deployment NAME", '{{index .data "patch.yaml"}}'],
        ),
    ):
        text = notes(helm, values)
        for word in words:
            if word not in text:
                yield f"do not say `{word}` with {values}"


def lint_problems(helm):
    try:
        run([helm, "lint", "--strict", CHART])
    except ValueError as error:
        yield str(error)


def check(report, helm, kustomized):
    """Everything but what is checked of each object; returns the rendered cases for that. `kustomized` builds by name."""
    report.check("chart: lint", lint_problems(helm))
    for what, values in REFUSED:
        report.check(f"chart: refuses {what}", refusal_problems(helm, values))
    report.check("chart: nothing that the cluster does not know", capability_problems(helm))
    report.check("chart: notes", notes_problems(helm))
    rendered = {name: template(helm, values, API_VERSIONS) for name, values in cases().items()}
    report.check("chart: a digest wins over the tag", digest_problems(rendered["chart with everything"]))
    report.check("chart: monitors carry the wanted label", label_problems(rendered["chart with everything"]))
    for case, overlay, component in (
        ("chart", "central", ("monitoring-operator", "grafana-dashboards")),
        ("chart for Google Managed Prometheus", "central", ("monitoring-gmp",)),
        ("chart for a sidecar", "sidecar-ollama", ("monitoring-operator",)),
        ("chart for a sidecar with Google Managed Prometheus", "sidecar-ollama", ("monitoring-gmp",)),
    ):
        expected = kustomized(overlay, component)
        report.check(
            f"{case} equals {overlay} with {', '.join(component)}", agreement.chart_problems(expected, rendered[case])
        )
        if overlay == "central":
            report.check(f"{case} has all of it", agreement.missing_from_chart(expected, rendered[case], NOT_IN_CHART))
        else:
            report.check(
                f"{case}: its patch is the component", agreement.sidecar_patch_problems(rendered[case], expected)
            )
    return rendered
