"""Pods: the restricted Pod Security Standard, and what k8s/ promises beyond it."""

USER = 65532
OUR_PORT = "sonde-metrics"
OUR_PATHS = {"/-/healthy", "/-/ready"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# Half of what a small model on a slow disk takes would already be too little; vLLM compiles on top.
SHORTEST_MODEL_LOAD_SECONDS = 600
# Ollama answers before it has loaded anything.
LOADS_LATER = {"ollama"}


def label(item):
    return f"{item['kind']}/{item['metadata']['name']}"


def pods(items):
    """(object, pod template) of everything that makes Pods; a bare Pod is its own template."""
    for item in items:
        if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            yield item, item["spec"]["template"]
        elif item["kind"] == "Pod":
            yield item, item


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def effective(pod, container, key):
    """A security setting: the container's own, else the pod's."""
    own = container.get("securityContext", {})
    return own[key] if key in own else pod.get("securityContext", {}).get(key)


def restricted_problems(pod):
    """The restricted Pod Security Standard."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key}"
    for volume in pod.get("volumes", []):
        for kind in volume.keys() - VOLUMES - {"name"}:
            yield f"volume `{volume['name']}` is a {kind}"
    for container in containers(pod):
        name, own = container["name"], container.get("securityContext", {})
        if effective(pod, container, "runAsNonRoot") is not True:
            yield f"`{name}` may run as root"
        if effective(pod, container, "runAsUser") == 0:
            yield f"`{name}` runs as root"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"`{name}` may escalate privileges"
        if own.get("privileged"):
            yield f"`{name}` is privileged"
        if own.get("procMount", "Default") != "Default":
            yield f"`{name}` unmasks /proc"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"`{name}` keeps capabilities"
        if (effective(pod, container, "seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"`{name}` has no seccomp profile"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"`{name}` has a host port"


def hardening_problems(pod):
    """What k8s/ promises beyond the standard, for every container."""
    if pod.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if pod.get("enableServiceLinks") is not False:
        yield "has service links in its environment"
    for container in containers(pod):
        name, resources = container["name"], container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"`{name}` has a writable root file system"
        if effective(pod, container, "runAsUser") != USER or effective(pod, container, "runAsGroup") != USER:
            yield f"`{name}` does not run as {USER}:{USER}"
        if not requests.get("cpu") or not requests.get("memory"):
            yield f"`{name}` requests no CPU or memory"
        if limits.get("memory") != requests.get("memory"):
            yield f"`{name}`: memory limit is not the request"
        if "cpu" in limits:
            yield f"`{name}` has a CPU limit"
        image = container["image"]
        if "@" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
            yield f"`{name}` has the floating image `{image}`"


def sonde_in(pod):
    return next((container for container in containers(pod) if container["name"] == "sonde"), None)


def sonde_problems(pod):
    sonde = sonde_in(pod)
    if sonde is None:
        yield "holds no container `sonde`"
        return
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = sonde.get(probe, {}).get("httpGet")
        if probe in sonde and (not get or get["port"] != OUR_PORT or get["path"] not in OUR_PATHS):
            yield f"{probe} asks something else than Sonde about itself"
    if "livenessProbe" not in sonde:
        yield "nobody notices when Sonde hangs"
    if any(key.startswith("nvidia.com/") for key in sonde["resources"].get("limits", {})):
        yield "Sonde takes a GPU away from the runtimes"
    if sonde in pod.get("initContainers", []):
        if sonde.get("restartPolicy") != "Always":
            yield "is not a native sidecar"
        if pod["initContainers"][-1] is not sonde:
            yield "starts before the runtime is prepared"
        if "startupProbe" in sonde or "readinessProbe" in sonde:
            yield "the sidecar can hold the runtime back"
    if any("subPath" in mount for mount in sonde["volumeMounts"]):
        yield "mounts a file of a ConfigMap, which never sees an update"


def runtime_problems(deployment, pod):
    """Of a runtime: it is not restarted while it loads its model."""
    runtime = deployment["metadata"].get("labels", {}).get("sonde/runtime")
    if runtime is None:
        return
    container = pod["containers"][0]
    startup = container.get("startupProbe")
    if not startup:
        yield f"`{container['name']}` has no startup probe"
        return
    patience = startup["periodSeconds"] * startup["failureThreshold"]
    if runtime not in LOADS_LATER and patience < SHORTEST_MODEL_LOAD_SECONDS:
        yield f"`{container['name']}` has {patience} s to load its model; rule: {SHORTEST_MODEL_LOAD_SECONDS} s or more"
    if "readinessProbe" not in container:
        yield f"`{container['name']}` gets requests before it is ready"
    if "livenessProbe" in container:
        yield f"`{container['name']}` is restarted when it is merely busy"
