"""Rewrites schemas of older drafts, OpenAPI 3.0 and schema generators in draft 2020-12. Pure.

A value that is valid by the result is valid by the original. `$schema` is ignored. The original is
never changed.
"""

import re
from typing import Any

from pilotlight.guidance.json_schema.subschemas import followed, rewrite

_NAME_FORMATS = {
    "date": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    "time": "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
    "date-time": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
}
"""Property names can only be described by patterns; these are narrower than the formats."""

_SECONDS = r"\d+([.,]\d+)?S"
_CLOCK = rf"T(\d+H(\d+M)?({_SECONDS})?|\d+M({_SECONDS})?|{_SECONDS})"
_DATE = r"(\d+Y(\d+M)?(\d+D)?|\d+M(\d+D)?|\d+D)"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"

EQUIVALENTS = {
    # zod 4's z.email(): no dot first, no two in a row
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
    r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": r"^([A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*"
    r"[A-Za-z0-9_+\-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    # z.iso.duration(): weeks alone, or other parts, of which there is one
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?"
    r"(\d+([.,]\d+)?S)?)?)$": rf"^P(\d+W|{_DATE}({_CLOCK})?|{_CLOCK})$",
    # z.hostname(): at most 253 characters; three labels have at most 191
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$": rf"^{_LABEL}(\.{_LABEL}){{0,2}}$",
}
"""Patterns with look-ahead that generators write, and equivalents or narrower ones without it."""


def modernised(schema: Any) -> Any:
    """Return *schema* rewritten in draft 2020-12."""

    def change(node: dict[str, Any]) -> Any:
        node.pop("$schema", None)
        if is_everything(node.get("not", False)):
            return False
        if node.get("uniqueItems") is False:
            del node["uniqueItems"]
        if isinstance(node.get("items"), list):
            node = _with_prefix(node)
        node.pop("additionalItems", None)  # without effect outside of tuples
        if isinstance(node.get("$ref"), str):
            node["$ref"] = _OF_TUPLE.sub(r"/prefixItems/\1", node["$ref"])
        if isinstance(node.get("pattern"), str):
            node["pattern"] = _with_plain_space(EQUIVALENTS.get(node["pattern"], node["pattern"]))
        elif node.get("contentEncoding") == "base64":
            node["pattern"] = _BASE64
        if "propertyNames" in node:
            node = without_names(node, schema)
        return _with_exclusive(node)

    return rewrite(schema, change)


_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_CLASS = re.compile(r"\\.|\[\^?|\]", re.DOTALL)


def _with_plain_space(pattern: str) -> str:
    r"""Return *pattern* with `\s` and `\S` that mean the same in ECMAScript and Rust.

    U+0085 is whitespace in Rust only, and U+FEFF in ECMAScript only.
    """
    spelled, within = "", ""
    last = 0
    for found in _CLASS.finditer(pattern):
        spelled += pattern[last : found.start()]
        last, part = found.end(), found[0]
        if part[0] == "[" and not within:
            within = part
        elif part == "]":
            within = ""
        elif part == r"\s":
            part = {"": r"[ \t-\r]", "[": r" \t-\r", "[^": r"\s\x{FEFF}"}[within]
        elif part == r"\S" and not within:
            part = r"[^\s\x{FEFF}]"
        spelled += part
    return spelled + pattern[last:]


_OF_TUPLE = re.compile(r"/items/(\d+)(?=/|$)")


def is_everything(schema: Any) -> bool:
    """Return whether every value is valid by *schema*."""
    return schema is True or schema == {}


def _with_prefix(node: dict[str, Any]) -> dict[str, Any]:
    """Return *node* with `prefixItems` for the list that drafts before 2020-12 write as `items`."""
    named = {"prefixItems": node["items"], "items": node.get("additionalItems", True)}
    changed: dict[str, Any] = {}
    for (
        key,
        value,
    ) in node.items():  # in order: llguidance writes properties in the order of the keywords
        if key == "items":
            changed |= named
        elif key not in ("additionalItems", "prefixItems"):
            changed[key] = value
    return changed


def _with_exclusive(node: dict[str, Any]) -> dict[str, Any]:
    """Return *node* with draft 4's boolean exclusive bounds as numbers."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if node.get(exclusive) is False:
            del node[exclusive]
        elif node.get(exclusive) is True and isinstance(node.get(bound), int | float):
            node[exclusive] = node.pop(bound)
    return node


def without_names(node: dict[str, Any], root: Any) -> dict[str, Any]:
    """Return *node* with `propertyNames` replaced by property keywords.

    A `propertyNames` that cannot be replaced stays, and is refused.
    """
    names = node["propertyNames"]
    rest = {key: value for key, value in node.items() if key != "propertyNames"}
    listed = names_of(names, root)
    if listed is not None:
        return _with_listed(rest, listed)
    pattern = pattern_of(names, root)
    if pattern == "":
        return rest
    if pattern is None or rest.get("properties") or rest.get("patternProperties"):
        return node
    values = rest.get("additionalProperties", True)
    return rest | {"patternProperties": {pattern: values}, "additionalProperties": False}


def _with_listed(node: dict[str, Any], names: list[str]) -> dict[str, Any]:
    properties = node.get("properties")
    if not isinstance(properties, dict | None) or node.get("patternProperties"):
        return node | {"propertyNames": {"enum": names}}
    values = node.get("additionalProperties", True)
    allowed = {name: (properties or {}).get(name, values) for name in names}
    return node | {"properties": allowed, "additionalProperties": False}


def names_of(names: Any, root: Any) -> list[str] | None:
    """Return the names that the schema *names* lists, or None."""
    try:
        names = followed(names, root)
    except LookupError:
        return None
    if names is False:
        return []
    if not isinstance(names, dict):
        return None
    for keyword in ("anyOf", "oneOf"):
        if isinstance(names.get(keyword), list):
            parts = [names_of(one, root) for one in names[keyword]]
            return None if None in parts else [name for part in parts for name in part or ()]
    listed = [names["const"]] if "const" in names else names.get("enum")
    if not isinstance(listed, list) or set(names) - _BESIDE - {"enum", "const"}:
        return None
    return [name for name in listed if isinstance(name, str)]


_BESIDE = frozenset({"type", "title", "description", "$comment", "default", "examples"})
_NAMES = _BESIDE | {"pattern", "minLength", "maxLength", "format"}


def pattern_of(names: Any, root: Any) -> str | None:
    """Return the pattern of the names that *names* allows; "" for all, None if there is none."""
    try:
        names = followed(names, root)
    except LookupError:
        return None
    if is_everything(names):
        return ""
    if not isinstance(names, dict) or set(names) - _NAMES or names.get("type") not in _TEXT:
        return None
    sizes = {"minLength", "maxLength"} & names.keys()
    if "pattern" in names:
        return None if sizes else names["pattern"]
    if "format" in names:
        return _NAME_FORMATS.get(names["format"])
    least, most = names.get("minLength", 0), names.get("maxLength", "")
    return f"^(?s:.{{{least},{most}}})$" if sizes else ""


_TEXT: tuple[Any, ...] = (None, "string", ["string"])
