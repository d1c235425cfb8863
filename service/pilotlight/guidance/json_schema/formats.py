"""String formats, as strict as validators. Pure.

llguidance enforces a format by a regex. Some of them allow more than RFC 3339, 5321 and 5891:
29 February in any year, a 61st second at any time, names of any length.
"""

from typing import Any

_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_DATE = f"({_LEAP_YEAR}-02-29|[0-9]{{4}}-(02-([01][0-9]|2[0-8])|(0[13-9]|1[0-2])-[0-9]{{2}}))"
# Nanoseconds at most: a weak model writes digits without end.
_TIME = r"[0-9:]{6}[0-5][0-9](\.[0-9]{1,9})?([Zz+-]|$)"
# No hyphens as third and fourth characters: RFC 5891, 4.2.3.1.
_LABEL = r"([^.]{1,3}|[^.]{2}([^.-][^.]|-[^.-])[^.]*)"

_STRICTER: dict[str, dict[str, Any]] = {
    "date": {"pattern": f"^{_DATE}$"},
    "date-time": {"pattern": f"^{_DATE}[Tt]{_TIME}"},
    "time": {"pattern": f"^{_TIME}"},
    "email": {"pattern": r"^[^@]{1,64}@(\[|[^.]{1,63}(\.[^.]{1,63})*$)", "maxLength": 254},
    "hostname": {"pattern": rf"^{_LABEL}(\.{_LABEL})*$", "maxLength": 253},
}

FORMATS = frozenset({"duration", "ipv4", "ipv6", "uri", "uuid", *_STRICTER})
"""The supported formats."""


def with_strict_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with the patterns that llguidance's regex for its format lacks."""
    named = schema.get("format")
    stricter = _STRICTER.get(named) if isinstance(named, str) else None
    others = schema.get("allOf", [])
    if stricter is None or not isinstance(others, list):
        return schema
    return schema | {"allOf": [*others, stricter]}


def without_unknown_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* without an unknown format, which is an annotation."""
    named = schema.get("format")
    if not isinstance(named, str) or named in FORMATS:
        return schema
    return {key: value for key, value in schema.items() if key != "format"}
