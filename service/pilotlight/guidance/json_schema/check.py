"""Which JSON Schemas can be honoured. Pure.

llguidance honours most of JSON Schema 2020-12 and refuses most of what it does not, but not where
in the schema it stands. What it takes wrongly without a word is refused here too.
Source: its docs/json_schema.md.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pilotlight.guidance.errors import GrammarInvalid, SchemaUnsupported
from pilotlight.guidance.json_schema.closing import closed, may_close
from pilotlight.guidance.json_schema.disjoint import told_apart, with_any_of
from pilotlight.guidance.json_schema.drafts import is_everything, modernised, without_names
from pilotlight.guidance.json_schema.finite import endless
from pilotlight.guidance.json_schema.formats import (
    FORMATS,
    with_strict_format,
    without_unknown_format,
)
from pilotlight.guidance.json_schema.numbers import with_bounds
from pilotlight.guidance.json_schema.subschemas import (
    LISTS,
    MAPS,
    ONES,
    escaped,
    place_of,
    resolve,
    rewrite,
)

MAX_DEPTH = 64
"""Levels of objects and lists in a schema; an answer nests as deep as its references lead."""
MAX_BYTES = 128 * 1024
"""Bytes of a schema, written without spaces."""
MAX_NODES = 20_000
"""Objects and lists in a schema."""

UNSUPPORTED = frozenset(  # and llguidance's own options, which are not a caller's
    {
        "$dynamicRef",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
        "x-guidance",
    }
)


def check_schema(schema: Any, *, strict: bool = True) -> None:
    """Raise `GrammarInvalid` where *schema* is none, is too large, or cannot be honoured.

    Formats that are not known are annotations, and refused only where the caller is *strict*.
    Only what its root leads to is looked at: definitions that nothing refers to do no harm.
    """
    if schema is not True and not isinstance(schema, dict):
        raise GrammarInvalid(f"a JSON Schema is an object, not {_kind(schema)}")
    check_size(schema)
    if isinstance(schema, dict) and is_everything(schema.get("not", False)):
        raise GrammarInvalid("nothing is valid by it", "/not")
    walk = _Walk(schema, strict=strict)
    walk.check(schema, "")
    place = endless(walk.found)
    if place is not None:
        raise GrammarInvalid("its values are endless: each requires another one", place)


def simplified(schema: Any) -> Any:
    """Return the checked *schema* so that llguidance takes it, and takes it strictly."""
    schema = modernised(schema)
    closes = may_close(schema)

    def change(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("oneOf"), list):
            node = with_any_of(node)
        node = with_bounds(with_strict_format(without_unknown_format(node)))
        return closed(node) if closes else node

    return rewrite({} if schema is True else schema, change)


def check_size(schema: Any, *, depth: int = MAX_DEPTH, length: int = MAX_BYTES) -> None:
    """Raise `GrammarInvalid` where *schema* is too large to look at more closely.

    It has more levels than *depth*, more bytes than *length*, or more objects and lists than is of
    use; or it cannot be written as JSON.
    """
    _check_depth(schema, depth)
    _check_length(schema, length)


def _check_depth(schema: Any, most: int) -> None:
    nodes = [(schema, 0)]
    for count, (node, depth) in enumerate(nodes):
        if depth > most:
            raise GrammarInvalid(f"the schema is nested deeper than {most} levels")
        if count > MAX_NODES:
            raise GrammarInvalid(f"the schema has more than {MAX_NODES} objects and lists")
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list):
            nodes += [(one, depth + 1) for one in children if isinstance(one, dict | list)]


def _check_length(schema: Any, most: int) -> None:
    try:
        length = len(msgspec.json.encode(schema))
    except (OverflowError, TypeError, UnicodeEncodeError) as error:
        raise GrammarInvalid(f"the schema cannot be written as JSON: {error}") from error
    if length > most:
        raise GrammarInvalid(f"the schema has {length} bytes, more than {most}")


class _Walk:
    """A look at every schema that a root leads to, each once."""

    def __init__(self, root: Any, *, strict: bool) -> None:
        self._root = root
        self._strict = strict
        self.found: dict[str, dict[str, Any]] = {}
        """What was looked at, by its place."""

    def check(self, schema: Any, pointer: str) -> None:
        """Check *schema*, which stands at *pointer*, and what it leads to."""
        waiting = [(schema, pointer)]
        while waiting:
            node, place = waiting.pop()
            if place in self.found or not isinstance(node, dict):
                continue  # true and false; what else is no schema is llguidance's to refuse
            self.found[place] = node
            for keyword, value in node.items():
                self._check_keyword(node, keyword, value, f"{place}/{escaped(keyword)}")
            waiting += self._next(node, place)

    def _check_keyword(self, schema: dict[str, Any], keyword: str, value: Any, place: str) -> None:
        reason = _objection(schema, keyword, value, strict=self._strict)
        if keyword == "propertyNames" and not self._names_can_be_kept(schema):
            reason = "only names that are listed, or one pattern of all names, are supported"
        if keyword == "$ref" and reason is None and isinstance(value, str):
            reason = self._missing(value)
        if keyword == "oneOf" and isinstance(value, list) and not self._told_apart(value):
            reason = "its schemas do not differ in their types or in a required constant"
        if reason:
            raise SchemaUnsupported(keyword, place, reason)

    def _missing(self, reference: str) -> str | None:
        try:
            resolve(self._root, reference)
        except LookupError:
            return f"it refers to {reference!r}, which is not there"
        return None

    def _names_can_be_kept(self, schema: dict[str, Any]) -> bool:
        return "propertyNames" not in without_names(schema, self._root)

    def _told_apart(self, options: list[Any]) -> bool:
        try:
            return told_apart(options, self._root)
        except LookupError:
            return True  # what is missing is told at its own place

    def _next(self, schema: dict[str, Any], place: str) -> Iterator[tuple[Any, str]]:
        for keyword in (*LISTS, *MAPS, *ONES):
            value = schema.get(keyword)
            if isinstance(value, dict if keyword in MAPS else list):
                yield from _members(value, f"{place}/{keyword}")
            elif keyword in ONES and keyword in schema:
                yield value, f"{place}/{keyword}"
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield resolve(self._root, reference), place_of(reference)


def _members(schemas: Any, place: str) -> Iterator[tuple[Any, str]]:
    named = schemas.items() if isinstance(schemas, dict) else enumerate(schemas)
    for name, one in named:
        yield one, f"{place}/{escaped(str(name))}"


def _objection(schema: dict[str, Any], keyword: str, value: Any, *, strict: bool) -> str | None:
    """Return what speaks against *keyword* of *schema*, if anything does."""
    reason: str | None = None
    match keyword:
        case "uniqueItems" if value is False:
            pass
        case "not" if is_everything(value):
            pass  # nothing is valid by it: false
        case "propertyNames":
            pass  # looked at with the whole schema
        case _ if keyword in UNSUPPORTED:
            reason = f"the keyword {keyword!r} is not supported"
        case "$ref" if isinstance(value, str) and value != "#" and not value.startswith("#/"):
            reason = f"{value!r} is not supported: expected a reference within the schema, '#/…'"
        case "format" if isinstance(value, str) and _matters(schema, value, strict=strict):
            reason = f"the format {value!r} is not supported"
        case "exclusiveMinimum" | "exclusiveMaximum" if value is True and _lacks(schema, keyword):
            reason = "it is a number since draft 6, not true"
        case "minProperties" if isinstance(value, int) and value > _counted(schema):
            # Nothing keeps a model from writing the same name twice, which then counts once.
            reason = f"{value} is more than one, and than what is required"
    return reason


def _matters(schema: dict[str, Any], name: str, *, strict: bool) -> bool:
    """Tell whether a format restricts more than can be kept; a pattern beside it says it all."""
    return strict and name not in FORMATS and _is_text(schema) and "pattern" not in schema


def _lacks(schema: dict[str, Any], keyword: str) -> bool:
    bound = "minimum" if keyword == "exclusiveMinimum" else "maximum"
    return not isinstance(schema.get(bound), int | float)


def _counted(schema: dict[str, Any]) -> int:
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    return max(1, len({name for name in names if isinstance(name, str)}))


def _is_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])


def _kind(value: Any) -> str:
    return {bool: "false", type(None): "null", list: "a list", str: "a string"}.get(
        type(value), "a number"
    )
