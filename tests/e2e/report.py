"""What the checks found, and what is said while they run. Standard library only."""

import sys


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, problem, detail=""):
        """`problem` is empty when the check passed; `detail` is shown either way."""
        shown = f"  ({detail})" if detail else ""
        if problem:
            self.failed += 1
            print(f"FAIL  {name}: {problem}{shown}", flush=True)
        else:
            self.passed += 1
            print(f"pass  {name}{shown}", flush=True)

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIP  {name}: {reason}", flush=True)


def progress(text):
    print(f"e2e-runtimes: {text}", file=sys.stderr, flush=True)


def some(problems, limit=3):
    """The first few of many, for one line."""
    problems = list(problems)
    return "; ".join(problems[:limit]) + (f" and {len(problems) - limit} more" if len(problems) > limit else "")
