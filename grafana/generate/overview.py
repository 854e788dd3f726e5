"""Is everything that we serve fine, and where should I look first?"""

from board import board, probes
from panels import (
    OUTCOME,
    PROGRESS,
    STATE_COLORS,
    TOKENS_PER_SECOND,
    WORTH_A_LOOK,
    WORTH_A_WORRY,
    budget_column,
    by_reason,
    compared,
    describe_quantile,
    higher_is_worse,
    lettered,
    lines,
    since,
    steps,
    success_column,
    table,
    target,
    tile,
    worded,
)
from queries import (
    BY,
    IN_REGION,
    PROBE,
    PROBE_LABELS,
    RUNTIME,
    UNHEALTHY,
    extreme,
    share_of_runs,
    state_code,
    success_ratio,
    tps,
    ttft,
)

# With a hundred targets a graph of all is a carpet: the graphs here show the worst at each instant.
WORST = 6
THE_WORST = f"The {WORST} worst probes at each instant; all are in the table."


def tiles():
    return [
        tile(
            "Targets",
            "Targets that the daemons in this selection are configured to probe.",
            "short",
            f"count(max by (target, runtime, model) (llm_probe_target_info{{{RUNTIME}}}))",
            steps("text"),
            plain=True,
            width=3,
            no_value="no daemon is scraped",
        ),
        tile(
            "Stalled or dead",
            "Targets whose runtime makes no progress now: a request gets nowhere and no counter moves, or nothing answers.",
            "short",
            f"sum(max by (target) (llm_probe_forward_progress{{{RUNTIME}, {UNHEALTHY}}}))",
            # The colour below zero is that of no data, which must not look like health.
            steps("orange", (0, "green"), (1, "red")),
            filled=True,
            width=3,
        ),
        tile(
            "Probes failing now",
            "Probes whose last run failed, whatever the selected time range. A probe is a scenario on a target.",
            "short",
            f"sum(1 - min by ({BY}) (llm_probe_success{{{PROBE}}}))",
            steps("orange", (0, "green"), (1, "red")),
            filled=True,
            width=3,
        ),
        tile(
            "Least budget left",
            "The objective with the least of its error budget left: 100 % is untouched, 0 % spent, less is overspent.",
            "percentunit",
            "bottomk(1, min by (target, scenario, slo) (llm_probe_slo_error_budget_remaining_ratio{" + PROBE + "}))",
            steps("red", (0, "orange"), (0.25, "text")),
            no_value="no objective is configured",
            legend="{{target}} · {{scenario}} · {{slo}}",
            width=5,
            decimals=0,
        ),
        tile(
            "Most failures",
            "The probe with the highest share of failed runs over the selected time range.",
            "percentunit",
            extreme("topk", share_of_runs("llm_probe_failures_total", window="$__range")),
            higher_is_worse(WORTH_A_LOOK, WORTH_A_WORRY),
            no_value="none seen",
            width=5,
            decimals=1,
        ),
        tile(
            "Slowest TTFT p95",
            "The probe with the highest p95 of the time to the first token of any kind, over the selected time range.",
            "s",
            extreme("topk", ttft(0.95, window="$__range")),
            steps("text"),
            width=5,
            no_value="no run has succeeded",
        ),
    ]


def targets():
    by = ", ".join(("region", *PROBE_LABELS))
    how = {"window": "$__range", "by": by, "join": IN_REGION}
    scenarios = f"max by (job, instance, {', '.join(PROBE_LABELS)}) (llm_probe_in_flight{{{PROBE}}} >= bool 0)"
    state = f"{scenarios} * on (job, instance, target, runtime, model) group_left () ({state_code()}) {IN_REGION}"
    worst_of = f"min by ({by}) (llm_probe_success{{{PROBE}}} {IN_REGION})"
    last = f"max by ({by}) (llm_probe_last_success_timestamp_seconds{{{PROBE}}} {IN_REGION})"
    tainted = share_of_runs("llm_probe_tainted_total", **how)
    return table(
        "Targets and scenarios",
        "Progress, last run, the time since a success and the budget are of now, all else is over the selected time range;"
        " the least successful first. Success: runs without a failure / all runs. TTFT: first token of any kind minus"
        " dispatch. Decode TPS: (n − 1) / (last token − first token) of one stream, median run. Budget: of the objective"
        " that has least left. Tainted: runs that Sonde was too late to time well; they are in none of the latencies. Click"
        " on a target to drill down.",
        ("target", "scenario", "runtime", "model", "region"),
        [
            worded("Progress", f"max by ({by}) ({state})", PROGRESS),
            worded("Last run", worst_of, OUTCOME),
            since("Since success", last),
            success_column(success_ratio(**how)),
            compared("TTFT p50", "s", ttft(0.5, **how)),
            compared("TTFT p95", "s", ttft(0.95, **how)),
            compared("Decode TPS", TOKENS_PER_SECOND, tps(0.5, **how)),
            budget_column(
                "Budget left",
                f"min by ({by}) (llm_probe_slo_error_budget_remaining_ratio{{{PROBE}}} {IN_REGION})",
                custom__width=100,
            ),
            ("Tainted", tainted, {"unit": "percentunit", "decimals": 1, "custom.width": 80}),
        ],
        [("Success", False), ("TTFT p95", True)],
        height=11,
        no_value="no probe has run in this time range",
    )


def trends():
    def having(state):
        return f'sum(max by (target) (llm_probe_forward_progress{{{RUNTIME}, state="{state}"}}))'

    return [
        lines(
            "Targets by progress",
            "How many targets are in each state. Busy: it works, or its counters move while requests wait. Stalled: a"
            " request gets nowhere and no counter moves. Dead: nothing answers.",
            "short",
            lettered([(having(state), state) for state in STATE_COLORS]),
            stacked=True,
            colors=STATE_COLORS,
            width=12,
        ),
        lines(
            "Failed runs",
            f"Failed runs / all runs. {THE_WORST}",
            "percentunit",
            f"topk({WORST}, {share_of_runs('llm_probe_failures_total')} > 0)",
            width=12,
            soft_max=0.1,
            no_value="no run has failed",
        ),
        lines(
            "TTFT p95",
            f"First token of any kind. {describe_quantile(0.95)} {THE_WORST}",
            "s",
            f"topk({WORST}, {ttft(0.95)} > 0)",
        ),
        lines(
            "Decode TPS p50",
            f"Tokens per second of one stream, median run. {THE_WORST}",
            TOKENS_PER_SECOND,
            f"bottomk({WORST}, {tps(0.5)} > 0)",
        ),
        lines(
            "Error budget burnt fastest",
            f"Burn rate of the fastest of all windows; at 1 the budget lasts as long as the objective's window. {THE_WORST}",
            "short",
            [
                target(
                    f"topk({WORST}, max by (target, scenario, slo) (llm_probe_slo_burn_rate{{{PROBE}}}))",
                    "{{target}} · {{scenario}} · {{slo}}",
                )
            ],
            magnitudes=True,
            limits=steps("transparent", (1, "orange")),
            no_value="no objective is configured",
        ),
    ]


def failures():
    none = "no failed run seen"
    return [
        by_reason(
            "Failures",
            "Failed runs over the selected time range, the most frequent first. The reasons are a closed set: see the"
            " runbook of SondeProbeFailing.",
            "llm_probe_failures_total",
            none,
        ),
        by_reason(
            "Runs held back",
            "Planned runs that Sonde left out on purpose over the selected time range: the runtime had enough to do, a"
            " budget was spent, or the run before was still going on.",
            "llm_probe_skipped_total",
            "no run was held back",
        ),
    ]


def dashboard():
    return board(
        "sonde-overview",
        "Overview",
        "Every target at a glance: does it work, how fast is it, what is left of its error budget.",
        probes(),
        [("At a glance", [*tiles(), targets()]), ("Over time", trends()), ("Failures and restraint", failures())],
    )
