"""Which runtime serves which model best, where, and what does it take for it?"""

from board import board, connection, probes
from panels import (
    TOKENS_PER_SECOND,
    WIDTH,
    bars,
    compared,
    counted,
    describe_quantile,
    lines,
    quantiles,
    shaded,
    success_column,
    table,
)
from queries import IN_REGION, increase, inference, output_tokens, quantile, rate, success_ratio, tokens_per, tps, ttft

# Each column of a table has all of these, so that rows of two runtimes, models or regions are never one.
LABELS = ("target", "scenario", "runtime", "model", "region")
OVER_RANGE = {"window": "$__range", "by": ", ".join(LABELS), "join": IN_REGION}
CONNECTION = 'connection=~"$connection"'
SIDE_BY_SIDE = "Over the selected time range. Bars compare the rows of a column and do not judge them."
ITL = "llm_probe_inter_token_latency_seconds"


def side_by_side():
    return table(
        "Side by side",
        f"{SIDE_BY_SIDE} Success: runs without a failure / all runs. TTFT: first token of any kind minus dispatch. ITL: gap"
        " between arrivals of tokens. Decode TPS: (n − 1) / (last token − first token) of one stream. E2E: end of stream"
        " minus dispatch, of successful runs. Compare runs of one scenario; the variables narrow the rest.",
        LABELS,
        [
            counted("Runs", increase("llm_probe_runs_total", **OVER_RANGE), custom__width=70),
            success_column(success_ratio(**OVER_RANGE)),
            compared("TTFT p50", "s", ttft(0.5, labels=CONNECTION, **OVER_RANGE)),
            compared("TTFT p95", "s", ttft(0.95, labels=CONNECTION, **OVER_RANGE)),
            compared("ITL p50", "s", quantile(0.5, ITL, **OVER_RANGE), color="purple"),
            compared("ITL p99", "s", quantile(0.99, ITL, **OVER_RANGE), color="purple"),
            compared("Decode TPS", TOKENS_PER_SECOND, tps(0.5, **OVER_RANGE), color="green"),
            compared("E2E p95", "s", inference(0.95, **OVER_RANGE), color="semi-dark-orange"),
        ],
        [("Scenario", False), ("TTFT p50", False)],
        height=11,
        no_value="no probe has run in this time range",
    )


# (title of the column, quantile)
SPREAD = (("p5", 0.05), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95), ("p99", 0.99))


def distribution(title, meaning, unit, at):
    """The shape of a distribution per row, by its quantiles: each column is compared for itself."""
    return table(
        f"{title}: distribution",
        f"{meaning} Over the selected time range. n % of the samples are at most pn; interpolated within buckets. The"
        " darker, the slower among the rows of a column.",
        ("target", "scenario"),
        [shaded(name, unit, at(q), decimals=1, custom__width=78) for name, q in SPREAD],
        [("Scenario", False), ("p50", False)],
        width=12,
        height=9,
        no_value="no sample in this time range",
    )


def distributions():
    how = {"window": "$__range"}
    return [
        distribution("TTFT", "First token of any kind minus dispatch.", "s", lambda q: ttft(q, labels=CONNECTION, **how)),
        distribution("ITL", "One sample per gap between arrivals of tokens.", "s", lambda q: quantile(q, ITL, **how)),
    ]


def groups():
    """By what two targets may have in common. One scenario at a time: two are never one bar."""

    def compare(title, unit, by, legend, expr, color, meaning):
        return bars(
            title,
            f"{meaning} Over the selected time range, all targets of a bar together.",
            unit,
            f"{expr(by)} > 0",
            legend,
            color=color,
        )

    def ttft_by(by):
        return ttft(0.95, labels=CONNECTION, window="$__range", by=by, join=IN_REGION)

    def tps_by(by):
        return tps(0.5, window="$__range", by=by, join=IN_REGION)

    in_time = f"p95 of the first token of any kind. {describe_quantile(0.95)}"
    speed = "Tokens per second of one stream, median run."
    region, runtime, model = "region, scenario", "runtime, scenario", "model, scenario"
    return [
        compare("TTFT p95 by region", "s", region, "{{region}} · {{scenario}}", ttft_by, "blue", in_time),
        compare("TTFT p95 by runtime", "s", runtime, "{{runtime}} · {{scenario}}", ttft_by, "blue", in_time),
        compare("TTFT p95 by model", "s", model, "{{model}} · {{scenario}}", ttft_by, "blue", in_time),
        compare("Decode TPS by region", TOKENS_PER_SECOND, region, "{{region}} · {{scenario}}", tps_by, "green", speed),
        compare("Decode TPS by runtime", TOKENS_PER_SECOND, runtime, "{{runtime}} · {{scenario}}", tps_by, "green", speed),
        compare("Decode TPS by model", TOKENS_PER_SECOND, model, "{{model}} · {{scenario}}", tps_by, "green", speed),
    ]


def efficiency():
    how = OVER_RANGE
    output = output_tokens(**how)
    usd = increase("llm_probe_cost_usd_total", **how)
    runs = increase("llm_probe_runs_total", **how)
    unseen = "An empty cell: no price is configured, or neither GPU nor process of the runtime is seen."
    return [
        table(
            "What it takes",
            "Output tokens of runs, and what these took over the selected time range. Energy: of all GPUs that the daemon"
            " sees, CPU: of the runtime's processes, both during runs with all that they did for others meanwhile; so these"
            f" are lower bounds where others are served. Cost: by the price of the target. {unseen}",
            LABELS,
            [
                counted("Output tokens", output, custom__width=110),
                compared(
                    "Tokens / joule", "short", tokens_per("llm_probe_energy_joules_total", **how), color="green", decimals=3
                ),
                compared(
                    "Tokens / CPU s", "short", tokens_per("llm_probe_cpu_seconds_total", **how), color="green", decimals=1
                ),
                compared("Tokens / USD", "short", tokens_per("llm_probe_cost_usd_total", **how), color="green", decimals=1),
                compared(
                    "USD / 1M output", "currencyUSD", f"1e6 * {usd} / ({output} > 0)", color="semi-dark-orange", decimals=2
                ),
                compared("USD / run", "currencyUSD", f"{usd} / ({runs} > 0)", color="semi-dark-orange", decimals=6),
            ],
            [("Scenario", False), ("Tokens / USD", True)],
            height=11,
            no_value="no probe has run in this time range",
        ),
    ]


def over_time():
    first = (
        "First token of any kind minus dispatch. A cold connection's DNS, TCP and TLS are inside; narrow it with the"
        " variable connection."
    )
    return [
        *quantiles("TTFT", "llm_probe_time_to_first_token_seconds", first, f'kind="any", {CONNECTION}', (0.5, 0.95, 0.99)),
        *quantiles("ITL", ITL, "Gap between arrivals of tokens.", quantiles=(0.5, 0.99)),
        lines("Decode TPS p50", f"Of one stream. {describe_quantile(0.5)}", TOKENS_PER_SECOND, tps(0.5)),
        *quantiles(
            "E2E",
            "llm_probe_inference_seconds",
            "End of stream minus dispatch, of successes.",
            'result="success"',
            (0.5, 0.95),
        ),
        lines(
            "Success",
            "Runs without a failure / all runs.",
            "percentunit",
            success_ratio(),
            soft_max=1,
        ),
        lines(
            "Spent per hour",
            "What the runs cost, by the price of the target: input, cached and output tokens together.",
            "currencyUSD",
            f"3600 * {rate('llm_probe_cost_usd_total')}",
            width=WIDTH,
            height=7,
            stacked=True,
            no_value="no target has a price",
        ),
    ]


def dashboard():
    return board(
        "sonde-compare",
        "Compare",
        "Runtimes, models and regions side by side, as their users feel them: latency, speed, failures, and what they cost.",
        [*probes(), connection()],
        [
            ("Side by side", [side_by_side()]),
            ("Distributions", distributions()),
            ("By region, runtime and model", groups()),
            ("Efficiency", efficiency()),
            ("Over time", over_time()),
        ],
    )
