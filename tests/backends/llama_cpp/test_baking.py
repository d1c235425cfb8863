"""Baked prompts on real, small models; what every backend does is in the conformance suite."""

import dataclasses
import logging

import pytest
from msgspec.structs import replace

from benchmarks import random_gguf
from pilotlight_backend import BakedPrompt, BakingRefused, InferenceFailed, LoadOptions
from pilotlight_backend.baking import MappedPrompt
from pilotlight_llama_cpp import native
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.growing_context import GrowingContext
from tests.backends.answer import GREEDY, Answer, prompt_of

OPTIONS = LoadOptions(parallel=2, context_length=512, chunk=64, deterministic=True)
PROMPT = tuple(prompt_of(5, 300))
BAKED = 288
"""Of its tokens: whole tiles of 16."""


def load(path, options=OPTIONS):
    backend = LlamaCppBackend()
    return backend.load(backend.probe(path), options, lambda _: None)


def bake(path, file, options=OPTIONS):
    """Bake the prompt with a new engine, as the command does."""
    baked = BakedPrompt(path=file, template="")
    engine = load(path, options)
    engine.bake(PROMPT, baked)
    engine.close()
    return replace(options, baked=baked)


def answer(path, options, prompt=(*PROMPT, 1, 2, 3)):
    engine = load(path, options)
    heard = Answer(engine, prompt, sampling=GREEDY)
    tokens, cached = heard.tokens, heard.last.usage.cached_tokens
    engine.close()
    return tokens, cached


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", ["Q8_0", "F16"])
def test_greedy_answer_is_the_same(tmp_path, weights, seed):
    """Over several chunks, and with weights whose kernels round by the batch too."""
    path = tmp_path / "model.gguf"
    random_gguf.write(path, dataclasses.replace(random_gguf.TINY, weights=weights), seed=seed)
    options = bake(path, tmp_path / "model.baked")
    expected, cached = answer(path, OPTIONS)
    assert cached == 0
    assert answer(path, options) == (expected, BAKED)


@pytest.mark.parametrize("rest", [11, 16, 40, 130])
@pytest.mark.parametrize("weights", ["Q8_0", "F16"])
def test_logits_are_the_same_to_the_bit(tmp_path, weights, rest):
    """Not the choice of tokens alone: every probability is what it was."""
    path = tmp_path / "model.gguf"
    random_gguf.write(path, dataclasses.replace(random_gguf.TINY, weights=weights), seed=rest)
    prompt = (*PROMPT[:BAKED], *prompt_of(rest, rest))

    def logprobs(options):
        engine = load(path, options)
        heard = Answer(engine, prompt, sampling=GREEDY, logprobs=20)
        found = [
            [(one.id, one.logprob) for one in token.candidates]
            for token in heard.events[1:-1]
            if heard.tokens
        ]
        engine.close()
        return found

    assert logprobs(bake(path, tmp_path / "model.baked")) == logprobs(OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"parallel": 3},
        {"chunk": 32},
        {"context_length": 400},
        {"cache_type_k": "q8_0"},
    ],
    ids=str,
)
def test_load_with_other_settings_says_which(exact_model, tmp_path, caplog, change):
    """The warning has the setting's name and both values."""
    options = bake(exact_model, tmp_path / "model.baked")
    assert answer(exact_model, replace(options, **change)) == (answer(exact_model, OPTIONS)[0], 0)
    [(name, value)] = change.items()
    was = getattr(OPTIONS, name)
    assert f"model.baked is ignored: baked with {name} {was}, this load has {value}" in caplog.text


def test_other_weights_of_the_same_shape_are_another_model(exact_model, tmp_path, caplog):
    """A model that was trained further is recognised by its weights: name and size are the same."""
    other = tmp_path / "other.gguf"
    shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0")
    random_gguf.write(other, shape, seed=4)
    assert other.stat().st_size == exact_model.stat().st_size
    options = bake(exact_model, tmp_path / "model.baked")
    assert answer(other, options)[1] == 0
    assert "baked from another model" in caplog.text


def test_renamed_model_is_the_same(exact_model, tmp_path):
    """Model and baked prompt can be copied elsewhere, into an image say."""
    options = bake(exact_model, tmp_path / "model.baked")
    moved = tmp_path / "moved.gguf"
    moved.write_bytes(exact_model.read_bytes())
    assert answer(moved, options)[1] == BAKED


def test_other_build_is_named(exact_model, tmp_path, caplog, monkeypatch):
    """A llama.cpp of another version, or for another CPU, computes other numbers."""
    options = bake(exact_model, tmp_path / "model.baked")
    monkeypatch.setattr(native, "build", lambda _: "another build")
    assert answer(exact_model, options)[1] == 0
    assert "this is 'another build'" in caplog.text


def test_state_that_llama_cpp_refuses_is_ignored(exact_model, tmp_path, caplog, monkeypatch):
    """The load goes on where llama.cpp has the last word, and nothing stays mapped."""
    options = bake(exact_model, tmp_path / "model.baked")
    mapped = []

    def refuse(_context, baked: MappedPrompt):
        mapped.append(baked)
        return False

    monkeypatch.setattr(GrowingContext, "adopt", refuse)
    assert answer(exact_model, options)[1] == 0
    assert "llama.cpp rejects its state" in caplog.text
    with pytest.raises(ValueError, match="released"):
        len(mapped[0].state)


def test_state_of_another_shape_is_refused_by_llama_cpp(exact_model, tmp_path, monkeypatch):
    """Were a file of two slots taken for one of three, its state would still not be used."""
    options = bake(exact_model, tmp_path / "model.baked")
    monkeypatch.setattr("pilotlight_backend.baking._difference", lambda _theirs, _ours: None)
    other = replace(options, parallel=3)
    assert answer(exact_model, other) == (answer(exact_model, OPTIONS)[0], 0)


def test_tokens_in_the_cache_are_counted(exact_model, tmp_path):
    """What is baked takes room from the start, in the one slot that holds it."""
    engine = load(exact_model, bake(exact_model, tmp_path / "model.baked"))
    assert engine.stats().kv_tokens == BAKED
    Answer(engine, (*PROMPT, 9), sampling=GREEDY, max_tokens=1).tokens  # noqa: B018 - waits
    assert engine.stats().prompt_tokens == 13
    engine.close()


def test_load_says_how_much_is_baked(exact_model, tmp_path, caplog):
    """The operator sees that the file is in use."""
    caplog.set_level(logging.INFO, "pilotlight.llama_cpp")
    load(exact_model, bake(exact_model, tmp_path / "model.baked")).close()
    assert "exact.gguf: 288 tokens of its prompt are baked" in caplog.text


def test_model_without_a_plain_cache_is_refused(exact_model, tmp_path):
    """A sliding window and a recurrent state are not put back as they were."""
    engine = load(exact_model)
    engine._model.plain_cache = False
    with pytest.raises(BakingRefused, match=r"exact\.gguf: prompts of this model cannot be baked"):
        engine.bake(PROMPT, BakedPrompt(path=tmp_path / "model.baked", template=""))
    assert not list(tmp_path.iterdir())
    engine.close()


def test_prompt_that_is_hardly_one_is_refused(exact_model, tmp_path):
    """Less than a tile is not worth a file."""
    engine = load(exact_model)
    with pytest.raises(BakingRefused, match="the prompt has 15 tokens; baking needs at least 16"):
        engine.bake(PROMPT[:15], BakedPrompt(path=tmp_path / "model.baked", template=""))
    engine.close()


def test_state_that_cannot_be_taken_is_an_error(exact_model, tmp_path, monkeypatch):
    """Without memory for the copy it raises, and the engine continues."""
    engine = load(exact_model)

    def no_memory(_slot):
        raise MemoryError

    monkeypatch.setattr(engine._context, "save", no_memory)
    with pytest.raises(InferenceFailed, match="the state cannot be saved"):
        engine.bake(PROMPT, BakedPrompt(path=tmp_path / "model.baked", template=""))
    assert Answer(engine, PROMPT, sampling=GREEDY, max_tokens=2).tokens
    engine.close()
