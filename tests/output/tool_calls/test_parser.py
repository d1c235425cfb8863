"""Tool calls leave the content as they are written."""

import itertools

import pytest

from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.tool_calls import ToolCallParser

pytestmark = pytest.mark.slow


def c(text):
    return ContentDelta(text)


def call(index, name, arguments):
    start = ToolCallStart(index, f"call_{index}", name)
    return [start, ToolCallArguments(index, arguments)] if arguments else [start]


def hermes():
    numbers = itertools.count()
    return ToolCallParser("hermes", lambda: f"call_{next(numbers)}")


def merge(events):
    """Join neighbours that one feed would have joined."""
    merged = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, ContentDelta) and isinstance(last, ContentDelta):
            merged[-1] = ContentDelta(last.text + event.text)
        elif isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            assert event.index == last.index
            merged[-1] = ToolCallArguments(event.index, last.text + event.text)
        else:
            merged.append(event)
    return merged


def parse(pieces):
    parser = hermes()
    events = [event for piece in pieces for event in parser.feed(piece)]
    events += parser.flush()
    assert all(event.text for event in events if not isinstance(event, ToolCallStart))
    return merge(events), parser.truncated


NESTED = '{"q": "a \\"}\\" <tool_call> é", "n": [1, {"x": null}] }'

# what the model wrote, what it means, whether an announced call was cut
SAMPLES = {
    "one": (
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
        call(0, "f", '{"a": 1}'),
        False,
    ),
    "byte-for-byte": (
        f'<tool_call>{{"name":"f" , "arguments" :  {NESTED}  }}</tool_call>',
        call(0, "f", NESTED),
        False,
    ),
    "content-before": (
        'I look.\n\n<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        [c("I look."), *call(0, "f", "{}")],
        False,
    ),
    "space-before": ('\n <tool_call>{"name": "f", "arguments": {}}', call(0, "f", "{}"), False),
    "several": (
        (
            '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n'
            '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>\n'
        ),
        [*call(0, "f", '{"a": 1}'), *call(1, "g", "{}")],
        False,
    ),
    "content-after": (
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>\nDone. \n',
        [*call(0, "f", "{}"), c("Done. \n")],
        False,
    ),
    "content-between": (
        (
            '<tool_call>{"name": "f", "arguments": {}}</tool_call> and '
            '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
        ),
        [*call(0, "f", "{}"), c("and"), *call(1, "g", "{}")],
        False,
    ),
    "arguments-first": (
        '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>',
        call(0, "f", '{"a": 1}'),
        False,
    ),
    "other-members": (
        '<tool_call>{"id": [7], "name": "f", "x": "y", "arguments": {}, "name": 3}</tool_call>',
        call(0, "f", "{}"),
        False,
    ),
    "escaped-name": (
        '<tool_call>{"na\\u006de": "f\\u0061", "arguments": {}}</tool_call>',
        call(0, "fa", "{}"),
        False,
    ),
    "no-arguments": ('<tool_call>{"name": "f"}</tool_call>', call(0, "f", "{}"), False),
    "null-arguments": (
        '<tool_call>{"name": "f", "arguments": null}</tool_call>',
        call(0, "f", "null"),
        False,
    ),
    "trailing-comma": (
        '<tool_call>{"name": "f", "arguments": {},}</tool_call>',
        call(0, "f", "{}"),
        False,
    ),
    "no-closing-tag": (
        '<tool_call>{"name": "f", "arguments": {}}\n<tool_call>{"name": "g", "arguments": {}}',
        [*call(0, "f", "{}"), *call(1, "g", "{}")],
        False,
    ),
    "cut-closing-tag": (
        '<tool_call>{"name": "f", "arguments": {}}\n</tool_c',
        [*call(0, "f", "{}"), c("</tool_c")],
        False,
    ),
    "brace-too-many": (
        '<tool_call>{"name": "f", "arguments": {}}}</tool_call>',
        [*call(0, "f", "{}"), c("}</tool_call>")],
        False,
    ),
    "plain": ("a < b, <tool> and\n", [c("a < b, <tool> and\n")], False),
    "nothing": ("", [], False),
    "space": (" \n", [c(" \n")], False),
    "cut-tag": ("a <tool_c", [c("a <tool_c")], False),
    "only-a-tag": ("a <tool_call>\n", [c("a <tool_call>\n")], False),
    "stray-closing-tag": ("a</tool_call>b", [c("a</tool_call>b")], False),
    "not-json": (
        "Write <tool_call>\nlike this</tool_call> ",
        [c("Write <tool_call>\nlike this</tool_call> ")],
        False,
    ),
    "python-quotes": (
        "<tool_call>{'name': 'f'}</tool_call>",
        [c("<tool_call>{'name': 'f'}</tool_call>")],
        False,
    ),
    "no-name": (
        '<tool_call>{"arguments": {"a": 1}}</tool_call>',
        [c('<tool_call>{"arguments": {"a": 1}}</tool_call>')],
        False,
    ),
    "name-no-string": (
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        [c('<tool_call>{"name": 5, "arguments": {}}</tool_call>')],
        False,
    ),
    "empty-name": (
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        [c('<tool_call>{"name": "", "arguments": {}}</tool_call>')],
        False,
    ),
    "bad-escape-in-name": (
        '<tool_call>{"name": "\\x"}</tool_call>',
        [c('<tool_call>{"name": "\\x"}</tool_call>')],
        False,
    ),
    "malformed-then-call": (
        'a <tool_call> <tool_call>{"name": "f", "arguments": {}}</tool_call>',
        [c("a <tool_call>"), *call(0, "f", "{}")],
        False,
    ),
    "cut-before-the-name": (
        'a\n<tool_call>\n{"na',
        [c('a\n<tool_call>\n{"na')],
        False,
    ),
    "cut-with-a-call-inside": (
        '<tool_call>{"x<tool_call>{"name": "f", "arguments": {"a',
        [c('<tool_call>{"x'), *call(0, "f", '{"a')],
        True,
    ),
    "cut-in-the-arguments": (
        '<tool_call>{"name": "f", "arguments": {"a": "b',
        call(0, "f", '{"a": "b'),
        True,
    ),
    "cut-after-the-name": ('<tool_call>{"name": "f", "argu', call(0, "f", ""), True),
    "broken-after-the-name": (
        '<tool_call>{"name": "f", oops}</tool_call>',
        [*call(0, "f", ""), c("oops}</tool_call>")],
        True,
    ),
    "broken-key-after-the-name": (
        '<tool_call>{"name": "f", "\\x": 1}</tool_call>',
        [*call(0, "f", ""), c('"\\x": 1}</tool_call>')],
        True,
    ),
    "broken-in-the-arguments": (
        (
            '<tool_call>{"name": "f", "arguments": {"a": 1]}</tool_call>\n'
            '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
        ),
        [*call(0, "f", '{"a": 1'), c("]}</tool_call>"), *call(1, "g", "{}")],
        True,
    ),
}

samples = pytest.mark.parametrize(("text", "expected", "cut"), SAMPLES.values(), ids=SAMPLES)


@samples
def test_sample_in_one_piece(text, expected, cut):
    """An answer that comes whole is read as its format says."""
    assert parse([text]) == (expected, cut)


@samples
def test_sample_split_everywhere(text, expected, cut):
    """Where one or two cuts fall changes nothing, nor do single characters."""
    assert parse(text) == (expected, cut)
    for i, j in itertools.combinations(range(len(text) + 1), 2):
        assert parse([text[:i], text[i:j], text[j:]]) == (expected, cut), (i, j)


def test_every_sequence_of_fragments_reads_the_same_whole_and_in_pieces():
    """Any order of tags, parts of JSON, space and text depends on the text alone."""
    fragments = [
        "<tool_call>", "</tool_call>", "<tool", '{"name": "f"', ', "arguments": ', '{"a": 1}',
        "}", "]", '"', "\\", "5", " \n", "x",
    ]  # fmt: skip
    for chosen in itertools.product(fragments, repeat=4):
        whole = parse(["<tool_call>", *chosen])
        assert parse(["<tool_call>" + "".join(chosen)]) == whole
        assert parse("<tool_call>" + "".join(chosen)) == whole


def test_content_is_not_delayed():
    """Content comes with its token; only the space that a call would swallow waits."""
    parser = hermes()
    assert parser.feed("Well,") == [c("Well,")]
    assert parser.feed(" then\n") == [c(" then")]
    assert parser.feed("go") == [c("\ngo")]


def test_call_is_announced_as_soon_as_its_name_is_known():
    """Name first, then the arguments as they come."""
    parser = hermes()
    assert parser.feed('<tool_call>{"name": "get') == []
    assert parser.feed('_it", "argum') == [ToolCallStart(0, "call_0", "get_it")]
    assert parser.feed('ents": {"a') == [ToolCallArguments(0, '{"a')]
    assert parser.feed('": 1') == [ToolCallArguments(0, '": 1')]
    assert parser.feed("}}\n</tool_call>") == [ToolCallArguments(0, "}")]
    assert parser.flush() == []
    assert not parser.truncated


@pytest.mark.parametrize("text", ["<tool_call>", '<tool_call>\n{"name": "get_wea'])
def test_header_that_the_length_cuts(text):
    """Of a listed function's call it is markup, and goes; the model's own end leaves text."""
    for schemas, cut, left in [
        ({"f": None}, True, [c("Well,")]),
        ({"f": None}, False, [c(f"Well, {text}")]),
        (None, True, [c(f"Well, {text}")]),
    ]:
        parser = ToolCallParser("hermes", lambda: "id", schemas)
        events = parser.feed("Well, ") + parser.feed(text) + parser.flush(cut=cut)
        assert merge(events) == left


def test_ids_are_asked_for_only_when_a_call_is_announced():
    """Content and malformed calls cost no id."""
    ids = iter(["only"])
    parser = ToolCallParser("hermes", lambda: next(ids))
    parser.feed("<tool_call>no</tool_call>")
    assert parser.feed('<tool_call>{"name": "f"') == [ToolCallStart(0, "only", "f")]


def test_unknown_format_is_refused():
    """A format that is not in the table is a mistake of the caller's."""
    with pytest.raises(KeyError):
        ToolCallParser("nope", str)
