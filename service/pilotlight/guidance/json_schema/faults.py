"""Finds the fault in a JSON Schema that does not compile.

llguidance reports what is wrong in terms of its own grammars, without the location. Parts of the
schema are compiled alone to find the innermost one that fails, then the keyword without which it
compiles.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from pilotlight.guidance.errors import GrammarInvalid
from pilotlight.guidance.json_schema.subschemas import (
    LISTS,
    MAPS,
    ONES,
    count,
    escaped,
    pointer_of,
    resolve,
)

_MOST = 25_000
"""Schemas compiled in one search, about 40 µs each; each part counts with all definitions. When
they are used up, the innermost part found so far is reported."""
_DEFINITIONS = ("$defs", "definitions")

_Way: TypeAlias = tuple[Any, ...]
"""The path from a schema to a part: a keyword, and the index or name within its value."""
Compiles: TypeAlias = Callable[[Any], str | None]
"""Tries to compile a schema; returns llguidance's error, or None."""


def fault_in(schema: Any, fails: Compiles) -> GrammarInvalid | None:
    """Return the fault in *schema* with its JSON Pointer, or None."""
    if (said := fails(schema)) is None:
        return None
    if not isinstance(schema, dict):
        return GrammarInvalid(_reason(said, schema))
    return _Search(schema, fails).descend(said)


class _Search:
    """Descends from a schema that fails to the innermost part that fails."""

    def __init__(self, root: dict[str, Any], fails: Compiles) -> None:
        self._root = root
        self._shared = {key: root[key] for key in _DEFINITIONS if key in root}
        self._fails = fails
        self._left = _MOST

    def descend(self, said: str) -> GrammarInvalid:
        pointer, node = "", self._root
        while (found := self._within(node, pointer)) is not None:
            pointer, node, said = found
        node = self._shared | node
        keyword = self._keyword_of(node)
        at = f"{pointer}/{keyword}" if keyword else pointer
        return GrammarInvalid(_reason(said, node.get(keyword)), at)

    def _within(self, node: dict[str, Any], pointer: str) -> tuple[str, dict[str, Any], str] | None:
        """Return the first part of *node* that fails and makes *node* fail."""
        failing = []
        for way, part in self._parts(node):
            if isinstance(part, dict) and (said := self._try(self._shared | part)) is not None:
                failing.append((way, part, said))
        for way, part, said in failing:
            others = [other for other, _, _ in failing if other != way]
            # A part without valid values does not matter if it is optional.
            if self._try(self._shared | _without(node, others)) is not None:
                place = pointer_of(node["$ref"]) if way == ("$ref",) else _pointer(pointer, way)
                return place, part, said
        return None

    def _try(self, schema: dict[str, Any]) -> str | None:
        """Return llguidance's error for *schema*; None if it compiles or the budget is spent."""
        self._left -= count(schema)
        return None if self._left < 0 else self._fails(schema)

    def _keyword_of(self, node: dict[str, Any]) -> str:
        """Return the keyword of *node* without which it compiles, or ""."""
        if len(node) == 1:
            return next(iter(node))
        for keyword in sorted(node, key=lambda word: (word != "pattern", word == "type")):
            if keyword not in _DEFINITIONS:
                rest = {key: value for key, value in node.items() if key != keyword}
                if self._try(rest) is None and self._left >= 0:
                    return keyword
        return ""

    def _parts(self, node: dict[str, Any]) -> Iterator[tuple[_Way, Any]]:
        for keyword in (*LISTS, *MAPS, *ONES):
            value = node.get(keyword)
            if isinstance(value, list):
                yield from (((keyword, at), one) for at, one in enumerate(value))
            elif isinstance(value, dict) and keyword in ONES:
                yield (keyword,), value
            elif isinstance(value, dict):
                yield from (((keyword, name), one) for name, one in value.items())
        if isinstance(node.get("$ref"), str):
            try:
                yield ("$ref",), resolve(self._root, node["$ref"])
            except LookupError:
                return


def _without(node: dict[str, Any], ways: Sequence[_Way]) -> dict[str, Any]:
    """Return *node* with the parts at *ways* replaced by `{}`."""
    copy = {key: _copy(value) for key, value in node.items()}
    for way in ways:
        if len(way) == 1:
            copy[way[0]] = {}
        else:
            copy[way[0]][way[1]] = {}
    return {key: value for key, value in copy.items() if key != "$ref" or value != {}}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list) else value


def _pointer(pointer: str, way: _Way) -> str:
    return "/".join([pointer, *(escaped(str(part)) for part in way)])


_REASONS = {
    "lookarounds not supported": r"word boundaries (\b, \B) are not supported",
    "backreferences": "back-references are not supported",
    "Failed to generate regex for": "bounds beyond ±(2^63 - 1024) are not supported",
    "Regex is empty": "no value is valid by it",
    "no text matches it": "no value is valid by it, or it is too complex",
    "anyOf is empty": "no value is valid by it",
}


def _reason(said: str, value: Any) -> str:
    """Return the reason in llguidance's error *said* about *value*, without internal grammar."""
    for words, reason in _REASONS.items():
        if words in said:
            return reason
    if "look-around" in said:
        text = value if isinstance(value, str) else ""
        behind = re.search(r"\(\?<[=!]", text) and not re.search(r"\(\?[=!]", text)
        return f"look-{'behind' if behind else 'ahead'} is not supported"
    if "regex parse error" in said:
        return f"it is not a valid regular expression: {said.rpartition('error: ')[2].strip()}"
    return said.splitlines()[0].removeprefix("Unsatisfiable schema: ")
