"""Where free text becomes a call: the markers from which on a call's grammar holds.

As llama.cpp's lazy grammars and vLLM's structural tags have it, an answer is free up to a marker,
and behind the calls again. What begins a call is what the format's reader takes for
one: where a marker is ordinary text too, it is one with the name of a listed function.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from pilotlight.output.tool_calls.grammars.lark import Function

_SPACE = r"[ \t\r\n]*"


class Trigger(Struct, frozen=True):
    """One marker, and what has to follow it.

    With `$name`, the name of each function, it is one marker for each of them.
    """

    marker: str
    expression: bool = False
    """Whether the marker is an expression, rather than a fixed text."""
    then: str = ""
    """The rules behind it: all calls; behind a `$name`, `$body`, the rest of that function's."""
    anywhere: bool = True
    """Whether it may stand in the midst of content, or only where that begins."""

    def any_of(self, names: str) -> str:
        """Return the expression of the marker with any of *names*, an expression too."""
        marker = self.marker if self.expression else _escaped(self.marker)
        return marker.replace("$name" if self.expression else _escaped("$name"), f"({names})")

    def leads(self, functions: Sequence[Function]) -> Iterator[tuple[str, str]]:
        """Yield an expression of each marker, and the rules behind it."""
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
    goes_on: bool,
    closer: str,
) -> str:
    """Return the rules of `tool_auto`: text that is free up to a marker, then calls.

    Where it *goes_on*, free text follows, and more calls. *closer* ends a thought before the
    content, and may stand in the text; *never* is what content may not begin with.
    """
    begin = f"((?s:.*){_escaped(closer)})?{_SPACE}" if closer else _SPACE
    names = "|".join(re.escape(function.name) for function in functions)
    refused = [begin + never.replace("$names", names)] if never else []
    midst = [one.any_of(names) for one in triggers if one.anywhere]
    first = [one.any_of(names) for one in triggers if not one.anywhere]
    calls = [f"(?s:.*)({'|'.join(midst)})"] * bool(midst)
    calls += [f"{begin}({'|'.join(first)})"] * bool(first)
    leads = [
        (trigger.anywhere, marker, rest)
        for trigger in triggers
        for marker, rest in trigger.leads(functions)
    ]
    lines = [
        "tool_auto: tool_open* TOOL_TEXT?" if goes_on else "tool_auto: TOOL_TEXT | tool_open",
        "tool_open: " + " | ".join(f"tool_open_{at}" for at in range(len(leads))),
        f"TOOL_TEXT: {_text_without([*calls, *refused])}",
        f"TOOL_BEFORE: {_text_without(refused)}",
    ]
    for at, (anywhere, marker, rest) in enumerate(leads):
        before = "TOOL_BEFORE" if anywhere else f"/{_slashed(begin)}/"
        lines.append(f"tool_open_{at}: tool_lead_{at} {rest}")
        lines.append(f"tool_lead_{at}[lazy]: TOOL_LEAD_{at}")
        lines.append(f"TOOL_LEAD_{at}: {before} /{_slashed(marker)}/")
    return "\n".join(lines) + "\n"


def _text_without(beginnings: Sequence[str]) -> str:
    """Return the expression of any text that begins with none of these."""
    return "".join(["/(?s:.*)/", *(f" & ~/{_slashed(one)}(?s:.*)/" for one in beginnings)])


def _escaped(text: str) -> str:
    return re.escape(text).replace("\\\n", r"\n")


def _slashed(pattern: str) -> str:
    return pattern.replace("/", r"\/").replace("\n", r"\n")
