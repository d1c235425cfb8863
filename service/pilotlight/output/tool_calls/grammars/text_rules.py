"""The grammar of text without quotes, up to a tag that ends it."""

import re
from collections.abc import Mapping
from typing import Any

from pilotlight.errors import InvalidRequest

_CLASSES = {r"\d": "0-9", r"\w": "0-9A-Za-z_"}
_PART = re.compile(r"\\.|\[\^?|\]|.", re.DOTALL)


def text_rules(name: str, schema: Mapping[str, Any], end: str, *, strict: bool) -> str:
    """Return the rules of a text that is valid by *schema*, and its *end*; "" for any text.

    *name* is the first rule. The text must not contain the end, since its reader stops there.
    Raises `InvalidRequest` for keywords that cannot be enforced without quotes.
    """
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if strict and "format" in schema and "pattern" not in schema:
        raise InvalidRequest(
            f"the format {schema['format']!r} is not supported for this model's tool calls"
        )
    parts = [f"/(?s:.{{{least},{most}}})/"] if least or most != "" else []
    if isinstance(schema.get("pattern"), str):
        parts.append(f"/{_slashed(_whole(schema['pattern']))}/")
    if not parts:
        return ""
    upper = name.upper()
    parts.append(f"~/(?s:.*){_slashed(re.escape(end))}(?s:.*)/")
    return (
        f"{name}[lazy]: {upper}\n"
        f"{upper}: {upper}_TEXT /{_slashed(re.escape(end))}/\n"
        f"{upper}_TEXT: {' & '.join(parts)}\n"
    )


def _whole(pattern: str) -> str:
    """Return a regex of whole texts that contain a match of the JSON Schema *pattern*."""
    spelled, within, depth, odd = "", False, 0, False
    begins = pattern.startswith("^")
    ends = pattern.endswith("$") and not pattern.endswith(r"\$")
    body = pattern[begins : len(pattern) - ends]
    for part in _PART.findall(body):
        if part in _CLASSES:
            spelled += _CLASSES[part] if within else f"[{_CLASSES[part]}]"
            continue
        if not within:
            depth += (part == "(") - (part == ")")
            odd = odd or part in ("^", "$") or (part == "|" and not depth and (begins or ends))
        within = part[0] == "[" if not within else part != "]"
        spelled += part
    if odd or re.search(r"\(\?[=!<]|\\[bB1-9kpPuxc]", body):
        raise InvalidRequest(
            f"the pattern {pattern!r} is not supported for this model's tool calls"
        )
    before, after = "" if begins else "(?s:.*)", "" if ends else "(?s:.*)"
    return f"{before}({spelled}){after}"


def _slashed(pattern: str) -> str:
    plain = pattern.replace("\\\n", "\n").replace(r"\/", "/")  # `re.escape` writes these escapes
    return plain.replace("/", r"\/").replace("\n", r"\n")
