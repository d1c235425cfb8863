"""What a chat template may use: it comes with a model's files, so it is foreign code.

Every pass of a loop, every call, filter, operator and piece of output passes here. What a single
one makes is foreseen and refused where it is too large, for it cannot be stopped in the middle;
what all of them make together, and the CPU time that they take, is counted.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import wraps
from itertools import islice
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from jinja2.utils import Namespace

from pilotlight.prompt.errors import TemplateFailed

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters in a prompt, and in any string or list that is made."""
MAX_ELEMENTS = 1_000_000
"""What may be inside a list, on all levels, when text is made of it."""
MAX_MADE = 256 * 1024 * 1024
"""Characters and elements in all that one rendering makes."""
MAX_STEPS = 200_000
"""Passes of loops and calls of macros in one rendering: less than a second."""
MAX_SECONDS = 10.0
"""CPU time of one rendering; ten megabytes of conversation take half a second."""
MAX_BITS = 1024
"""Bits in an integer that an operator makes."""
MAX_NUMBER = 100_000
"""What a filter or a method may be told: a width, a count."""
MAX_INDENT = 32
"""Spaces of a level of JSON."""
MAX_SOURCE = 256 * 1024
"""Characters of a template; those of models have some tens of thousands. Compiling takes time."""

_LOOK_AFTER = 16
_UNSIZED = frozenset({int, bool, float, type(None)})
_PLAIN = frozenset({str, dict, list, tuple, *_UNSIZED})
"""Types of most values, which need no look at what they can."""

BUDGET = "pilotlight: budget"  # no identifier, so no template can name it

_WIDE = re.compile(r"\d{6,}|%[^a-zA-Z%]*\*")
"""In a format: a width of six digits, or one that is an argument."""


class Budget:
    """What one rendering may still use."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._steps = MAX_STEPS
        self._characters = MAX_OUTPUT
        self._made = MAX_MADE
        self._deadline = clock() + MAX_SECONDS
        self._until_look = _LOOK_AFTER

    def step(self) -> None:
        """Count a pass of a loop, or a call of a macro."""
        self._steps -= 1
        if self._steps < 0:
            raise TemplateFailed(f"the chat template ran for more than {MAX_STEPS} steps")
        self.check_time()

    def check_time(self) -> None:
        """Raise where the time is over; looked at now and then, for a look is a system call."""
        self._until_look -= 1
        if self._until_look:
            return
        self._until_look = _LOOK_AFTER
        if self._clock() > self._deadline:
            raise TemplateFailed(f"the chat template ran for more than {MAX_SECONDS:g} s")

    def spend(self, piece: str) -> str:
        """Count a piece of the prompt, and return it."""
        self._characters -= len(piece)
        if self._characters < 0:
            raise TemplateFailed(f"the chat template wrote more than {MAX_OUTPUT} characters")
        return piece

    def made(self, value: Any) -> Any:
        """Count a value that was made, and return it; what a list holds was there before."""
        kind = type(value)
        self._made -= len(value) if kind is str or kind is list else _length(value)
        if self._made < 0:
            raise TemplateFailed(f"the chat template made more than {MAX_MADE} characters")
        self.check_time()
        return value


def budget_of(context: Context) -> Budget:
    """Return the budget of the rendering that *context* belongs to."""
    budget: Budget = context.parent[BUDGET]
    return budget


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────


def size(value: object) -> int:
    """Return the characters or elements of *value*, of what is inside it too.

    Something that holds itself twice, and that again, is small in memory and endless on paper:
    raises `TemplateFailed` where it comes to too much.
    """
    if type(value) in _UNSIZED:
        return 1
    if isinstance(value, (str, bytes)):
        return len(value)
    characters = elements = 0
    inside = [value]
    while inside:
        one = inside.pop()
        elements += 1
        if isinstance(one, (str, bytes)):
            characters += len(one)
        elif isinstance(one, (list, tuple, set, frozenset)):
            inside += one
        elif isinstance(one, Mapping):
            inside += one.values()
        elif isinstance(one, Namespace):
            inside.append(object.__getattribute__(one, "_Namespace__attrs"))
        if characters > MAX_OUTPUT or elements > MAX_ELEMENTS:
            raise TemplateFailed("the chat template makes too large a value")
    return characters + elements


def _length(value: object) -> int:
    if type(value) in _UNSIZED:
        return 0
    return len(value) if isinstance(value, Sized) else 0


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


# ── what is foreseen ────────────────────────────────────────────────────────────────────────────


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise `TemplateFailed` where what *operator* makes would be too large."""
    if operator == "**":
        too_large = _bits(left) * abs(right) > MAX_BITS if isinstance(right, int) else False
    elif operator == "*":
        too_large = (
            _length(left) * _count(right) > MAX_OUTPUT
            or _length(right) * _count(left) > MAX_OUTPUT
            or _bits(left) + _bits(right) > MAX_BITS
        )
    elif operator == "%":
        too_large = isinstance(left, str) and _formatted(left, _arguments(right)) > MAX_OUTPUT
    else:
        too_large = _length(left) + _length(right) > MAX_OUTPUT
    if too_large:
        raise TemplateFailed(f"the chat template makes too large a value with {operator}")


def _arguments(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, tuple) else (value,)


def held(value: Any) -> Any:
    """Return *value*, as a list where it can be gone through but once: it is measured first."""
    if type(value) in _PLAIN:
        return value
    return list(islice(value, MAX_OUTPUT)) if isinstance(value, Iterator) else value


def check_call(name: str, value: object, arguments: Iterable[object]) -> None:
    """Raise `TemplateFailed` where the filter or method *name* of *value* would make too much."""
    arguments = list(arguments)
    numbers = [abs(one) for one in arguments if isinstance(one, int)]
    width = max(numbers, default=0)
    if width > MAX_NUMBER:
        raise TemplateFailed(f"the chat template asks {name} for too large a number: {width}")
    if foresee := _FORESEEN.get(name):
        made = foresee(value, arguments, width)
        if made > MAX_OUTPUT:
            raise TemplateFailed(f"the chat template makes too large a value with {name}")


def _joined(parts: object, separator: object) -> int:
    if not isinstance(parts, (list, tuple)):
        return _length(parts) * (1 + _length(separator))
    return _length(separator) * len(parts) + sum(size(part) for part in parts)


def _filled(value: object, _arguments: list[object], width: int) -> int:
    """Foresee what has *width* characters more for each line or tab."""
    text = value if isinstance(value, str) else ""
    return len(text) + width * (1 + text.count("\n") + text.count("\t"))


def _replaced(value: object, arguments: list[object], _width: int) -> int:
    old, new = ([str(one) for one in arguments] + ["", ""])[:2]
    text = str(value)
    return len(text) + text.count(old) * len(new)


def _join(value: object, arguments: list[object], _width: int) -> int:
    other = arguments[0] if arguments else ""
    # The filter is given the parts, the method the separator.
    return _joined(other, value) if isinstance(value, str) else _joined(value, other)


def _formatted(text: str, arguments: Iterable[object]) -> int:
    if _WIDE.search(text):
        return MAX_OUTPUT + 1
    fields = text.count("%") + text.count("{")
    return len(text) + fields * (MAX_NUMBER + max(map(size, arguments), default=0))


def _format(value: object, arguments: list[object], _width: int) -> int:
    return _formatted(str(value), arguments)


def _wrapped(value: object, arguments: list[object], _width: int) -> int:
    longest = max((len(one) for one in arguments if isinstance(one, str)), default=1)
    return _length(value) * (1 + longest)


def _json(value: object, _arguments: list[object], width: int) -> int:
    return MAX_OUTPUT + 1 if width > MAX_INDENT else size(value)


_FORESEEN: dict[str, Callable[[object, list[object], int], int]] = {
    **dict.fromkeys(("indent", "expandtabs", "center", "ljust", "rjust", "zfill"), _filled),
    "replace": _replaced,
    "join": _join,
    **dict.fromkeys(("format", "format_map"), _format),
    **dict.fromkeys(("wordwrap", "translate"), _wrapped),
    "tojson": _json,
}
_OF_ELEMENTS = frozenset(
    {
        "attr", "batch", "count", "d", "default", "dictsort", "first", "groupby", "items", "last",
        "length", "list", "map", "max", "min", "random", "reject", "rejectattr", "reverse",
        "select", "selectattr", "slice", "sort", "sum", "unique",
    }
)  # fmt: skip
"""Filters that hand elements on; all others make text of them."""


# ── where it is asked ───────────────────────────────────────────────────────────────────────────


def bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter *function* within the bounds."""
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", None)

    @pass_context
    @wraps(function)
    def bounded(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        if name not in _OF_ELEMENTS:
            value = held(value)
            size(value)
        check_call(name, value, (*arguments, *named.values()))
        leading: dict[str | None, tuple[Any, ...]] = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }
        made = function(*leading.get(wants, ()), value, *arguments, **named)
        return budget_of(context).made(made)

    return bounded


def check_called(called: Any, arguments: Iterable[object]) -> None:
    """Raise `TemplateFailed` where the method *called* of a value would make too much."""
    owner = getattr(called, "__self__", None)
    if owner is None:  # the sandbox wraps `format`
        owner = getattr(getattr(called, "__wrapped__", None), "__self__", None)
    if isinstance(owner, (str, bytes)):
        check_call(getattr(called, "__name__", ""), owner, arguments)
