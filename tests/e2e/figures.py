"""The table of figures at the end of a run. Standard library only."""

import math
import os

from daemon import Speed


def quantile(values, share):
    """Interpolated between the two nearest ranks, as the median of an even number of values is."""
    ranked = sorted(values)
    if not ranked:
        return math.nan
    place = share * (len(ranked) - 1)
    below, above = ranked[math.floor(place)], ranked[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def figures_of(probe, runs, speed):
    good = [run for run in runs.values() if run["outcome"] == "success"]
    first = [run["latency"]["first_token"] for run in good]
    gaps = [gap for run in good for gap in run["gaps"]]
    lags = [run["instrument"]["schedule_lag"] for run in good]
    times = [quantile(values, share) for values in (first, gaps) for share in (0.5, 0.95)] + [quantile(lags, 1)]
    speeds = [quantile(values, 0.5) for values in (speed.ours, speed.theirs)]
    return [
        str(probe),
        str(len(runs)),
        *(f"{1e3 * value:.1f} ms" for value in times),
        *(f"{value:.1f}/s" for value in speeds),
        f"{quantile(speed.ratios(), 0.5):.4f}",
    ]


def print_figures(watch, speeds):
    header = ["probe", "runs", "TTFT p50", "p95", "ITL p50", "p95", "lag max", "decode TPS", "runtime's", "ratio"]
    rows = [header] + [figures_of(probe, runs, speeds.get(probe, Speed([], []))) for probe, runs in watch.runs.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    print()
    for first, *others in rows:
        print("  ".join([first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(others, widths[1:])]))
    print("\nload average of 1, 5 and 15 minutes: {:.2f}, {:.2f}, {:.2f}".format(*os.getloadavg()), end="")
    print(f"; {os.cpu_count()} cores\n", flush=True)
