"""What a model writes: nothing of it is lost, and it does not matter how the tokens cut it."""

import itertools
import json
from typing import Any

from hypothesis import strategies as st

from pilotlight.output import reasoning, tool_calls
from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.output.json_value import JsonValue
from pilotlight.output.parser import OutputParser
from pilotlight.output.reasoning import ReasoningParser
from pilotlight.output.stops import StopFilter
from pilotlight.output.text import TextDecoder
from pilotlight.output.tool_calls import ToolCallParser
from pilotlight.output.tool_calls.schema_types import ALL, parameter_types
from tests.fuzz.case import bounded, case
from tests.fuzz.strategies import altered, in_pieces, json_values, text_of
from tests.output.tool_calls.samples import SAMPLES, SCHEMAS
from tests.output.tool_calls.test_formats import FRAGMENTS

_SPACE = " \t\r\n"


def merged(events: list[OutputEvent]) -> list[OutputEvent]:
    """Join neighbours that one feed would have joined."""
    joined: list[OutputEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            assert event.index == last.index
            joined[-1] = ToolCallArguments(event.index, last.text + event.text)
        elif isinstance(event, ContentDelta | ReasoningDelta) and type(event) is type(last):
            joined[-1] = type(event)(last.text + event.text)
        else:
            joined.append(event)
    return joined


def run(parser: Any, pieces: list[Any]) -> list[OutputEvent]:
    """Return the events of *pieces*, neighbours joined; each must say something."""
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.flush()
    assert all(event.text for event in events if not isinstance(event, ToolCallStart))
    return merged(events)


def pieces_of(text: str | bytes) -> list[Any]:
    """Return *text* in its smallest pieces."""
    return [text[at : at + 1] for at in range(len(text))]


# ── text ────────────────────────────────────────────────────────────────────────────────────────

_stops = st.lists(text_of(("ab", "aba", "é", "</s>", "b")).filter(bool), max_size=4)


def _until(text: str, stops: list[str]) -> str:
    """Return *text* up to the stop that is complete first, of two the longer."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)]
    return text


_bytes = st.binary() | text_of(("ab", "aba", "é🙂", "</s>", "b")).map(str.encode)


@case("text decoder", short=100, data=in_pieces(_bytes), stops=_stops)
def decoded_text(data: tuple[bytes, list[bytes]], stops: list[str]) -> None:
    """The text before the first stop, and nothing else."""
    whole, pieces = data
    expected = _until(whole.decode(errors="replace"), stops)
    for cut in ([whole], pieces, pieces_of(whole)):
        decoder, stopping = TextDecoder(), StopFilter(stops)
        texts = [*map(decoder.feed, cut), decoder.flush()]
        events = [one for text in texts if text for one in stopping.feed([ContentDelta(text)])]
        events += stopping.flush()
        assert "".join(one.text for one in events if isinstance(one, ContentDelta)) == expected


# ── reasoning ───────────────────────────────────────────────────────────────────────────────────


def _reasoning_marks(name: str) -> set[str]:
    states = reasoning.FORMATS[name].states
    return {mark for state in states.values() for mark in state.targets}


def _is_woven(name: str, text: str, said: str) -> bool:
    """Return whether *text* is *said* with nothing but space and the format's markers in between.

    Follows every way to read it at once: a place in *text* has all places in *said* that may
    belong to it.
    """
    targets = {
        mark: target
        for state in reasoning.FORMATS[name].states.values()
        for mark, target in state.targets.items()
    }
    places: list[set[int]] = [set() for _ in range(len(text) + 1)]
    places[0].add(0)
    for at, here in enumerate(places[:-1]):
        if not here:
            continue
        places[at + 1] |= {one + 1 for one in here if said[one : one + 1] == text[at]}
        if text[at] in _SPACE:
            places[at + 1] |= here
        for mark, target in targets.items():
            if text.startswith(mark, at):
                header = None if isinstance(target, str) else target(text[at:], final=True)
                places[at + (len(mark) if header is None else header[0])] |= here
    return len(said) in places[-1]


@st.composite
def _reasoned(draw: st.DrawFn) -> tuple[str, bool, tuple[str, list[str]]]:
    name = draw(st.sampled_from(sorted(reasoning.FORMATS)))
    more = ("<|message|>", "thought", "analysis", "to=functions.f", " \n", "x")
    return name, draw(st.booleans()), draw(in_pieces(text_of((*_reasoning_marks(name), *more))))


@case("reasoning", short=130, given=_reasoned())
def reasoned_text(given: tuple[str, bool, tuple[str, list[str]]]) -> None:
    """Markers and the space around them go, all else stays, and in its order."""
    name, opened, (text, pieces) = given
    with bounded():
        whole = run(ReasoningParser(name, opened=opened), [text])
        assert run(ReasoningParser(name, opened=opened), pieces) == whole
        assert run(ReasoningParser(name, opened=opened), pieces_of(text)) == whole
        said = "".join(delta.text for delta in whole)
        assert _is_woven(name, text, said)
        if not opened and not any(mark in text for mark in _reasoning_marks(name)):
            assert said == text


# ── tool calls ──────────────────────────────────────────────────────────────────────────────────

_odd_schemas = st.dictionaries(
    st.sampled_from(("ping", "weather")),
    st.dictionaries(
        st.sampled_from(("type", "properties", "additionalProperties", "$defs")),
        json_values
        | st.dictionaries(
            st.sampled_from(("a", "city")),
            st.dictionaries(
                st.sampled_from(["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"]),
                json_values | st.sampled_from(("#", "#/properties/a", "string", ["integer"])),
            ),
        ),
    ),
)


@st.composite
def _called(draw: st.DrawFn) -> tuple[str, Any, tuple[str, list[str]]]:
    name = draw(st.sampled_from(sorted(tool_calls.FORMATS)))
    row = tool_calls.FORMATS[name]
    samples = [sample.text for sample in SAMPLES[name].values()]
    fragments = {*FRAGMENTS.get(name, ()), *row.openers, row.start or "ping", "ping", "{}", "a"}
    text = draw(text_of(fragments) | text_of(samples))
    schemas = draw(st.sampled_from((SCHEMAS, None)) | _odd_schemas)
    return name, schemas, draw(in_pieces(st.just(text)))


def _tool_parser(name: str, schemas: Any) -> ToolCallParser:
    numbers = itertools.count()
    return ToolCallParser(name, lambda: f"call_{next(numbers)}", schemas)


@case("tool calls", short=130, given=_called())
def called_functions(given: tuple[str, Any, tuple[str, list[str]]]) -> None:
    """Whatever the cuts and the schemas, the same calls; and what holds none is content, whole."""
    name, schemas, (text, pieces) = given
    with bounded():
        whole = run(_tool_parser(name, schemas), [text])
        assert run(_tool_parser(name, schemas), pieces) == whole
        assert run(_tool_parser(name, schemas), pieces_of(text)) == whole
    row = tool_calls.FORMATS[name]
    may_start = row.start is not None and text.lstrip(_SPACE).startswith(row.start)
    if not may_start and not any(opener in text for opener in row.openers):
        assert whole == ([ContentDelta(text)] if text else [])
    starts = [event.index for event in whole if isinstance(event, ToolCallStart)]
    assert starts == list(range(len(starts)))


@case("answer", short=70, given=_called(), thinks=st.booleans())
def whole_answer(
    given: tuple[str, Any, tuple[str, list[str]]],
    thinks: bool,  # noqa: FBT001
) -> None:
    """The three parsers in a row do not care for cuts either, be they within characters."""
    name, schemas, (text, _) = given

    def parser() -> OutputParser:
        numbers = itertools.count()
        return OutputParser(
            reasoning="think",
            opened=thinks,
            tool_calls=name,
            new_id=lambda: f"call_{next(numbers)}",
            schemas=schemas,
        )

    data = text.encode()
    with bounded():
        assert run(parser(), [data]) == run(parser(), pieces_of(data))


_looped = [
    {
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/x"}] * 9}, "b": {"type": ["null", "x"]}},
        "$defs": {"x": {"oneOf": [{"$ref": "#/$defs/x"}] * 9, "allOf": [{"$ref": "#"}]}},
        "additionalProperties": {"enum": [1, "x", {}], "const": None},
    }
]


@case("parameter types", schema=altered([*SCHEMAS.values(), *_looped]) | json_values)
def types_of_parameters(schema: Any) -> None:
    """Types that there are, soon, for whatever a request calls a schema."""
    with bounded():
        for name in ("a", "b", "city", "text", "place"):
            types = parameter_types(schema if isinstance(schema, dict) else None, name)
            assert types <= ALL


# ── JSON in pieces ──────────────────────────────────────────────────────────────────────────────


def _taken(pieces: list[str]) -> tuple[str, str]:
    value, taken = JsonValue(), ""
    for piece in pieces:
        used = value.feed(piece)
        taken += piece[:used]
        if value.state != "open":
            break
    return taken, value.state


_documents = st.tuples(json_values.map(json.dumps), st.sampled_from((",", "]", "}", " x"))).map(
    "".join
)


@case("JSON value", short=100, text=in_pieces(text_of(('{"a":', "[1,", '"\\', "}", "null"))))
def json_text(text: tuple[str, list[str]]) -> None:
    """What belongs to a value, and its fate, do not depend on the cuts."""
    whole, pieces = text
    with bounded():
        assert _taken([whole]) == _taken(pieces) == _taken(pieces_of(whole))


@case("JSON document", short=70, text=in_pieces(_documents))
def json_document(text: tuple[str, list[str]]) -> None:
    """A document ends where it ends."""
    whole, pieces = text
    taken, state = _taken(pieces)
    assert state == "complete"
    json.loads(taken)
    assert len(whole) - len(taken) <= 2


CASES = (
    *(decoded_text, reasoned_text, called_functions, whole_answer, types_of_parameters),
    *(json_text, json_document),
)
