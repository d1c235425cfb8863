"""A guide in an engine: the fake one, whose reply a test can foresee."""

import pytest

from pilotlight.guidance import (
    Grammar,
    GuideTokenizer,
    JsonSchema,
    OneOf,
    Reasoning,
    compile_grammar,
)
from pilotlight_backend import LoadOptions, Token
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.backends.answer import Answer

SCHEMA = JsonSchema({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]})


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a model with a reply."""
    backend = FakeBackend()

    def load(reply):
        facts = backend.probe(FakeModel(reply=reply).write(tmp_path / "model.fake"))
        return backend.load(facts, LoadOptions(parallel=2), lambda _progress: None)

    yield load
    for engine in list(backend.engines):
        engine.close()


def answer(engine, grammar, **fields):
    guides = compile_grammar(grammar, GuideTokenizer.of(engine.vocabulary()))
    prompt = engine.tokenize("hello", special=True)
    return Answer(engine, prompt, max_tokens=200, ignore_eos=False, guide=guides(), **fields)


def text(heard):
    assert heard.last
    return b"".join(event.piece for event in heard.events if isinstance(event, Token)).decode()


def test_reply_that_keeps_to_the_grammar_is_said_as_it_is(load):
    """A guide changes nothing where the model does what it is asked."""
    heard = answer(load('{"n": 2}'), Grammar(content=SCHEMA))
    assert text(heard) == '{"n": 2}'
    assert heard.last.reason == "stop"


def test_reply_that_would_go_on_ends_with_the_grammar(load):
    """What a model adds behind a complete answer is not said."""
    heard = answer(load('{"n": 2} I hope that helps!'), Grammar(content=SCHEMA))
    assert text(heard) == '{"n": 2}'
    assert heard.last.reason == "stop"


def test_reply_that_leaves_the_grammar_is_led_back(load):
    """Where the model wants what it may not say, it says what it may."""
    heard = answer(load("maybe"), Grammar(content=OneOf(("yes", "no"))))
    assert text(heard) == "no"


def test_special_tokens_mark_reasoning(load):
    """Reasoning between tokens of its own is free, and the content is not."""
    thought = Reasoning(opener="<think>", closer="</think>", opened=False)
    reply = "<think>Two?</think>\n\nno, yes"
    heard = answer(load(reply), Grammar(content=OneOf(("yes", "no")), reasoning=thought))
    assert text(heard) == "<think>Two?</think>\n\nno"


def test_output_that_is_cut_ends_with_length(load):
    """A guide does not make an answer longer than it may be."""
    engine = load('{"n": 2}')
    guides = compile_grammar(Grammar(content=SCHEMA), GuideTokenizer.of(engine.vocabulary()))
    heard = Answer(engine, [1, 2], max_tokens=3, ignore_eos=False, guide=guides())
    assert text(heard) == '{"n'
    assert heard.last.reason == "length"


def test_ignored_end_still_ends_a_complete_form(load):
    """Where the grammar allows nothing but the end, it comes, whatever the request ignores."""
    engine = load('{"n": 2}')
    guides = compile_grammar(Grammar(content=SCHEMA), GuideTokenizer.of(engine.vocabulary()))
    heard = Answer(engine, [1, 2], max_tokens=11, ignore_eos=True, guide=guides())
    assert text(heard) == '{"n": 2}'
    assert heard.last.reason == "stop"


def test_min_tokens_does_not_break_a_form(load):
    """The end of a complete form comes before so many tokens, and not a token too many."""
    engine = load('{"n": 2}')
    guides = compile_grammar(Grammar(content=SCHEMA), GuideTokenizer.of(engine.vocabulary()))
    heard = Answer(engine, [1, 2], max_tokens=40, min_tokens=30, ignore_eos=False, guide=guides())
    assert text(heard) == '{"n": 2}'
    assert heard.last.reason == "stop"
