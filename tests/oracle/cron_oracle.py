#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["croniter==7.0.0", "tzdata==2026.6"]
# ///
"""Ask croniter, an independent implementation, when cron expressions come, and keep its answers.

    tests/oracle/cron_oracle.py            writes tests/golden/cron.jsonl
    tests/oracle/cron_oracle.py --check    fails if the file differs from what it would write

Each line is one question with its answer: the expression, the time zone, the instant to start after and the next ten
instants, in seconds since the Unix epoch. The test that compares them with our own is src/schedule/oracle.rs. The
expressions are random but seeded, so every run writes the same bytes.

Needs the packages named above; `uv run tests/oracle/cron_oracle.py` brings them along.
"""

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

try:
    from croniter import CroniterBadDateError, croniter
except ImportError as missing:
    sys.exit(f"cron_oracle: {missing}; hint: pip install croniter==7.0.0 tzdata==2026.6")

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "cron.jsonl"
SEED = 20250101
UTC_EXPRESSIONS = 400
EXPRESSIONS_PER_CHANGE = 40
TICKS = 10

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()

# Hour, half-hour and southern clock changes of 2025.
CHANGES = [
    ("Europe/Berlin", "2025-03-30T01:00:00+00:00"),
    ("Europe/Berlin", "2025-10-26T01:00:00+00:00"),
    ("America/New_York", "2025-03-09T07:00:00+00:00"),
    ("America/New_York", "2025-11-02T06:00:00+00:00"),
    ("Australia/Lord_Howe", "2025-04-05T15:00:00+00:00"),
    ("Australia/Lord_Howe", "2025-10-04T15:30:00+00:00"),
]

# Asked at every clock change, because the changes above are at these times.
AT_CHANGES = ["30 2 * * *", "30 1 * * *", "15,45 2 * * *", "*/20 * * * *", "0 */2 * * *", "0 0 3 * * *"]

# Where readers of crontab differ: day fields that name every day, steps up to Saturday or Sunday, a range of one value.
CORNERS = ["0 0 1 * 0-6", "0 0 1-31 * 1", "0 0 * * 5/2", "7-7 * * * *"]


class Expressions:
    """Random valid expressions. Only `random()` is used, whose numbers no Python version changes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, bound: int) -> int:
        return int(self.random() * bound)

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def name(self, value: int, names: list[str], low: int) -> str:
        """The value, sometimes as a name in some case."""
        if not names or value - low >= len(names) or self.random() < 0.5:
            return str(value)
        name = names[value - low]
        return [name, name.upper(), name.title()][self.below(3)]

    def item(self, low: int, high: int, names: list[str]) -> str:
        kind = self.random()
        if kind < 0.45:
            return self.name(self.between(low, high), names, low)
        start = self.between(low, high - 2)
        if kind < 0.6 and names != WEEKDAYS:
            return f"{start}/{self.between(2, max(2, (high - low) // 2))}"
        end = self.between(start + 1, high)
        if (start, end) == (low, high):
            end -= 1
        if kind < 0.75:
            return f"{start}-{end}/{self.between(2, 5)}"
        return f"{self.name(start, names, low)}-{self.name(end, names, low)}"

    def field(self, low: int, high: int, names: list[str], star: float) -> str:
        kind = self.random()
        if kind < star:
            return "*"
        if kind < star + 0.15:
            return f"*/{self.between(2, max(2, (high - low) // 2))}"
        items = 1 if self.random() < 0.7 else self.between(2, 4)
        return ",".join(self.item(low, high, names) for _ in range(items))

    def expression(self, *, every_month: bool) -> str:
        star_day = 0.8 if every_month or self.random() < 0.6 else 0.2
        fields = [
            self.field(0, 59, [], 0.15),
            self.field(0, 23, [], 0.3),
            self.field(1, 31, [], star_day),
            "*" if every_month else self.field(1, 12, MONTHS, 0.7),
            self.field(0, 7 if self.random() < 0.3 else 6, WEEKDAYS, star_day),
        ]
        if self.random() < 0.3:
            fields.insert(0, self.field(0, 59, [], 0.2))
        if self.random() < 0.1 and fields[-3] == "*":
            fields[-3] = "?"
        return " ".join(fields)


def answer(expression: str, zone: str, start: int) -> list[int]:
    begin = datetime.fromtimestamp(start, ZoneInfo(zone))
    # croniter knows `?` as another dialect's; in Kubernetes it is `*`.
    ticks = croniter(expression.replace("?", "*"), begin, second_at_beginning=True)
    return [int(ticks.get_next(float)) for _ in range(TICKS)]


def lines() -> Iterator[str]:
    expressions = Expressions(SEED)

    def line(expression: str, zone: str, start: int) -> str | None:
        try:
            ticks = answer(expression, zone, start)
        except CroniterBadDateError:  # the 31st of June
            return None
        question = {"expr": expression, "zone": zone, "start": start, "next": ticks}
        return json.dumps(question, separators=(",", ":"))

    def random_lines(count: int, zone: str, first: int, last: int) -> Iterator[str]:
        while count:
            found = line(expressions.expression(every_month=zone != "UTC"), zone, expressions.between(first, last))
            if found:
                count -= 1
                yield found

    year_2024, year_2027 = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2024, 2027))
    yield from random_lines(UTC_EXPRESSIONS, "UTC", year_2024, year_2027)
    for expression in CORNERS:
        yield line(expression, "UTC", year_2024)
    for zone, at in CHANGES:
        change = int(datetime.fromisoformat(at).timestamp())
        for expression in AT_CHANGES:
            yield line(expression, zone, change - 12 * 3600)
        yield from random_lines(EXPRESSIONS_PER_CHANGE, zone, change - 6 * 3600, change + 3 * 3600)


def main() -> None:
    text = "".join(f"{line}\n" for line in lines())
    match sys.argv[1:]:
        case []:
            GOLDEN.write_text(text)
        case ["--check"] if GOLDEN.read_text() == text:
            print(f"{GOLDEN.name} is up to date")
        case ["--check"]:
            sys.exit(f"cron_oracle: {GOLDEN} is out of date; hint: run this script and review the difference")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
