"""Generates the dashboards, with the pinned Grafana Foundation SDK: `scripts/tools python` has it.

$(scripts/tools python) grafana/generate             write grafana/dashboards/*.json
$(scripts/tools python) grafana/generate --check     fail when a file there is not what this would write
"""

import argparse
import sys
from pathlib import Path

import compare
import instrument
import overview
import resources
import slo
import target
from board import text

DASHBOARDS = Path(__file__).resolve().parent.parent / "dashboards"
GENERATED = {
    "overview.json": overview.dashboard,
    "compare.json": compare.dashboard,
    "target.json": target.dashboard,
    "resources.json": resources.dashboard,
    "slo.json": slo.dashboard,
    "instrument.json": instrument.dashboard,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is not up to date")
    check = parser.parse_args().check
    contents = {name: text(dashboard()) for name, dashboard in GENERATED.items()}
    present = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    stale = [name for name, content in contents.items() if present.get(name) != content]
    strangers = [name for name in present if name not in contents]
    if not check:
        for name in stale:
            (DASHBOARDS / name).write_text(contents[name], encoding="utf-8")
    for name in stale:
        print(f"{name}: {'not up to date; hint: run grafana/generate' if check else 'written'}")
    for name in strangers:
        print(f"{name}: nothing generates it; hint: remove it, or add it to GENERATED")
    return 1 if strangers or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
