"""Forced tokens, on a real model of each backend's: as many, spelled alike, in fewer steps."""

import pytest
from msgspec.structs import replace

from benchmarks.forced import OUTPUTS, write
from pilotlight.guidance import GuideTokenizer, compile_grammar
from pilotlight_backend import LoadOptions, SamplingParams, Token
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import GREEDY, Answer


@pytest.fixture(scope="module", params=[LlamaCppBackend, OnnxBackend], ids=["llama_cpp", "onnx"])
def engine(request):
    backend = request.param()
    facts = backend.probe(backend.embedded())
    options = LoadOptions(parallel=2, context_length=1024, threads=1)
    engine = backend.load(facts, options, lambda _progress: None)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def guides(engine):
    """Return a function that makes the guides of an output."""
    tokenizer = GuideTokenizer.of(engine.vocabulary())
    return lambda name: compile_grammar(OUTPUTS[name].grammar, tokenizer)


@pytest.mark.parametrize("name", OUTPUTS)
def test_forced_tokens_are_those_of_the_tokenizer(engine, guides, name):
    """A script in the tokenizer's spelling fails at any other token; fewer steps write it."""
    sampled, forced = (
        write(engine, OUTPUTS[name], guides(name), forced=forces) for forces in (False, True)
    )
    assert forced.text == sampled.text == OUTPUTS[name].text.encode()
    assert forced.tokens == sampled.tokens
    assert forced.steps < sampled.steps


def test_tool_call_takes_half_of_the_steps(engine, guides):
    """Its markers, names and quotes are most of a call."""
    name = "call, 2 arguments"
    sampled, forced = (
        write(engine, OUTPUTS[name], guides(name), forced=forces) for forces in (False, True)
    )
    assert forced.steps <= sampled.steps / 2


def test_forced_tokens_have_the_log_probabilities_of_sampled_ones(engine, guides):
    """With `logprobs`, what is forced is as likely to the model as what is sampled."""
    name = "call, 2 arguments"
    prompt = engine.tokenize("<|im_start|>assistant\n", special=True)
    heard = Answer(engine, prompt, max_tokens=12, sampling=GREEDY, guide=guides(name)(), logprobs=2)
    assert heard.last.usage.completion_tokens == 12
    tokens = [event for event in heard.events if isinstance(event, Token)]
    assert OUTPUTS[name].text.encode().startswith(b"".join(one.piece for one in tokens))
    for index in (0, 1, 5, 11):
        before = [one.id for one in tokens[:index]]
        alone = Answer(engine, [*prompt, *before], max_tokens=1, sampling=GREEDY, logprobs=2)
        assert alone.last.reason == "length"
        first = next(event for event in alone.events if isinstance(event, Token))
        assert tokens[index].candidates[0].id == first.candidates[0].id
        assert tokens[index].candidates[0].logprob == pytest.approx(first.logprob, abs=0.3)


def test_biased_tokens_are_sampled(engine, guides):
    """A bias may choose another spelling, so nothing is forced."""
    name = "call, 2 arguments"
    make = guides(name)
    prompt = engine.tokenize("<|im_start|>assistant\n", special=True)
    marker = engine.tokenize("<tool_call>", special=True)
    heard = Answer(
        engine,
        prompt,
        max_tokens=3,
        sampling=replace(GREEDY, logit_bias=dict.fromkeys(marker, -100.0)),
        guide=make(),
    )
    assert marker[0] not in heard.tokens
    assert len(heard.tokens) == 3


def test_penalties_look_back_on_forced_tokens(engine, guides):
    """What was forced counts as often as what was sampled."""
    name = "call, 2 arguments"
    sampling = SamplingParams(temperature=0, repeat_penalty=1.5, repeat_last_n=200)
    prompt = engine.tokenize("<|im_start|>assistant\n", special=True)
    whole = Answer(
        engine, prompt, max_tokens=60, ignore_eos=False, sampling=sampling, guide=guides(name)()
    )
    tokens = whole.tokens
    forced = 15  # more than the tokens that are forced at the beginning
    again = Answer(
        engine,
        [*prompt, *tokens[:forced]],
        max_tokens=1,
        sampling=sampling,
        guide=_behind(guides(name)(), tokens[:forced]),
    )
    assert again.tokens == tokens[forced : forced + 1]


def _behind(guide, tokens):
    for token in tokens:
        guide.accept(token)
    return guide
