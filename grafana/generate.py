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
# What a runtime says of itself, and what is said of it: no scenario.
RUNTIME = 'target=~"$target", runtime=~"$runtime", model=~"$model"'

# One line or bar per probe: numbers of two scenarios must never be mixed.
BY = "target, scenario"
LEGEND = "{{target}} · {{scenario}}"
PROBE_LABELS = ("target", "scenario", "runtime", "model")
TOKENS_PER_SECOND = "suffix:tok/s"

# A share of failed runs from these on is worth a look, or a worry. They only colour; what pages is the alerts' business.
WORTH_A_LOOK, WORTH_A_WORRY = 0.01, 0.05


# --- Queries ----------------------------------------------------------------------------------------------------------


def quantile(q, histogram, labels="", window="$__rate_interval", by=BY):
    """A quantile per probe from classic buckets, which every backend has."""
    selector = f"{PROBE}, {labels}" if labels else PROBE
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({histogram}_bucket{{{selector}}}[{window}])))"


def increase(counter, window="$__rate_interval", by=BY):
    return f"sum by ({by}) (increase({counter}{{{PROBE}}}[{window}]))"


def share_of_runs(counter, **how):
    return f"{increase(counter, **how)} / {increase('llm_probe_runs_total', **how)}"


def extreme(aggregation, expr):
    """The one probe with the highest or lowest number; none without a number, which is NaN, or with nothing to show."""
    return f"{aggregation}(1, ({expr}) > 0)"


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


def size(width, height=9):
    return {"w": width, "h": height}


def fixed(color):
    return {"mode": "fixed", "fixedColor": color}


def steps(base, *rising):
    """Thresholds: the colour below all of them, then (from, colour) in rising order."""
    first = {"value": None, "color": base}
    return {"mode": "absolute", "steps": [first, *({"value": value, "color": color} for value, color in rising)]}


def override(name, **properties):
    """What is different for one column or series; `__` in a property's name stands for a dot."""
    listed = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def lines(
    title,
    description,
    unit,
    targets,
    width=8,
    stacked=False,
    draw="line",
    colors=None,
    no_value=None,
    soft_max=None,
    signed=False,
    **more,
):
    """Numbers over time. The axis reaches up to `soft_max` at least, so that a tiny number does not look like a mountain,
    and down to zero at least; below it only where the numbers are `signed`.

    The colour follows the position of a series, and every panel lists the probes in the same order, those without a
    number included: so a probe has one colour everywhere. Colours that follow the name gave three of eight probes the
    same orange.
    """
    style = {
        "drawStyle": draw,
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 0,
        "showPoints": "auto",
        # A probe is not there between its runs; joining the points of one that stopped would invent data.
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"}, "custom": style}
    if signed:
        del defaults["min"]
        style["axisSoftMin"] = 0
    if no_value:
        defaults["noValue"] = no_value
    if soft_max:
        style["axisSoftMax"] = soft_max
    options = {
        # A list: a table has room for three names, and its numbers are in the table of targets and in the tooltip.
        "legend": {"displayMode": "list", "placement": "bottom", "calcs": [], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = targets if isinstance(targets, list) else [target(targets)]
    overrides = [override(name, color=fixed(color)) for name, color in (colors or {}).items()]
    fields = {"defaults": defaults, "overrides": overrides}
    return panel(
        "timeseries", title, description, targets, gridPos=size(width), fieldConfig=fields, options=options, **more
    )


def table(title, description, room, labels, columns, sort_by, no_value="no data", only_labels=False):
    """One row per set of labels: these, then one column per (name, query, properties); sorted by (name, descending). The
    columns are not shown where they are of no interest, as the 1 of facts is.
    """
    references = [chr(ord("A") + position) for position in range(len(columns))]
    targets = [
        target(expr, legend=name, ref=reference, format="table", instant=True, range=False)
        for reference, (name, expr, _) in zip(references, columns, strict=True)
    ]
    names = {label: label.capitalize() for label in labels}
    values = ["Value"] if len(columns) == 1 else [f"Value #{reference}" for reference in references]
    names |= {value: name for value, (name, _, _) in zip(values, columns, strict=True)}
    # Without an order Grafana sorts labels by the alphabet: the model first, the target last.
    order = {name: position for position, name in enumerate(names)}
    hidden = {name: True for name in ["Time", *(values if only_labels else [])]}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": order, "renameByName": names}},
    ]
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False},
        "sortBy": [{"displayName": name, "desc": descending} for name, descending in sort_by],
    }
    absent = {"type": "special", "options": {"match": "null+nan", "result": {"text": "–", "index": 0}}}
    # Narrower than Grafana's 150, so that all columns are seen on a laptop.
    style = {"align": "auto", "filterable": True, "minWidth": 80}
    defaults = {"unit": "short", "mappings": [absent], "noValue": no_value, "custom": style}
    overrides = [override(name, **properties) for name, _, properties in columns]
    return panel(
        "table",
        title,
        description,
        targets,
        gridPos=room,
        fieldConfig={"defaults": defaults, "overrides": overrides},
        options=options,
        transformations=transformations,
    )


def counted(name, expr, **properties):
    return name, expr, {"decimals": 0, **properties}


def compared(name, unit, expr, color="blue", **properties):
    """A column with a bar in each cell. Its length compares the rows; its colour does not judge them."""
    cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    bar = {"unit": unit, "min": 0, "fieldMinMax": True, "color": fixed(color), "custom__cellOptions": cell}
    return name, expr, bar | properties


def judged(name, expr, **properties):
    """A column whose cells have a background, transparent where all is well, so that the others stand out."""
    return name, expr, {"custom__cellOptions": {"type": "color-background", "mode": "basic"}, **properties}


def tile(title, description, unit, expr, thresholds, filled=False, no_value="no data"):
    """One number in large type over the whole time range: alone on a ground, or with the name of its probe."""
    defaults = {"unit": unit, "noValue": no_value, "color": {"mode": "thresholds"}, "thresholds": thresholds}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if filled else "value",
        "textMode": "value" if filled else "value_and_name",
        "graphMode": "none",
        "justifyMode": "center",
    }
    fields = {"defaults": defaults, "overrides": []}
    targets = [target(expr, instant=True, range=False)]
    return panel("stat", title, description, targets, gridPos=size(6, 4), fieldConfig=fields, options=options)


def by_reason(name, description, counter, no_value):
    """The runs that a counter with reasons counts, over the whole time range."""
    runs = f"sum by ({BY}, reason) (increase({counter}{{{PROBE}}}[$__range])) > 0"
    return table(
        f"{name} by reason",
        description,
        size(12),
        ("reason", "target", "scenario"),
        [compared(name, "short", runs, color="semi-dark-red", decimals=0)],
        [(name, True)],
        no_value=no_value,
    )


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
    return [*worst_probes(), targets_compared()]


def worst_probes():
    ttft = quantile(0.95, "llm_probe_time_to_first_token_seconds", 'kind="any"', window="$__range")
    decode = quantile(0.5, "llm_probe_output_tokens_per_second", 'basis="decode"', window="$__range")
    return [
        tile(
            "Probes failing now",
            "Probes whose last run failed, whatever the selected time range. A probe is a scenario on a target.",
            "short",
            f"sum(1 - min by ({BY}) (llm_probe_success{{{PROBE}}}))",
            # The colour below zero is that of no data, which must not look like health.
            steps("orange", (0, "green"), (1, "red")),
            filled=True,
        ),
        tile(
            "Most failures",
            "The probe with the highest share of failed runs over the selected time range.",
            "percentunit",
            extreme("topk", share_of_runs("llm_probe_failures_total", window="$__range")),
            steps("text", (WORTH_A_LOOK, "orange"), (WORTH_A_WORRY, "red")),
            no_value="none seen",
        ),
        tile(
            "Slowest TTFT p95",
            "The probe with the highest p95 of the time to the first token of any kind, over the selected time range.",
            "s",
            extreme("topk", ttft),
            steps("text"),
        ),
        tile(
            "Slowest decode",
            "The probe with the fewest tokens per second of one stream, median run, over the selected time range.",
            TOKENS_PER_SECOND,
            extreme("bottomk", decode),
            steps("text"),
        ),
    ]


def targets_compared():
    by = ", ".join(PROBE_LABELS)
    over_range = {"window": "$__range", "by": by}
    ttft = "llm_probe_time_to_first_token_seconds"
    outcome = {"0": {"text": "failed", "color": "red", "index": 0}, "1": {"text": "ok", "color": "transparent", "index": 1}}
    return table(
        "Targets",
        "Last run and last success are of now, all else is over the selected time range; the least successful first. Success "
        "ratio: runs without a failure / all runs. TTFT: first token of any kind minus dispatch. Decode TPS: (n − 1) / (last "
        "token − first token) of one stream, median run. E2E: end of stream minus dispatch, of successful runs. Tainted runs "
        "are in none of the latencies.",
        size(WIDTH, 10),
        PROBE_LABELS,
        [
            judged(
                "Last run",
                f"min by ({by}) (llm_probe_success{{{PROBE}}})",
                mappings=[{"type": "value", "options": outcome}],
                custom__align="center",
                custom__width=90,
            ),
            (
                "Last success",
                f"1000 * max by ({by}) (llm_probe_last_success_timestamp_seconds{{{PROBE}}})",
                {"unit": "dateTimeFromNow", "custom.width": 140},
            ),
            counted("Runs", increase("llm_probe_runs_total", **over_range), custom__width=80),
            judged(
                "Success ratio",
                f"1 - {share_of_runs('llm_probe_failures_total', **over_range)}",
                unit="percentunit",
                thresholds=steps("red", (1 - WORTH_A_WORRY, "orange"), (1 - WORTH_A_LOOK, "transparent")),
                custom__width=110,
            ),
            compared("TTFT p50", "s", quantile(0.5, ttft, 'kind="any"', **over_range)),
            compared("TTFT p95", "s", quantile(0.95, ttft, 'kind="any"', **over_range)),
            compared(
                "Decode TPS",
                TOKENS_PER_SECOND,
                quantile(0.5, "llm_probe_output_tokens_per_second", 'basis="decode"', **over_range),
            ),
            compared("E2E p95", "s", quantile(0.95, "llm_probe_inference_seconds", 'result="success"', **over_range)),
        ],
        [("Success ratio", False), ("TTFT p95", True)],
    )


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
        return lines(title, description, TOKENS_PER_SECOND, expr)

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


# (name, phases, colour) in the order of time, which is the order of the stack.
PHASES = (
    ("schedule", "schedule", "semi-dark-red"),
    ("connection", "dns|connect|tls", "purple"),
    ("send", "send", "orange"),
    ("wait", "wait", "yellow"),
    ("stream", "stream", "blue"),
)


def phases():
    runs = f"sum(rate(llm_probe_inference_seconds_count{{{PROBE}}}[$__rate_interval]))"

    def per_run(phase):
        return f'sum(rate(llm_probe_phase_seconds_sum{{{PROBE}, phase=~"{phase}"}}[$__rate_interval])) / {runs}'

    return [
        lines(
            "Phases of $target",
            "Where the time of a mean run goes. schedule: our own lateness; connection: DNS, TCP and TLS of a cold connection; "
            "send: the request; wait: until the first token; stream: until the end. Select one scenario to compare like with like.",
            "s",
            [target(per_run(phase), name, name) for name, phase, _ in PHASES],
            stacked=True,
            colors={name: color for name, _, color in PHASES},
            soft_max=1,
            repeat="target",
            repeatDirection="h",
            maxPerRow=3,
        )
    ]


def failures():
    return [
        lines(
            "Failure ratio",
            "Failed runs / all runs. Everything but a complete, well-formed answer that meets the scenario's assertion is a failure.",
            "percentunit",
            share_of_runs("llm_probe_failures_total"),
            width=12,
            soft_max=0.1,
        ),
        by_reason(
            "Failures",
            "Failed runs over the selected time range, the most frequent first. The reasons are a closed set: see the runbook of "
            "SondeProbeFailing.",
            "llm_probe_failures_total",
            no_value="no failed run seen",
        ),
    ]


def accounting():
    scheduled, runs = or_zero("llm_probe_scheduled_total"), or_zero("llm_probe_runs_total")
    missed, skipped = or_zero("llm_probe_missed_total"), or_zero("llm_probe_skipped_total")
    lost = " or ".join(
        f'label_replace(sum by ({BY}, reason) (increase({counter}{{{PROBE}}}[$__rate_interval])) > 0, "what", "{what}", "", "")'
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
            "A sum may be one off: Prometheus extrapolates counters to the ends of the range, and the fractions are rounded here.",
            size(WIDTH, 10),
            ("target", "scenario"),
            [
                counted("Scheduled", scheduled),
                counted("Run", runs),
                counted("Missed", missed),
                counted("Skipped", skipped),
                counted("Tainted", or_zero("llm_probe_tainted_total")),
            ],
            [("Target", False), ("Scenario", False)],
        ),
        lines(
            "Not run or not counted",
            "Planned runs that were missed or skipped, and runs that were tainted, with the reason. Each is a hole in the other "
            "panels.",
            "short",
            [target(lost, f"{LEGEND} · {{{{what}}}}: {{{{reason}}}}")],
            width=WIDTH,
            stacked=True,
            draw="bars",
            no_value="no such run seen",
        ),
    ]


def instrument():
    def by_clock(clock):
        runs = f'increase(llm_probe_runs_by_clock_total{{{PROBE}, clock="{clock}"}}[$__range])'
        return counted(clock.capitalize(), f"sum by ({BY}) ({runs})", custom__width=100)

    facts = ("instance", "clock", "configured", "wire", "socket")
    return [
        lines(
            "Tainted ratio",
            "Tainted runs / all runs: runs whose error bar exceeds its limit, or that began too late. They are in no latency "
            "here and in no SLI.",
            "percentunit",
            share_of_runs("llm_probe_tainted_total"),
            width=12,
            soft_max=0.1,
        ),
        by_reason(
            "Tainted runs",
            "Over the selected time range, the most frequent first. What to do about each reason is in the runbook of "
            "SondeTaintedRuns.",
            "llm_probe_tainted_total",
            no_value="no tainted run seen",
        ),
        *quantiles(
            "Stamp delay",
            "llm_probe_stamp_delay_seconds",
            "From the kernel's receive stamp to the return of our read, read by read, tainted runs included: what the clock user "
            "is late by. No samples where the kernel stamps nothing.",
            quantiles=(0.5, 0.99),
        ),
        *quantiles(
            "Error bar",
            "llm_probe_error_bound_seconds",
            "By how much the latencies of a run may be too large, tainted runs included.",
            quantiles=(0.99,),
        ),
        *quantiles(
            "Schedule lag",
            "llm_probe_schedule_lag_seconds",
            "How much later than planned Sonde woke for a run.",
            quantiles=(0.99,),
        ),
        table(
            "Runs by clock",
            "Over the selected time range: which clock stamped the runs. Wire: a packet tap, right also while Sonde is starved. "
            "Socket: the kernel's receive stamps. User: the time after each read.",
            size(16),
            ("target", "scenario"),
            [by_clock(clock) for clock in ("wire", "socket", "user")],
            [("Target", False), ("Scenario", False)],
        ),
        table(
            "Clocks",
            "The best clock that the runs of each daemon can have, what is configured, and whether the two better ones are there. "
            "no_permission: CAP_NET_RAW is missing. off: not wanted by the configuration. unsupported: the system lacks it.",
            size(WIDTH, 6),
            facts,
            # What the scrape adds, and the name, would be columns too.
            [("Daemons", f"max by ({', '.join(facts)}) (sonde_clock_info)", {})],
            [("Instance", False)],
            only_labels=True,
        ),
    ]


def selftests():
    absence = "Empty where `selftest.schedule` is not set."

    def error(name, quantity, stat, meaning):
        return lines(
            f"{name} error {stat}",
            f"{meaning}, in the last self-test against the fake runtime in Sonde's own container, {stat} of its samples. {absence}",
            "s",
            [
                target(
                    f'llm_probe_instrument_error_seconds{{quantity="{quantity}", stat="{stat}"}}',
                    "{{instance}} · {{clock}}",
                )
            ],
            no_value="no self-test has run",
            signed=True,
            # What a test lets the median TTFT be off by.
            soft_max=0.001,
        )

    outcome = {"0": {"text": "failed", "color": "red", "index": 0}, "1": {"text": "ok", "color": "transparent", "index": 1}}
    return [
        table(
            "Self-tests",
            "Of now. A test passes when every run could be compared, the median TTFT errors are within 1 ms, and no run was "
            f"further off than its error bar says. {absence}",
            size(8),
            ("instance",),
            [
                judged(
                    "Last test",
                    "min by (instance) (sonde_selftest_success)",
                    mappings=[{"type": "value", "options": outcome}],
                    custom__align="center",
                    custom__width=90,
                ),
                (
                    "Ended",
                    "1000 * max by (instance) (sonde_selftest_timestamp_seconds)",
                    {"unit": "dateTimeFromNow", "custom.width": 140},
                ),
            ],
            [("Last test", False), ("Instance", False)],
            no_value="no self-test has run",
        ),
        error("TTFT", "ttft", "p50", "Observed minus true TTFT"),
        error("TTFT", "ttft", "p99", "Observed minus true TTFT"),
        error("ITL", "itl", "p50", "Observed minus true gap between tokens"),
        error("ITL", "itl", "p99", "Observed minus true gap between tokens"),
        error("E2E", "e2e", "p99", "Observed minus true inference time"),
    ]


def runtimes():
    own = "What the runtime says of itself; absent where it does not tell."
    by_state = "{{target}} · {{state}}"
    share = f"avg_over_time(llm_probe_forward_progress{{{RUNTIME}}}[$__rate_interval]) > 0"
    unattributed = quantile(0.5, "llm_probe_unattributed_seconds")
    per_token = f"llm_probe_cpu_seconds_per_token{{{PROBE}}}"
    return [
        lines(
            "Forward progress",
            "Share of the time in each state. Busy: it works, or its counters move while requests wait. Stalled: a request gets nowhere and no "
            "counter moves. Dead: nothing answers.",
            "percentunit",
            [target(share, by_state)],
            stacked=True,
            soft_max=1,
        ),
        lines(
            "Requests running and waiting",
            f"{own}",
            "short",
            [
                target(f"llm_runtime_requests_running{{{RUNTIME}}}", "{{target}} running"),
                target(f"llm_runtime_requests_waiting{{{RUNTIME}}}", "{{target}} waiting", "B"),
            ],
        ),
        lines(
            "KV cache in use",
            f"Near 100 % requests wait or are preempted. {own}",
            "percentunit",
            [target(f"llm_runtime_kv_cache_usage_ratio{{{RUNTIME}}}", "{{target}}")],
            soft_max=1,
        ),
        lines(
            "Tokens generated per second",
            f"By all requests together, ours included. {own}",
            TOKENS_PER_SECOND,
            [target(f"rate(llm_runtime_generation_tokens_total{{{RUNTIME}}}[$__rate_interval])", "{{target}}")],
        ),
        lines(
            "Unattributed time, median",
            "Request written to end of stream, less what the runtime itself accounts for: network, proxies, queues in front of it. Absent where "
            "the runtime tells no times.",
            "s",
            [target(unattributed)],
            no_value="no runtime tells its times",
        ),
        lines(
            "CPU time per output token",
            "Of the runtime's processes during the last run, by all of its requests: an upper bound where others are served. Absent where its "
            "processes cannot be seen.",
            "s",
            [target(per_token)],
            no_value="no process of a runtime is seen",
        ),
    ]


def resources():
    daemon = "{{instance}} · {{scope}} {{target}}"

    def network(direction):
        # A node has a dozen interfaces that never carry anything.
        return f"rate(llm_resource_network_{direction}_bytes_total{{{RESOURCE}}}[$__rate_interval]) > 0"

    scopes = "scope: the node, a container, or a process; what Sonde may not read is absent."
    cpu = f"rate(llm_resource_cpu_seconds_total{{{RESOURCE}}}[$__rate_interval])"
    memory = f'llm_resource_memory_bytes{{{RESOURCE}, kind=~"working_set|rss"}}'
    return [
        lines("CPU cores", f"Cores in use. {scopes}", "short", [target(cpu, daemon)]),
        lines(
            "Memory",
            f"Working set: what the kernel cannot take back at once, and what an out-of-memory kill looks at; of processes, what is resident. {scopes}",
            "bytes",
            [target(memory, daemon)],
        ),
        lines(
            "Network",
            f"Bytes per second by interface that carries any; in a pod, the interfaces of the pod. {scopes}",
            "Bps",
            [
                target(network("receive"), f"{daemon} · {{{{interface}}}} in"),
                target(network("transmit"), f"{daemon} · {{{{interface}}}} out", "B"),
            ],
        ),
    ]


def gpus():
    by_gpu = "{{instance}} · {{name}} {{gpu}}"
    absence = "Empty where Sonde sees no GPU; in Kubernetes use the panels of dcgm-exporter."

    def gpu(title, description, unit, expr):
        return lines(title, f"{description} {absence}", unit, [target(expr, by_gpu)], no_value="no GPU seen")

    return [
        gpu(
            "GPU utilization",
            "Share of time in which a kernel ran: busy, not full.",
            "percentunit",
            "llm_gpu_utilization_ratio",
        ),
        gpu("GPU memory", "Used / total.", "percentunit", "llm_gpu_memory_used_bytes / llm_gpu_memory_total_bytes"),
        gpu("GPU power", "What the board draws.", "watt", "llm_gpu_power_watts"),
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
    for title, panels, *collapsed in rows:
        row = {
            "type": "row",
            "id": next(ids),
            "title": title,
            "collapsed": bool(collapsed),
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        placed.append(row)
        # The panels of a collapsed row are inside it, and take no room.
        into = row["panels"] if collapsed else placed
        x, line_y, line_height = 0, y + 1, 0
        for item in panels:
            width, height = item["gridPos"]["w"], item["gridPos"]["h"]
            if x + width > WIDTH:
                x, line_y, line_height = 0, line_y + line_height, 0
            into.append(item | {"id": next(ids), "gridPos": {"x": x, "y": line_y, "w": width, "h": height}})
            x, line_height = x + width, max(line_height, height)
        y = y + 1 if collapsed else line_y + line_height
    return placed


# Empty panels, on every machine without a GPU or a schedule of self-tests, are not worth their room.
COLLAPSED = "collapsed"


def compare():
    rows = [
        ("At a glance", at_a_glance()),
        ("Failures", failures()),
        ("Time to first token, of any kind", first_token("any", "First token of any kind, reasoning included,")),
        (
            "Time to first visible token",
            first_token("visible", "First token that a user sees, so after any reasoning,"),
        ),
        ("Between tokens", between_tokens()),
        ("Tokens per second", speed()),
        ("Inference time", inference()),
        ("Phases", phases()),
        ("Accounting", accounting()),
        ("Instrument: how far the numbers can be trusted", instrument()),
        ("Instrument: self-tests", selftests(), COLLAPSED),
        ("Runtimes: what they say of themselves, and what they take", runtimes()),
        ("Resources", resources()),
        ("GPUs", gpus(), COLLAPSED),
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
