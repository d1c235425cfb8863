"""What each program for Python shares: its cases, and how it reports them.

A program is run by the Python of its client's environment, which holds nothing of ours.
"""

import asyncio
import inspect
import json
import os
import traceback

URL = os.environ["CLIENT_URL"]
"""The server's address, without `/v1`."""
KEY = os.environ["CLIENT_KEY"]
MODEL = os.environ["CLIENT_MODEL"]

WEATHER = "What is the weather in Paris?"
PERSON = "Ada Lovelace is 36 years old. Who is that?"

_cases = []


def case(name):
    """Register a function as the case *name*; it passes where it raises nothing."""

    def register(function):
        _cases.append((name, function))
        return function

    return register


def expect(value, wanted):
    """Raise unless *value* is what was *wanted*."""
    if value != wanted:
        raise AssertionError(f"expected {wanted!r}, got {value!r}")


def expect_within(part, text):
    """Raise unless *part* is found in *text*."""
    if part not in (text or ""):
        raise AssertionError(f"expected {part!r} within {text!r}")


def main():
    """Run every case, and print a line of JSON for each: its name, and its error or null."""
    for name, function in _cases:
        error = None
        try:
            outcome = function()
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
        except Exception as raised:  # noqa: BLE001 - whatever a client raises is its outcome
            traceback.print_exc()
            error = f"{type(raised).__name__}: {raised}"
        print(json.dumps({"case": name, "error": error}), flush=True)  # noqa: T201 - the report
