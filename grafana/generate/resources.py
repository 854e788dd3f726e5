"""What does the load cost the machine, and what holds the runtime back?"""

from board import COLLAPSED, board, probes
from panels import TOKENS_PER_SECOND, bars, describe_quantile, judged, lettered, lines, steps, table, target
from queries import RESOURCE, RUNTIME, SERVED, quantile, rate, tokens_per

TARGET = "{{target}}"
BY_SCOPE = "{{instance}} · {{scope}} {{target}}"
OWN = "What the runtime says of itself; absent where it does not tell."
SILENT = "no runtime here tells this"
UNSEEN = "no process of a runtime is seen: it runs on another machine, or Sonde may not look"
SCOPES = "Scope: the node, a container, or the processes that serve a target; what Sonde may not read is absent."
NO_GPU = "Sonde sees no GPU; in Kubernetes set resources.dcgm_url, or see the row of dcgm-exporter"
NO_DCGM = "no dcgm-exporter is scraped"


def own(metric, labels="", by="target, runtime, model"):
    """A gauge of a runtime: the same from two daemons is one."""
    return f"max by ({by}) (llm_runtime_{metric}{{{RUNTIME}{labels}}})"


def own_rate(metric, by="target"):
    return f"max by ({by}) (rate(llm_runtime_{metric}_total{{{RUNTIME}}}[$__rate_interval]))"


def per_token(counter):
    tokens = rate("llm_probe_tokens_total", 'token_type="output"')
    return f"{rate(counter)} / ({tokens} > 0)"


def joined():
    """Tokens beside what they took."""
    cores = f'sum by (target) (rate(llm_resource_cpu_seconds_total{{{SERVED}, scope="process"}}[$__rate_interval]))'
    generated = own_rate("generation_tokens")
    return [
        lines(
            "Tokens generated per second",
            f"By all requests together, ours included. {OWN}",
            TOKENS_PER_SECOND,
            [target(generated, TARGET)],
            no_value=SILENT,
        ),
        lines(
            "CPU of the runtimes",
            "Cores that the processes of each runtime use, all of their requests together.",
            "short",
            [target(cores, TARGET)],
            no_value=UNSEEN,
        ),
        lines(
            "Tokens per CPU second",
            "Tokens generated / CPU seconds of the runtime's processes, all requests together. It falls when a runtime works"
            " without getting on.",
            "short",
            [target(f"{generated} / ({cores} > 0)", TARGET)],
            no_value=UNSEEN,
        ),
        lines(
            "CPU time per output token",
            "Of the runtime's processes during runs, by all of its requests: an upper bound where others are served.",
            "s",
            per_token("llm_probe_cpu_seconds_total"),
            no_value=UNSEEN,
        ),
        lines(
            "Energy per output token",
            "Of all GPUs that the daemon sees during runs, by all of their work: an upper bound where others are served.",
            "joule",
            per_token("llm_probe_energy_joules_total"),
            no_value=NO_GPU,
        ),
        bars(
            "Output tokens per joule",
            "Over the selected time range, of runs alone.",
            "short",
            tokens_per("llm_probe_energy_joules_total"),
            color="green",
            no_value=NO_GPU,
            decimals=3,
        ),
    ]


def queues():
    hits, asked = own_rate("prefix_cache_hits"), own_rate("prefix_cache_queries")
    return [
        lines(
            "Requests running and waiting",
            f"Waiting requests are what makes a TTFT grow first. {OWN}",
            "short",
            lettered([(own("requests_running"), "{{target}} running"), (own("requests_waiting"), "{{target}} waiting")]),
            no_value=SILENT,
        ),
        lines(
            "KV cache in use",
            f"Near 100 % requests wait or are preempted. {OWN}",
            "percentunit",
            [target(own("kv_cache_usage_ratio"), TARGET)],
            soft_max=1,
            no_value=SILENT,
        ),
        lines(
            "TTFT p95",
            f"First token of any kind, to hold beside the queue. {describe_quantile(0.95)}",
            "s",
            quantile(0.95, "llm_probe_time_to_first_token_seconds", 'kind="any"'),
        ),
        lines(
            "Prefix cache hits",
            f"Prompt tokens found in the cache / looked up. {OWN}",
            "percentunit",
            [target(f"{hits} / ({asked} > 0)", TARGET)],
            soft_max=1,
            no_value=SILENT,
        ),
        lines(
            "Preemptions per minute",
            f"Requests thrown out of the KV cache and begun anew: memory is too small for the load. {OWN}",
            "short",
            [target(f"60 * {own_rate('preemptions')}", TARGET)],
            soft_max=1,
            no_value=SILENT,
        ),
        lines(
            "Prompt tokens per second",
            f"Prefill of all requests together, ours included. {OWN}",
            TOKENS_PER_SECOND,
            [target(own_rate("prompt_tokens"), TARGET)],
            no_value=SILENT,
        ),
    ]


def runtimes():
    yes = {"1": {"text": "yes", "color": "transparent", "index": 0}, "0": {"text": "no", "color": "orange", "index": 1}}
    known = {"mappings": [{"type": "value", "options": yes}], "custom__align": "center", "custom__width": 110}
    level = f"max by (target, level) (llm_resource_sampler_info{{{SERVED}}})"
    return [
        table(
            "Runtimes",
            "Of now. Metrics: whether the runtime's own could be read. Loaded: whether the model is in memory. Restarts are"
            " of the selected time range.",
            ("target", "runtime", "model"),
            [
                judged("Metrics", own("up"), **known),
                judged("Loaded", own("model_loaded"), **known),
                ("Model memory", own("model_memory_bytes"), {"unit": "bytes", "custom.width": 120}),
                ("of it on GPU", own("model_gpu_memory_bytes"), {"unit": "bytes", "custom.width": 120}),
            ],
            [("Target", False)],
            width=14,
            height=9,
            no_value=SILENT,
        ),
        table(
            "What is seen of the processes",
            "procfs: CPU, memory, threads; procfs_full: files and disks too; cgroup: and the limits of their control group."
            " none: not on this machine, or not visible.",
            ("target", "level"),
            [("Daemons", level, {})],
            [("Target", False)],
            width=10,
            height=9,
            only_labels=True,
            no_value="no daemon samples resources",
        ),
    ]


def rates(metric, labels=""):
    return f"rate(llm_resource_{metric}{{{RESOURCE}{labels}}}[$__rate_interval])"


def machine():
    memory = f'llm_resource_memory_bytes{{{RESOURCE}, kind=~"working_set|rss"}}'
    limit = f"llm_resource_memory_limit_bytes{{{RESOURCE}}}"
    throttled = (
        "Share of time for which its own CPU quota held it back, summed over cores. A throttled runtime is slow at low CPU"
        " usage."
    )
    return [
        lines("CPU cores", f"Cores in use. {SCOPES}", "short", [target(rates("cpu_seconds_total"), BY_SCOPE)]),
        lines(
            "CPU throttled",
            throttled,
            "percentunit",
            [target(rates("cpu_throttled_seconds_total"), BY_SCOPE)],
            soft_max=0.1,
            no_value="nothing here has a CPU quota",
        ),
        lines(
            "Time lost waiting",
            "Share of time in which at least one task waited for the CPU, for memory or for disks (pressure stall"
            " information).",
            "percentunit",
            [target(rates("pressure_seconds_total", ', severity="some"'), "{{instance}} · {{scope}} · {{resource}}")],
            soft_max=0.1,
            no_value="this kernel keeps no account of pressure",
        ),
        lines(
            "Memory",
            "Working set: what the kernel cannot take back at once, and what an out-of-memory kill looks at; of processes,"
            f" what is resident. {SCOPES}",
            "bytes",
            [target(memory, BY_SCOPE)],
        ),
        lines(
            "Memory of its limit",
            "In use / what may be used: of the node, or of the tightest limit of the container.",
            "percentunit",
            [target(f'llm_resource_memory_bytes{{{RESOURCE}, kind="working_set"}} / ignoring (kind) {limit}', BY_SCOPE)],
            soft_max=1,
            limits=steps("transparent", (0.9, "red")),
        ),
    ]


def traffic():
    def network(direction):
        # A node has a dozen interfaces that never carry anything.
        return f"{rates(f'network_{direction}_bytes_total')} > 0"

    return [
        lines(
            "Network",
            "Bytes per second by interface that carries any; in a pod, the interfaces of the pod.",
            "Bps",
            lettered(
                [
                    (network("receive"), "{{instance}} · {{interface}} in"),
                    (network("transmit"), "{{instance}} · {{interface}} out"),
                ]
            ),
        ),
        lines(
            "Disk",
            f"Bytes per second. {SCOPES}",
            "Bps",
            lettered(
                [
                    (f"{rates('disk_read_bytes_total')} > 0", f"{BY_SCOPE} {{{{device}}}} read"),
                    (f"{rates('disk_write_bytes_total')} > 0", f"{BY_SCOPE} {{{{device}}}} written"),
                ]
            ),
            no_value="no disk was used",
        ),
        lines(
            "Threads of the runtimes",
            "Of all processes that serve a target. A number that only grows is a leak.",
            "short",
            [target(f"max by (target) (llm_resource_threads{{{SERVED}}})", TARGET)],
            no_value=UNSEEN,
        ),
        lines(
            "Open files of the runtimes",
            "File descriptors of all processes that serve a target, connections included.",
            "short",
            [target(f"max by (target) (llm_resource_open_fds{{{SERVED}}})", TARGET)],
            no_value=UNSEEN,
        ),
    ]


def gpus():
    by_gpu = "{{instance}} · {{name}} {{gpu}}"

    def gpu(title, description, unit, expr, legend=by_gpu, **more):
        return lines(title, description, unit, [target(expr, legend)], no_value=NO_GPU, **more)

    held_back = 'llm_gpu_throttle_reason{reason!="gpu_idle"} > 0'
    generated = f"scalar(sum({own_rate('generation_tokens')}))"
    return [
        gpu(
            "GPU busy",
            "Share of time in which a kernel ran: busy, not full.",
            "percentunit",
            "llm_gpu_utilization_ratio",
            soft_max=1,
        ),
        gpu(
            "GPU memory",
            "Used / total.",
            "percentunit",
            "llm_gpu_memory_used_bytes / llm_gpu_memory_total_bytes",
            soft_max=1,
        ),
        gpu("GPU power", "What the board draws.", "watt", "llm_gpu_power_watts"),
        gpu(
            "GPU power of its limit",
            "At 100 % the driver slows the GPU down.",
            "percentunit",
            "llm_gpu_power_watts / llm_gpu_power_limit_watts",
            soft_max=1,
        ),
        gpu("GPU temperature", "Of the die.", "celsius", "llm_gpu_temperature_celsius"),
        gpu(
            "GPU clocks",
            "Of the processors (sm) and of the memory.",
            "hertz",
            "llm_gpu_clock_hertz",
            f"{by_gpu} {{{{clock}}}}",
        ),
        gpu(
            "GPU held back by",
            "What holds the clocks down, by NVML's names; 1 while it does.",
            "short",
            held_back,
            f"{by_gpu} {{{{reason}}}}",
            stacked=True,
        ),
        gpu(
            "Memory errors per hour",
            "Corrected: nothing was lost. Uncorrected: the work of that moment was.",
            "short",
            "3600 * rate(llm_gpu_ecc_errors_total[$__rate_interval])",
            f"{by_gpu} {{{{kind}}}}",
            soft_max=1,
        ),
        gpu(
            "Tokens generated per joule",
            "Of all selected runtimes together / all GPUs that the daemons see; right where these serve nothing else.",
            "short",
            f"{generated} / sum(rate(llm_gpu_energy_joules_total[$__rate_interval]))",
            "all runtimes / all GPUs",
        ),
    ]


def dcgm():
    """Straight from dcgm-exporter, where a Prometheus scrapes it: all GPUs of the cluster, by pod."""
    pod = "{{Hostname}} · GPU {{gpu}} · {{namespace}}/{{exported_pod}}{{pod}}"

    def field(title, description, unit, expr, **more):
        return lines(title, description, unit, [target(expr, pod)], no_value=NO_DCGM, **more)

    return [
        field(
            "Tensor cores active",
            "Share of cycles in which the tensor cores worked: how well prefill uses the GPU.",
            "percentunit",
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
            soft_max=1,
        ),
        field(
            "Memory bandwidth in use",
            "Share of cycles in which device memory moved: what bounds decode.",
            "percentunit",
            "DCGM_FI_PROF_DRAM_ACTIVE",
            soft_max=1,
        ),
        field("GPU busy", "Share of time in which a kernel ran.", "percent", "DCGM_FI_DEV_GPU_UTIL"),
        field("Framebuffer used", "Weights, KV cache and all else.", "mbytes", "DCGM_FI_DEV_FB_USED"),
        field("Power", "What each board draws.", "watt", "DCGM_FI_DEV_POWER_USAGE"),
        field("Last XID error", "The driver's code of the last error; 0 without one.", "none", "DCGM_FI_DEV_XID_ERRORS"),
    ]


def dashboard():
    return board(
        "sonde-resources",
        "Resources",
        "CPU, memory, network and GPUs beside the tokens that they make; queues and caches of the runtimes.",
        probes(),
        [
            ("Tokens, and what they take", joined()),
            ("Queues and caches of the runtimes", queues()),
            ("Runtimes", runtimes()),
            ("Machine", [*machine(), *traffic()]),
            ("GPUs", gpus()),
            ("GPUs, by dcgm-exporter", dcgm(), COLLAPSED),
        ],
    )
