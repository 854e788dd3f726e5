"""What is seen while the daemon runs: its metrics and its last runs, read again and again. Standard library only."""

import json
import os
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from exposition import read_text, show
from report import progress
from servers import get

POLL_SECONDS = 1


def in_seconds(value):
    """Durations of the API as seconds; everything else as it is. For json's object_hook."""
    return value["secs"] + value["nanos"] / 1e9 if value.keys() == {"secs", "nanos"} else value


def unix_time(text):
    return datetime.fromisoformat(text).timestamp()


def total(exposition, name, **labels):
    """Sum of the series of a name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (own, pairs), value in exposition.samples.items() if own == name and wanted <= set(pairs))


def cumulative(exposition, name):
    """Whether a sample's name is one that may only rise."""
    family = re.sub(r"_(bucket|count|sum)$", "", name)
    return exposition.types.get(name) == "counter" or exposition.types.get(family) == "histogram"


class Probe(NamedTuple):
    target: str
    scenario: str

    def __str__(self):
        return f"{self.target}/{self.scenario}"


@dataclass
class Account:
    """What became of the ticks of one probe."""

    scheduled: float
    runs: float
    missed: float
    skipped: float
    in_flight: float

    @classmethod
    def of(cls, exposition, probe):
        names = ("scheduled_total", "runs_total", "missed_total", "skipped_total", "in_flight")
        return cls(*(total(exposition, f"llm_probe_{name}", **probe._asdict()) for name in names))

    def adds_up(self):
        return self.scheduled == self.runs + self.missed + self.skipped + self.in_flight


class Watch:
    """Reads `/metrics` and the last runs again and again, and remembers what it saw."""

    def __init__(self, base, probes):
        self.base = base
        self.polls = 0
        self.runs = {probe: {} for probe in probes}
        self.accounts = []  # (Unix time, {probe: Account})
        self.last = None
        self.unbalanced = []
        self.went_back = []
        self.most_in_flight = 0

    def exposition(self):
        return read_text(get(f"{self.base}/metrics"), openmetrics=False)

    def look(self):
        before, self.last = self.last, self.exposition()
        self.polls += 1
        accounts = {probe: Account.of(self.last, probe) for probe in self.runs}
        self.accounts.append((time.time(), accounts))
        self.unbalanced += [f"{probe}: {account}" for probe, account in accounts.items() if not account.adds_up()]
        self.most_in_flight = max(self.most_in_flight, *(account.in_flight for account in accounts.values()))
        if before:
            self.went_back += self.steps_back(before)
        for entry in json.loads(get(f"{self.base}/api/v1/probes"), object_hook=in_seconds):
            if run := entry["last_run"]:
                self.runs[Probe(run["target"], run["scenario"])].setdefault(run["run_id"], run)

    def steps_back(self, before):
        for key, value in before.samples.items():
            if not cumulative(before, key[0]):
                continue
            now = self.last.samples.get(key)
            if now is None and key[0].startswith("llm_probe_"):
                yield f"{show(key)} is gone"
            elif now is not None and now < value:
                yield f"{show(key)} went from {value:g} to {now:g}"

    def runs_of(self, target):
        return [run for probe, runs in self.runs.items() if probe.target == target.name for run in runs.values()]

    def at_rest(self):
        """Whether nothing is in flight and every run that was counted was seen."""
        _, accounts = self.accounts[-1]
        return all(a.in_flight == 0 and a.runs == len(self.runs[probe]) for probe, a in accounts.items())

    def until(self, deadline):
        next_line = time.monotonic()
        while time.monotonic() < deadline:
            self.look()
            if time.monotonic() >= next_line:
                runs = sum(len(runs) for runs in self.runs.values())
                progress(f"{deadline - time.monotonic():.0f} s to go, {runs} runs, load {os.getloadavg()[0]:.1f}")
                next_line += 30
            time.sleep(POLL_SECONDS)
        # A probe's runs are short and its pauses long, so there soon is a moment between runs.
        for _ in range(60):
            self.look()
            if self.at_rest():
                return
            time.sleep(0.25)
