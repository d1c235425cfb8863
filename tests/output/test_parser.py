"""The three parsers in a row: text, reasoning, tool calls."""

import itertools

import pytest

from pilotlight.output.events import (
    ContentDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.output.parser import OutputParser


def parser(
    reasoning: str | None = "think",
    tool_calls: str | None = "hermes",
    *,
    opened: bool = False,
) -> OutputParser:
    ids = itertools.count(1)
    return OutputParser(
        reasoning=reasoning,
        opened=opened,
        tool_calls=tool_calls,
        new_id=lambda: f"call_{next(ids)}",
    )


def read(answer: OutputParser, pieces: list[bytes]) -> tuple[str, str, list[tuple[str, str]]]:
    """Feed *pieces* and flush; return the reasoning, the content, and each call's name and text."""
    events = [event for piece in pieces for event in answer.feed(piece)] + answer.flush()
    thought = content = ""
    calls: list[tuple[str, str]] = []
    for event in events:
        match event:
            case ReasoningDelta():
                thought += event.text
            case ContentDelta():
                content += event.text
            case ToolCallStart():
                assert (event.index, event.id) == (len(calls), f"call_{len(calls) + 1}")
                calls.append((event.name, ""))
            case ToolCallArguments():
                calls[event.index] = (calls[event.index][0], calls[event.index][1] + event.text)
    return thought, content, calls


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
WHOLE = f"<think>\nHm, 🦙?\n</think>\n\nLook.\n{CALL}".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(WHOLE)])
def test_output_is_parsed_however_it_is_split(size):
    """Thought, content and calls are the same over any token boundaries."""
    pieces = [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]
    thought, content, calls = read(parser(), pieces)
    assert thought == "Hm, 🦙?"
    assert content.strip() == "Look."
    assert calls == [("add", '{"a": 2}')]


def test_stage_without_a_format_is_left_out():
    """For a model without formats every marker is text."""
    answer = parser(reasoning=None, tool_calls=None)
    assert read(answer, [WHOLE]) == ("", WHOLE.decode(), [])
    assert answer.reasoning_tokens == 0


def test_tool_calls_in_reasoning_are_reasoning():
    """Only content goes through the tool calls' parser."""
    thought, content, calls = read(parser(), [f"<think>{CALL}</think>done".encode()])
    assert (thought, content, calls) == (CALL, "done", [])


def test_empty_output():
    """An answer of no tokens has no events."""
    assert parser().flush() == []


def test_flush_releases_what_every_stage_holds():
    """The beginnings of a marker and a call that never end are text."""
    assert read(parser(), [b"<thi"]) == ("", "<thi", [])
    assert read(parser(), ["é".encode()[:1]]) == ("", "\N{REPLACEMENT CHARACTER}", [])
    assert read(parser(), [b"a <tool_c"]) == ("", "a <tool_c", [])


@pytest.mark.parametrize(
    ("opened", "pieces", "tokens"),
    [
        (False, [b"hello", b" you"], 0),
        (False, [b"<think>", b"a", b"b", b"</think>", b"c"], 3),
        (True, [b"a", b"b", b"</think>", b"c"], 3),
        (True, [b"a", b"b"], 2),
        (True, [], 0),
        (False, [b"<think>", b"a", b"</think>", b"<tool", b"_call>", b'{"na'], 2),
        (False, [b"<think>", b"a b</think> c"], 0),
    ],
)
def test_reasoning_tokens_are_those_that_led_to_nothing_else(opened, pieces, tokens):
    """A token counts as reasoning if its text is reasoning or its closer."""
    answer = parser(opened=opened)
    for piece in pieces:
        answer.feed(piece)
    assert answer.reasoning_tokens == tokens


GEMMA = '<|tool_call>call:f{k:<|"|>%s<|"|>}<tool_call|>'
HARMONY = (
    '<|channel|>commentary to=functions.f<|constrain|>json<|message|>{"k": "%s"}<|call|>'
    "<|start|>assistant<|channel|>final<|message|>done"
)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("reasoning", "tool_calls", "written", "text"),
    [
        ("channel", "gemma4", GEMMA, "see <|channel>final and go"),
        ("channel", "gemma4", GEMMA, "a <|channel>thought b<channel|> c"),
        ("channel", "gemma4", GEMMA, "a <|channel>thought b"),
        ("channel", "gemma4", GEMMA, "a <|channel"),
        ("harmony", "harmony", HARMONY, "a<|end|> b<|end|>c"),
        ("harmony", "harmony", HARMONY, "a<|channel|>analysis<|message|>b<|end|> c"),
        ("harmony", "harmony", HARMONY, "<|start|>assistant<|message|>b<|call|>"),
    ],
)
def test_markers_of_reasoning_are_text_in_arguments(reasoning, tool_calls, written, text, size):
    """As when a model edits a chat template. The arguments follow their call at once."""
    said = (written % text).encode()
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    content = "done" if tool_calls == "harmony" else ""
    assert read(parser(reasoning, tool_calls), pieces) == (
        "",
        content,
        [("f", f'{{"k": "{text}"}}')],
    )


def test_text_of_one_piece_is_one_event():
    """Also where it is read character by character: a stream has an event for each."""
    answer = parser("channel", "gemma4")
    assert answer.feed(b"Hello there") == [ContentDelta("Hello there")]
    begun = answer.feed(b'<|tool_call>call:f{k:<|"|>one')
    more = answer.feed(b" two")
    assert begun[1:] == [ToolCallArguments(0, '{"k": "one')]
    assert more == [ToolCallArguments(0, " two")]
    thought = parser("channel", "gemma4").feed(b"<|channel>thought\nHm, so")
    assert thought == [ReasoningDelta("Hm, so")]
