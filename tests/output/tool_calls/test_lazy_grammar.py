"""Text that is free up to a call: from its marker on, the call's grammar holds."""

import itertools
import random

import llguidance
import pytest

from pilotlight.output.events import ToolCallStart
from pilotlight.output.tool_calls import FORMATS, Function, ToolCallParser
from tests.output.tool_calls.samples import SAMPLES, SCHEMAS
from tests.output.tool_calls.test_grammar import (
    ACCEPTED,
    FUNCTIONS,
    TOKENIZER,
    accepted,
    accepts,
)

CLOSER = "</think>"
UNCALLED = {
    "type": "object",
    "properties": {"never": {"const": 1}},
    "required": ["never"],
    "additionalProperties": False,
}
"""The arguments of functions that no sample calls in the right way."""
STRICT = dict.fromkeys(SCHEMAS, UNCALLED)
MARKED_AT_START = {"functionary_v3_2", "llama3_json", "harmony"}
"""Their samples begin with what is a call only where content begins."""


def matcher(name, functions=FUNCTIONS, *, parallel=True):
    """Make a matcher of free text and calls in the format *name*."""
    rules = FORMATS[name].lazy_grammar(functions, parallel=parallel, closer=CLOSER)
    made = llguidance.LLMatcher(TOKENIZER, "start: tool_auto\n" + rules)
    assert not made.is_error(), made.get_error()
    return made


def strict_matcher(name):
    return matcher(name, [Function(one, schema) for one, schema in STRICT.items()])


@accepted
def test_call_may_follow_free_text(name, text):
    """Calls as the models write them: alone, behind the end of reasoning, and behind text."""
    made, text = matcher(name), text.replace("\\u00e9", "é")
    assert accepts(made.deep_copy(), text)
    assert accepts(made.deep_copy(), f"hm{CLOSER}\n\n{text}")
    if name not in MARKED_AT_START:
        assert accepts(made, f"Let me look. {text}")


@accepted
def test_call_that_is_not_valid_cannot_be_written(name, text):
    """The call cannot end, whatever follows."""
    assert not accepts(strict_matcher(name), text)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        'a < b > c\n\n{"a": 1}',
        "import functools\nAction: go",
        "<tool_cal",
        "[1, 2] {}",
        'Say {"name": "weather"}.',
        ">>>all\nHi",
        f"{CLOSER}ok",
        "<|channel|>final<|message|>Hi",
        "<function=other>",
    ],
)
def test_text_without_a_call_is_free(name, text):
    """Markers' beginnings, JSON and other formats' markers are text."""
    assert accepts(strict_matcher(name), text)


@pytest.mark.parametrize("text", ['{"name": "Bo", "age": 3}', '{"id": 1, "city": "Rome"}', "{}"])
def test_bare_object_that_is_no_call_is_free(text):
    """In Llama's format an answer may be JSON all the same."""
    assert accepts(strict_matcher("llama3_json"), text)


@pytest.mark.parametrize("name", [name for name in FORMATS if "several" in ACCEPTED[name]])
def test_second_call_needs_parallel_calls(name):
    """Where one is all, the answer ends behind it."""
    several = SAMPLES[name]["several"]
    assert accepts(matcher(name), several.text)
    assert not accepts(matcher(name, parallel=False), several.text)
    assert accepts(matcher(name, parallel=False), SAMPLES[name]["one"].text)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_reader_takes_for_a_call_keeps_to_the_grammar(name):
    """However samples are changed: text with a call in it that is not valid is refused."""
    chance = random.Random(5)  # noqa: S311 a sweep, no secret
    made = strict_matcher(name)
    called = 0
    for sample in SAMPLES[name].values():
        for _ in range(20):
            text = changed(sample.text, chance)
            if calls(name, text):
                called += 1
                assert not accepts(made.deep_copy(), text), text
    assert called > 20


def changed(text, chance):
    for _ in range(chance.randint(0, 3)):
        at = chance.randint(0, len(text))
        end = min(len(text), at + chance.randint(0, 4))
        put = chance.choice(["", "", text[at:end] * 2, " ", "\n", '"', "{", "["])
        text = text[:at] + put + text[end:]
    return text


def calls(name, text):
    """Return whether the reader of the format finds a call in *text*."""
    ids = itertools.count()
    parser = ToolCallParser(name, lambda: f"call_{next(ids)}", STRICT)
    return any(isinstance(event, ToolCallStart) for event in parser.feed(text) + parser.flush())


@pytest.mark.parametrize("name", FORMATS)
def test_many_functions(name):
    """Agents bring dozens of them."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    many = [FUNCTIONS[0], *(Function(f"tool_{number}", schema) for number in range(60))]
    assert accepts(matcher(name, many), SAMPLES[name]["one"].text)
