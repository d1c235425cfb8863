"""When a step of an engine has taken too long. Pure: the clock is passed in."""

from collections.abc import Collection

from pilotlight_backend import Step

TOKENS = 64
"""Tokens of prompts for which a step gets its time once more: reading is slow on a small machine,
and no fault."""


class StepWatch:
    """Watches the steps of one engine, from look to look.

    Time in which nobody looked counts as no more than the time between two looks: a process that
    was frozen, as platforms do where nobody asks, finds its steps where they were.
    """

    def __init__(self, timeout: float, *, interval: float) -> None:
        """*timeout* is what a step of one token may take, *interval* is from look to look."""
        self._timeout = timeout
        self._interval = interval
        self._looked: float | None = None
        self._taken: dict[int, float] = {}
        """Seconds that a step was seen to take, by its number."""

    def hangs(self, now: float, under_way: Collection[Step]) -> bool:
        """Take a look, and tell whether one of the steps *under_way* has taken too long."""
        passed = 0.0 if self._looked is None else now - self._looked
        passed = min(max(passed, 0.0), 2 * self._interval)
        self._looked = now
        self._taken = {
            step.number: self._taken[step.number] + passed if step.number in self._taken else 0.0
            for step in under_way
        }
        return any(self._taken[step.number] >= self._allowed(step) for step in under_way)

    def _allowed(self, step: Step) -> float:
        return self._timeout * (1 + step.tokens // TOKENS)
