"""Reasoning is told from content by the markers that models write around it.

Each format is a small table: in a state, text is reasoning or content, and a marker leads to
another state. Which format a model writes is seen in its chat template.

- Markers are dropped, with the whitespace (space, tab, CR, LF) that models put around them: after
  any marker, before one that ends reasoning, and before one that opens the answer. Whitespace
  inside reasoning is therefore held back until text follows it. Whitespace that content ends
  with before a later marker is content.
- Where a format opens reasoning with a tag of its own (`<think>`), that is looked for only at the
  start of the answer: once content began, the tag is text. Channels switch anywhere.
- A closer that nothing opened is text. A stream cannot take back what it showed as content, so
  the template must tell that it opened the thought itself: see `opened`.
- A marker that the end cuts short is text, and reasoning that never ends stays reasoning.
- Deltas of two thoughts, or of two pieces of content, follow each other with nothing between.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, TypeAlias

from msgspec import Struct

from pilotlight.output.events import ContentDelta, ReasoningDelta
from pilotlight.output.markers import Markers

_SPACE = " \t\r\n"

Delta: TypeAlias = ReasoningDelta | ContentDelta
_Kind: TypeAlias = type[ReasoningDelta] | type[ContentDelta]


class _Header(Protocol):
    """Reads a marker that goes on after its fixed beginning."""

    def __call__(self, text: str, *, final: bool) -> tuple[int, str] | None:
        """Return the length of the header that *text* begins with, and the state it leads to.

        Length 0 where it is none; None to wait for more, which *final* says will not come.
        """


class _State(Struct, frozen=True):
    """What text is in one state, and where each marker leads: to a state, or to a header."""

    kind: _Kind
    targets: Mapping[str, str | _Header]
    markers: Markers
    then: str | None
    """The state that the first text leads to; whitespace before it is held back."""
    verbatim: bool
    """Text, and the markers that lead here and away, stay as they are for a later stage."""


def _state(
    kind: _Kind,
    targets: Mapping[str, str | _Header],
    *,
    then: str | None = None,
    verbatim: bool = False,
) -> _State:
    return _State(kind, targets, Markers(targets), then, verbatim)


class Format(Struct, frozen=True, kw_only=True):
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
    states: Mapping[str, _State]


def _block(name: str, opener: str, closer: str) -> Format:
    """One thought at most, at the start of the answer, between tags of its own."""
    states = {
        "start": _state(ContentDelta, {opener: "thought"}, then="answer"),
        # Some models open the thought that their template has opened: the tag is dropped.
        "opened": _state(ReasoningDelta, {opener: "thought", closer: "answer"}, then="thought"),
        "thought": _state(ReasoningDelta, {closer: "answer"}),
        "answer": _state(ContentDelta, {}),
    }
    return Format(
        name=name,
        mentions=(opener, closer),
        opening=opener,
        closer=closer,
        closing=f"\n{closer}\n\n",
        states=states,
    )


def _command_a() -> Format:
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
    return Format(
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


def _channel() -> Format:
    """Gemma 4: `<|channel>thought … <channel|>`, or a switch `<|channel>NAME` that nothing closes.

    The name is the run of letters, digits, `_` and `-`, 64 at most; without one, the opener is
    text.
    """
    switch: dict[str, str | _Header] = {"<|channel>": _channel_header}
    closer: dict[str, str | _Header] = {"<channel|>": "content"}
    states = {
        "start": _state(ContentDelta, switch, then="content"),
        "opened": _state(ReasoningDelta, switch | closer, then="thought"),
        "thought": _state(ReasoningDelta, switch | closer),
        "named": _state(ContentDelta, switch | closer),
        "content": _state(ContentDelta, switch),
    }
    return Format(
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


def _harmony() -> Format:
    """gpt-oss: messages of a header, `<|message|>`, text and an end marker.

    The channel `analysis` is reasoning, every other is content. A message to a recipient
    (`commentary to=functions.x`) is a tool call: header, text and end marker pass as content,
    unchanged. The prompt ends within a header, so an answer may begin with `to=` too.
    """
    header: dict[str, str | _Header] = {
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
    return Format(
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

FORMATS: Mapping[str, Format] = MappingProxyType({row.name: row for row in _ROWS})
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
    return rendered_prompt.rstrip(_SPACE).endswith(FORMATS[name].opening)


def closed(name: str, rendered_prompt: str) -> bool:
    """Tell whether the prompt has ended the thought, so that none is to follow."""
    return rendered_prompt.rstrip(_SPACE).endswith(FORMATS[name].closing.strip(_SPACE))


class ReasoningParser:
    """Tells reasoning from content in an answer written in the format *name*.

    *opened* says that the prompt has opened the thought. `KeyError` for an unknown format.
    """

    def __init__(self, name: str, *, opened: bool) -> None:
        self._states = FORMATS[name].states
        self._state = self._states["opened" if opened else "start"]
        self._held = ""
        """May become a marker."""
        self._space = ""
        """Whitespace that goes if a marker follows, and stays if text does."""
        self._skip = opened
        """Nothing but whitespace since the last marker."""
        self._deltas: list[Delta] = []

    @property
    def pending(self) -> bool:
        """Whether text is held back."""
        return bool(self._held or self._space)

    @property
    def thinking(self) -> bool:
        """Whether text is reasoning here, and nothing is held back that may end it."""
        return self._state.kind is ReasoningDelta and not self._held

    def feed(self, text: str) -> list[Delta]:
        """Return what *text* settles; neighbours of one kind are one delta."""
        self._scan(text, final=False)
        return self._take()

    def flush(self) -> list[Delta]:
        """Return what was held back, as text of the kind that it stood in."""
        self._scan("", final=True)
        if self._space:
            self._emit(self._space)
            self._space = ""
        return self._take()

    def _scan(self, text: str, *, final: bool) -> None:
        rest = self._held + text
        while rest:
            if self._state.then is not None:
                rest = self._lead(rest)
            at, marker = self._state.markers.find(rest)
            if marker is not None and not at:
                used = self._follow(rest, marker, final=final)
                if used is None:
                    break
                rest = rest[used:]
            elif not at and not final:
                break
            elif self._state.then is not None and rest:
                # Only the state changes: what is text here may hold the next state's markers.
                self._state = self._states[self._state.then]
            else:
                self._text(rest[: at or len(rest)])
                rest = rest[at or len(rest) :]
        self._held = rest

    def _lead(self, text: str) -> str:
        """Take the whitespace that *text* begins with, before anything else was said."""
        body = text.lstrip(_SPACE)
        if not self._skip:
            self._space += text[: len(text) - len(body)]
        return body

    def _follow(self, text: str, marker: str, *, final: bool) -> int | None:
        """Go where the marker that *text* begins with leads; return its length, None to wait."""
        old, target = self._state, self._state.targets[marker]
        if isinstance(target, str):
            if old.verbatim:
                self._emit(marker)
            self._enter(target)
            return len(marker)
        header = target(text, final=final)
        if header is None:
            return None
        length, name = header
        if not length:
            return self._literal(marker)
        self._enter(name)
        if self._state.verbatim:
            self._emit(text[:length])
        return length

    def _enter(self, name: str) -> None:
        self._state = self._states[name]
        self._space = ""
        self._skip = not self._state.verbatim

    def _literal(self, marker: str) -> int:
        """Take *marker* as text; return how much of it is done with."""
        if self._state.then is not None:
            self._state = self._states[self._state.then]
            return 0
        self._text(marker)
        return len(marker)

    def _text(self, text: str) -> None:
        if self._skip:
            text = text.lstrip(_SPACE)
            self._skip = not text
        text, self._space = self._space + text, ""
        if self._state.kind is ReasoningDelta:
            body = text.rstrip(_SPACE)
            text, self._space = body, text[len(body) :]
        if text:
            self._emit(text)

    def _emit(self, text: str) -> None:
        kind = self._state.kind
        if self._deltas and type(self._deltas[-1]) is kind:
            text = self._deltas.pop().text + text
        self._deltas.append(kind(text))

    def _take(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas
