"""Speculation on real, small models: the same completions in fewer steps."""

import logging
import threading
from collections import Counter

import pytest

from pilotlight.guidance import Grammar, GuideTokenizer, JsonSchema, compile_grammar
from pilotlight_backend import LoadOptions, SamplingParams, Token
from pilotlight_llama_cpp import drafting
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.answer import GREEDY, Answer, prompt_of
from tests.backends.llama_cpp.made_up_times import Free

RECURRENT = "the model has a recurrent state, from which refused tokens cannot be removed"
PERIOD = prompt_of(3, 7)
"""A random model goes on with what repeats itself, for a while."""


def load(path, speculation="ngram", **options):
    backend = LlamaCppBackend()
    options = {"parallel": 4, "context_length": 1024, "chunk": 64, "threads": 1, **options}
    engine = backend.load(
        backend.probe(path), LoadOptions(speculation=speculation, **options), lambda _: None
    )
    if drafts := engine._thread._drafts:
        drafts._drafting._times = Free()
    return engine


@pytest.fixture(scope="module")
def engine(exact_model):
    engine = load(exact_model)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain(exact_model):
    engine = load(exact_model, "none")
    yield engine
    engine.close()


def heard(answer):
    """Return the tokens with their log probabilities, and how the request ended."""
    reason = answer.last.reason
    tokens = [event for event in answer.events if isinstance(event, Token)]
    return [(one.id, one.logprob, one.candidates) for one in tokens], reason


SAMPLERS = {
    "greedy": GREEDY,
    "sampled": SamplingParams(seed=5, temperature=0.7),
    "filters": SamplingParams(seed=6, top_k=20, top_p=0.9, min_p=0.02, typical_p=0.95),
    "penalties": SamplingParams(seed=7, repeat_penalty=1.2, presence_penalty=0.5),
    "dry": SamplingParams(temperature=0.0, dry_multiplier=0.8),
    "mirostat": SamplingParams(seed=8, mirostat=2),
    "xtc": SamplingParams(seed=9, xtc_probability=0.5, xtc_threshold=0.05),
    "bias": SamplingParams(temperature=0.0, logit_bias=dict.fromkeys(PERIOD, 4.0)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_sees_the_tokens_that_it_would_have(engine, plain, name):
    """With Q8_0 weights and flash attention tokens and log probabilities are equal to the bit."""
    for prompt in (PERIOD * 6, prompt_of(4, 60)):
        answers = [
            Answer(one, prompt, max_tokens=40, sampling=SAMPLERS[name], logprobs=2)
            for one in (plain, engine)
        ]
        assert heard(answers[0]) == heard(answers[1])


def test_repetition_takes_fewer_steps(exact_model):
    """A bias makes the model copy; each accepted token is a step less."""
    engine = load(exact_model)
    answer = Answer(
        engine,
        [7, 7, 7, 7],
        max_tokens=200,
        sampling=SamplingParams(temperature=0.0, logit_bias={7: 1000.0}),
    )
    assert answer.tokens == [7] * 200
    stats, usage = engine.stats(), answer.last.usage
    engine.close()
    assert usage.accepted_tokens > 20
    assert usage.drafted_tokens >= usage.accepted_tokens
    assert stats.steps == 200 - usage.accepted_tokens
    assert stats.completion_tokens == usage.completion_tokens == 200
    assert stats.drafts > 0
    assert (stats.drafted_tokens, stats.accepted_tokens) == (
        usage.drafted_tokens,
        usage.accepted_tokens,
    )


def test_eight_mixed_streams_answer_as_without(exact_model):
    """Some draft and some do not; one is cancelled in the middle, and its slot is used again."""
    bias = SamplingParams(temperature=0.0, logit_bias=dict.fromkeys(PERIOD, 6.0))
    asked = [
        {"prompt": (PERIOD * 5)[: 20 + seed], "sampling": bias}
        if seed % 2
        else {"prompt": prompt_of(seed, 30), "sampling": SamplingParams(seed=seed)}
        for seed in range(8)
    ]
    told = []
    for speculation in ("none", "ngram"):
        engine = load(exact_model, speculation, parallel=8)
        cancelled = Answer(engine, PERIOD * 4, max_tokens=900, sampling=bias)
        answers = [
            Answer(engine, one["prompt"], sampling=one["sampling"], max_tokens=100) for one in asked
        ]
        cancelled.ticket.cancel()
        told.append([answer.tokens for answer in answers])
        assert cancelled.last.reason == "cancelled"
        assert engine.stats().slots_busy == 0
        engine.close()
    assert told[0] == told[1]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gemma3", "gpt-oss"])
def test_sliding_windows_answer_as_without(family, architecture):
    """Refused tokens are removed from a window's cache too, beyond its length."""
    told = []
    for speculation in ("none", "ngram"):
        engine = load(family(architecture), speculation, ngram_min=1)
        answers = [
            Answer(engine, prompt, max_tokens=150, sampling=SamplingParams(seed=1, top_k=3))
            for prompt in (PERIOD * 40, prompt_of(9, 200) * 2)
        ]
        told.append([answer.tokens for answer in answers])
        # The next turn continues what the slots hold.
        turn = [*PERIOD * 40, *told[-1][0], 5, 6, 7]
        told[-1].append(Answer(engine, turn, max_tokens=40, sampling=GREEDY).tokens)
        refused = engine.stats().drafted_tokens - engine.stats().accepted_tokens
        engine.close()
    assert refused > 0
    assert told[0] == told[1]


@pytest.mark.parametrize("architecture", ["lfm2", "mamba"])
def test_recurrent_models_do_not_draft(family, architecture, caplog):
    """Their state cannot go back; this is logged once, and they answer."""
    with caplog.at_level(logging.WARNING, "pilotlight.llama_cpp"):
        engine = load(family(architecture))
    assert [record.message for record in caplog.records if "speculation" in record.message] == [
        f"{engine.facts.path.name}: speculation is off: {RECURRENT}"
    ]
    assert len(Answer(engine, PERIOD * 5, max_tokens=20, sampling=GREEDY).tokens) == 20
    assert engine.stats().drafts == 0
    engine.close()


def test_deterministic_engine_does_not_draft(exact_model, caplog):
    """A row among others rounds differently; the promise comes first."""
    engine = load(exact_model, deterministic=True)
    Answer(engine, PERIOD * 5, max_tokens=20, sampling=GREEDY).tokens  # noqa: B018 - waits
    assert engine.stats().drafts == 0
    assert "speculation is off: deterministic is on" in caplog.text
    engine.close()


def test_context_that_ends_inside_a_draft(engine):
    """The completion has exactly the rest of the context."""
    length = engine.facts.context_length
    sampling = SamplingParams(temperature=0.0, logit_bias={7: 1000.0})
    answer = Answer(engine, [7] * (length - 13), max_tokens=100, sampling=sampling)
    assert answer.tokens == [7] * 13
    assert answer.last.reason == "length"


@pytest.mark.slow
def test_distribution_is_that_of_the_model(exact_model, monkeypatch):
    """Chi-squared over 800 completions; tokens behind the first one are drafted.

    The prompt has each of four tokens, so whatever is sampled first, the next one is drafted. Seeds
    differ, so that equal random numbers are not what is compared.
    """
    monkeypatch.setattr(drafting, "_FIRST_CREDIT", 32.0)
    monkeypatch.setattr(drafting, "_WORTH", 0.0)
    few = (11, 12, 13, 14)
    bias = dict.fromkeys(few, 60.0)
    prompt = [*few, *few, *few, 11, 12]
    counts = []
    for speculation, first in (("none", 0), ("ngram", 10_000)):
        engine = load(exact_model, speculation, parallel=8, ngram_min=1)
        counts.append(Counter())
        for seed in range(first, first + 800, 8):
            answers = [
                Answer(
                    engine,
                    prompt,
                    max_tokens=4,
                    sampling=SamplingParams(seed=seed + n, logit_bias=bias, temperature=8.0),
                )
                for n in range(8)
            ]
            counts[-1].update(tuple(answer.tokens[1:3]) for answer in answers)
        drafted = engine.stats().drafted_tokens
        engine.close()
    assert drafted > 50
    cells = {cell for cell in counts[0] | counts[1] if counts[0][cell] + counts[1][cell] >= 10}
    squared = sum(
        (counts[0][cell] - counts[1][cell]) ** 2 / (counts[0][cell] + counts[1][cell])
        for cell in cells
    )
    # Wilson and Hilferty's approximation of the 99.9th percentile.
    degrees = len(cells) - 1
    assert degrees >= 8
    assert squared < degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3


def test_guided_completion_is_that_without_speculation(model_path):
    """Structured output: drafts that the schema refuses are cut, and forced tokens go on."""
    schema = {
        "type": "array",
        "minItems": 6,
        "maxItems": 6,
        "items": {
            "type": "object",
            "properties": {"name": {"enum": ["Ann", "Bob"]}, "age": {"enum": [36, 7]}},
            "required": ["name", "age"],
        },
    }
    told = []
    for speculation in ("none", "ngram"):
        engine = load(model_path, speculation)
        guides = compile_grammar(
            Grammar(content=JsonSchema(schema)), GuideTokenizer.of(engine.vocabulary())
        )
        prompt = engine.tokenize(
            '<|im_start|>user\nList: [{"name": "Ann", "age": 36}, {"name": "Bob", "age": 7},'
            ' {"name": "Ann", "age": 36}]<|im_end|>\n<|im_start|>assistant\n',
            special=True,
        )
        answer = Answer(
            engine,
            prompt,
            max_tokens=200,
            sampling=GREEDY,
            ignore_eos=False,
            guide=guides(),
        )
        told.append(answer.tokens)
        accepted = engine.stats().accepted_tokens
        engine.close()
    assert told[0] == told[1]
    assert accepted > 0


def test_closing_inside_a_draft_leaves_no_thread(exact_model):
    """The engine ends while a sequence copies."""
    threads = threading.active_count()
    engine = load(exact_model)
    answer = Answer(
        engine,
        [7] * 8,
        max_tokens=1000,
        sampling=SamplingParams(temperature=0.0, logit_bias={7: 1000.0}),
    )
    while not isinstance(answer.next(), Token):
        pass
    engine.close()
    assert answer.last is not None
    assert threading.active_count() == threads


def test_copies_of_a_prompt_draft_each_for_itself(engine, plain):
    """With `n`, one prefill serves all, and each completion is that without drafts."""
    told = []
    for one in (plain, engine):
        answers = [
            Answer(
                one,
                PERIOD * 12,
                max_tokens=60,
                shares_prompt=True,
                sampling=SamplingParams(seed=seed, logit_bias=dict.fromkeys(PERIOD, 5.0)),
            )
            for seed in range(3)
        ]
        told.append([answer.tokens for answer in answers])
    assert told[0] == told[1]
