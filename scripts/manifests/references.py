"""What objects say of each other: names, labels, ports, volumes, keys, and the configuration inside."""

import re
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import json
import os
import yaml

from .build import NAMESPACE
from .pods import containers, label, pods, sonde_in

CONFIG_KEY = "sonde.yaml"
MOUNTED_AT = "/etc/sonde"
CLUSTER_SCOPED = {"Namespace", "ClusterRules"}
# `kubectl apply` keeps a second copy in an annotation, and annotations may have so many bytes in all.
LARGEST_APPLIED = 262144


def of_kind(items, *kinds):
    return [item for item in items if item["kind"] in kinds]


def selects(selector, labels):
    """Whether a label selector selects an object with these labels."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        value, operator = labels.get(expression["key"]), expression["operator"]
        kept = {
            "In": lambda: value in expression["values"],
            "NotIn": lambda: value not in expression["values"],
            "Exists": lambda: value is not None,
            "DoesNotExist": lambda: value is None,
        }[operator]()
        if not kept:
            return False
    return True


def ports_of(template):
    """name -> number of all ports of a pod, several of a name told apart by the caller."""
    return [
        (port["name"], port["containerPort"])
        for container in containers(template["spec"])
        for port in container.get("ports", [])
    ]


def has_port(template, port):
    return any(port in pair for pair in ports_of(template))


# --- Pods -------------------------------------------------------------------------------------------------------------


def pod_problems(items):
    present = {(item["kind"], item["metadata"]["name"]) for item in items}
    for owner, template in pods(items):
        name, pod = label(owner), template["spec"]
        if owner["kind"] != "Pod" and not selects(owner["spec"]["selector"], template["metadata"]["labels"]):
            yield f"{name} does not select its own pods"
        wanted = {("ServiceAccount", pod["serviceAccountName"])} if "serviceAccountName" in pod else set()
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "configMap" in volume:
                wanted.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        for kind, other in sorted(wanted - present):
            yield f"{name} refers to {kind}/{other}, which is not there"
        mounted = set()
        for container in containers(pod):
            yield from (f"{name}: {problem}" for problem in container_problems(container, volumes))
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        for volume in sorted(volumes.keys() - mounted):
            yield f"{name} has the volume `{volume}`, which nobody mounts"
        for what, values in (
            ("name", [n for n, _ in ports_of(template)]),
            ("number", [n for _, n in ports_of(template)]),
        ):
            for value in sorted({value for value in values if values.count(value) > 1}, key=str):
                yield f"{name} has two ports of the {what} {value}"


def container_problems(container, volumes):
    own = {port["name"] for port in container.get("ports", [])}
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"`{container['name']}` mounts `{mount['name']}`, which is no volume"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in own:
            yield f"`{container['name']}`: {probe} asks port `{port}`, which it has not"
    for variable in container.get("env", []):
        secret = variable.get("valueFrom", {}).get("secretKeyRef")
        if secret and not secret.get("optional"):
            yield f"`{container['name']}` does not start without the secret `{secret['name']}`, which nobody makes"


# --- Services, policies, monitors -------------------------------------------------------------------------------------


def scraped_by(items, template, owner):
    """The monitors that find a pod, and a port of the right name on it."""
    labels = template["metadata"]["labels"]
    for monitor in of_kind(items, "PodMonitor", "PodMonitoring"):
        spec = monitor["spec"]
        endpoints = spec.get("endpoints") or spec["podMetricsEndpoints"]
        if selects(spec["selector"], labels) and all(has_port(template, endpoint["port"]) for endpoint in endpoints):
            yield label(monitor)
    services = [s for s in of_kind(items, "Service") if s["spec"]["selector"].items() <= labels.items()]
    for monitor in of_kind(items, "ServiceMonitor"):
        for service in services:
            names = {port["name"] for port in service["spec"]["ports"]}
            wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
            if selects(monitor["spec"]["selector"], service["metadata"].get("labels", {})) and wanted <= names:
                yield label(monitor)


def network_problems(items):
    templates = [template for _, template in pods(items)]
    for service in of_kind(items, "Service"):
        chosen = [t for t in templates if service["spec"]["selector"].items() <= t["metadata"]["labels"].items()]
        for port in service["spec"]["ports"]:
            if not any(has_port(template, port["targetPort"]) for template in chosen):
                yield f"{label(service)} finds no pod with its labels and the port `{port['targetPort']}`"
    for policy in of_kind(items, "NetworkPolicy"):
        chosen = [t for t in templates if selects(policy["spec"]["podSelector"], t["metadata"]["labels"])]
        if not chosen:
            yield f"{label(policy)} is about no pod"
        for rule in policy["spec"]["ingress"]:
            for port in rule.get("ports", []):
                if not all(has_port(template, port["port"]) for template in chosen):
                    yield f"{label(policy)} opens the port `{port['port']}`, which its pods do not have"
        if any(owner["metadata"].get("labels", {}).get("sonde/runtime") for owner, t in pods(items) if t in chosen):
            yield f"{label(policy)} cuts a runtime off from its users"
    if of_kind(items, "PodMonitor", "ServiceMonitor", "PodMonitoring"):
        for owner, template in pods(items):
            if owner["kind"] != "Pod" and sonde_in(template["spec"]):
                monitors = list(scraped_by(items, template, owner))
                if len(monitors) != 1:
                    yield f"{label(owner)} is scraped by {monitors or 'nobody'}; rule: by one"


def scope_problems(items):
    for item in items:
        if item["kind"] not in CLUSTER_SCOPED and item["metadata"].get("namespace") != NAMESPACE:
            yield f"{label(item)} is in the namespace {item['metadata'].get('namespace')}"
        if len(json.dumps(item)) > LARGEST_APPLIED:
            yield f"{label(item)} has {len(json.dumps(item))} bytes; rule: {LARGEST_APPLIED} for `kubectl apply`"


# --- Configuration ----------------------------------------------------------------------------------------------------


def configs(items):
    """(ConfigMap, its sonde.yaml) of each that has one."""
    for item in of_kind(items, "ConfigMap"):
        if CONFIG_KEY in item.get("data", {}):
            yield item, item["data"][CONFIG_KEY]


def config_problems(items):
    """That the pod reads the file that is there, and that what it says fits what stands beside it."""
    texts = {item["metadata"]["name"]: text for item, text in configs(items)}
    for owner, template in pods(items):
        sonde = sonde_in(template["spec"])
        if not sonde:
            continue
        mounts = {mount["mountPath"]: mount["name"] for mount in sonde["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        volume = volumes.get(mounts.get(MOUNTED_AT), {})
        text = texts.get(volume.get("configMap", {}).get("name"))
        if text is None or f"{MOUNTED_AT}/{CONFIG_KEY}" not in sonde["args"]:
            yield f"{label(owner)} does not read a {CONFIG_KEY} that is there"
            continue
        for target in yaml.safe_load(text)["targets"]:
            yield from (
                f"{label(owner)}: target `{target['name']}` {problem}"
                for problem in target_problems(items, template, target)
            )
    yield from probe_problems(items)


def target_problems(items, template, target):
    url = urlsplit(target["url"])
    if url.hostname != "127.0.0.1":
        # Central: the policy must let it out.
        for policy in of_kind(items, "NetworkPolicy"):
            let_out = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
            if (url.port or {"http": 80, "https": 443}[url.scheme]) not in let_out:
                yield f"is at port {url.port}, to which {label(policy)} does not let Sonde out"
        return
    runtimes = [
        c for c in template["spec"]["containers"] if url.port in {p["containerPort"] for p in c.get("ports", [])}
    ]
    if not runtimes:
        yield f"is at port {url.port}, where no container of the pod listens"
        return
    said = [
        *(runtimes[0].get("args") or []),
        *(v.get("value", "") for c in containers(template["spec"]) for v in c.get("env", [])),
    ]
    if not any(re.search(rf"(^|=){re.escape(target['model'])}$", word) for word in said):
        yield f"has the model `{target['model']}`, which the runtime is not told to serve"


def probe_problems(items):
    """A Probe asks a Service of ours about targets and scenarios that are there."""
    services = {
        f"{s['metadata']['name']}.{NAMESPACE}.svc:{port['port']}"
        for s in of_kind(items, "Service")
        for port in s["spec"]["ports"]
    }
    settings = [yaml.safe_load(text) for _, text in configs(items)]
    targets = {target["name"] for config in settings for target in config["targets"]}
    scenarios = {scenario["name"] for config in settings for scenario in config["scenarios"]}
    for probe in of_kind(items, "Probe"):
        spec = probe["spec"]
        if spec["prober"]["url"] not in services:
            yield f"{label(probe)} asks `{spec['prober']['url']}`, which is no Service here"
        for target in set(spec["targets"]["staticConfig"]["static"]) - targets:
            yield f"{label(probe)} asks for the target `{target}`, which is not configured"
        for parameter in spec.get("params", []):
            for value in set(parameter["values"]) - scenarios if parameter["name"] == "scenario" else ():
                yield f"{label(probe)} asks for the scenario `{value}`, which is not configured"


def daemon_problems(sonde, text):
    """What the daemon's own `check` says of a configuration."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SONDE__")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, CONFIG_KEY)
        path.write_text(text, encoding="utf-8")
        result = subprocess.run([sonde, "check", path], capture_output=True, text=True, env=environment)
    if result.returncode:
        yield (result.stderr.strip() or result.stdout.strip()).replace(str(path), CONFIG_KEY)


def address_problems(items, everything):
    """In-cluster addresses of targets lead to a Service that some overlay brings."""
    served = {
        (f"{service['metadata']['name']}.{NAMESPACE}.svc", port["port"])
        for service in of_kind(everything, "Service")
        for port in service["spec"]["ports"]
    }
    for item, text in configs(items):
        for target in yaml.safe_load(text)["targets"]:
            url = urlsplit(target["url"])
            if (url.hostname or "").endswith(".svc") and (url.hostname, url.port) not in served:
                yield f"{label(item)}: `{target['url']}` is no Service of any overlay"


REFERENCES = (pod_problems, network_problems, scope_problems, config_problems)
