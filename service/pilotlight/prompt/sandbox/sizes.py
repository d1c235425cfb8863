"""The size of a value, with everything inside it."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sized, ValuesView
from itertools import islice
from typing import Any

from jinja2.utils import Namespace

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits

UNSIZED = frozenset({int, bool, float, type(None)})
_PLAIN = frozenset({str, dict, list, tuple, *UNSIZED})
"""The types of most values: they need no `isinstance` check."""
_COLLECTIONS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)
_ESCAPED, _ESCAPED_ASCII = 10, 4
"""Characters that `repr` writes for one; strings inside a list are written with it."""


def size(value: object) -> int:
    """Return the characters and elements of *value*, at all depths.

    A list that holds another twice, and that one a third twice, is small in memory and endless when
    written. Raises `TemplateExceeded` above the limits.
    """
    return _size(value, ascii_weight=1, weight=1)


def readable(value: Any) -> Any:
    """Return *value* if all of it can be read in bounded time; else raise `TemplateExceeded`.

    A list can hold one long text a million times, and one comparison reads them all.
    """
    if type(value) not in UNSIZED and not isinstance(value, str):
        size(value)
    return value


def written_size(value: object) -> int:
    """Return the characters of *value* as text, at most; raises as `size` does."""
    return _size(value, ascii_weight=_ESCAPED_ASCII, weight=_ESCAPED)


def written_together(values: Iterable[object]) -> int:
    """Return the characters of all *values* as text, at most; raises above the limits.

    Each of a million values may be one that takes long to measure, so the first ones are enough.
    """
    characters = 0
    for one in values:
        characters += written_size(one)
        if characters > limits.MAX_OUTPUT:
            raise TemplateExceeded("the chat template makes a text that is too large")
    return characters


def _size(value: object, *, ascii_weight: int, weight: int) -> int:
    if isinstance(value, str):
        return len(value)
    if type(value) in UNSIZED:
        return number_size(value)
    characters = elements = 0
    inside = [value]
    while inside:
        one = inside.pop()
        elements += 1
        if isinstance(one, str):
            characters += len(one) * (ascii_weight if one.isascii() else weight)
        elif isinstance(one, _COLLECTIONS):
            inside += one
        elif isinstance(one, Mapping):
            inside += one.keys()
            inside += one.values()
        elif isinstance(one, Namespace):
            inside.append(object.__getattribute__(one, "_Namespace__attrs"))
        else:
            characters += number_size(one)
        # Those to come count before they are read: each could be a long list that holds itself.
        if characters > limits.MAX_OUTPUT or elements + len(inside) > limits.MAX_ELEMENTS:
            raise TemplateExceeded("the chat template makes a value that is too large")
    return characters + 4 * elements


def number_size(value: object) -> int:
    """Return how many characters a number is written with, at most."""
    return 24 + bits(value) // 3 if isinstance(value, int) else 24


def length(value: object) -> int:
    """Return the characters or elements of *value* itself; 0 if it has none."""
    if type(value) in UNSIZED:
        return 0
    return len(value) if isinstance(value, Sized) else 0


def bits(value: object) -> int:
    """Return the bits of an integer, 0 of anything else."""
    return value.bit_length() if isinstance(value, int) else 0


def held(value: Any) -> Any:
    """Return *value*; an iterator as a list, which can be measured before it is read."""
    if type(value) in _PLAIN or not isinstance(value, Iterator):
        return value
    elements = list(islice(value, limits.MAX_ELEMENTS + 1))
    if len(elements) > limits.MAX_ELEMENTS:
        raise TemplateExceeded(
            f"the chat template: a list has more than {limits.MAX_ELEMENTS} elements"
        )
    return elements
