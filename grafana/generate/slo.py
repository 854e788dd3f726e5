"""Are the promises kept, how fast is the error budget spent, and how sure is that?"""

from board import board, objective, probes
from panels import (
    budget_column,
    by_reason,
    compared,
    counted,
    judged,
    lettered,
    lines,
    steps,
    table,
    target,
    tile,
    worded,
    words,
)
from queries import BY, OBJECTIVE, OBJECTIVE_LABELS, PROBE

LABELS = ", ".join(OBJECTIVE_LABELS)
LEGEND = "{{target}} · {{scenario}} · {{slo}}"
REGRESSED = words(no=(0, "transparent"), yes=(1, "red"))
UNSET = "no objective is configured"
# Burn rates from which a budget of 30 days is spent in 2 days, and in 10: multi-window alerts begin there.
FAST, SLOW = 14.4, 3


def of(metric, aggregation="min", labels=""):
    matchers = f"{OBJECTIVE}, {labels}" if labels else OBJECTIVE
    return f"{aggregation} by ({LABELS}) (llm_probe_slo_{metric}{{{matchers}}})"


def events(result, window="$__range", by=LABELS):
    return f'sum by ({by}) (increase(llm_probe_slo_events_total{{{OBJECTIVE}, result="{result}"}}[{window}]))'


def judged_events(window="$__range", by=LABELS):
    return f'sum by ({by}) (increase(llm_probe_slo_events_total{{{OBJECTIVE}, result=~"good|bad"}}[{window}]))'


def tiles():
    left = of("error_budget_remaining_ratio")
    missed = f"{of('good_ratio')} < bool {of('objective_ratio', 'max')}"
    sure = f"{of('good_ratio_bound', labels='bound=' + chr(34) + 'upper' + chr(34))} < bool {of('objective_ratio', 'max')}"
    return [
        tile(
            "Objectives",
            "Objectives of all probes in this selection.",
            "short",
            f"count({left})",
            steps("text"),
            False,
            UNSET,
            3,
            plain=True,
        ),
        tile(
            "Budget overspent",
            "Objectives whose error budget is spent: within their window fewer events were good than promised.",
            "short",
            f"sum({left} < bool 0)",
            steps("orange", (0, "green"), (1, "red")),
            True,
            UNSET,
            4,
        ),
        tile(
            "Missed for certain",
            "Objectives whose good ratio, with 95 % confidence, is below what is promised: no bad luck explains it.",
            "short",
            f"sum({sure})",
            steps("orange", (0, "green"), (1, "red")),
            True,
            UNSET,
            4,
        ),
        tile(
            "Missed so far",
            "Objectives whose good ratio is below what is promised, for certain or perhaps by bad luck.",
            "short",
            f"sum({missed})",
            steps("orange", (0, "green"), (1, "orange")),
            True,
            UNSET,
            3,
        ),
        tile(
            "Least budget left",
            "100 % is untouched, 0 % spent, less is overspent; within the objective's window.",
            "percentunit",
            f"bottomk(1, {left})",
            steps("red", (0, "orange"), (0.25, "text")),
            no_value=UNSET,
            legend=LEGEND,
            width=5,
            decimals=0,
        ),
        tile(
            "Fastest burn",
            "The highest burn rate, of the fastest window: at 1 the budget lasts as long as the objective's window.",
            "short",
            f"topk(1, {of('burn_rate', 'max')})",
            steps("text", (SLOW, "orange"), (FAST, "red")),
            no_value=UNSET,
            legend=LEGEND,
            width=5,
            decimals=1,
        ),
    ]


def objectives():
    bound = 'bound="{}"'
    share = {"unit": "percentunit", "decimals": 2, "custom__width": 90}
    return table(
        "Objectives",
        "As the daemon keeps the account within each objective's window, since it started at the earliest; the least budget"
        " first. Good: good / (good + bad). At least, at most: where the true share lies with 95 % confidence. Counts as: as"
        " how many independent events those within the window count, since bad runs come in bursts. Bad and excluded are of"
        " the selected time range; excluded runs were tainted, cancelled or our own fault.",
        OBJECTIVE_LABELS,
        [
            ("Objective", of("objective_ratio", "max"), share),
            ("Window", of("window_seconds", "max"), {"unit": "dtdurations", "custom.width": 90}),
            ("Good", of("good_ratio"), share),
            ("At least", of("good_ratio_bound", labels=bound.format("lower")), share),
            ("At most", of("good_ratio_bound", labels=bound.format("upper")), share),
            counted("Counts as", of("effective_events"), custom__width=90),
            budget_column("Budget left", of("error_budget_remaining_ratio"), custom__width=110),
            judged(
                "Fastest burn",
                of("burn_rate", "max"),
                decimals=2,
                thresholds=steps("transparent", (SLOW, "orange"), (FAST, "red")),
                custom__width=110,
            ),
            compared("Bad", "short", events("bad"), color="semi-dark-red", decimals=0),
            counted("Excluded", events("excluded"), custom__width=90),
        ],
        [("Budget left", False)],
        no_value=UNSET,
    )


def over_time():
    left, burn = of("error_budget_remaining_ratio"), of("burn_rate", "max")
    windows = f"topk by (window) (1, max by ({LABELS}, window) (llm_probe_slo_burn_rate{{{OBJECTIVE}}}))"
    return [
        lines(
            "Error budget left",
            "Of each objective, within its window: 100 % is untouched, below 0 % it is overspent. What is below −100 % is"
            " drawn there.",
            "percentunit",
            [target(f"clamp_min({left}, -1)", LEGEND)],
            width=12,
            signed=True,
            soft_max=1,
            limits=steps("transparent", (0, "red")),
            no_value=UNSET,
        ),
        lines(
            "Burn rate, fastest window",
            f"At 1 the budget lasts as long as the objective's window; at {FAST} a budget of 30 days is gone in 2.",
            "short",
            [target(burn, LEGEND)],
            width=12,
            magnitudes=True,
            limits=steps("transparent", (1, "orange"), (FAST, "red")),
            no_value=UNSET,
        ),
        lines(
            "Burn rate by window, the fastest objective",
            "The highest burn rate of any selected objective in each window. A short window high above a long one: it has"
            " just begun. The other way round: it is over.",
            "short",
            [target(windows, "{{window}}: " + LEGEND)],
            width=12,
            magnitudes=True,
            limits=steps("transparent", (1, "orange"), (FAST, "red")),
            no_value=UNSET,
        ),
        lines(
            "Good ratio and what is certain",
            "Share of good events within the window, and between which bounds the true share lies with 95 % confidence, of"
            " the objective with the least budget. Select one objective to see another.",
            "percentunit",
            lettered(
                [
                    (least("good_ratio"), "good, " + LEGEND),
                    (least("good_ratio_bound", 'bound="lower"'), "at least"),
                    (least("good_ratio_bound", 'bound="upper"'), "at most"),
                    (least("objective_ratio"), "promised"),
                ]
            ),
            width=12,
            colors={"at least": "super-light-blue", "at most": "super-light-blue", "promised": "orange"},
            no_value=UNSET,
        ),
    ]


def least(metric, labels=""):
    """A figure of the one objective that has the least budget at each instant."""
    return f"{of(metric, 'max', labels)} and on ({LABELS}) bottomk(1, {of('error_budget_remaining_ratio')})"


def accounts():
    return [
        lines(
            "Events",
            "Runs judged, each once and exactly. Excluded: tainted, cancelled or our own fault.",
            "short",
            lettered(
                [(events(result, "$__rate_interval", by="result"), "{{result}}") for result in ("good", "bad", "excluded")]
            ),
            stacked=True,
            bars=True,
            colors={"good": "green", "bad": "red", "excluded": "gray"},
            no_value=UNSET,
        ),
        lines(
            "Bad events",
            "Bad / (good + bad) of each objective.",
            "percentunit",
            [target(f"{events('bad', '$__rate_interval')} / ({judged_events('$__rate_interval')} > 0)", LEGEND)],
            soft_max=0.05,
            no_value=UNSET,
        ),
        by_reason(
            "Failures",
            "Failed runs over the selected time range: each is a bad event of every objective of its probe. Slow runs are"
            " bad too and have no reason.",
            "llm_probe_failures_total",
            "no run has failed",
            width=8,
        ),
    ]


def regressions():
    """A quantity against its own past at equal load: no objective is needed."""
    found = f"max by ({BY}, quantity) (llm_probe_regression{{{PROBE}}})"
    effect = f"max by ({BY}, quantity) (llm_probe_regression_effect_ratio{{{PROBE}}})"
    unknown = "too few runs are known yet"
    return [
        table(
            "Regressions",
            "Quantities that have become worse at equal load and are not back: ttft is the time to the first token of any"
            " kind, tps the decode tokens per second. Effect: the level of the latest runs / the reference; 1 is no change,"
            " more is slower for ttft and faster for tps.",
            ("target", "scenario", "quantity"),
            [
                worded("Regressed", found, REGRESSED),
                ("Effect", effect, {"decimals": 2, "custom.width": 90}),
            ],
            [("Regressed", True), ("Target", False)],
            width=12,
            height=9,
            no_value=unknown,
        ),
        lines(
            "Latest runs against the reference",
            "At equal load. 1: as ever. ttft above 1 is slower, tps below 1 is slower.",
            "short",
            [target(effect, "{{target}} · {{scenario}} · {{quantity}}")],
            width=12,
            soft_max=1.5,
            limits=steps("transparent", (1, "text")),
            no_value=unknown,
        ),
    ]


def dashboard():
    return board(
        "sonde-slo",
        "SLO",
        "Objectives, error budgets, burn rates, how certain all that is, and what has become worse.",
        [*probes(), objective()],
        [
            ("At a glance", [*tiles(), objectives()]),
            ("Over time", over_time()),
            ("Events", accounts()),
            ("Regressions", regressions()),
        ],
    )
