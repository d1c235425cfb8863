"""Checks whether a JSON Schema is supported, and rewrites it for llguidance. Pure.

llguidance supports most of JSON Schema 2020-12 and refuses most of the rest, without saying where
in the schema the fault is. Keywords that it ignores or enforces wrongly are refused here.
Source: llguidance, docs/json_schema.md.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pilotlight.guidance.errors import GrammarInvalid, SchemaUnsupported
from pilotlight.guidance.json_schema.closing import closed, may_close
from pilotlight.guidance.json_schema.disjoint import are_disjoint, with_any_of
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
    pointer_of,
    resolve,
    rewrite,
)

MAX_DEPTH = 64
"""Levels of objects and lists in a schema. References may nest a value deeper."""
MAX_BYTES = 128 * 1024
"""Bytes of a schema, as compact JSON."""
MAX_NODES = 20_000
"""Objects and lists in a schema."""

UNSUPPORTED = frozenset(  # x-guidance holds llguidance's own options
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
    """Raise `GrammarInvalid` if *schema* is not a schema, is too large, or is not supported.

    An unknown `format` is an annotation, and refused only if *strict*. Definitions that nothing
    refers to are not checked.
    """
    if schema is not True and not isinstance(schema, dict):
        raise GrammarInvalid(f"expected a JSON Schema, an object, not {_kind(schema)}")
    check_size(schema)
    if isinstance(schema, dict) and is_everything(schema.get("not", False)):
        raise GrammarInvalid("no value is valid by it", "/not")
    walk = _Walk(schema, strict=strict)
    walk.check(schema, "")
    pointer = endless(walk.found)
    if pointer is not None:
        raise GrammarInvalid("its values never end: each requires another one", pointer)


def simplified(schema: Any) -> Any:
    """Return the checked *schema* rewritten, so that llguidance enforces it strictly."""
    schema = modernised(schema)
    closes = may_close(schema)

    def change(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("oneOf"), list):
            node = with_any_of(node)
        node = with_bounds(with_strict_format(without_unknown_format(node)))
        return closed(node) if closes else node

    return rewrite({} if schema is True else schema, change)


def check_size(schema: Any, *, depth: int = MAX_DEPTH, length: int = MAX_BYTES) -> None:
    """Raise `GrammarInvalid` if *schema* is too large, or cannot be written as JSON.

    The limits are *depth* levels, *length* bytes and `MAX_NODES` objects and lists.
    """
    _check_depth(schema, depth)
    _check_length(schema, length)


def _check_depth(schema: Any, most: int) -> None:
    nodes = [(schema, 0)]
    for count, (node, depth) in enumerate(nodes):
        if depth > most:
            raise GrammarInvalid(f"the schema has more than {most} levels")
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
        raise GrammarInvalid(f"the schema has {length} bytes; at most {most}")


class _Walk:
    """Visits every schema that a root leads to, each once."""

    def __init__(self, root: Any, *, strict: bool) -> None:
        self._root = root
        self._strict = strict
        self.found: dict[str, dict[str, Any]] = {}
        """The visited schemas, by JSON Pointer."""

    def check(self, schema: Any, pointer: str) -> None:
        """Check *schema* at *pointer*, and all schemas that it leads to."""
        waiting = [(schema, pointer)]
        while waiting:
            node, pointer = waiting.pop()
            if pointer in self.found or not isinstance(node, dict):
                continue  # true or false; llguidance refuses other values
            self.found[pointer] = node
            for keyword, value in node.items():
                self._check_keyword(node, keyword, value, f"{pointer}/{escaped(keyword)}")
            waiting += self._next(node, pointer)

    def _check_keyword(
        self, schema: dict[str, Any], keyword: str, value: Any, pointer: str
    ) -> None:
        reason = _objection(schema, keyword, value, strict=self._strict)
        if keyword == "propertyNames" and not self._names_can_be_kept(schema):
            reason = "expected an enum of names, or one pattern for all names"
        if keyword == "$ref" and reason is None and isinstance(value, str):
            reason = self._missing(value)
        if keyword == "oneOf" and isinstance(value, list) and not self._are_disjoint(value):
            reason = "its schemas must differ in their types or in a required constant"
        if reason:
            raise SchemaUnsupported(keyword, pointer, reason)

    def _missing(self, reference: str) -> str | None:
        try:
            resolve(self._root, reference)
        except LookupError:
            return f"the reference {reference!r} leads nowhere"
        return None

    def _names_can_be_kept(self, schema: dict[str, Any]) -> bool:
        return "propertyNames" not in without_names(schema, self._root)

    def _are_disjoint(self, options: list[Any]) -> bool:
        try:
            return are_disjoint(options, self._root)
        except LookupError:
            return True  # a missing reference is reported at its own pointer

    def _next(self, schema: dict[str, Any], pointer: str) -> Iterator[tuple[Any, str]]:
        for keyword in (*LISTS, *MAPS, *ONES):
            value = schema.get(keyword)
            if isinstance(value, dict if keyword in MAPS else list):
                yield from _members(value, f"{pointer}/{keyword}")
            elif keyword in ONES and keyword in schema:
                yield value, f"{pointer}/{keyword}"
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield resolve(self._root, reference), pointer_of(reference)


def _members(schemas: Any, pointer: str) -> Iterator[tuple[Any, str]]:
    named = schemas.items() if isinstance(schemas, dict) else enumerate(schemas)
    for name, one in named:
        yield one, f"{pointer}/{escaped(str(name))}"


def _objection(schema: dict[str, Any], keyword: str, value: Any, *, strict: bool) -> str | None:
    """Return why *keyword* of *schema* is not supported, or None."""
    reason: str | None = None
    match keyword:
        case "uniqueItems" if value is False:
            pass
        case "not" if is_everything(value):
            pass  # means false
        case "propertyNames":
            pass  # checked with the whole schema
        case _ if keyword in UNSUPPORTED:
            reason = f"the keyword {keyword!r} is not supported"
        case "$ref" if isinstance(value, str) and value != "#" and not value.startswith("#/"):
            reason = f"{value!r} is not supported: expected a reference within the schema, '#/…'"
        case "format" if isinstance(value, str) and _matters(schema, value, strict=strict):
            reason = f"the format {value!r} is not supported"
        case "exclusiveMinimum" | "exclusiveMaximum" if value is True and _lacks_bound(
            schema, keyword
        ):
            reason = "expected a number, not true"
        case "minProperties" if isinstance(value, int) and value > _counted(schema):
            # A model may write the same name twice, which counts once.
            reason = f"{value} is not supported: expected at most {_counted(schema)}"
    return reason


def _matters(schema: dict[str, Any], name: str, *, strict: bool) -> bool:
    """Return whether an unsupported format matters; with a pattern beside it, it does not."""
    return strict and name not in FORMATS and _is_text(schema) and "pattern" not in schema


def _lacks_bound(schema: dict[str, Any], keyword: str) -> bool:
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
