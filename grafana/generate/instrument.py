"""How far can these numbers be trusted?"""

from board import board, probes
from panels import (
    OUTCOME,
    by_reason,
    compared,
    counted,
    higher_is_worse,
    judged,
    lines,
    quantiles,
    since,
    steps,
    table,
    target,
    tile,
    words,
)
from queries import BY, LEGEND, PROBE, extreme, increase, or_zero, share_of_runs

UNTESTED = "no self-test has run: set selftest.schedule"
CLOCKS = ("wire", "socket", "user")
CLEAN = "no tainted run seen"


def tiles():
    loads = words(failed=(0, "red"), ok=(1, "green"))
    return [
        tile(
            "Daemons",
            "Daemons that are scraped now.",
            "short",
            "count(max by (instance) (sonde_build_info))",
            steps("text"),
            no_value="no daemon is scraped",
            plain=True,
        ),
        tile(
            "Configuration",
            "Whether the last load of every daemon succeeded; after a failure the old one stays in force.",
            "none",
            "min(sonde_config_last_reload_successful)",
            steps("red", (1, "green")),
            True,
            mapping=loads,
        ),
        tile(
            "Self-tests",
            "Whether the last self-test of every daemon passed: every run could be compared, the median TTFT errors were"
            " within 1 ms, and no run was further off than its error bar says.",
            "none",
            "min(sonde_selftest_success)",
            steps("red", (1, "green")),
            True,
            UNTESTED,
            mapping=loads,
        ),
        tile(
            "Most tainted",
            "The probe with the highest share of tainted runs over the selected time range.",
            "percentunit",
            extreme("topk", share_of_runs("llm_probe_tainted_total", window="$__range")),
            higher_is_worse(0.05, 0.2),
            no_value="none seen",
            decimals=1,
        ),
        tile(
            "Widest error bar, p99",
            "By how much the latencies of a run may be too large: the probe where this is most, tainted runs included, over"
            " the selected time range.",
            "s",
            extreme(
                "topk",
                f"histogram_quantile(0.99, sum by (le, {BY})"
                f" (rate(llm_probe_error_bound_seconds_bucket{{{PROBE}}}[$__range])))",
            ),
            higher_is_worse(0.005, 0.05),
        ),
        tile(
            "Events dropped",
            "Runs and ticks that a full queue dropped over the selected time range. Above 0 the accounting of runs has a"
            " hole.",
            "short",
            "sum(increase(sonde_dropped_events_total[$__range]))",
            steps("orange", (0, "green"), (1, "red")),
            True,
            decimals=0,
        ),
    ]


def taint():
    return [
        lines(
            "Tainted ratio",
            "Tainted runs / all runs: runs whose error bar exceeds its limit, or that began too late. They are in no latency"
            " and in no SLI.",
            "percentunit",
            share_of_runs("llm_probe_tainted_total"),
            width=12,
            soft_max=0.1,
        ),
        by_reason(
            "Tainted runs",
            "Over the selected time range, the most frequent first. What to do about each reason is in the runbook of"
            " SondeTaintedRuns.",
            "llm_probe_tainted_total",
            CLEAN,
        ),
        *quantiles(
            "Stamp delay",
            "llm_probe_stamp_delay_seconds",
            "From the kernel's receive stamp to the return of our read, read by read, tainted runs included: what the clock"
            " user is late by.",
            quantiles=(0.99,),
            no_value="the kernel stamps nothing here",
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
    ]


def clocks():
    def by_clock(clock):
        runs = increase("llm_probe_runs_by_clock_total", f'clock="{clock}"', window="$__range")
        return compared(clock.capitalize(), "short", runs, decimals=0)

    facts = ("instance", "clock", "configured", "wire", "socket")
    return [
        table(
            "Clocks",
            "The best clock that the runs of each daemon can have, what is configured, and whether the two better ones are"
            " there. no_permission: CAP_NET_RAW is missing. off: not wanted by the configuration. unsupported: the system"
            " lacks it.",
            facts,
            # What the scrape adds, and the name, would be columns too.
            [("Daemons", f"max by ({', '.join(facts)}) (sonde_clock_info)", {})],
            [("Instance", False)],
            width=12,
            height=9,
            only_labels=True,
            no_value="no daemon is scraped",
        ),
        table(
            "Runs by clock",
            "Over the selected time range: which clock stamped the runs. Wire: a packet tap, right also while Sonde is"
            " starved. Socket: the kernel's receive stamps. User: the time after each read.",
            ("target", "scenario"),
            [by_clock(clock) for clock in CLOCKS],
            [("Target", False), ("Scenario", False)],
            width=12,
            height=9,
            no_value="no run in this time range",
        ),
    ]


def selftests():
    def error(name, quantity, stat, meaning):
        expr = f'llm_probe_instrument_error_seconds{{quantity="{quantity}", stat="{stat}"}}'
        return lines(
            f"{name} error {stat}",
            f"{meaning}, in the last self-test against the fake runtime in Sonde's own container, {stat} of its samples, by"
            " clock.",
            "s",
            [target(expr, "{{instance}} · {{clock}}")],
            no_value=UNTESTED,
            signed=True,
            # What a test lets the median TTFT be off by.
            soft_max=0.001,
        )

    return [
        table(
            "Self-tests",
            "Of now. A test passes when every run could be compared, the median TTFT errors are within 1 ms, and no run was "
            "further off than its error bar says.",
            ("instance",),
            [
                judged(
                    "Last test",
                    "min by (instance) (sonde_selftest_success)",
                    mappings=[OUTCOME],
                    custom__align="center",
                    custom__width=90,
                ),
                since("Ended, ago", "max by (instance) (sonde_selftest_timestamp_seconds)"),
            ],
            [("Last test", False), ("Instance", False)],
            width=8,
            height=9,
            no_value=UNTESTED,
        ),
        error("TTFT", "ttft", "p50", "Observed minus true TTFT"),
        error("TTFT", "ttft", "p99", "Observed minus true TTFT"),
        error("ITL", "itl", "p50", "Observed minus true gap between tokens"),
        error("ITL", "itl", "p99", "Observed minus true gap between tokens"),
        error("E2E", "e2e", "p99", "Observed minus true inference time"),
    ]


def accounting():
    scheduled, runs = or_zero("llm_probe_scheduled_total"), or_zero("llm_probe_runs_total")
    missed, skipped = or_zero("llm_probe_missed_total"), or_zero("llm_probe_skipped_total")
    lost = " or ".join(
        f'label_replace({increase(counter, by=f"{BY}, reason")} > 0, "what", "{what}", "", "")'
        for what, counter in (
            ("missed", "llm_probe_missed_total"),
            ("skipped", "llm_probe_skipped_total"),
            ("tainted", "llm_probe_tainted_total"),
        )
    )
    return [
        table(
            "Every planned run",
            "Over the selected time range. Scheduled = run + missed + skipped, plus a run in flight. Missed: Sonde was late"
            " or stopping. Skipped: Sonde held back on purpose. Tainted: run, but with an error bar too wide to be counted"
            " in latencies. A sum may be one off: Prometheus extrapolates counters to the ends of the range, and the"
            " fractions are rounded here.",
            ("target", "scenario"),
            [
                counted("Scheduled", scheduled),
                counted("Run", runs),
                counted("Missed", missed),
                counted("Skipped", skipped),
                counted("Tainted", or_zero("llm_probe_tainted_total")),
            ],
            [("Target", False), ("Scenario", False)],
            width=12,
            no_value="no probe is scheduled",
        ),
        lines(
            "Not run or not counted",
            "Planned runs that were missed or skipped, and runs that were tainted, with the reason. Each is a hole in the"
            " other panels.",
            "short",
            [target(lost, f"{LEGEND} · {{{{what}}}}: {{{{reason}}}}")],
            width=12,
            height=10,
            stacked=True,
            bars=True,
            no_value="no such run seen",
        ),
    ]


def samplers():
    by = "{{instance}} · {{sampler}}"
    return [
        lines(
            "Sampler durations",
            "How long each sampler of resources took, last time.",
            "s",
            [target("sonde_sampler_duration_seconds", by)],
            no_value="resources are switched off",
        ),
        lines(
            "Sampler failures per hour",
            "Samples that failed. A sampler that the machine does not support has none.",
            "short",
            [target("3600 * rate(sonde_sampler_errors_total[$__rate_interval])", by)],
            soft_max=1,
            no_value="resources are switched off",
        ),
        lines(
            "Unreadable files of processes",
            "Files of the runtimes' processes that could not be read, mostly for want of permission, per hour; what they"
            " would tell is absent.",
            "short",
            [
                target(
                    "3600 * sum by (target, file)"
                    ' (rate(llm_resource_read_errors_total{target=~"$target"}[$__rate_interval]))',
                    "{{target}} · {{file}}",
                )
            ],
            soft_max=1,
            no_value="every file could be read",
        ),
        lines(
            "Runtimes' metrics: time to read",
            "How long it took to read the runtime's own metrics, connection included.",
            "s",
            [
                target(
                    'max by (target) (llm_runtime_scrape_duration_seconds{target=~"$target", runtime=~"$runtime",'
                    ' model=~"$model"})',
                    "{{target}}",
                )
            ],
            no_value="no runtime here has metrics",
        ),
        lines(
            "Runtimes' metrics: failures per hour",
            "Readings of the runtime's own metrics that failed, by reason.",
            "short",
            [
                target(
                    '3600 * sum by (target, reason) (rate(llm_runtime_scrape_failures_total{target=~"$target",'
                    ' runtime=~"$runtime", model=~"$model"}[$__rate_interval])) > 0',
                    "{{target}} · {{reason}}",
                )
            ],
            no_value="every reading has succeeded",
        ),
        table(
            "Daemons",
            "Of now: version, and when the configuration was last loaded.",
            ("instance", "version", "revision"),
            [
                since(
                    "Loaded, ago",
                    "(max by (instance, version, revision) (sonde_build_info) * on (instance) group_left () max by"
                    " (instance) (sonde_config_last_reload_success_timestamp_seconds))",
                    custom__width=160,
                )
            ],
            [("Instance", False)],
            width=8,
            height=9,
            no_value="no daemon is scraped",
        ),
    ]


def dashboard():
    return board(
        "sonde-instrument",
        "Instrument",
        "How far the numbers can be trusted: clocks, error bars, taint, lag, self-tests, samplers.",
        probes(),
        [
            ("At a glance", tiles()),
            ("Taint and its causes", taint()),
            ("Clocks", clocks()),
            ("Every planned run", accounting()),
            ("Self-tests: observed minus true", selftests()),
            ("Samplers and daemons", samplers()),
        ],
    )
