"""Rewords msgspec's decode errors: `max_tokens: expected an integer, got a string`.

A `ValidationError` has no attributes: path and reason are only in its text
("Expected `int`, got `str` - at `$.max_tokens`"). Only this module parses it; its tests pin every
form that msgspec 0.x writes (`_core.c`).
"""

import re
from collections.abc import Callable

import msgspec

REQUIRED = "this field is required"
UNKNOWN = "there is no such field"

_AT = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`$")
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "a boolean",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "bytes": "base64",
}
_UNITS = {"str": "character", "array": "item", "object": "property", "bytes": "byte"}
_LIMITS = {
    ">=": "of at least",
    "<=": "of at most",
    ">": "greater than",
    "<": "less than",
}


def describe(error: Exception) -> str:
    """Return one line for an error of reading a JSON file: `model.vocab: expected an object`."""
    match error:
        case msgspec.ValidationError():
            reason, path = split(str(error))
            return f"{path}: {reason}" if path else reason
        case msgspec.DecodeError() | UnicodeDecodeError():
            return f"not valid JSON: {syntax(error)}"
        case RecursionError():
            return "nested too deeply"
    return str(error)


def syntax(error: Exception) -> str:
    """Return the reason why a text is not JSON."""
    reason = str(error).removeprefix("JSON is malformed: ")
    return reason[:1].lower() + reason[1:]


def split(message: str) -> tuple[str, str | None]:
    """Return the reason and the JSON path, such as `messages[2].role`, of a `ValidationError`."""
    path, reason, is_key = "", message, False
    # An error of a nested decoder, in a `dec_hook`, has two paths: the inner one, then the hook's.
    while found := _AT.search(reason):
        path, reason = path + found["path"], reason[: found.start()]
        is_key = is_key or found["key"] is not None
    path = path.removeprefix(".")
    for pattern, fault in ((_MISSING, REQUIRED), (_UNEXPECTED, UNKNOWN)):
        if field := pattern.fullmatch(reason):
            return fault, f"{path}.{field['name']}" if path else field["name"]
    return ("a key: " if is_key else "") + _reworded(reason), path or None


_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_UNEXPECTED = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")


def _reworded(reason: str) -> str:
    for pattern, words in _SHAPES:
        if found := pattern.fullmatch(reason):
            return words(found)
    return reason[:1].lower() + reason[1:]


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(name, name) for name in names.split(" | "))


def _mismatch(found: re.Match[str]) -> str:
    # An allowed null means the same as omitting the field: the message does not mention it.
    expected = _kinds(found["kind"].removesuffix(" | null"))
    return f"expected {expected}" + (f", got {_kinds(found['got'])}" if found["got"] else "")


def _limit(found: re.Match[str]) -> str:
    limit = found["limit"].removesuffix(".0")
    return f"expected {_kinds(found['kind'])} {_LIMITS[found['sign']]} {limit}"


def _length(found: re.Match[str]) -> str:
    count, unit = int(found["limit"]), _UNITS[found["kind"]]
    plural = unit if count == 1 else unit.removesuffix("y") + ("ies" if unit[-1] == "y" else "s")
    return f"expected {_kinds(found['kind'])} {_LIMITS[found['sign']]} {count} {plural}"


_Words = Callable[[re.Match[str]], str]
_SHAPES: tuple[tuple[re.Pattern[str], _Words], ...] = (
    (re.compile(r"Expected `(?P<kind>[^`]*)`(, got `(?P<got>[^`]*)`)?"), _mismatch),
    (re.compile(r"Expected `(?P<kind>\w+)` (?P<sign>[<>]=?) (?P<limit>\S+)"), _limit),
    (re.compile(r"Expected `(?P<kind>\w+)` of length (?P<sign>[<>]=) (?P<limit>\d+)"), _length),
    (
        re.compile(r"Expected `str` matching regex (?P<regex>.*)", re.DOTALL),
        # msgspec writes a repr, with doubled backslashes.
        lambda found: f"expected a string that matches {found['regex']}".replace("\\\\", "\\"),
    ),
    (
        re.compile(r"Invalid (?:enum )?value (?P<value>.*)", re.DOTALL),
        lambda found: f"invalid value {found['value']}",
    ),
)
