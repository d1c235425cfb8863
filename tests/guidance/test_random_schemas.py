"""Answers to random schemas are valid: by chance alone, and from each backend's own model."""

import json
import math
import sys

import jsonschema_rs
import pytest

from pilotlight.guidance import Grammar, GuideTokenizer, JsonSchema, compile_grammar
from pilotlight_backend import LoadOptions, SamplingParams, Token
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import Answer
from tests.guidance.random_schemas import SchemaMaker
from tests.guidance.walker import SamplingGuide, tokens, walk

pytestmark = pytest.mark.slow

SCHEMAS = 200
PROMPT = "<|im_start|>user\nHello, what is your name?<|im_end|>\n<|im_start|>assistant\n"


def finite(number):
    """Return what *number* says; JSON may write more than a float holds, a validator takes none."""
    value = float(number)
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def assert_valid(schema, text):
    """Assert that *text* is JSON, and valid, formats included."""
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    error = next(validator.iter_errors(json.loads(text, parse_float=finite)), None)
    assert error is None, (error, text, schema)


@pytest.mark.parametrize("bounded", [True, False])
def test_outputs_chosen_at_random_are_valid(bounded):
    """Whatever comes of what is allowed is JSON that a validator takes."""
    vocabulary = tokens()
    for seed in range(SCHEMAS):
        schema = SchemaMaker(seed, bounded=bounded).make()
        guides = compile_grammar(Grammar(content=JsonSchema(schema)), vocabulary)
        text, ended = walk(guides(), seed)
        assert ended, (schema, text)
        assert_valid(schema, text)


@pytest.fixture
def engine(backend):
    """Load the small model that *backend* brings."""
    facts = backend.probe(backend.embedded())
    options = LoadOptions(parallel=8, context_length=1024, threads=1)
    engine = backend.load(facts, options, lambda _progress: None)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    ("backend", "first"),
    [(LlamaCppBackend(), 0), (OnnxBackend(), 1)],
    ids=["llama_cpp", "onnx"],
)
def test_outputs_of_a_model_are_valid(engine, first):
    """Each of 200 schemas, several at a time, gets an answer that a validator takes.

    The model has never seen JSON like that, so that only the guide makes it so. Each backend gets
    every second schema. Every second of those has a guide that forces nothing.
    """
    vocabulary = GuideTokenizer.of(engine.vocabulary())
    prompt = engine.tokenize(PROMPT, special=True)
    asked = []
    for seed in range(first, SCHEMAS, 2):
        schema = SchemaMaker(seed, bounded=True).make()
        guides = compile_grammar(Grammar(content=JsonSchema(schema)), vocabulary)
        sampling = SamplingParams(temperature=1.0, seed=seed)
        guide = guides() if seed // 2 % 2 else SamplingGuide(guides())
        answer = Answer(
            engine, prompt, max_tokens=900, ignore_eos=False, sampling=sampling, guide=guide
        )
        asked.append((schema, answer))
    for schema, answer in asked:
        reason = answer.last.reason  # waits for it
        text = b"".join(event.piece for event in answer.events if isinstance(event, Token))
        assert reason == "stop", (schema, text)
        assert_valid(schema, text)
