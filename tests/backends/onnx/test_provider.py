"""Where ONNX Runtime computes."""

import pytest

from pilotlight_backend import LoadFailed, LoadOptions
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import GREEDY, Answer


def load(provider):
    backend = OnnxBackend()
    facts = backend.probe(backend.embedded())
    return backend.load(facts, LoadOptions(execution_provider=provider), lambda _: None)


def test_the_one_that_is_built_in_can_be_named():
    """It answers as it does by default."""
    engine = load("cpu")
    try:
        prompt = engine.tokenize("2 + 2 =", special=True)
        assert len(Answer(engine, prompt, max_tokens=4, sampling=GREEDY).tokens) == 4
    finally:
        engine.close()


def test_speculation_is_refused_at_the_load():
    """The message names the option, and what would be right."""
    backend = OnnxBackend()
    facts = backend.probe(backend.embedded())
    with pytest.raises(LoadFailed, match=r"speculation: 'ngram' is not supported .* to none"):
        backend.load(facts, LoadOptions(speculation="ngram"), lambda _: None)


@pytest.mark.parametrize("provider", ["cuda", "nonsense", "ü"])
def test_one_that_is_not_built_in_fails_the_load(provider, caplog):
    """The error names it and no path of this machine; the log has the library's words."""
    with pytest.raises(LoadFailed, match=provider) as caught:
        load(provider)
    assert "/" not in str(caught.value)
    assert provider in caplog.text
