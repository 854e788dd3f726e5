"""Holds what the daemon counts, times and exports against its runs, the servers' word and Prometheus.

Standard library only."""

import math
import re
import statistics
import time
from dataclasses import dataclass

from exposition import canonical_edge, show
from report import some
from servers import SCRAPE_SECONDS, Broken, end
from targets import SCENARIOS
from timings import server_timings
from watch import cumulative, total, unix_time

# A run that is in flight when the daemon is told to stop is cancelled, so nothing is waited for.
LONGEST_STOP = 2
SPEED_TOLERANCE = 0.05


def check_accounts(report, watch, elapsed):
    _, accounts = watch.accounts[-1]
    for probe, account in accounts.items():
        wanted = elapsed / SCENARIOS[probe.scenario].interval
        problem = None
        if abs(account.scheduled - wanted) > 1:
            problem = f"{account.scheduled:g} ticks in {elapsed:.1f} s; rule: {wanted:.1f}, give or take one"
        elif account.missed or account.skipped:
            problem = f"{account.missed:g} missed, {account.skipped:g} skipped"
        elif account.runs != account.scheduled:
            problem = f"{account.runs:g} runs, {account.in_flight:g} in flight"
        detail = f"{account.scheduled:g} scheduled of {wanted:.1f}, {account.runs:g} runs"
        report.check(f"{probe} lost no tick", problem, detail)
    detail = f"{watch.polls} polls, at most {watch.most_in_flight:g} in flight"
    report.check("scheduled = runs + missed + skipped + in flight, in every poll", some(watch.unbalanced), detail)
    report.check("no counter goes back or vanishes", some(watch.went_back))
    failures = {key: value for key, value in watch.last.samples.items() if key[0] == "llm_probe_failures_total"}
    problem = some(f"{show(key)} {value:g}" for key, value in failures.items() if value)
    report.check("no run fails", problem, f"{len(failures)} series of zero")
    dropped = total(watch.last, "sonde_dropped_events_total")
    report.check("the recorder drops no event", dropped and f"{dropped:g} dropped")


def check_runs(report, watch, targets):
    for probe, runs in watch.runs.items():
        counted = watch.accounts[-1][1][probe].runs
        problem = len(runs) != counted and f"{len(runs)} seen, {counted:g} counted"
        report.check(f"every run of {probe} was on /api/v1/probes", problem)
        interval = SCENARIOS[probe.scenario].interval
        starts = sorted(unix_time(run["intended_start"]) for run in runs.values())
        pauses = [later - earlier for earlier, later in zip(starts, starts[1:])]
        off = [f"{pause:.6f} s apart" for pause in pauses if abs(pause - interval) > 1e-4]
        report.check(f"intended starts of {probe} are {interval} s apart", some(off))
        lengths = {run["tokens"] and run["tokens"]["usage"]["output"] for run in runs.values()}
        wanted = SCENARIOS[probe.scenario].output_tokens
        problem = lengths != {wanted} and f"{lengths} tokens; rule: {wanted}"
        report.check(f"answers to {probe} are as long as was asked for", problem)
    for target in targets:
        ends = [(unix_time(run["ended"]), run["latency"]["inference"]) for run in watch.runs_of(target)]
        spans = sorted((end - inference, end) for end, inference in ends)
        overlaps = [before[1] - after[0] for before, after in zip(spans, spans[1:]) if after[0] < before[1]]
        problem = some(f"by {overlap:.3f} s" for overlap in overlaps)
        report.check(f"never two runs at once at {target.name}", problem)


def clean(runs):
    """The good runs that the daemon itself does not doubt: those of its histograms."""
    return [run for run in runs.values() if run["outcome"] == "success" and not run["instrument"]["taint"]]


@dataclass
class Speed:
    """Decode speed of a probe's runs, ours and the runtime's."""

    ours: list
    theirs: list

    def ratios(self):
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs)]


def check_speed(report, watch, targets, log_offsets):
    speeds = {}
    for target in targets:
        try:
            timings = server_timings(target, watch.runs_of(target), log_offsets[target])
        except Broken as error:
            report.check(f"{target.name} tells its own speed", str(error))
            continue
        for probe, runs in watch.runs.items():
            if probe.target == target.name:
                speeds[probe] = check_speed_of(report, probe, clean(runs), timings)
    return speeds


def check_speed_of(report, probe, runs, timings):
    pairs = [(run, timings[run["run_id"]]) for run in runs if run["run_id"] in timings]
    counts = [(run["tokens"]["usage"]["output"], timing.output_tokens) for run, timing in pairs]
    miscounted = [f"{ours}, the runtime says {theirs}" for ours, theirs in counts if ours != theirs]
    report.check(f"token counts of {probe} are the runtime's", some(miscounted), f"{len(pairs)} runs")
    speed = Speed([run["latency"]["decode_tps"] for run, _ in pairs], [timing.tokens_per_second for _, timing in pairs])
    name = f"decode TPS of {probe} is the runtime's within {SPEED_TOLERANCE:.0%}"
    if not runs or len(pairs) < len(runs):
        report.check(name, f"{len(pairs)} of {len(runs)} runs have both")
        return speed
    ratios = speed.ratios()
    median = statistics.median(ratios)
    problem = abs(median - 1) > SPEED_TOLERANCE and f"off by {median - 1:+.1%}"
    detail = f"ours / theirs: median {median:.4f}, {min(ratios):.4f} to {max(ratios):.4f}, {len(ratios)} runs"
    report.check(name, problem, detail)
    return speed


def samples_of(probe, kind, runs):
    """(histogram, label, value) -> what the runs put into it."""
    scenario = SCENARIOS[probe.scenario]
    latencies = [run["latency"] for run in runs]
    connection = ("time_to_first_token_seconds", "connection", scenario.settings["connection"])
    samples = {
        ("time_to_first_token_seconds", "kind", "any"): [latency["first_token"] for latency in latencies],
        ("time_to_first_token_seconds", "kind", "visible"): [latency["first_visible"] for latency in latencies],
        connection: [latency[kind] for latency in latencies for kind in ("first_token", "first_visible")],
        ("inter_token_latency_seconds", "scenario", probe.scenario): [gap for run in runs for gap in run["gaps"]],
        ("inference_seconds", "result", "success"): [latency["inference"] for latency in latencies],
        ("output_tokens_per_second", "basis", "decode"): [latency["decode_tps"] for latency in latencies],
    }
    for phase in scenario.phases:
        samples["phase_seconds", "phase", phase] = [run["phases"][phase] for run in runs]
    for phase in kind.phases:
        samples["server_seconds", "phase", phase] = [run["server"][phase] for run in runs]
    return samples


def check_histograms(report, watch, targets):
    kinds = {target.name: target.kind for target in targets}
    for probe, runs in watch.runs.items():
        kind = kinds[probe.target]
        wrong = []
        for (family, label, value), expected in samples_of(probe, kind, clean(runs)).items():
            labels = probe._asdict() | {label: value}
            count = total(watch.last, f"llm_probe_{family}_count", **labels)
            added = total(watch.last, f"llm_probe_{family}_sum", **labels)
            if None in expected or not expected:
                wrong.append(f'{family}{{{label}="{value}"}}: a run lacks it')
            elif count != len(expected) or not math.isclose(added, math.fsum(expected), rel_tol=1e-9):
                rule = f"{len(expected)} samples that add up to {math.fsum(expected):g}"
                wrong.append(f'{family}{{{label}="{value}"}}: {count:g}, {added:g}; rule: {rule}')
        if not kind.phases and total(watch.last, "llm_probe_server_seconds_count", **probe._asdict()):
            wrong.append("server_seconds: the runtime reports none")
        tainted = sum(bool(run["instrument"]["taint"]) for run in runs.values())
        name = f"histograms of {probe} hold its runs: TTFT, ITL, phases, server seconds, TPS"
        report.check(name, some(wrong), f"{tainted} of {len(runs)} runs are tainted, so in none" if tainted else "")


def check_scrapes(report, prometheus):
    window = math.ceil(time.time() - prometheus.since)
    share = prometheus.number(f'avg_over_time(up{{job="sonde"}}[{window}s])')
    scrapes = prometheus.number(f'count_over_time(up{{job="sonde"}}[{window}s])')
    longest = prometheus.number(f'max_over_time(scrape_duration_seconds{{job="sonde"}}[{window}s])')
    problem = share != 1 and f"share of good scrapes is {share:.3f}"
    if not problem and scrapes < window / SCRAPE_SECONDS - 2:
        problem = f"only {scrapes:g} scrapes in {window} s"
    detail = f"{scrapes:g} scrapes, the longest took {longest * 1e3:.0f} ms"
    report.check("every scrape of Prometheus succeeds", problem, detail)


def check_increase(report, prometheus, watch):
    """`increase` sees what lies between the first and the last scrape of its window, so it may lack a run at each end,
    and stretches that to the whole window."""
    at, last = watch.accounts[-1]
    window = math.floor(at - prometheus.since) - SCRAPE_SECONDS
    _, first = min(watch.accounts, key=lambda seen: abs(seen[0] - (at - window)))
    wrong = []
    for probe, account in last.items():
        selector = f'llm_probe_runs_total{{target="{probe.target}", scenario="{probe.scenario}"}}'
        increase = prometheus.number(f"increase({selector}[{window}s] @ {at:.3f})")
        counted = account.runs - first[probe].runs
        if not counted - 2 <= increase <= counted * window / (window - 2 * SCRAPE_SECONDS):
            wrong.append(f"{probe}: {increase:.2f}, /metrics counted {counted:g}")
    for family, kind in watch.last.types.items():
        if kind == "counter" and family.startswith("llm_probe_"):
            resets = prometheus.number(f"sum(resets({family}[{window}s]))")
            if resets != 0:
                wrong.append(f"{family}: {resets:g} resets")
    report.check("increase() in Prometheus counts the same runs, without a reset", some(wrong), f"over {window} s")


def stored_in_prometheus(prometheus):
    """Series as Prometheus has them, under the keys of our own reading of `/metrics`."""
    stored = {}
    for labels, value in prometheus.query('{job="sonde", __name__=~"(llm_probe|sonde)_.+"}'):
        name = labels.pop("__name__")
        pairs = {k: canonical_edge(v) if k == "le" else v for k, v in labels.items() if k not in ("job", "instance")}
        stored[name, tuple(sorted(pairs.items()))] = value
    return stored


def check_values(report, prometheus, watch):
    """Between two readings of `/metrics` lies a scrape, so what Prometheus has lies between them too."""
    earlier, at = watch.exposition(), time.time()
    for _ in range(10 * SCRAPE_SECONDS):
        if prometheus.number('timestamp(up{job="sonde"})') > at:
            break
        time.sleep(0.2)
    stored = stored_in_prometheus(prometheus)
    later = watch.exposition()
    compared, equal, wrong = 0, 0, []
    for key, least in earlier.samples.items():
        if not cumulative(earlier, key[0]) or not key[0].startswith(("llm_probe_", "sonde_")):
            continue
        value, most = stored.get(key), later.samples.get(key, math.inf)
        compared += 1
        equal += least == value == most
        if value is None or not least <= value <= most:
            wrong.append(f"{show(key)} is {value}, /metrics says {least:g} to {most:g}")
    detail = f"{compared} series, {equal} of them at rest and equal"
    report.check("counters and histograms in Prometheus are those of /metrics", some(wrong) or not equal, detail)


def check_alerts(report, prometheus):
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    # Recorded series have no state, and a group with a long interval may not have had its turn: it is `unknown`.
    wrong = [f"{rule['name']} is {rule['state']}" for rule in rules if rule.get("state", "inactive") != "inactive"]
    broken = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]
    problem = some(broken + wrong) or (not rules and "there are none")
    report.check("the shipped rules are evaluated, and no alert is active", problem, f"{len(rules)} rules")


def complaints(log, pattern):
    return [line for line in log.read_text(errors="replace").splitlines() if re.search(pattern, line)]


def check_prometheus(report, prometheus, watch):
    check_scrapes(report, prometheus)
    check_increase(report, prometheus, watch)
    check_values(report, prometheus, watch)
    check_alerts(report, prometheus)
    report.check("Prometheus logs no warning", some(complaints(prometheus.log, r"level=(WARN|ERROR)")))


def check_end(report, daemon, log):
    began = time.monotonic()
    status = end(daemon)
    took = time.monotonic() - began
    problem = (status and f"exit status {status}") or (took > LONGEST_STOP and f"rule: within {LONGEST_STOP} s")
    report.check("SIGTERM ends the daemon", problem, f"after {took:.2f} s")
    # Some servers are probed in several dialects, which it cannot know to be meant.
    warnings = complaints(log, r"^\S+ +(WARN|ERROR) (?!.* ask the same model at the same URL )")
    report.check("the daemon logs no warning", some(warnings))
