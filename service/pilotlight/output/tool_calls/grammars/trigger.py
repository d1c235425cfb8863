"""Triggers: the markers in free text that begin a call, from which the calls' grammar applies.

As in llama.cpp's lazy grammars and vLLM's structural tags, text is free up to a trigger, and again
behind the calls. A trigger is what the format's reader accepts as the beginning of a call: a marker
that may be ordinary text counts only with the name of a listed function.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from pilotlight.output.tool_calls.grammars.lark import Function

_SPACE = r"[ \t\r\n]*"


class Trigger(Struct, frozen=True):
    """One marker, and the rules behind it.

    A marker with `$name` is one marker for each function.
    """

    marker: str
    expression: bool = False
    """Whether the marker is a regex rather than a fixed text."""
    then: str = ""
    """The rules behind it. Default: all calls, or with `$name` that function's `$body`."""
    anywhere: bool = True
    """Whether it counts anywhere in content, or only at its beginning."""

    def any_of(self, names: str) -> str:
        """Return the regex of the marker with any of *names*, itself a regex."""
        marker = self.marker if self.expression else _escaped(self.marker)
        return marker.replace("$name" if self.expression else _escaped("$name"), f"({names})")

    def alternatives(self, functions: Sequence[Function]) -> Iterator[tuple[str, str]]:
        """Yield the regex of each marker, and the rules behind it."""
        marker = self.marker if self.expression else _escaped(self.marker)
        name = "$name" if self.expression else _escaped("$name")
        if name not in marker:
            yield marker, self.then or "tool_rest"
            return
        for index, function in enumerate(functions):
            rest = (self.then or "$body").replace("$body", f"tool_body_{index} tool_more")
            yield marker.replace(name, re.escape(function.name)), rest


def lazy_rules(
    triggers: Sequence[Trigger],
    never: str,
    functions: Sequence[Function],
    *,
    text_after_calls: bool,
    closer: str,
) -> str:
    """Return the rules of `tool_auto`: free text up to a trigger, then calls.

    With *text_after_calls* free text follows, and more calls. *closer* ends the reasoning before
    the content, which is part of the text; *never* is a regex of what content must not begin with.
    """
    # A trigger and the text before it are one lexeme, since one token may contain both. The text
    # without a call excludes all triggers: llguidance would follow both alternatives otherwise, and
    # a call would never be enforced.
    begin = f"((?s:.*){_escaped(closer)})?{_SPACE}" if closer else _SPACE
    names = "|".join(re.escape(function.name) for function in functions)
    refused = [begin + never.replace("$names", names)] if never else []
    midst = [one.any_of(names) for one in triggers if one.anywhere]
    first = [one.any_of(names) for one in triggers if not one.anywhere]
    calls = [f"(?s:.*)({'|'.join(midst)})"] * bool(midst)
    calls += [f"{begin}({'|'.join(first)})"] * bool(first)
    alternatives = [
        (trigger.anywhere, marker, rest)
        for trigger in triggers
        for marker, rest in trigger.alternatives(functions)
    ]
    lines = [
        "tool_auto: tool_open* TOOL_TEXT?"
        if text_after_calls
        else "tool_auto: TOOL_TEXT | tool_open",
        "tool_open: " + " | ".join(f"tool_open_{at}" for at in range(len(alternatives))),
        f"TOOL_TEXT: {_text_without([*calls, *refused])}",
        f"TOOL_BEFORE: {_text_without(refused)}",
    ]
    for at, (anywhere, marker, rest) in enumerate(alternatives):
        before = "TOOL_BEFORE" if anywhere else f"/{_slashed(begin)}/"
        lines.append(f"tool_open_{at}: tool_trigger_{at} {rest}")
        lines.append(f"tool_trigger_{at}[lazy]: TOOL_TRIGGER_{at}")
        lines.append(f"TOOL_TRIGGER_{at}: {before} /{_slashed(marker)}/")
    return "\n".join(lines) + "\n"


def _text_without(beginnings: Sequence[str]) -> str:
    """Return the expression of all texts that begin with none of these regexes."""
    return "".join(["/(?s:.*)/", *(f" & ~/{_slashed(one)}(?s:.*)/" for one in beginnings)])


def _escaped(text: str) -> str:
    return re.escape(text).replace("\\\n", r"\n")


def _slashed(pattern: str) -> str:
    return pattern.replace("/", r"\/").replace("\n", r"\n")
