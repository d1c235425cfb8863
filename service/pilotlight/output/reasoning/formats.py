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
    """Reads a marker with a variable part behind its fixed beginning."""

    def __call__(self, text: str, *, final: bool) -> tuple[int, str] | None:
        """Return the length of the header at the start of *text*, and the state it leads to.

        Length 0 if it is not a header; None to wait for more text, unless *final*.
        """


class State(Struct, frozen=True):
    """What text is in one state, and what each marker leads to: a state, or a header."""

    kind: Kind
    targets: Mapping[str, str | Header]
    markers: Markers
    then: str | None
    """The state after the first text; whitespace before that is held back."""
    verbatim: bool
    """Whether text and the markers around it pass unchanged to the tool-call parser."""


def _state(
    kind: Kind,
    targets: Mapping[str, str | Header],
    *,
    then: str | None = None,
    verbatim: bool = False,
) -> State:
    return State(kind, targets, Markers(targets), then, verbatim)


class ReasoningFormat(Struct, frozen=True, kw_only=True):
    """One way to mark reasoning. Parsing begins in the state `start`, or in `opened`."""

    name: str
    mentions: tuple[str, ...]
    """The chat template of a model with this format contains one of these."""
    opening: str
    """The text that opens reasoning; a prompt that ends with it opened the reasoning."""
    closer: str
    """The text that ends reasoning."""
    closing: str
    """The text that ends reasoning and begins the content, as the model writes it."""
    prefixes: tuple[str, ...] = ()
    """Texts of which one begins the content, with reasoning or without; empty if nothing does."""
    states: Mapping[str, State]


def _block(name: str, opener: str, closer: str) -> ReasoningFormat:
    """One block of reasoning at most, at the start of the output, between tags."""
    states = {
        "start": _state(ContentDelta, {opener: "reasoning"}, then="content"),
        # Some models repeat the tag that their template wrote: it is dropped.
        "opened": _state(
            ReasoningDelta, {opener: "reasoning", closer: "content"}, then="reasoning"
        ),
        "reasoning": _state(ReasoningDelta, {closer: "content"}),
        "content": _state(ContentDelta, {}),
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
    """Command A: a block, and tags around the content, which are dropped anywhere."""
    end = {"<|END_THINKING|>": "content"}
    content = {"<|START_RESPONSE|>": "content", "<|END_RESPONSE|>": "content"}
    states = {
        "start": _state(
            ContentDelta, {"<|START_THINKING|>": "reasoning"} | content, then="content"
        ),
        "opened": _state(
            ReasoningDelta, {"<|START_THINKING|>": "reasoning"} | end, then="reasoning"
        ),
        "reasoning": _state(ReasoningDelta, end),
        "content": _state(ContentDelta, content),
    }
    return ReasoningFormat(
        name="command_a",
        mentions=("<|START_THINKING|>",),
        opening="<|START_THINKING|>",
        closer="<|END_THINKING|>",
        closing="<|END_THINKING|><|START_RESPONSE|>",
        prefixes=("<|START_RESPONSE|>",),
        states=states,
    )


_CHANNEL_NAME = re.compile(r"<\|channel>([A-Za-z0-9_-]{1,64})")


def _channel_header(text: str, *, final: bool) -> tuple[int, str] | None:
    match = _CHANNEL_NAME.match(text)
    if match is None:
        return (0, "") if final or len(text) > len("<|channel>") else None
    if match.end() == len(text) and not final:
        return None
    return match.end(), "reasoning" if match[1] == "thought" else "named"


def _channel() -> ReasoningFormat:
    """Gemma 4: `<|channel>thought … <channel|>`, or a switch `<|channel>NAME` that nothing closes.

    The name is up to 64 letters, digits, `_` and `-`; without one, `<|channel>` is text. Source:
    llama.cpp, models/templates/gemma4.jinja.
    """
    switch: dict[str, str | Header] = {"<|channel>": _channel_header}
    closer: dict[str, str | Header] = {"<channel|>": "content"}
    states = {
        "start": _state(ContentDelta, switch, then="content"),
        "opened": _state(ReasoningDelta, switch | closer, then="reasoning"),
        "reasoning": _state(ReasoningDelta, switch | closer),
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
"""Characters of a harmony header at most; a longer one is text."""
_HARMONY_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_HARMONY_RECIPIENT = re.compile(r"(?:^|\s)to=")


def _harmony_header(text: str, *, final: bool) -> tuple[int, str] | None:
    end = text.find("<|message|>", 0, _HEADER_LIMIT)
    if end < 0:
        return (0, "") if final or len(text) >= _HEADER_LIMIT else None
    channel = _HARMONY_CHANNEL.search(text, 0, end)
    target = "reasoning" if channel and channel[1] == "analysis" else "content"
    if _HARMONY_RECIPIENT.search(text, 0, end):
        target = "call"
    return end + len("<|message|>"), target


def _harmony() -> ReasoningFormat:
    """gpt-oss: messages of a header, `<|message|>`, text and an end marker.

    The channel `analysis` is reasoning, every other channel is content. A message to a recipient
    (`commentary to=functions.x`) is a tool call: header, text and end marker pass unchanged to the
    tool-call parser. The prompt ends within a header, so the output may also begin with `to=`.
    Source: OpenAI's harmony response format.
    """
    header: dict[str, str | Header] = {
        "<|start|>": _harmony_header,
        "<|channel|>": _harmony_header,
    }
    ends = dict.fromkeys(("<|end|>", "<|return|>", "<|call|>"), "content")
    start = header | {"to=": _harmony_header, "<|message|>": "content"}
    states = {
        "start": _state(ContentDelta, start, then="content"),
        "opened": _state(ReasoningDelta, header | ends, then="reasoning"),
        "reasoning": _state(ReasoningDelta, header | ends),
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
        prefixes=(final, next_final),
        states=states,
    )


_ROWS = (
    # openai/gpt-oss
    _harmony(),
    # google/gemma-4
    _channel(),
    # ByteDance-Seed/Seed-OSS
    _block("seed", "<seed:think>", "</seed:think>"),
    # CohereLabs/command-a-reasoning
    _command_a(),
    # mistralai/Magistral
    _block("magistral", "[THINK]", "[/THINK]"),
    # DeepSeek-R1, Qwen3 and most others; last, since its tags are the most common text
    _block("think", "<think>", "</think>"),
)

FORMATS: Mapping[str, ReasoningFormat] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this chat template writes, or None."""
    for name, row in FORMATS.items():
        if any(mention in chat_template for mention in row.mentions):
            return name
    return None


def markers(name: str | None) -> frozenset[str]:
    """Return all markers of the format *name*; empty for None."""
    if name is None:
        return frozenset()
    written = FORMATS[name]
    states = (marker for state in written.states.values() for marker in state.targets)
    return frozenset({written.opening, written.closer, *written.prefixes, *states})


def interrupts_content(name: str) -> bool:
    """Return whether a marker of the format *name* may come after content has begun."""
    return bool(FORMATS[name].states["content"].targets)


def opened(name: str, rendered_prompt: str) -> bool:
    """Return whether the prompt opened the reasoning, so that the output begins within it."""
    return rendered_prompt.rstrip(SPACE).endswith(FORMATS[name].opening)


def closed(name: str, rendered_prompt: str) -> bool:
    """Return whether the prompt ended the reasoning, so that the output has none."""
    return rendered_prompt.rstrip(SPACE).endswith(FORMATS[name].closing.strip(SPACE))
