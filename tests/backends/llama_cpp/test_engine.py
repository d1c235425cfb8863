"""The engine on a real, small model; what every engine does is in `test_engines.py`."""

import dataclasses
import os
import shutil
import threading

import pytest

from benchmarks import random_gguf
from pilotlight_backend import (
    InsufficientMemory,
    LoadOptions,
    ModelFileInvalid,
    SamplingParams,
    Token,
    cgroup,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.sampling import Samplers
from tests.backends.answer import GREEDY, Answer, prompt_of


def load(path, progress=lambda _progress: None, **options):
    backend = LlamaCppBackend()
    options = LoadOptions(deterministic=True, **options)
    return backend.load(backend.probe(path), options, progress)


@pytest.fixture(scope="module")
def engine(exact_model):
    engine = load(exact_model, parallel=8, chunk=32)
    yield engine
    engine.close()


def test_eight_greedy_requests_give_what_each_gives_alone(engine):
    """Neighbours in the batch do not change an answer, whatever their lengths."""
    prompts = [
        prompt_of(seed, length) for seed, length in enumerate([3, 7, 20, 31, 40, 64, 90, 150])
    ]
    alone = [Answer(engine, prompt, sampling=GREEDY).tokens for prompt in prompts]
    together = [Answer(engine, prompt, sampling=GREEDY) for prompt in reversed(prompts)]
    assert [answer.tokens for answer in reversed(together)] == alone


def test_beginning_that_a_busy_slot_holds_is_copied(exact_model):
    """Conversations under one system prompt start behind it, and answer as they do alone."""
    system = prompt_of(1, 200)
    prompts = [[*system, *prompt_of(seed, 10 * seed)] for seed in range(2, 7)]
    engine = load(exact_model, parallel=6, chunk=32)
    running = Answer(engine, [*system, 1], max_tokens=250, sampling=GREEDY)
    while not isinstance(running.next(), Token):
        pass
    answers = [Answer(engine, prompt, sampling=GREEDY) for prompt in prompts]
    together = [answer.tokens for answer in answers]
    assert len(running.tokens) == 250
    assert [answer.last.usage.cached_tokens for answer in answers] == [200] * 5
    engine.close()
    fresh = load(exact_model, parallel=1, chunk=32)
    alone = [Answer(fresh, prompt, sampling=GREEDY).tokens for prompt in prompts]
    assert Answer(fresh, [*system, 1], max_tokens=250, sampling=GREEDY).tokens == running.tokens
    fresh.close()
    assert together == alone


@pytest.fixture(scope="module")
def long_model(tmp_path_factory):
    """Return the same model, trained with a context that is longer than the first one made."""
    path = tmp_path_factory.mktemp("models") / "long.gguf"
    shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0", context_length=2048)
    random_gguf.write(path, shape, seed=3)
    return path


@pytest.mark.parametrize("length", [1000, 1024, 1030])
def test_shared_prompt_while_the_context_grows(long_model, length):
    """Copies are as good as what they are of; with 1,024 tokens they fall into the very step."""
    options = {"parallel": 3, "chunk": 32, "context_length": 2048}
    engine = load(long_model, **options)
    sharers = [
        Answer(engine, prompt_of(1, length), sampling=GREEDY, shares_prompt=True) for _ in range(4)
    ]
    tokens = [answer.tokens for answer in sharers]
    assert engine.stats().prompt_tokens == length + 3
    engine.close()
    fresh = load(long_model, **options)
    assert tokens == [Answer(fresh, prompt_of(1, length), sampling=GREEDY).tokens] * 4
    fresh.close()


def test_weights_of_an_unknown_architecture(exact_model, tmp_path, monkeypatch):
    """What the probe takes for known, and llama.cpp does not know, is refused in its words."""
    monkeypatch.setattr("pilotlight_llama_cpp.servable._library_text", lambda: None)
    path = tmp_path / "unknown.gguf"
    path.write_bytes(exact_model.read_bytes().replace(b"qwen3", b"qwen9"))
    with pytest.raises(ModelFileInvalid, match=r"unknown\.gguf.*unknown model architecture"):
        load(path)


def test_file_that_vanished_after_the_probe(exact_model, tmp_path):
    """A file that is gone by the time it is loaded is named."""
    path = tmp_path / "gone.gguf"
    path.write_bytes(exact_model.read_bytes())
    backend = LlamaCppBackend()
    facts = backend.probe(path)
    path.unlink()
    with pytest.raises(ModelFileInvalid, match=r"gone\.gguf"):
        backend.load(facts, LoadOptions(), lambda _progress: None)


def test_model_that_does_not_fit_is_refused_before_it_is_read(exact_model, monkeypatch):
    """Weights, KV cache of all slots and a step are weighed against what is available."""
    monkeypatch.setattr(cgroup, "available_memory", lambda: 1_000_000)
    heard = []
    with pytest.raises(InsufficientMemory) as caught:
        load(exact_model, heard.append)
    assert caught.value.available == 1_000_000
    kept, score = 4 * 512 * 2 * 2 * (64 + 64), 512 * 4 * (4 + 1)
    step = (512 + 4) * (score + 4 * (4 * 64 + 2 * 128))
    assert caught.value.required == exact_model.stat().st_size + kept + step
    assert heard == []


def test_longer_context_than_trained_is_reduced(exact_model, caplog):
    """The model serves what it was trained with, and the log has both figures."""
    engine = load(exact_model, context_length=600)
    assert engine.facts.context_length == 512
    assert "context_length is reduced from 600 to 512 tokens" in caplog.text
    engine.close()


def test_embedded_model_answers(model_path):
    """The model that ships with the plugin loads, and says something."""
    engine = load(model_path)
    prompt = engine.tokenize(
        "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n", special=True
    )
    answer = Answer(engine, prompt, max_tokens=16, sampling=GREEDY)
    assert answer.tokens
    engine.close()


def test_file_whose_name_is_not_utf_8(random_model, tmp_path):
    """A path is bytes, and llama.cpp gets those that the folder has."""
    path = tmp_path / os.fsdecode(b"bad\xff.gguf")
    shutil.copy(random_model, path)
    backend = LlamaCppBackend()
    facts = backend.probe(path)
    assert facts is not None
    engine = backend.load(facts, LoadOptions(context_length=64), lambda _: None)
    engine.close()


def test_dry_is_never_prepared_on_the_engines_thread(exact_model, monkeypatch):
    """Whatever the set, ten in turn twice; what is answered is what the sampler makes of it."""
    threads = []
    make_dry = Samplers._make_dry

    def recorded(samplers, dry):
        threads.append(threading.current_thread().name)
        return make_dry(samplers, dry)

    monkeypatch.setattr(Samplers, "_make_dry", recorded)
    engine = load(exact_model, parallel=4, chunk=32)
    answers = [
        Answer(
            engine,
            prompt_of(1, 40),
            max_tokens=20,
            sampling=SamplingParams(
                temperature=0, dry_multiplier=5, dry_sequence_breakers=(chr(97 + each),)
            ),
        )
        for each in [*range(10), *range(10)]
    ]
    tokens = [answer.tokens for answer in answers]
    engine.close()
    assert tokens[:10] == tokens[10:]
    assert all(len(each) for each in tokens)
    assert len(threads) == 10
    assert all(name.startswith("llama.cpp samplers") for name in threads)


@pytest.mark.parametrize(("deterministic", "steps"), [(True, 2), (False, 1)])
def test_deterministic_prompt_is_cut_where_it_is_without_a_cached_prefix(
    exact_model, deterministic, steps
):
    """The option reaches the plan: behind 20 cached tokens the first chunk ends at 32."""
    backend = LlamaCppBackend()
    options = LoadOptions(parallel=1, chunk=32, deterministic=deterministic)
    engine = backend.load(backend.probe(exact_model), options, lambda _: None)
    prompt = prompt_of(1, 50)
    assert len(Answer(engine, prompt[:20], max_tokens=1, sampling=GREEDY).tokens) == 1
    before = engine.stats().steps
    answer = Answer(engine, prompt, max_tokens=1, sampling=GREEDY)
    assert len(answer.tokens) == 1
    assert answer.last.usage.cached_tokens == 20
    assert engine.stats().steps - before == steps
    engine.close()
