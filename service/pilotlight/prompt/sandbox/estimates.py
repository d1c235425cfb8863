"""Upper bounds on the size of what an operation makes of its operands, before it runs.

Python cannot be stopped inside `'%999999999d' % 1`, so the size is estimated from the operands.
Each function here takes the value and the arguments of a filter or method, and returns the
characters that the call makes at most, or raises `TemplateExceeded`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.sizes import length, readable, size, written_size, written_together

Arguments = list[Any]
"""The arguments of a call, keyword arguments last."""
Estimate = Callable[[Any, Arguments], int]
"""Returns the characters that a call writes at most, or raises `TemplateExceeded`."""

_SLOW = 1_000_000
"""Characters that a filter written in Python may read: it takes about 1 µs for each."""
_WRAPPED = 50_000
"""Characters that `wordwrap` may read. `textwrap` copies the rest of a long word, and the list of
words, for every line, so its time grows with the square: 300,000 blanks took 7 s."""
ESCAPED = 6
"""Characters that HTML escaping writes for one, at most: `&#34;`, and one to spare."""
CASED = 3
"""Characters that a change of case writes for one, at most (Unicode SpecialCasing: U+0390)."""
QUOTED = 12
"""Characters that percent-encoding writes for one: four bytes of UTF-8, `%XX` each."""
_DIGITS = 4300
"""Digits that Python converts by default (`sys.int_info.default_max_str_digits`)."""


def too_large(by: str) -> TemplateExceeded:
    """Return the error for a result of *by*, a filter, method or operator, that is too large."""
    return TemplateExceeded(f"the chat template: the result of {by} is too large")


def number(value: object) -> int:
    """Return the magnitude of an integer, 0 of anything else; raises if it is over the limit."""
    magnitude = abs(value) if isinstance(value, int) else 0
    if magnitude > limits.MAX_NUMBER:
        raise TemplateExceeded(
            f"the chat template: a width or count of {magnitude} is over {limits.MAX_NUMBER}"
        )
    return magnitude


def widest(arguments: Arguments) -> int:
    """Return the largest number, or the longest text, among the arguments."""
    return max((len(one) if isinstance(one, str) else number(one) for one in arguments), default=0)


# ── text ────────────────────────────────────────────────────────────────────────────────────────


def constant(_value: Any, _arguments: Arguments) -> int:
    """Estimate a number, or a part of the value that exists already: nothing is built."""
    return 0


def as_text(value: Any, _arguments: Arguments) -> int:
    """Estimate the value written as text."""
    return written_size(value)


def times(factor: int) -> Estimate:
    """Return the estimate of text in which each character becomes at most *factor* characters."""

    def estimate(value: Any, _arguments: Arguments) -> int:
        if isinstance(value, str) and value.isascii() and factor == CASED:
            return len(value)
        return factor * written_size(value)

    return estimate


def slow(inner: Estimate) -> Estimate:
    """Return *inner* for text that is short enough for a filter written in Python."""

    def estimate(value: Any, arguments: Arguments) -> int:
        if written_size(value) > _SLOW:
            return limits.MAX_OUTPUT + 1
        return inner(value, arguments)

    return estimate


def filled(value: Any, arguments: Arguments) -> int:
    """Estimate text that is padded: each line, or each tab, may grow by the width."""
    text = value if isinstance(value, str) else ""
    padded = 1 + text.count("\t") + sum(map(text.count, _LINE_ENDS))
    return written_size(value) + widest(arguments) * padded


def truncated(value: Any, arguments: Arguments) -> int:
    """Estimate `truncate`, which may append its arguments."""
    return written_size(value) + sum(len(one) for one in arguments if isinstance(one, str))


def replaced(value: Any, arguments: Arguments) -> int:
    """Estimate `replace`: every occurrence grows to the new text."""
    old, new, *_ = (*arguments, "", "")
    if max(map(written_size, (value, old))) > limits.MAX_OUTPUT:
        return limits.MAX_OUTPUT + 1
    escaped = ESCAPED if isinstance(value, Markup) or isinstance(new, Markup) else 1
    return escaped * (written_size(value) + str(value).count(str(old)) * written_size(new))


def _joined(parts: Any, separator: Any) -> int:
    if isinstance(parts, str):
        parts_size, count = len(parts), len(parts)
    elif isinstance(parts, (list, tuple)):
        parts_size, count = written_together(parts), len(parts)
    else:
        parts_size, count = written_size(parts), length(parts)
    escaped = 1
    if isinstance(separator, Markup) or (
        isinstance(parts, (list, tuple)) and any(isinstance(one, Markup) for one in parts)
    ):
        escaped = ESCAPED
    return escaped * (parts_size + count * written_size(separator))


def join_filter(value: Any, arguments: Arguments) -> int:
    """Estimate `parts | join(separator)`."""
    return _joined(value, arguments[0] if arguments else "")


def join_method(value: Any, arguments: Arguments) -> int:
    """Estimate `separator.join(parts)`."""
    return _joined(arguments[0] if arguments else "", value)


def wrapped(value: Any, arguments: Arguments) -> int:
    """Estimate `wordwrap`, which may write a separator behind each character."""
    if written_size(value) > _WRAPPED:
        return limits.MAX_OUTPUT + 1
    longest = max((len(one) for one in arguments if isinstance(one, str)), default=1)
    return length(value) * (1 + longest)


def translated(value: Any, arguments: Arguments) -> int:
    """Estimate `str.translate`: each character becomes the longest text of the table."""
    table = arguments[0] if arguments else {}
    if not isinstance(table, Mapping):
        return limits.MAX_OUTPUT + 1
    return length(value) * max((length(one) for one in table.values()), default=1)


def linked(value: Any, arguments: Arguments) -> int:
    """Estimate `urlize`: a link with attributes around every second character, at most."""
    added = 64 + ESCAPED * sum(len(one) for one in arguments if isinstance(one, str))
    return 2 * ESCAPED * written_size(value) + (1 + length(value) // 2) * added


def indented(value: Any, _arguments: Arguments) -> int:
    """Estimate `pprint`, which indents a value by the length of what precedes it in its line."""
    written = written_size(value)
    return written * max(1, written // 80)


# ── lists ───────────────────────────────────────────────────────────────────────────────────────

_LINE_ENDS = ("\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
_SPACES = (" ", "\t", *_LINE_ENDS[:7])


def listed(value: Any, arguments: Arguments) -> int:
    """Estimate a list of the elements of *value*, padded to a number if the arguments have one."""
    _check_elements(length(value) + sum(map(number, arguments)))
    return 0


def compared(value: Any, _arguments: Arguments) -> int:
    """Check that the elements of *value* can be compared in bounded time."""
    readable(value)
    return 0


def keyed(value: Any, arguments: Arguments) -> int:
    """Estimate the keys that sorting compares: each is a lower-case copy of an element.

    A list can hold one long text a million times; its keys are a million texts.
    """
    size(value)  # raises if all the copies together are too large
    return listed(value, arguments)


def summed(value: Any, arguments: Arguments) -> int:
    """Estimate `sum`; from a list on it joins lists, and copies the sum for each."""
    written = written_size(value)
    _check_elements(written)
    begun = [one for one in arguments if isinstance(one, (list, tuple))]
    return length(value) * (written + sum(map(len, begun))) if begun else 0


def split(value: Any, arguments: Arguments) -> int:
    """Estimate `split` and `rsplit`."""
    separator = next((one for one in arguments if isinstance(one, str)), None)
    most = next(
        (one for one in arguments if isinstance(one, int) and one >= 0), limits.MAX_ELEMENTS
    )
    ends = _SPACES if separator is None else (separator,)
    if any(ends):  # else Python refuses the empty separator itself
        _check_elements(min(1 + sum(map(value.count, ends)), most + 1))
    return len(value)


def lines(value: Any, _arguments: Arguments) -> int:
    """Estimate `splitlines`."""
    _check_elements(1 + sum(map(value.count, _LINE_ENDS)))
    return len(value)


def _check_elements(count: int) -> None:
    if count > limits.MAX_ELEMENTS:
        raise TemplateExceeded(
            f"the chat template: a list has more than {limits.MAX_ELEMENTS} elements"
        )


def whole_number(value: Any, _arguments: Arguments) -> int:
    """Estimate `int`: Python refuses longer numbers, in time that grows with the square."""
    return limits.MAX_OUTPUT + 1 if length(value) > _DIGITS else 0


def rounded(_value: Any, arguments: Arguments) -> int:
    """Estimate `round`: a precision beyond a float's digits is refused."""
    return limits.MAX_OUTPUT + 1 if widest(arguments) > _DIGITS else 0
