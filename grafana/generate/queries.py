"""PromQL that more than one dashboard asks. Every backend answers it: quantiles come from classic buckets."""

# What the variables select, per kind of metric. `target` holds the names that `region` leaves over, see `variables`.
PROBE = 'target=~"$target", runtime=~"$runtime", model=~"$model", scenario=~"$scenario"'
# What a runtime says of itself, and what is said of it: no scenario.
RUNTIME = 'target=~"$target", runtime=~"$runtime", model=~"$model"'
# Resources belong to a machine; the empty alternative keeps what has no target.
RESOURCE = 'target=~"$target|"'
# Of what belongs to a target only.
SERVED = 'target=~"$target"'
# The SLO of a probe.
OBJECTIVE = f'{PROBE}, slo=~"$slo"'

# One line or bar per probe: numbers of two scenarios must never be mixed.
BY = "target, scenario"
LEGEND = "{{target}} · {{scenario}}"
PROBE_LABELS = ("target", "scenario", "runtime", "model")
OBJECTIVE_LABELS = ("target", "scenario", "slo")

# The region of a target is a label of its info series. Joined where the samples are, so two daemons may call their
# targets alike. A daemon that has been replaced within the range, as Pods are, has its last info; one whose target has
# changed its region meanwhile has the present one.
INFO = "llm_probe_target_info"
OF_A_DAEMON = "(job, instance, target)"
LAST_INFO = f"topk by {OF_A_DAEMON} (1, last_over_time({INFO}[$__range]))"
IN_REGION = f"* on {OF_A_DAEMON} group_left (region) ({INFO} or on {OF_A_DAEMON} {LAST_INFO})"

STATES = ("idle", "busy", "stalled", "dead")
UNHEALTHY = 'state=~"stalled|dead"'


def counting(function, counter, labels="", window="$__rate_interval", by=BY, selector=PROBE, join=""):
    """rate or increase of a counter, summed; `by` may name `region` if `join` is IN_REGION."""
    matchers = f"{selector}, {labels}" if labels else selector
    return f"sum by ({by}) ({function}({counter}{{{matchers}}}[{window}]){f' {join}' if join else ''})"


def increase(counter, labels="", **how):
    return counting("increase", counter, labels, **how)


def rate(counter, labels="", **how):
    return counting("rate", counter, labels, **how)


def quantile(q, histogram, labels="", by=BY, **how):
    """A quantile per probe, interpolated within a bucket."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', labels, by=f'le, {by}', **how)})"


def ratio(part, whole):
    return f"{part} / {whole}"


def share_of_runs(counter, **how):
    return ratio(increase(counter, **how), increase("llm_probe_runs_total", **how))


def success_ratio(**how):
    """Runs without a failure; the daemon's own taint is no failure of the runtime."""
    return f"1 - {share_of_runs('llm_probe_failures_total', **how)}"


def extreme(aggregation, expr):
    """The one probe with the highest or lowest number; none without a number, which is NaN, or with nothing to show."""
    return f"{aggregation}(1, ({expr}) > 0)"


def or_zero(counter):
    """The count over the dashboard's time range; zero where the event has never happened and has no series yet."""
    counted = increase(counter, window="$__range")
    return f"{counted} or 0 * {increase('llm_probe_scheduled_total', window='$__range')}"


def ttft(q, kind="any", labels="", **how):
    matchers = f'kind="{kind}"' + (f", {labels}" if labels else "")
    return quantile(q, "llm_probe_time_to_first_token_seconds", matchers, **how)


def tps(q, basis="decode", **how):
    return quantile(q, "llm_probe_output_tokens_per_second", f'basis="{basis}"', **how)


def inference(q, result="success", **how):
    return quantile(q, "llm_probe_inference_seconds", f'result="{result}"', **how)


def state_code(selector=RUNTIME):
    """Forward progress as one number: 0 unknown, then STATES."""
    terms = [f'{code} * llm_probe_forward_progress{{{selector}, state="{state}"}}' for code, state in enumerate(STATES, 1)]
    return " + ignoring (state) ".join(terms)


def output_tokens(window="$__rate_interval", by=BY, **how):
    return increase("llm_probe_tokens_total", 'token_type="output"', window=window, by=by, **how)


def tokens_per(counter, window="$__range", by=BY, **how):
    """Output tokens for each unit that a counter of the same runs counts."""
    return f"{output_tokens(window, by=by, **how)} / ({increase(counter, window=window, by=by, **how)} > 0)"
