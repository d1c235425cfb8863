"""Every case in turn, each time with other examples, and a table of what came of it."""

import random
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from tests.fuzz.case import Case

EXAMPLES = 200
"""Of one case in one round."""


class Outcome(Struct):
    """What came of one case so far."""

    examples: int = 0
    failures: int = 0
    first: str = ""
    """What failed first: the example, and where the error came from."""


def run(
    cases: Sequence[Case],
    *,
    seconds: float,
    seed: int,
    examples: int = EXAMPLES,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Outcome]:
    """Return the outcome of each of *cases*: rounds of all of them, for so many seconds.

    The first round is finished whatever the time. A case that fails goes on with other examples.
    """
    outcomes = {case.name: Outcome() for case in cases}
    seeds = random.Random(seed)  # noqa: S311 - to say it again, it is printed
    until = clock() + seconds
    for number in range(1 << 62):
        for case in cases:
            if number and clock() >= until:
                return outcomes
            _note(outcomes[case.name], case, examples, seeds.getrandbits(32))
    return outcomes


def _note(outcome: Outcome, case: Case, examples: int, seed: int) -> None:
    try:
        outcome.examples += case.run(examples, seed)
    except Exception as error:  # noqa: BLE001 - whatever a parser can raise
        outcome.examples += examples
        outcome.failures += 1
        outcome.first = outcome.first or _described(error)


def _described(error: Exception) -> str:
    """Return the example that failed, and the innermost place and the error."""
    notes = "\n".join(getattr(error, "__notes__", ()))
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{notes}\n{place.filename}:{place.lineno}: {type(error).__name__}: {error}"


def table(outcomes: dict[str, Outcome]) -> str:
    """Return *outcomes* as lines: the parser, its cases, its failures; then each first failure."""
    rows: list[tuple[Any, ...]] = [("parser", "cases", "failures")]
    rows += [(name, one.examples, one.failures) for name, one in outcomes.items()]
    lines = [f"{name:<24}{examples:>10}{failures:>10}" for name, examples, failures in rows]
    for name, one in outcomes.items():
        if one.first:
            lines += ["", f"── {name}", one.first]
    return "\n".join(lines)
