"""Every case in turn, each time with other examples, and a table of what came of it."""

import random
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from tests.fuzz.case import Broken, Case

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
    except Broken as error:
        outcome.examples += examples
        outcome.failures += 1
        outcome.first = outcome.first or _described(error)


def _described(error: Broken) -> str:
    """Return the example that failed, and the innermost place and the error."""
    cause = error.__cause__ or error
    place = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{error}\n{place.filename}:{place.lineno}: {type(cause).__name__}: {cause}"


def table(outcomes: dict[str, Outcome]) -> str:
    """Return *outcomes* as lines: the parser, its cases, its failures; then each first failure."""
    rows: list[tuple[Any, ...]] = [("parser", "cases", "failures")]
    rows += [(name, one.examples, one.failures) for name, one in outcomes.items()]
    lines = [f"{name:<24}{examples:>10}{failures:>10}" for name, examples, failures in rows]
    for one in outcomes.values():
        if one.first:
            lines += ["", f"── {one.first}"]
    return "\n".join(lines)
