"""Every format is read the same however the text is cut."""

# ruff: noqa: RUF001 -- DeepSeek's tokens have these characters
import itertools

import pytest

from pilotlight.output.events import ContentDelta, ReasoningDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.parser import OutputParser
from pilotlight.output.text import TextDecoder
from pilotlight.output.tool_calls import FORMATS, ToolCallParser
from tests.output.tool_calls.samples import SAMPLES, SCHEMAS, Sample, c, call

pytestmark = pytest.mark.slow

REASONING = {
    "harmony": "harmony",
    "gemma4": "channel",
    "command_a": "command_a",
    "mistral_v11": "magistral",
    "deepseek_v3": "think",
    "deepseek_v3_1": "think",
    "qwen3_coder": "think",
    "glm4": "think",
    "hermes": "think",
}
"""The reasoning format of a family; the others' models do not think."""

THOUGHTS = {
    "harmony": "<|channel|>analysis<|message|>Hm.<|end|>",
    "channel": "<|channel>thought\nHm.<channel|>",
    "command_a": "<|START_THINKING|>Hm.<|END_THINKING|>",
    "magistral": "[THINK]Hm.[/THINK]",
    "think": "<think>\nHm.\n</think>\n\n",
}

every_sample = pytest.mark.parametrize(
    ("name", "sample"),
    [
        pytest.param(name, sample, id=f"{name}-{case}")
        for name, samples in SAMPLES.items()
        for case, sample in samples.items()
    ],
)


def merge(events):
    """Join neighbours that one feed would have joined."""
    merged = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            assert event.index == last.index
            merged[-1] = ToolCallArguments(event.index, last.text + event.text)
        elif isinstance(event, (ContentDelta, ReasoningDelta)) and type(event) is type(last):
            merged[-1] = type(event)(last.text + event.text)
        else:
            merged.append(event)
    return merged


def parse(name, pieces):
    """Feed bytes as a model would emit them; return the merged events, and whether one was cut."""
    numbers = itertools.count()
    decoder = TextDecoder()
    parser = ToolCallParser(name, lambda: f"call_{next(numbers)}", SCHEMAS)
    events = [event for piece in pieces for event in parser.feed(decoder.feed(piece))]
    events += parser.feed(decoder.flush()) + parser.flush()
    assert all(event.text for event in events if not isinstance(event, ToolCallStart))
    return merge(events), parser.truncated


def answer(name, pieces):
    """Feed a whole answer's bytes, with the family's reasoning."""
    numbers = itertools.count()
    parser = OutputParser(
        reasoning=REASONING.get(name),
        opened=False,
        tool_calls=name,
        new_id=lambda: f"call_{next(numbers)}",
        schemas=SCHEMAS,
    )
    return merge([e for piece in pieces for e in parser.feed(piece)] + parser.flush())


def test_every_format_has_samples():
    """No row of the table is without a test."""
    assert SAMPLES.keys() == FORMATS.keys()


@every_sample
def test_sample_in_one_piece(name, sample: Sample):
    """An answer that comes whole is read as its format says."""
    assert parse(name, [sample.text.encode()]) == (sample.events, sample.cut)


@every_sample
def test_sample_split_at_every_byte(name, sample: Sample):
    """Where the one cut falls changes nothing."""
    data = sample.text.encode()
    for cut in range(len(data) + 1):
        assert parse(name, [data[:cut], data[cut:]]) == (sample.events, sample.cut), data[:cut]


@every_sample
def test_sample_byte_by_byte(name, sample: Sample):
    """A model may emit single bytes."""
    assert parse(name, [bytes([byte]) for byte in sample.text.encode()]) == (
        sample.events,
        sample.cut,
    )


FRAGMENTS = {
    "hermes": [],
    "harmony": ["to=functions.ping", "commentary", "<|message|>", "{}", "<|call|>"],
    "gemma4": ["call:ping", "{", "}", 'a:<|"|>', "b:1", "[", "]", ",", "<tool_call|>"],
    "deepseek_v3": ["function", "<｜tool▁sep｜>", "ping", "\n```json\n", "{}", "```"],
    "deepseek_v3_1": [
        "ping",
        "<｜tool▁sep｜>",
        "{}",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ],
    "command_a": ["[", '{"tool_name": "ping"', "}", ",", "]", "<|END_ACTION|>"],
    "command_r": ["```", "json", "[", '{"tool_name": "ping"', "}", "]"],
    "mistral": ["[", '{"name": "ping"', "}", ",", "]", "ping", "{}"],
    "mistral_v11": ["ping", "[ARGS]", "[CALL_ID]", "a", "{}", "[", "]"],
    "functionary_v3_2": ["all\n", "ping\n", "ping", "\n", "{}", ">"],
    "functionary_v3_1": ["ping", ">", "{}", "</function>", "<"],
    "qwen3_coder": ["ping>", "<parameter=", "a>", "\n", "5", "</parameter>", "</function>"],
    "glm4": ["ping", "<arg_key>", "a", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>"],
    "granite": ["[", '{"name": "ping"', "}", ",", "]"],
    "phi4_mini": ["[", '{"name": "ping"', "}", ",", "]", "<|/tool_call|>"],
    "llama3_json": ['"name": "ping"', ', "parameters": ', "{}", "}", "{", ";"],
}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_every_sequence_of_fragments_reads_the_same_whole_and_in_pieces(name):
    """Any order of tags, parts of calls, space and text depends on the text alone."""
    openers = [*FORMATS[name].openers, FORMATS[name].start or ""]
    fragments = [*FORMATS[name].openers, *FRAGMENTS[name], " \n", "x"]
    for opener in openers:
        for chosen in itertools.product(fragments, repeat=3):
            data = (opener + "".join(chosen)).encode()
            whole = parse(name, [data])
            assert parse(name, [opener.encode(), *(part.encode() for part in chosen)]) == whole
            assert parse(name, [bytes([byte]) for byte in data]) == whole, data


@pytest.mark.parametrize("name", FORMATS)
def test_output_with_reasoning(name):
    """Reasoning, then calls: each stage leaves the other's text alone."""
    reasoning = REASONING.get(name)
    thought = THOUGHTS[reasoning] if reasoning else ""
    expected = [ReasoningDelta("Hm.")] if reasoning else []
    for case in ("one", "several", "unicode", "odd-string"):
        if case not in SAMPLES[name]:
            continue
        sample = SAMPLES[name][case]
        data = (thought + sample.text).encode()
        assert answer(name, [data]) == [*expected, *sample.events]
        assert answer(name, [bytes([byte]) for byte in data]) == [*expected, *sample.events]
        for cut in range(len(data)):
            assert answer(name, [data[:cut], data[cut:]]) == [*expected, *sample.events]


def test_harmony_output_of_many_messages():
    """Reasoning, a preamble, two calls and a final text, as gpt-oss writes them."""
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        '<|start|>assistant to=functions.note<|channel|>commentary json<|message|>{"text": "<|"}'
        "<|call|><|start|>assistant<|channel|>commentary to=functions.ping <|constrain|>json"
        "<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Done.<|return|>"
    )
    expected = [
        ReasoningDelta("Hm."),
        c("I look."),
        *call(0, "note", '{"text": "<|"}'),
        *call(1, "ping", "{}"),
        c("Done."),
    ]
    data = text.encode()
    for cut in range(len(data)):
        assert answer("harmony", [data[:cut], data[cut:]]) == expected


def test_call_in_reasoning_is_reasoning():
    """What a model plans is not called."""
    text = "<|channel>thought\n<|tool_call>call:ping{}<tool_call|><channel|>No."
    assert answer("gemma4", [text.encode()]) == [
        ReasoningDelta("<|tool_call>call:ping{}<tool_call|>"),
        c("No."),
    ]


def test_strings_are_passed_on_as_they_come():
    """A value that can only be a string does not wait for its closing tag."""
    parser = ToolCallParser("qwen3_coder", lambda: "id", SCHEMAS)
    assert parser.feed("<tool_call>\n<function=note>\n<parameter=te") == [
        ToolCallStart(0, "id", "note")
    ]
    assert parser.feed("xt>\nOnce") == [ToolCallArguments(0, '{"text": "Once')]
    assert parser.feed(' "upon"\n') == [ToolCallArguments(0, ' \\"upon\\"')]
    assert parser.feed("</parameter>\n</function>") == [ToolCallArguments(0, '"}')]


def test_other_values_wait_for_their_end():
    """Whether a value is JSON is known where it ends."""
    parser = ToolCallParser("glm4", lambda: "id", SCHEMAS)
    start = "<tool_call>weather\n<arg_key>days</arg_key>\n<arg_value>1"
    assert parser.feed(start) == [
        ToolCallStart(0, "id", "weather"),
        ToolCallArguments(0, '{"days": '),
    ]
    assert parser.feed("2") == []
    assert parser.feed("</arg_value>") == [ToolCallArguments(0, "12")]


def test_without_schemas_a_value_is_json_where_it_is():
    """Nothing declared allows everything, and any name."""
    parser = ToolCallParser("qwen3_coder", lambda: "id")
    text = (
        "<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nx\n</parameter>\n"
        "<parameter=c>\nTrue\n</parameter>\n</function>"
    )
    events = merge(parser.feed(text))
    assert events == [
        ToolCallStart(0, "id", "f"),
        ToolCallArguments(0, '{"a": 1, "b": "x", "c": "True"}'),
    ]


def test_json_that_is_no_call_does_not_wait_for_its_end():
    """An answer in JSON is content from the first member that a call has not."""
    parser = ToolCallParser("llama3_json", lambda: "id", SCHEMAS)
    assert parser.feed('{"na') == []
    assert parser.feed('tive": ["') == [c('{"native": ["')]
