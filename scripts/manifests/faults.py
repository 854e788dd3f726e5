"""Objects that are wrong on purpose: a check that does not notice one of them is broken itself."""

import copy

import yaml

from . import agreement, pods, references, schemas


def item_of(items, kind, name=None):
    return next(i for i in items if i["kind"] == kind and name in (None, i["metadata"]["name"]))


def pod_of(items):
    return next(iter(pods.pods(items)))[1]["spec"]


def sonde_of(items):
    return pods.sonde_in(pod_of(items))


def runtime_of(items):
    return pod_of(items)["containers"][0]


def config_of(items):
    return next(iter(references.configs(items)))[0]


def set_config(items, change):
    item = config_of(items)
    config = yaml.safe_load(item["data"]["sonde.yaml"])
    change(config)
    item["data"]["sonde.yaml"] = yaml.safe_dump(config)


# (what is wrong, the build, how it comes about). The kind of check that must notice follows from the list.
WRONG_FIELDS = [
    ("an unknown field in a pod", "sidecar-ollama", lambda items: pod_of(items).update(shareProcesNamespace=True)),
    ("an unknown field in a container", "central", lambda items: sonde_of(items).update(readynessProbe={})),
    ("a number that should be text", "central", lambda items: sonde_of(items)["env"][0].update(value=10798)),
    ("a Service without ports", "central", lambda items: item_of(items, "Service")["spec"].update(ports="http")),
    (
        "a field of a probe at the wrong place",
        "central",
        lambda items: sonde_of(items)["livenessProbe"].update(path="/"),
    ),
]
WRONG_CUSTOM_FIELDS = [
    ("an unknown field", "central with monitoring-operator", "ServiceMonitor", lambda spec: spec.update(endpoint=[])),
    (
        "an unknown scrape protocol",
        "central with monitoring-operator",
        "PodMonitor",
        lambda spec: spec.update(scrapeProtocols=["Proto"]),
    ),
    (
        "a rule with a field too many",
        "central with monitoring-operator",
        "PrometheusRule",
        lambda spec: spec["groups"][0]["rules"][0].update(foo=1),
    ),
    (
        "a Probe without targets' list",
        "central with probe-on-demand",
        "Probe",
        lambda spec: spec["targets"]["staticConfig"].update(static="a"),
    ),
    ("no interval", "central with monitoring-gmp", "PodMonitoring", lambda spec: spec["endpoints"][0].pop("interval")),
    (
        "keep_firing_for",
        "central with monitoring-gmp",
        "ClusterRules",
        lambda spec: spec["groups"][0]["rules"][0].update(keep_firing_for="5m"),
    ),
]
BROKEN_CEL_RULES = [
    ("a timeout longer than the interval", lambda spec: spec["endpoints"][0].update(timeout="1m")),
    ("port 0", lambda spec: spec["endpoints"][0].update(port=0)),
    (
        "a label that belongs to the scraper",
        lambda spec: spec["endpoints"][0].update(
            metricRelabeling=[{"targetLabel": "cluster", "replacement": "x", "action": "replace"}]
        ),
    ),
    (
        "two ways to log in",
        lambda spec: spec["endpoints"][0].update(basicAuth={"username": "a"}, authorization={"type": "Bearer"}),
    ),
    ("a proxy with a password", lambda spec: spec["endpoints"][0].update(proxyUrl="http://user@proxy:3128")),
]
UNRESTRICTED = [
    ("a root user", lambda pod: pod["containers"][0]["securityContext"].update(runAsUser=0)),
    ("root allowed", lambda pod: pod["securityContext"].pop("runAsNonRoot")),
    (
        "a capability",
        lambda pod: pod["initContainers"][-1]["securityContext"].update(
            capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}
        ),
    ),
    ("no drop", lambda pod: pod["initContainers"][0]["securityContext"].pop("capabilities")),
    ("a host path", lambda pod: pod["volumes"].append({"name": "proc", "hostPath": {"path": "/proc"}})),
    ("the host's processes", lambda pod: pod.update(hostPID=True)),
    ("a host port", lambda pod: pod["containers"][0]["ports"][0].update(hostPort=80)),
    (
        "escalation in an init container",
        lambda pod: pod["initContainers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    ("no seccomp profile", lambda pod: pod["securityContext"].update(seccompProfile={"type": "Unconfined"})),
    ("a privileged container", lambda pod: pod["containers"][0]["securityContext"].update(privileged=True)),
]
SOFT = [
    ("a token", lambda pod: pod.pop("automountServiceAccountToken")),
    ("a CPU limit", lambda pod: pod["initContainers"][-1]["resources"]["limits"].update(cpu="1")),
    ("memory beyond the request", lambda pod: pod["containers"][0]["resources"]["limits"].update(memory="64Gi")),
    ("a floating image", lambda pod: pod["containers"][0].update(image="registry:5000/ollama")),
    ("a writable root", lambda pod: pod["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False)),
]
HARMFUL = [
    (
        "a startup probe of the sidecar",
        lambda pod: pod["initContainers"][-1].update(
            startupProbe={"httpGet": {"path": "/-/ready", "port": "sonde-metrics"}}
        ),
    ),
    ("no sidecar but an init container", lambda pod: pod["initContainers"][-1].pop("restartPolicy")),
    (
        "liveness by the target's health",
        lambda pod: pod["initContainers"][-1]["livenessProbe"]["httpGet"].update(
            path="/-/target/ollama-gemma/progress"
        ),
    ),
    ("a GPU for Sonde", lambda pod: pod["initContainers"][-1]["resources"]["limits"].update({"nvidia.com/gpu": "1"})),
]
BAD_REFERENCES = [
    (
        "a Service of an unknown port",
        "sidecar-ollama",
        lambda i: item_of(i, "Service")["spec"]["ports"][0].update(targetPort="web"),
    ),
    ("a Service of nobody", "central", lambda i: item_of(i, "Service")["spec"]["selector"].update({"sonde/role": "x"})),
    (
        "a policy of an unknown port",
        "central",
        lambda i: item_of(i, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port="web"),
    ),
    (
        "a policy that locks Sonde in",
        "central",
        lambda i: item_of(i, "NetworkPolicy")["spec"]["egress"][1]["ports"].pop(0),
    ),
    ("a ConfigMap that is not there", "central", lambda i: config_of(i)["metadata"].update(name="other")),
    ("a configuration under another key", "central", lambda i: config_of(i).update(data={"config.yaml": ""})),
    ("a mount without a volume", "central", lambda i: pod_of(i).update(volumes=[])),
    ("two ports of one number", "sidecar-ollama", lambda i: runtime_of(i)["ports"][0].update(containerPort=10798)),
    (
        "a probe of an unknown port",
        "sidecar-ollama",
        lambda i: runtime_of(i)["readinessProbe"]["httpGet"].update(port="web"),
    ),
    (
        "a target at a port of nobody",
        "sidecar-ollama",
        lambda i: set_config(i, lambda c: c["targets"][0].update(url="http://127.0.0.1:1")),
    ),
    (
        "a model that is not served",
        "sidecar-ollama",
        lambda i: set_config(i, lambda c: c["targets"][0].update(model="gemma3:27b")),
    ),
    (
        "a monitor of another port",
        "sidecar-ollama with monitoring-operator",
        lambda i: item_of(i, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="web"),
    ),
    (
        "two monitors of one pod",
        "central with monitoring-operator",
        lambda i: item_of(i, "PodMonitor")["spec"]["selector"].pop("matchExpressions"),
    ),
    (
        "a monitor of other labels",
        "sidecar-ollama with monitoring-gmp",
        lambda i: item_of(i, "PodMonitoring")["spec"]["selector"]["matchLabels"].update(a="b"),
    ),
    (
        "a Probe of an unknown target",
        "central with probe-on-demand",
        lambda i: item_of(i, "Probe")["spec"]["targets"]["staticConfig"].update(static=["x"]),
    ),
    ("another namespace", "central", lambda i: item_of(i, "Service")["metadata"].update(namespace="default")),
    (
        "a secret that nobody makes",
        "sidecar-vllm",
        lambda i: runtime_of(i)["env"][1]["valueFrom"]["secretKeyRef"].pop("optional"),
    ),
]
BAD_CONFIGS = [
    ("an unknown key", lambda config: config.update(target=[])),
    ("an unknown scenario", lambda config: config["targets"][0].update(scenarios=["talk"])),
    ("a bad schedule", lambda config: config["defaults"].update(schedule="* * * *")),
    ("an objective beyond 100 %", lambda config: config["slos"][0].update(objective="120%")),
]


def noticed(problems):
    return [] if list(problems) else ["nobody noticed"]


def broken(built, build, change):
    items = copy.deepcopy(built[build])
    change(items)
    return items


def all_native(items):
    return [
        p for item in items if not schemas.is_custom(item) for p in schemas.native_problems(item, schemas.VERSIONS[-1])
    ]


def check(report, built, definitions, sonde):
    """Every fault once; `sonde` is None where there is no daemon to ask."""
    for what, build, change in WRONG_FIELDS:
        report.check(f"a fault is noticed: {what}", noticed(all_native(broken(built, build, change))))
    for what, build, kind, change in WRONG_CUSTOM_FIELDS:
        check_custom(report, definitions, what, item_of(built[build], kind), change)
    for what, change in BROKEN_CEL_RULES:
        check_custom(report, definitions, what, item_of(built["central with monitoring-gmp"], "PodMonitoring"), change)
    for faults, find in (
        (UNRESTRICTED, pods.restricted_problems),
        (SOFT, pods.hardening_problems),
        (HARMFUL, pods.sonde_problems),
    ):
        for what, change in faults:
            pod = copy.deepcopy(pod_of(built["sidecar-ollama"]))
            change(pod)
            report.check(f"a fault is noticed: {what}", noticed(find(pod)))
    for what, build, change in BAD_REFERENCES:
        items = broken(built, build, change)
        report.check(f"a fault is noticed: {what}", noticed(p for find in references.REFERENCES for p in find(items)))
    impatient = broken(built, "sidecar-vllm", lambda i: runtime_of(i)["startupProbe"].update(failureThreshold=3))
    owner, template = next(iter(pods.pods(impatient)))
    report.check("a fault is noticed: no time to load a model", noticed(pods.runtime_problems(owner, template["spec"])))
    other = {
        **built,
        "sidecar-ollama": broken(
            built, "sidecar-ollama", lambda i: sonde_of(i)["resources"]["requests"].update(cpu="1m")
        ),
    }
    report.check("a fault is noticed: a sidecar unlike the others", noticed(agreement.same_container_problems(other)))
    check_agreement(report, built)
    for what, change in BAD_CONFIGS:
        items = broken(built, "central", lambda i, change=change: set_config(i, change))
        name = f"a fault is noticed: {what} in sonde.yaml"
        if sonde:
            report.check(name, noticed(references.daemon_problems(sonde, config_of(items)["data"]["sonde.yaml"])))
        else:
            report.skip(name, "no daemon to ask")


def check_agreement(report, built):
    """Whoever says the same thing elsewhere must not be allowed to differ."""
    central = built["central"]
    chart = broken(built, "central", lambda i: item_of(i, "Deployment")["spec"].update(replicas=2))
    report.check("a fault is noticed: a chart unlike its overlay", noticed(agreement.chart_problems(central, chart)))
    shorter = [item for item in built[agreement.GKE_OVERLAY] if item["kind"] != "Service"]
    found = agreement.gke_problems(shorter, agreement.GKE_FILES)
    report.check("a fault is noticed: k8s/gke with more than its overlay", noticed(found))
    rules = broken(
        built,
        "central with monitoring-operator",
        lambda i: item_of(i, "PrometheusRule")["spec"]["groups"][0].update(name="other"),
    )
    report.check("a fault is noticed: a rule unlike its file", noticed(agreement.rules_problems(rules)))
    large = broken(built, "central", lambda i: config_of(i)["data"].update(large="x" * references.LARGEST_APPLIED))
    report.check("a fault is noticed: an object too large to apply", noticed(references.scope_problems(large)))


def check_custom(report, definitions, what, item, change):
    name = f"a fault is noticed: {what} in a {item['kind']}"
    reason = definitions.absence(item)
    if reason:
        report.skip(name, reason)
        return
    item = copy.deepcopy(item)
    change(item["spec"])
    report.check(name, noticed(definitions.problems(item)))
