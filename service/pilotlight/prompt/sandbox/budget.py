"""Counts what one rendering of a chat template uses: steps, CPU time, characters, bytes."""

import sys
import time
from collections.abc import Callable, Sized
from typing import Any

from jinja2.runtime import Context

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.sizes import UNSIZED

_CHECK_EVERY = 16
"""Counted values between two looks at the clock, each of which is a system call."""

BUDGET = "pilotlight: budget"  # not an identifier, so no template can name it


class OwnList(list[Any]):
    """A list that the template wrote itself; the template may append to it."""


class Budget:
    """What one rendering may still use; raises `TemplateExceeded` when it is used up."""

    def __init__(self, given: int = 0, clock: Callable[[], float] = time.thread_time) -> None:
        """*given* is the number of characters in the messages."""
        self._clock = clock
        self._steps = limits.MAX_STEPS
        self._characters = limits.MAX_OUTPUT
        self._allowed = limits.MAX_MADE + limits.MADE_PER_CHARACTER * given
        self._bytes = self._allowed
        self._deadline = clock() + limits.MAX_SECONDS
        self._until_check = _CHECK_EVERY

    def step(self) -> None:
        """Count a pass of a loop or a call of a macro."""
        self._steps -= 1
        if self._steps < 0:
            raise TemplateExceeded(f"the chat template ran for more than {limits.MAX_STEPS} steps")
        self.check_time()

    def check_time(self) -> None:
        """Check the CPU time, now and then."""
        self._until_check -= 1
        if self._until_check:
            return
        self._until_check = _CHECK_EVERY
        if self._clock() > self._deadline:
            raise TemplateExceeded(f"the chat template ran for more than {limits.MAX_SECONDS:g} s")

    def spend(self, piece: str) -> str:
        """Count a piece of the prompt and return it."""
        self._characters -= len(piece)
        if self._characters < 0:
            raise TemplateExceeded(
                f"the chat template wrote more than {limits.MAX_OUTPUT} characters"
            )
        return piece

    def made(self, value: Any, *, fresh: bool = False) -> Any:
        """Count the memory of a value that an operation made, and return the value.

        The elements of a list existed before, unless they are *fresh*.
        """
        kind = type(value)
        if kind is str or kind is list or kind is OwnList:
            self._take(sys.getsizeof(value))
            if kind is not str:
                self._take(_inside(value, fresh=fresh))
        elif kind not in UNSIZED and isinstance(value, Sized):
            self._take(sys.getsizeof(value))
        self.check_time()
        return value

    def _take(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise TemplateExceeded(f"the chat template allocates more than {self._allowed} bytes")


def _inside(value: list[Any], *, fresh: bool) -> int:
    """Return the bytes of the elements that were made with the list *value*."""
    if fresh:
        return sum(map(sys.getsizeof, value))
    return sys.getsizeof(value[0]) * len(value) if value and type(value[0]) is tuple else 0


def budget_of(context: Context) -> Budget:
    """Return the budget of the rendering that *context* belongs to."""
    budget: Budget = context.parent[BUDGET]
    return budget
