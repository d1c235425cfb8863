"""The reasoning formats: how models mark reasoning, and how a chat template shows which format.

Each format is a small table: in a state, text is reasoning or content, and a marker leads to
another state.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, TypeAlias

from msgspec import Struct

from pilotlight.output.events import ContentDelta, ReasoningDelta
from pilotlight.output.text import Markers

SPACE = " \t\r\n"

Kind: TypeAlias = type[ReasoningDelta] | type[ContentDelta]


class Header(Protocol):
    """Reads a marker that goes on after its fixed beginning."""

    def __call__(self, text: str, *, final: bool) -> tuple[int, str] | None:
        """Return the length of the header that *text* begins with, and the state it leads to.

        Length 0 where it is none; None to wait for more, which *final* says will not come.
        """


class State(Struct, frozen=True):
    """What text is in one state, and where each marker leads: to a state, or to a header."""

    kind: Kind
    targets: Mapping[str, str | Header]
    markers: Markers
    then: str | None
    """The state that the first text leads to; whitespace before it is held back."""
    verbatim: bool
    """Text, and the markers that lead here and away, stay as they are for a later stage."""


def _state(
    kind: Kind,
    targets: Mapping[str, str | Header],
    *,
    then: str | None = None,
    verbatim: bool = False,
) -> State:
    return State(kind, targets, Markers(targets), then, verbatim)


class ReasoningFormat(Struct, frozen=True, kw_only=True):
    """One way to write reasoning. Parsing begins in the state `start`, or in `opened`."""

    name: str
    mentions: tuple[str, ...]
    """The chat template of a model that writes this format contains one of these."""
    opening: str
    """What a prompt that has opened the thought ends with, whitespace aside."""
    closer: str
    """What ends a thought."""
    closing: str
    """What ends a thought and begins the answer, as the model would write it."""
    lead: tuple[str, ...] = ()
    """Ways to begin the answer, behind a thought or without one; none where it needs no such."""
    states: Mapping[str, State]


def _block(name: str, opener: str, closer: str) -> ReasoningFormat:
    """One thought at most, at the start of the answer, between tags of its own."""
    states = {
        "start": _state(ContentDelta, {opener: "thought"}, then="answer"),
        # Some models open the thought that their template has opened: the tag is dropped.
        "opened": _state(ReasoningDelta, {opener: "thought", closer: "answer"}, then="thought"),
        "thought": _state(ReasoningDelta, {closer: "answer"}),
        "answer": _state(ContentDelta, {}),
    }
    return ReasoningFormat(
        name=name,
        mentions=(opener, closer),
        opening=opener,
        closer=closer,
        closing=f"\n{closer}\n\n",
        states=states,
    )


def _command_a() -> ReasoningFormat:
    """Like a block, and the answer is wrapped too; its wrappers are dropped wherever they are."""
    thought = {"<|END_THINKING|>": "answer"}
    answer = {"<|START_RESPONSE|>": "answer", "<|END_RESPONSE|>": "answer"}
    states = {
        "start": _state(ContentDelta, {"<|START_THINKING|>": "thought"} | answer, then="answer"),
        "opened": _state(
            ReasoningDelta, {"<|START_THINKING|>": "thought"} | thought, then="thought"
        ),
        "thought": _state(ReasoningDelta, thought),
        "answer": _state(ContentDelta, answer),
    }
    return ReasoningFormat(
        name="command_a",
        mentions=("<|START_THINKING|>",),
        opening="<|START_THINKING|>",
        closer="<|END_THINKING|>",
        closing="<|END_THINKING|><|START_RESPONSE|>",
        lead=("<|START_RESPONSE|>",),
        states=states,
    )


_CHANNEL_NAME = re.compile(r"<\|channel>([A-Za-z0-9_-]{1,64})")


def _channel_header(text: str, *, final: bool) -> tuple[int, str] | None:
    match = _CHANNEL_NAME.match(text)
    if match is None:
        return (0, "") if final or len(text) > len("<|channel>") else None
    if match.end() == len(text) and not final:
        return None
    return match.end(), "thought" if match[1] == "thought" else "named"


def _channel() -> ReasoningFormat:
    """Gemma 4: `<|channel>thought … <channel|>`, or a switch `<|channel>NAME` that nothing closes.

    The name is the run of letters, digits, `_` and `-`, 64 at most; without one, the opener is
    text.
    """
    switch: dict[str, str | Header] = {"<|channel>": _channel_header}
    closer: dict[str, str | Header] = {"<channel|>": "content"}
    states = {
        "start": _state(ContentDelta, switch, then="content"),
        "opened": _state(ReasoningDelta, switch | closer, then="thought"),
        "thought": _state(ReasoningDelta, switch | closer),
        "named": _state(ContentDelta, switch | closer),
        "content": _state(ContentDelta, switch),
    }
    return ReasoningFormat(
        name="channel",
        mentions=("<|channel>",),
        opening="<|channel>thought",
        closer="<channel|>",
        closing="<channel|>",
        states=states,
    )


_HEADER_LIMIT = 256
"""Characters in which a harmony header must have ended; one that has not is text."""
_HARMONY_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_HARMONY_RECIPIENT = re.compile(r"(?:^|\s)to=")


def _harmony_header(text: str, *, final: bool) -> tuple[int, str] | None:
    end = text.find("<|message|>", 0, _HEADER_LIMIT)
    if end < 0:
        return (0, "") if final or len(text) >= _HEADER_LIMIT else None
    channel = _HARMONY_CHANNEL.search(text, 0, end)
    target = "thought" if channel and channel[1] == "analysis" else "content"
    if _HARMONY_RECIPIENT.search(text, 0, end):
        target = "call"
    return end + len("<|message|>"), target


def _harmony() -> ReasoningFormat:
    """gpt-oss: messages of a header, `<|message|>`, text and an end marker.

    The channel `analysis` is reasoning, every other is content. A message to a recipient
    (`commentary to=functions.x`) is a tool call: header, text and end marker pass as content,
    unchanged. The prompt ends within a header, so an answer may begin with `to=` too.
    """
    header: dict[str, str | Header] = {
        "<|start|>": _harmony_header,
        "<|channel|>": _harmony_header,
    }
    ends = dict.fromkeys(("<|end|>", "<|return|>", "<|call|>"), "content")
    start = header | {"to=": _harmony_header, "<|message|>": "content"}
    states = {
        "start": _state(ContentDelta, start, then="content"),
        "opened": _state(ReasoningDelta, header | ends, then="thought"),
        "thought": _state(ReasoningDelta, header | ends),
        "content": _state(ContentDelta, header | ends),
        "call": _state(ContentDelta, header | ends, verbatim=True),
    }
    final = "<|channel|>final<|message|>"
    next_final = f"<|start|>assistant{final}"
    return ReasoningFormat(
        name="harmony",
        mentions=("<|channel|>",),
        opening="<|channel|>analysis<|message|>",
        closer="<|end|>",
        closing=f"<|end|>{next_final}",
        lead=(final, next_final),
        states=states,
    )


_ROWS = (
    _harmony(),
    _channel(),
    _block("seed", "<seed:think>", "</seed:think>"),
    _command_a(),
    _block("magistral", "[THINK]", "[/THINK]"),
    _block("think", "<think>", "</think>"),
)

FORMATS: Mapping[str, ReasoningFormat] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this template writes, if one is seen."""
    for name, row in FORMATS.items():
        if any(mention in chat_template for mention in row.mentions):
            return name
    return None


def markers(name: str | None) -> frozenset[str]:
    """Return the texts that tell reasoning from content in the format *name*; none of no format."""
    if name is None:
        return frozenset()
    written = FORMATS[name]
    states = (marker for state in written.states.values() for marker in state.targets)
    return frozenset({written.opening, written.closer, *written.lead, *states})


def opened(name: str, rendered_prompt: str) -> bool:
    """Tell whether the prompt has opened the thought, so that the answer begins inside it."""
    return rendered_prompt.rstrip(SPACE).endswith(FORMATS[name].opening)


def closed(name: str, rendered_prompt: str) -> bool:
    """Tell whether the prompt has ended the thought, so that none is to follow."""
    return rendered_prompt.rstrip(SPACE).endswith(FORMATS[name].closing.strip(SPACE))
