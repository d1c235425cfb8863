"""`tojson` and `from_json`, within bounds."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.estimates import number, too_large
from pilotlight.prompt.sandbox.sizes import size


def tojson(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 templates pass these by position too
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Write JSON as transformers does: for a model, so nothing is escaped for HTML."""
    _check_json(value, indent, separators, ascii_only=ensure_ascii)
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    # `encode` runs in C, which cannot be stopped; with an indent Python has no C encoder.
    if indent is None and _is_small(value):
        return encoder.encode(value)
    return _joined(encoder.iterencode(value))


def from_json(text: str) -> Any:
    """Return the value of the JSON *text*; DeepSeek's templates read arguments with it."""
    return json.loads(text)


def _joined(pieces: Iterable[str]) -> str:
    """Return *pieces* of JSON joined; raises `TemplateExceeded` if they are too long."""
    written: list[str] = []
    left = limits.MAX_OUTPUT
    iterator = iter(pieces)
    # The encoder yields a few characters at a time, so they are counted in batches.
    while batch := list(islice(iterator, 100)):
        piece = "".join(batch)
        left -= len(piece)
        if left < 0:
            raise too_large("tojson")
        written.append(piece)
    return "".join(written)


def _check_json(value: object, indent: object, separators: object, *, ascii_only: bool) -> None:
    """Raise `TemplateExceeded` for a wide indent or separator, or a text that is too long."""
    for one in (indent, *(separators if isinstance(separators, (list, tuple)) else ())):
        width = len(one) if isinstance(one, str) else number(one)
        if width > limits.MAX_INDENT:
            raise TemplateExceeded(
                f"the chat template: an indent or separator of {width} characters in tojson is over"
                f" {limits.MAX_INDENT}"
            )
    if size(value) * _UNICODE_ESCAPES > limits.MAX_OUTPUT:
        for text in _texts(value):
            if _json_length(text, ascii_only=ascii_only) > limits.MAX_OUTPUT:
                raise too_large("tojson")


_UNICODE_ESCAPES = 12
"""Characters that ASCII JSON writes for one above U+FFFF: two escapes of six (RFC 8259, 7)."""
_CONTROLS = [chr(code) for code in range(32)]


def _json_length(text: str, *, ascii_only: bool) -> int:
    """Return the characters of *text* in JSON at most; 0 if it is too short to matter."""
    if len(text) * _UNICODE_ESCAPES <= limits.MAX_OUTPUT:
        return 0
    if ascii_only and not text.isascii():
        return len(text) * _UNICODE_ESCAPES
    controls = 0 if text.isprintable() else sum(map(text.count, _CONTROLS))
    short = sum(map(text.count, "\n\r\t\b\f"))  # these have escapes of two characters
    return len(text) + 5 * controls - 4 * short + text.count('"') + text.count("\\")


def _texts(value: object) -> Iterable[str]:
    """Yield every text in *value*, at any depth."""
    inside = [value]
    while inside:
        one = inside.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            inside += (*one.keys(), *one.values())
        elif isinstance(one, (list, tuple)):
            inside += one


def _is_small(value: object) -> bool:
    """Return whether the JSON of *value* in one line is within the limits in the worst case."""
    return size(value) * (_UNICODE_ESCAPES + limits.MAX_INDENT) <= limits.MAX_OUTPUT
