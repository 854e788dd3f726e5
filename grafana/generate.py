#!/usr/bin/env python3
"""Generates the dashboards. Standard library only.

    grafana/generate.py            write grafana/dashboards/*.json
    grafana/generate.py --check    fail when a file there is not what this script would write

A panel is one call here. Layout, ids, datasource and colours come from the functions below, so all panels are alike.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

DASHBOARDS = Path(__file__).resolve().parent / "dashboards"
WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Fast cadences are seen at the scrape interval, slow ones still have some runs in every point.
MIN_INTERVAL = "2m"

# What the variables select, per kind of metric.
PROBE = 'target=~"$target", runtime=~"$runtime", model=~"$model", scenario=~"$scenario"'
# Resources belong to a machine; the empty alternative keeps what has no target.
RESOURCE = 'target=~"$target|"'

# One line or bar per probe: numbers of two scenarios must never be mixed.
BY = "target, scenario"
LEGEND = "{{target}} · {{scenario}}"


# --- Queries ----------------------------------------------------------------------------------------------------------


def quantile(q, histogram, labels="", window="$__rate_interval", by=BY):
    """A quantile per probe from classic buckets, which every backend has."""
    selector = f"{PROBE}, {labels}" if labels else PROBE
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({histogram}_bucket{{{selector}}}[{window}])))"


def increase(counter, window="$__rate_interval", by=BY):
    return f"sum by ({by}) (increase({counter}{{{PROBE}}}[{window}]))"


def share_of_runs(counter, **how):
    return f"{increase(counter, **how)} / {increase('llm_probe_runs_total', **how)}"


def or_zero(counter):
    """The count over the dashboard's time range; zero where the event has never happened and has no series yet."""
    counted = increase(counter, window="$__range")
    return f"{counted} or 0 * {increase('llm_probe_scheduled_total', window='$__range')}"


# --- Panels -----------------------------------------------------------------------------------------------------------


def target(expr, legend=LEGEND, ref="A", **more):
    return {"datasource": DATASOURCE, "expr": expr, "legendFormat": legend, "refId": ref, "editorMode": "code", **more}


def panel(kind, title, description, targets, **more):
    assert description.endswith("."), title
    common = {"datasource": DATASOURCE, "interval": MIN_INTERVAL, "targets": targets}
    return {"type": kind, "title": title, "description": description, **common, **more}


def size(width, height=8):
    return {"w": width, "h": height}


def lines(title, description, unit, targets, width=8, stacked=False, **more):
    """Lines over time. A target has the same colour in every panel, because the colour follows its name."""
    style = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 5,
        "showPoints": "auto",
        # A probe is not there between its runs; joining the points of one that stopped would invent data.
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic-by-name"}, "custom": style}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = targets if isinstance(targets, list) else [target(targets)]
    fields = {"defaults": defaults, "overrides": []}
    return panel(
        "timeseries", title, description, targets, gridPos=size(width), fieldConfig=fields, options=options, **more
    )


def table(title, description, height, columns):
    """One row per probe, one column per (name, unit, query)."""
    references = [chr(ord("A") + position) for position in range(len(columns))]
    targets = [
        target(expr, legend=name, ref=reference, format="table", instant=True, range=False)
        for reference, (name, _, expr) in zip(references, columns, strict=True)
    ]
    names = {f"Value #{reference}": name for reference, (name, _, _) in zip(references, columns, strict=True)}
    overrides = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit, _ in columns
    ]
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    defaults = {"unit": "short", "custom": {"align": "auto", "filterable": True}}
    return panel(
        "table",
        title,
        description,
        targets,
        gridPos=size(WIDTH, height),
        fieldConfig={"defaults": defaults, "overrides": overrides},
        options=options,
        transformations=transformations,
    )


def bars(title, description, unit, targets):
    """One horizontal bar per series, over the whole time range."""
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic-by-name"}}
    options = {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}}
    fields = {"defaults": defaults, "overrides": []}
    return panel("bargauge", title, description, targets, gridPos=size(12), fieldConfig=fields, options=options)


def quantiles(name, histogram, description, labels="", quantiles=(0.5, 0.95, 0.99)):
    """One panel per quantile, so that targets stand side by side and not quantiles."""
    return [
        lines(
            f"{name} p{q * 100:g}",
            f"{description} {describe_quantile(q)}",
            "s",
            [target(quantile(q, histogram, labels), exemplar=q == quantiles[-1])],
        )
        for q in quantiles
    ]


def describe_quantile(q):
    return f"{q * 100:g} % of the samples are at most this; interpolated within a bucket."


# --- The dashboard ----------------------------------------------------------------------------------------------------


def at_a_glance():
    over_range = {"window": "$__range", "by": "target, runtime, model, scenario"}
    ttft = "llm_probe_time_to_first_token_seconds"
    return [
        table(
            "Targets",
            "Over the selected time range. Success ratio: runs without a failure / all runs. TTFT: first token of any kind "
            "minus dispatch. Decode TPS: (n − 1) / (last token − first token) of one stream, median run. E2E: end of "
            "stream minus dispatch, of successful runs. Tainted runs are in none of the latencies.",
            9,
            [
                ("Runs", "short", increase("llm_probe_runs_total", **over_range)),
                ("Success ratio", "percentunit", f"1 - {share_of_runs('llm_probe_failures_total', **over_range)}"),
                ("Failures", "short", increase("llm_probe_failures_total", **over_range)),
                ("TTFT p50", "s", quantile(0.5, ttft, 'kind="any"', **over_range)),
                ("TTFT p95", "s", quantile(0.95, ttft, 'kind="any"', **over_range)),
                (
                    "Decode TPS",
                    "short",
                    quantile(0.5, "llm_probe_output_tokens_per_second", 'basis="decode"', **over_range),
                ),
                ("E2E p95", "s", quantile(0.95, "llm_probe_inference_seconds", 'result="success"', **over_range)),
            ],
        )
    ]


def first_token(kind, meaning):
    return quantiles(
        f"TTFT {kind}",
        "llm_probe_time_to_first_token_seconds",
        f"{meaning} minus dispatch. A cold connection's DNS, TCP and TLS are inside; narrow it with the variable connection.",
        f'kind="{kind}", connection=~"$connection"',
    )


def between_tokens():
    return [
        *quantiles(
            "ITL",
            "llm_probe_inter_token_latency_seconds",
            "One sample per gap between consecutive arrivals of tokens; tokens that arrived together are one arrival.",
        ),
        *quantiles(
            "TPOT",
            "llm_probe_time_per_output_token_seconds",
            "One sample per run: (last token − first token) / (n − 1), n at least 2.",
            quantiles=(0.5, 0.95),
        ),
        *quantiles(
            "Longest stall",
            "llm_probe_max_stall_seconds",
            "One sample per run: the longest gap in its stream.",
            quantiles=(0.95,),
        ),
    ]


def speed():
    def of(title, description, q, basis):
        expr = quantile(q, "llm_probe_output_tokens_per_second", f'basis="{basis}"')
        return lines(title, description, "short", expr)

    decode = "Tokens per second of one stream: (n − 1) / (last token − first token)."
    return [
        of("Decode TPS p50", f"{decode} {describe_quantile(0.5)}", 0.5, "decode"),
        of("Decode TPS p5", f"{decode} The slow end: 95 % of the runs are faster than this.", 0.05, "decode"),
        of("End-to-end TPS p50", f"n / E2E, waiting included. {describe_quantile(0.5)}", 0.5, "end_to_end"),
    ]


def inference():
    meaning = "End of stream minus dispatch"
    return [
        *quantiles(
            "E2E of successes",
            "llm_probe_inference_seconds",
            f"{meaning}, of runs that succeeded.",
            'result="success"',
            (0.5, 0.95),
        ),
        *quantiles(
            "E2E of failures",
            "llm_probe_inference_seconds",
            f"{meaning}, of runs that failed: how long users wait in vain. Empty while nothing fails.",
            'result="failure"',
            (0.95,),
        ),
    ]


def phases():
    per_run = (
        f"sum by (phase) (rate(llm_probe_phase_seconds_sum{{{PROBE}}}[$__rate_interval]))"
        f" / ignoring (phase) group_left sum(rate(llm_probe_inference_seconds_count{{{PROBE}}}[$__rate_interval]))"
    )
    return [
        lines(
            "Phases of $target",
            "Where the time of a mean run goes. schedule: our own lateness; dns, connect, tls: only on a cold connection; "
            "send: the request; wait: until the first token; stream: until the end. Select one scenario to compare like with like.",
            "s",
            [target(per_run, "{{phase}}")],
            stacked=True,
            repeat="target",
            repeatDirection="h",
            maxPerRow=3,
        )
    ]


def failures():
    by_reason = f"topk(10, sum by ({BY}, reason) (increase(llm_probe_failures_total{{{PROBE}}}[$__range])))"
    return [
        lines(
            "Failure ratio",
            "Failed runs / all runs. Everything but a complete, well-formed answer that meets the scenario's assertion is a failure.",
            "percentunit",
            share_of_runs("llm_probe_failures_total"),
            width=12,
        ),
        bars(
            "Failures by reason",
            "Failed runs over the selected time range, the ten most frequent. The reasons are a closed set: see the runbook of SondeProbeFailing.",
            "short",
            [target(by_reason, f"{LEGEND} · {{{{reason}}}}", instant=True, range=False)],
        ),
    ]


def accounting():
    scheduled, runs = or_zero("llm_probe_scheduled_total"), or_zero("llm_probe_runs_total")
    missed, skipped = or_zero("llm_probe_missed_total"), or_zero("llm_probe_skipped_total")
    lost = " or ".join(
        f'label_replace(sum by ({BY}, reason) (increase({counter}{{{PROBE}}}[$__rate_interval])), "what", "{what}", "", "")'
        for what, counter in (
            ("missed", "llm_probe_missed_total"),
            ("skipped", "llm_probe_skipped_total"),
            ("tainted", "llm_probe_tainted_total"),
        )
    )
    return [
        table(
            "Every planned run",
            "Over the selected time range. Scheduled = run + missed + skipped, plus a run in flight. Missed: Sonde was late or "
            "stopping. Skipped: Sonde held back on purpose. Tainted: run, but with an error bar too wide to be counted in latencies. "
            "Small fractions come from Prometheus, which extrapolates counters to the ends of the range.",
            8,
            [
                ("Scheduled", "short", scheduled),
                ("Run", "short", runs),
                ("Missed", "short", missed),
                ("Skipped", "short", skipped),
                ("Tainted", "short", or_zero("llm_probe_tainted_total")),
            ],
        ),
        lines(
            "Not run or not counted",
            "Planned runs that were missed or skipped, and runs that were tainted, with the reason. Each is a hole in the other "
            "panels.",
            "short",
            [target(lost, f"{LEGEND} · {{{{what}}}}: {{{{reason}}}}")],
            width=WIDTH,
        ),
    ]


def resources():
    daemon = "{{instance}} · {{scope}}"
    by_gpu = "{{instance}} · {{name}} {{gpu}}"

    def network(direction):
        return f"rate(llm_resource_network_{direction}_bytes_total{{{RESOURCE}}}[$__rate_interval])"

    scopes = "scope: the node, a container, or a process; what Sonde may not read is absent."
    gpu = "Empty where Sonde sees no GPU; in Kubernetes use the panels of dcgm-exporter."
    cpu = f"rate(llm_resource_cpu_seconds_total{{{RESOURCE}}}[$__rate_interval])"
    memory = f'llm_resource_memory_bytes{{{RESOURCE}, kind=~"working_set|"}}'
    return [
        lines("CPU", f"Cores in use. {scopes}", "short", [target(cpu, daemon)]),
        lines(
            "Memory",
            f"Working set: what the kernel cannot take back at once, and what an out-of-memory kill looks at. {scopes}",
            "bytes",
            [target(memory, daemon)],
        ),
        lines(
            "Network",
            f"Bytes per second by interface; in a pod, the interfaces of the pod. {scopes}",
            "Bps",
            [
                target(network("receive"), f"{daemon} · {{{{interface}}}} in"),
                target(network("transmit"), f"{daemon} · {{{{interface}}}} out", "B"),
            ],
        ),
        lines(
            "GPU utilization",
            f"Share of time in which a kernel ran: busy, not full. {gpu}",
            "percentunit",
            [target("llm_gpu_utilization_ratio", by_gpu)],
        ),
        lines(
            "GPU memory",
            f"Used / total. {gpu}",
            "percentunit",
            [target("llm_gpu_memory_used_bytes / llm_gpu_memory_total_bytes", by_gpu)],
        ),
        lines("GPU power", f"What the board draws. {gpu}", "watt", [target("llm_gpu_power_watts", by_gpu)]),
    ]


def variable(label, metric, *narrowed_by):
    """A list of the values that a label has, among what the variables before it select."""
    selector = ", ".join(f'{other}=~"${other}"' for other in narrowed_by)
    query = f"label_values({metric}{{{selector}}}, {label})" if selector else f"label_values({metric}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{label}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def variables():
    runs, ttft = "llm_probe_runs_total", "llm_probe_time_to_first_token_seconds_count"
    datasource = {"name": "datasource", "label": "Datasource", "type": "datasource", "query": "prometheus"}
    return [
        datasource,
        variable("target", runs),
        variable("runtime", runs, "target"),
        variable("model", runs, "target", "runtime"),
        variable("scenario", runs, "target", "runtime", "model"),
        variable("connection", ttft, "target", "scenario"),
    ]


def laid_out(rows):
    """Panels from left to right, then down; ids in this order, so that a change elsewhere moves few of them."""
    ids, y, placed = itertools.count(1), 0, []
    for title, panels in rows:
        placed.append(
            {
                "type": "row",
                "id": next(ids),
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
            }
        )
        x, y, line_height = 0, y + 1, 0
        for item in panels:
            width, height = item["gridPos"]["w"], item["gridPos"]["h"]
            if x + width > WIDTH:
                x, y, line_height = 0, y + line_height, 0
            placed.append(item | {"id": next(ids), "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x, line_height = x + width, max(line_height, height)
        y += line_height
    return placed


def compare():
    rows = [
        ("At a glance", at_a_glance()),
        ("Time to first token, of any kind", first_token("any", "First token of any kind, reasoning included,")),
        (
            "Time to first visible token",
            first_token("visible", "First token that a user sees, so after any reasoning,"),
        ),
        ("Between tokens", between_tokens()),
        ("Tokens per second", speed()),
        ("Inference time", inference()),
        ("Phases", phases()),
        ("Failures", failures()),
        ("Accounting", accounting()),
        ("Resources", resources()),
    ]
    return {
        "uid": "sonde-compare",
        "title": "Sonde: compare targets",
        "description": "LLM runtimes side by side, as their users feel them: latency, speed, failures, and what they cost the machine.",
        "tags": ["sonde", "llm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": laid_out(rows),
    }


GENERATED = {"compare.json": compare}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is not up to date")
    check = parser.parse_args().check
    stale = []
    for name, dashboard in GENERATED.items():
        path = DASHBOARDS / name
        content = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'not up to date; hint: run grafana/generate.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
