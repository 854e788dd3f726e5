"""What is wrong with this target, and whose fault is it?"""

from board import COLLAPSED, board, connection, probes
from panels import (
    STATE,
    STATE_COLORS,
    TOKENS_PER_SECOND,
    WORTH_A_LOOK,
    WORTH_A_WORRY,
    bars,
    by_reason,
    lettered,
    lines,
    spread,
    steps,
    target,
    tile,
)
from queries import PROBE, RUNTIME, quantile, rate, share_of_runs, state_code, success_ratio, tps, ttft

# Of one target, so a line is a scenario.
SCENARIO = "{{scenario}}"
CONNECTION = 'connection=~"$connection"'
READS_NOTHING = "no scenario asks for vectors or ranks"
TTFT = "llm_probe_time_to_first_token_seconds"
ITL = "llm_probe_inter_token_latency_seconds"

# (name, phases, colour) in the order of time, which is the order of the stack.
PHASES = (
    ("schedule", "schedule", "semi-dark-red"),
    ("connection", "dns|connect|tls", "purple"),
    ("send", "send", "orange"),
    ("wait", "wait", "yellow"),
    ("stream", "stream", "blue"),
)
# The same of what the runtime accounts for; the rest of the exchange is unattributed.
SERVER_PHASES = (("load", "purple"), ("queue", "orange"), ("prefill", "yellow"), ("decode", "blue"))


def tiles():
    now = "Of now, whatever the selected time range."
    range_ = {"window": "$__range"}
    return [
        tile(
            "Progress",
            f"Whether the runtime makes progress. {now} Stalled: a request gets nowhere and no counter moves. Dead: nothing"
            " answers.",
            "none",
            f"max({state_code()})",
            steps("text", (1, "blue"), (2, "green"), (3, "orange"), (4, "red")),
            filled=True,
            mapping=STATE,
            width=3,
        ),
        tile(
            "Scenarios failing now",
            f"Scenarios whose last run failed. {now}",
            "short",
            f"sum(1 - min by (scenario) (llm_probe_success{{{PROBE}}}))",
            steps("orange", (0, "green"), (1, "red")),
            filled=True,
            width=3,
        ),
        tile(
            "Success",
            "Runs without a failure / all runs over the selected time range, the scenario that has least.",
            "percentunit",
            f"bottomk(1, {success_ratio(**range_)})",
            steps("red", (1 - WORTH_A_WORRY, "orange"), (1 - WORTH_A_LOOK, "text")),
            legend=SCENARIO,
            decimals=2,
            width=5,
        ),
        tile(
            "TTFT p95",
            "First token of any kind minus dispatch over the selected time range, the slowest scenario.",
            "s",
            f"topk(1, {ttft(0.95, labels=CONNECTION, **range_)} > 0)",
            steps("text"),
            width=5,
            legend=SCENARIO,
            no_value="no run has succeeded",
        ),
        tile(
            "ITL p99",
            "Gap between arrivals of tokens over the selected time range, the slowest scenario.",
            "s",
            f"topk(1, {quantile(0.99, ITL, **range_)} > 0)",
            steps("text"),
            legend=SCENARIO,
            no_value="no run has succeeded",
        ),
        tile(
            "Decode TPS",
            "Tokens per second of one stream, median run over the selected time range, the slowest scenario.",
            TOKENS_PER_SECOND,
            f"bottomk(1, {tps(0.5, **range_)} > 0)",
            steps("text"),
            legend=SCENARIO,
            no_value="no run has succeeded",
            decimals=1,
        ),
    ]


def at_quantiles(title, description, histogram, labels="", quantiles=(0.5, 0.95, 0.99), unit="s", **more):
    """All quantiles of one histogram in one panel: of one target there is room for them."""
    targets = [
        target(
            quantile(q, histogram, labels, by="scenario"),
            f"{SCENARIO} p{q * 100:g}",
            chr(ord("A") + at),
            exemplar=at + 1 == len(quantiles),
        )
        for at, q in enumerate(quantiles)
    ]
    return lines(title, f"{description} Interpolated within buckets.", unit, targets, **more)


def first_token():
    any_kind = f'kind="any", {CONNECTION}'
    visible = f'kind="visible", {CONNECTION}'
    thinking = f"{ttft(0.5, 'visible', CONNECTION, by='scenario')} - {ttft(0.5, 'any', CONNECTION, by='scenario')}"
    first = (
        "minus dispatch. A cold connection's DNS, TCP and TLS are inside. Diamonds are single runs: their id leads to the"
        " run."
    )
    return [
        at_quantiles("TTFT, any token", f"First token of any kind, hidden reasoning included, {first}", TTFT, any_kind),
        at_quantiles("TTFT, visible token", f"First token that a user sees, so after any reasoning, {first}", TTFT, visible),
        lines(
            "Hidden reasoning, median",
            "Visible minus any, at the median: how long the user waits for reasoning. About 0 where a model does not"
            " reason.",
            "s",
            [target(thinking, SCENARIO)],
            signed=True,
            soft_max=0.1,
        ),
    ]


def spreads():
    any_kind = f'kind="any", {CONNECTION}'
    return [
        spread(
            "TTFT, where the runs lie",
            "How many runs had their first token of any kind within each bucket. Two bands are two behaviours: a cache hit"
            " and a miss, a loaded model and one that had to be loaded. All scenarios together: choose one.",
            "s",
            TTFT,
            any_kind,
        ),
        spread(
            "ITL, where the gaps lie",
            "How many gaps between tokens fell into each bucket. All scenarios together: choose one.",
            "s",
            ITL,
        ),
    ]


def stream():
    def mean(part):
        return rate(f"llm_probe_tokens_per_arrival_{part}", by="scenario")

    return [
        at_quantiles(
            "ITL", "One sample per gap between consecutive arrivals of tokens; tokens that arrived together are one.", ITL
        ),
        at_quantiles(
            "TPOT",
            "One sample per run: (last token − first token) / (n − 1), n at least 2.",
            "llm_probe_time_per_output_token_seconds",
            quantiles=(0.5, 0.95),
        ),
        at_quantiles("Longest stall", "The longest gap of each run.", "llm_probe_max_stall_seconds", quantiles=(0.5, 0.95)),
        at_quantiles(
            "Decode TPS",
            "(n − 1) / (last token − first token) of one stream. p5 is the slow end: 95 % of the runs are faster.",
            "llm_probe_output_tokens_per_second",
            'basis="decode"',
            (0.5, 0.05),
            TOKENS_PER_SECOND,
        ),
        at_quantiles(
            "End-to-end TPS",
            "n / E2E, waiting included.",
            "llm_probe_output_tokens_per_second",
            'basis="end_to_end"',
            (0.5, 0.05),
            TOKENS_PER_SECOND,
        ),
        lines(
            "Tokens per arrival, mean",
            "How many tokens came at the same instant. More than 1: the runtime, or a proxy before it, collects tokens.",
            "short",
            [target(f"{mean('sum')} / {mean('count')}", SCENARIO)],
            soft_max=2,
        ),
    ]


def whose_fault():
    runs = f"sum(rate(llm_probe_inference_seconds_count{{{PROBE}}}[$__rate_interval]))"

    def per_run(phase):
        return f'sum(rate(llm_probe_phase_seconds_sum{{{PROBE}, phase=~"{phase}"}}[$__rate_interval])) / {runs}'

    # A runtime may tell some phases only: each tells of the same runs.
    told = f"max(sum by (phase) (rate(llm_probe_server_seconds_count{{{PROBE}}}[$__rate_interval])))"

    def server(phase):
        return f'sum(rate(llm_probe_server_seconds_sum{{{PROBE}, phase="{phase}"}}[$__rate_interval])) / ({told} > 0)'

    rest = f"sum(rate(llm_probe_unattributed_seconds_sum{{{PROBE}}}[$__rate_interval])) / ({told} > 0)"
    one = "Select one scenario to compare like with like."
    silent = "this runtime does not tell its own times"
    return [
        lines(
            "As we see it: phases of a mean run",
            "schedule: our own lateness, and the wait for the target's turn; connection: DNS, TCP and TLS of a cold"
            f" connection; send: the request; wait: until the first byte; stream: until the end. {one}",
            "s",
            lettered([(per_run(phase), name) for name, phase, _ in PHASES]),
            width=12,
            stacked=True,
            colors={name: color for name, _, color in PHASES},
        ),
        lines(
            "As the runtime sees it",
            "What the runtime reported of a mean run, and what is left of the time that we saw: the network, proxies, and"
            f" queues that it does not count. {one}",
            "s",
            lettered([*((server(phase), phase) for phase, _ in SERVER_PHASES), (rest, "unattributed")]),
            width=12,
            stacked=True,
            colors={**dict(SERVER_PHASES), "unattributed": "semi-dark-red"},
            no_value=silent,
        ),
        at_quantiles(
            "Unattributed",
            "Request written to end of stream, less what the runtime itself accounts for. It grows when something between us"
            " and the runtime queues.",
            "llm_probe_unattributed_seconds",
            quantiles=(0.5, 0.95),
            no_value=silent,
        ),
        at_quantiles(
            "First byte",
            "First byte of the body minus dispatch.",
            "llm_probe_time_to_first_byte_seconds",
            CONNECTION,
            (0.5, 0.95),
        ),
        at_quantiles(
            "E2E, successes",
            "End of stream minus dispatch, of runs that succeeded.",
            "llm_probe_inference_seconds",
            'result="success"',
            (0.5, 0.95),
        ),
    ]


def failures():
    reasons = f"sum by (reason) (increase(llm_probe_failures_total{{{PROBE}}}[$__rate_interval])) > 0"
    share = share_of_runs("llm_probe_failures_total", by="scenario")

    def in_state(state):
        return f'max(avg_over_time(llm_probe_forward_progress{{{RUNTIME}, state="{state}"}}[$__rate_interval]))'

    return [
        lines(
            "Failed runs by reason",
            "Everything but a complete, well-formed answer that meets the scenario's assertion is a failure, by a closed set"
            " of reasons.",
            "short",
            [target(reasons, "{{reason}}")],
            stacked=True,
            bars=True,
            no_value="no run has failed",
        ),
        lines("Failure ratio", "Failed runs / all runs.", "percentunit", [target(share, SCENARIO)], soft_max=0.1),
        lines(
            "Progress",
            "Share of the time in each state. Busy: it works, or its counters move while requests wait.",
            "percentunit",
            lettered([(in_state(state), state) for state in STATE_COLORS]),
            stacked=True,
            soft_max=1,
            colors=STATE_COLORS,
        ),
        by_reason(
            "Failures",
            "Failed runs over the selected time range, the most frequent first. What to do about each is in the runbook of"
            " SondeProbeFailing.",
            "llm_probe_failures_total",
            "no run has failed",
            width=8,
        ),
        at_quantiles(
            "E2E, failures",
            "End of the run minus dispatch, of runs that failed: how long users wait in vain.",
            "llm_probe_inference_seconds",
            'result="failure"',
            (0.5, 0.95),
            no_value="no run has failed",
        ),
        bars(
            "Cache, not as the scenario wants it",
            "Successful runs over the selected time range whose cached prompt tokens belie the scenario: a cold one was"
            " served from the cache (and is kept out of TTFT), a warm one was not.",
            "short",
            f"sum by (scenario, reason) (increase(llm_probe_contaminated_total{{{PROBE}}}[$__range])) > 0",
            "{{scenario}} · {{reason}}",
            no_value="every run found the cache as wanted",
            color="orange",
            decimals=0,
        ),
    ]


def tokens():
    counted_by = rate("llm_probe_tokens_total", 'token_type="output"', by="source")
    texts = rate("llm_probe_inputs_total", by="scenario")
    worked = rate("llm_probe_inference_seconds_sum", 'result="success"', by="scenario")
    return [
        lines(
            "Tokens per minute",
            "What all runs sent and received; cached is a part of input, reasoning of output.",
            "short",
            [target(f"60 * {rate('llm_probe_tokens_total', by='token_type')}", "{{token_type}}")],
            width=12,
        ),
        lines(
            "Who counted the tokens",
            "Share of the output tokens by source: usage and runtime are exact, tokenizer nearly, chunks is a guess.",
            "percentunit",
            [
                target(f"{counted_by} / scalar(sum({counted_by}))", "{{source}}"),
            ],
            width=12,
            stacked=True,
            soft_max=1,
        ),
        at_quantiles(
            "Embeddings and ranks: input TPS",
            "Tokens read / E2E of one request. p5 is the slow end: 95 % of the runs are faster.",
            "llm_probe_input_tokens_per_second",
            "",
            (0.5, 0.05),
            TOKENS_PER_SECOND,
            width=12,
            no_value=READS_NOTHING,
        ),
        lines(
            "Embeddings and ranks: texts per second of work",
            "Texts embedded or documents ranked / the E2E of the requests with them: the speed of one client.",
            "short",
            [target(f"{texts} / {worked}", SCENARIO)],
            width=12,
            no_value=READS_NOTHING,
        ),
    ]


def dashboard():
    return board(
        "sonde-target",
        "Target",
        "One target in depth: first token, gaps, phases, our clock against the runtime's, failures by reason.",
        [*probes(multi=False), connection()],
        [
            ("$target at a glance", tiles()),
            ("First token", first_token()),
            ("Where the samples lie", spreads(), COLLAPSED),
            ("The stream", stream()),
            ("Where the time goes", whose_fault()),
            ("Failures", failures()),
            ("Tokens", tokens()),
        ],
    )
