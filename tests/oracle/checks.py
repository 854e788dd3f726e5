"""What the checks of clients have in common."""

FAULT = "x-simulate-fault"
MESSAGES = [{"role": "user", "content": "Say hello."}]
UNKNOWN_MODEL = "no-such-model"


class Checks:
    """Runs checks one by one and counts."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def run(self, name, check):
        try:
            check()
        except Exception as error:  # whatever a client raises is the finding
            self.failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
        else:
            self.passed += 1
            print(f"passed  {name}")


def require(condition, what):
    """Like assert, but also under `python -O`."""
    if not condition:
        raise AssertionError(what)


def require_raises(expected, call):
    """The exact class matters: a base class would hide a wrong status."""
    try:
        call()
    except expected as error:
        require(type(error) is expected, f"{type(error).__name__} instead of {expected.__name__}")
        return error
    raise AssertionError(f"{expected.__name__} was not raised")
