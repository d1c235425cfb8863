"""What a chat template may use: it comes with a model's files, so it is foreign code.

Every pass of a loop, every call, filter, operator and piece of output passes here. What a single
one makes is foreseen from its operands (`foreseen`) and refused where it is too large, for it
cannot be stopped in the middle; what all of them make together, and the CPU time that they take,
is counted.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

from jinja2.runtime import Context
from jinja2.utils import Namespace

from pilotlight.prompt.errors import TemplateExceeded

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters in a prompt, and in any string that is made."""
MAX_ELEMENTS = 1_000_000
"""What may be in a list that is made, and inside a value, on all levels, that is written out."""
MAX_MADE = 256 * 1024 * 1024
"""Bytes of the strings and lists that one rendering makes, beside what its messages warrant."""
MADE_PER_CHARACTER = 16
"""Bytes that each character of the messages warrants: templates copy them some times over."""
MAX_STEPS = 200_000
"""Passes of loops and calls of macros in one rendering: less than a second."""
MAX_SECONDS = 10.0
"""CPU time of one rendering; ten megabytes of conversation take half a second."""
MAX_BITS = 1024
"""Bits in an integer that an operator makes."""
MAX_NUMBER = 100_000
"""A width or a count in a filter, a method or a format."""
MAX_INDENT = 32
"""Characters of a level of JSON, and between its parts."""
MAX_SOURCE = 256 * 1024
"""Characters of a template; those of models have some tens of thousands. Compiling takes time."""

_LOOK_AFTER = 16
_UNSIZED = frozenset({int, bool, float, type(None)})
_PLAIN = frozenset({str, dict, list, tuple, *_UNSIZED})
"""Types of most values, which need no look at what they can."""
_ESCAPED, _ESCAPED_ASCII = 10, 4
"""Characters that `repr` makes of one: strings inside a list are written so."""

BUDGET = "pilotlight: budget"  # no identifier, so no template can name it


class OwnList(list[Any]):
    """A list that a template wrote itself, which it may change."""


class Budget:
    """What one rendering may still use."""

    def __init__(self, given: int = 0, clock: Callable[[], float] = time.thread_time) -> None:
        """*given* is how many characters the messages have."""
        self._clock = clock
        self._steps = MAX_STEPS
        self._characters = MAX_OUTPUT
        self._made = MAX_MADE + MADE_PER_CHARACTER * given
        self._deadline = clock() + MAX_SECONDS
        self._until_look = _LOOK_AFTER

    def step(self) -> None:
        """Count a pass of a loop, or a call of a macro."""
        self._steps -= 1
        if self._steps < 0:
            raise TemplateExceeded(f"the chat template ran for more than {MAX_STEPS} steps")
        self.check_time()

    def check_time(self) -> None:
        """Raise where the time is over; looked at now and then, for a look is a system call."""
        self._until_look -= 1
        if self._until_look:
            return
        self._until_look = _LOOK_AFTER
        if self._clock() > self._deadline:
            raise TemplateExceeded(f"the chat template ran for more than {MAX_SECONDS:g} s")

    def spend(self, piece: str) -> str:
        """Count a piece of the prompt, and return it."""
        self._characters -= len(piece)
        if self._characters < 0:
            raise TemplateExceeded(f"the chat template wrote more than {MAX_OUTPUT} characters")
        return piece

    def made(self, value: Any, *, fresh: bool = False) -> Any:
        """Count a value that was made, and return it.

        What a list holds was there before, unless its elements are *fresh*.
        """
        kind = type(value)
        if kind is str or kind is list or kind is OwnList:
            self._take(sys.getsizeof(value))
            if kind is not str:
                self._take(_inside(value, fresh=fresh))
        elif kind not in _UNSIZED and isinstance(value, Sized):
            self._take(sys.getsizeof(value))
        self.check_time()
        return value

    def _take(self, count: int) -> None:
        self._made -= count
        if self._made < 0:
            raise TemplateExceeded("the chat template makes more than all it may, in bytes")


def _inside(value: list[Any], *, fresh: bool) -> int:
    """Return the bytes of a list's elements that came into being with it."""
    if fresh:
        return sum(map(sys.getsizeof, value))
    return sys.getsizeof(value[0]) * len(value) if value and type(value[0]) is tuple else 0


def budget_of(context: Context) -> Budget:
    """Return the budget of the rendering that *context* belongs to."""
    budget: Budget = context.parent[BUDGET]
    return budget


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────


def size(value: object) -> int:
    """Return the characters and elements of *value*, of what is inside it too.

    Something that holds itself twice, and that again, is small in memory and endless on paper:
    raises `TemplateExceeded` where it comes to too much.
    """
    return _size(value, ascii_weight=1, weight=1)


def comparable(value: Any) -> Any:
    """Return *value*, which is compared; raises where there is too much inside it.

    A list can hold one long text a million times, and one comparison goes through them all.
    """
    if type(value) not in _UNSIZED and not isinstance(value, str):
        size(value)
    return value


def written_size(value: object) -> int:
    """Return the characters of *value* as text, at the most; raises as `size` does."""
    return _size(value, ascii_weight=_ESCAPED_ASCII, weight=_ESCAPED)


def _size(value: object, *, ascii_weight: int, weight: int) -> int:
    if isinstance(value, str):
        return len(value)
    if type(value) in _UNSIZED:
        return number_size(value)
    characters = elements = 0
    inside = [value]
    while inside:
        one = inside.pop()
        elements += 1
        if isinstance(one, str):
            characters += len(one) * (ascii_weight if one.isascii() else weight)
        elif isinstance(one, (list, tuple, set, frozenset)):
            inside += one
        elif isinstance(one, Mapping):
            inside += one.keys()
            inside += one.values()
        elif isinstance(one, Namespace):
            inside.append(object.__getattribute__(one, "_Namespace__attrs"))
        else:
            characters += number_size(one)
        if characters > MAX_OUTPUT or elements > MAX_ELEMENTS:
            raise TemplateExceeded("the chat template makes too large a value")
    return characters + 4 * elements


def number_size(value: object) -> int:
    """Return how many characters a number is written with, at the most."""
    return 24 + bits(value) // 3 if isinstance(value, int) else 24


def length(value: object) -> int:
    """Return the characters or elements of *value* itself; 0 where it has none."""
    if type(value) in _UNSIZED:
        return 0
    return len(value) if isinstance(value, Sized) else 0


def bits(value: object) -> int:
    """Return the bits of an integer, 0 of anything else."""
    return value.bit_length() if isinstance(value, int) else 0


def held(value: Any) -> Any:
    """Return *value*, as a list where it can be gone through but once: it is measured first."""
    if type(value) in _PLAIN or not isinstance(value, Iterator):
        return value
    elements = list(islice(value, MAX_ELEMENTS + 1))
    if len(elements) > MAX_ELEMENTS:
        raise TemplateExceeded(
            f"the chat template makes a list of more than {MAX_ELEMENTS} elements"
        )
    return elements
