"""Which JSON Schemas can be honoured. Pure.

llguidance honours most of JSON Schema 2020-12 and refuses most of what it does not, but not where
in the schema it stands. What it takes wrongly without a word is refused here too.
Source: its docs/json_schema.md.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pilotlight.guidance.errors import GrammarInvalid, SchemaUnsupported

MAX_DEPTH = 64
"""Levels of objects and lists in a schema; an answer nests as deep as its references lead."""
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
FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "unknown",
        "uri",
        "uuid",
    }
)
"""Formats of strings that llguidance writes; `unknown` is its word for any string."""
_OLD_DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09")

_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("patternProperties", "properties")
_ONES = ("additionalItems", "additionalProperties", "items")


def check_schema(schema: Any) -> None:
    """Raise `GrammarInvalid` where *schema* is none, is too large, or cannot be honoured.

    Only what its root leads to is looked at: definitions that nothing refers to do no harm.
    """
    if schema is not True and not isinstance(schema, dict):
        raise GrammarInvalid(f"a JSON Schema is an object, not {_kind(schema)}")
    _check_size(schema)
    _Walk(schema).check(schema, "")


def with_disjoint_choices(schema: Any) -> Any:
    """Return *schema* with the references in `oneOf` replaced by what they refer to.

    llguidance takes `oneOf` where it can prove that no value is valid by two of its schemas, by
    a property with a constant value for example, and for that it looks into no reference. Raises
    `GrammarInvalid` where that becomes too large.
    """
    inlined = _inlined(schema, schema)
    _check_size(inlined)
    return inlined


def _inlined(node: Any, root: Any) -> Any:
    if isinstance(node, list):
        return [_inlined(one, root) for one in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _inlined(value, root) for key, value in node.items()}
    options = copy.get("oneOf")
    if isinstance(options, list):
        copy["oneOf"] = [_target(one, root) for one in options]
    return copy


def _target(option: Any, root: Any) -> Any:
    if isinstance(option, dict) and set(option) == {"$ref"} and isinstance(option["$ref"], str):
        try:
            return resolve(root, option["$ref"])
        except LookupError:
            return option
    return option


def resolve(root: Any, reference: str) -> Any:
    """Return what *reference*, `#` and a JSON Pointer, refers to; raises `LookupError`."""
    node = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            if not name.isdecimal():
                raise KeyError(name)
            node = node[int(name)]
        elif isinstance(node, dict):
            node = node[name]
        else:
            raise KeyError(name)
    return node


def _check_size(schema: Any) -> None:
    nodes = [(schema, 0)]
    for count, (node, depth) in enumerate(nodes):
        if depth > MAX_DEPTH:
            raise GrammarInvalid(f"the schema is nested deeper than {MAX_DEPTH} levels")
        if count > MAX_NODES:
            raise GrammarInvalid(f"the schema has more than {MAX_NODES} objects and lists")
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list):
            nodes += [(one, depth + 1) for one in children if isinstance(one, dict | list)]


class _Walk:
    """A look at every schema that a root leads to, each once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        named = root.get("$schema") if isinstance(root, dict) else None
        self._old = isinstance(named, str) and any(draft in named for draft in _OLD_DRAFTS)
        self._seen: set[str] = set()

    def check(self, schema: Any, pointer: str) -> None:
        """Check *schema*, which stands at *pointer*, and what it leads to."""
        waiting = [(schema, pointer)]
        while waiting:
            node, place = waiting.pop()
            if place in self._seen or not isinstance(node, dict):
                continue  # true and false; what else is no schema is llguidance's to refuse
            self._seen.add(place)
            for keyword, value in node.items():
                self._check_keyword(node, keyword, value, f"{place}/{_escape(keyword)}")
            waiting += self._next(node, place)

    def _check_keyword(self, schema: dict[str, Any], keyword: str, value: Any, place: str) -> None:
        reason = _objection(schema, keyword, value, old=self._old)
        if reason:
            raise SchemaUnsupported(keyword, place, reason)

    def _next(self, schema: dict[str, Any], place: str) -> Iterator[tuple[Any, str]]:
        for keyword in _LISTS:
            yield from _members(schema, keyword, place)
        for keyword in _MAPS:
            if isinstance(schema.get(keyword), dict):
                yield from _members(schema, keyword, place)
        for keyword in _ONES:
            if isinstance(schema.get(keyword), list):
                yield from _members(schema, keyword, place)
            elif keyword in schema:
                yield schema[keyword], f"{place}/{keyword}"
        reference = schema.get("$ref")
        if isinstance(reference, str):
            try:
                yield resolve(self._root, reference), reference.removeprefix("#")
            except LookupError:
                raise SchemaUnsupported(
                    "$ref", f"{place}/$ref", f"'$ref' to {reference!r}, which is not there,"
                ) from None


def _members(schema: dict[str, Any], keyword: str, place: str) -> Iterator[tuple[Any, str]]:
    value = schema.get(keyword)
    named = value.items() if isinstance(value, dict) else enumerate(value or ())
    for name, one in named:
        yield one, f"{place}/{keyword}/{_escape(str(name))}"


def _objection(schema: dict[str, Any], keyword: str, value: Any, *, old: bool) -> str | None:
    """Return what speaks against *keyword* of *schema*, if anything does."""
    reason: str | None = None
    match keyword:
        case "uniqueItems" if value is False:
            pass
        case _ if keyword in UNSUPPORTED:
            reason = f"unsupported keyword {keyword!r}"
        case "$ref" if isinstance(value, str) and value != "#" and not value.startswith("#/"):
            reason = f"'$ref' to {value!r}: only '#/…', within the schema, is followed; found"
        case "format" if isinstance(value, str) and value not in FORMATS and _is_text(schema):
            reason = f"unsupported format {value!r}"
        case "exclusiveMinimum" | "exclusiveMaximum" if isinstance(value, bool):
            reason = f"{keyword!r} is a number since draft 6, not {str(value).lower()};"
        case "items" if isinstance(value, list) and not old:
            reason = "'items' is no list since draft 2020-12: 'prefixItems' is;"
        case "additionalItems" if not old:
            reason = "'additionalItems' is no keyword since draft 2020-12: 'items' is;"
        case "minProperties" if isinstance(value, int) and value > _counted(schema):
            # Nothing keeps a model from writing the same name twice, which then counts once.
            reason = f"'minProperties' of {value}, more than one and than what is required,"
    return reason


def _counted(schema: dict[str, Any]) -> int:
    required = schema.get("required")
    return max(1, len(set(required)) if isinstance(required, list) else 0)


def _is_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _kind(value: Any) -> str:
    return {bool: "false", type(None): "null", list: "a list", str: "a string"}.get(
        type(value), "a number"
    )
