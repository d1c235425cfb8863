"""Vectors of real, small models, compared with llama.cpp used plainly, one input at a time."""

import ctypes
import dataclasses
import math
import queue
import threading

import llama_cpp
import pytest

from benchmarks import random_gguf
from pilotlight_backend import (
    Embedded,
    EmbeddingEngine,
    Engine,
    Failed,
    Finish,
    InsufficientMemory,
    LoadOptions,
    ModelFileInvalid,
    cgroup,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.pooling_context import EmbeddingContext
from tests.backends import random_bert

pytestmark = pytest.mark.slow

TEXTS = ["the cat sat on the mat", "what is a dog?", "a", "hello " * 30, "x1, y2!", "home ran"]
CLOSE = {"bert": 1e-5, "qwen3": 1e-4}
"""What a number may differ by. In a decoder's cache an input's cells lie among others': its scores
are added up in another order, and Q8_0 rounds what comes of it. 1.2e-5 was seen."""


def load(path, progress=lambda _progress: None, **options):
    backend = LlamaCppBackend()
    return backend.load(backend.probe(path), LoadOptions(**options), progress)


def embed(engine, inputs):
    """Return the vectors of *inputs*."""
    vectors, ends, ended = [], [], threading.Event()

    def emit(event):
        if isinstance(event, Embedded):
            vectors.append(event.vector)
        elif isinstance(event, Finish | Failed):
            ends.append(event)
            ended.set()

    engine.embed(inputs, emit)
    assert ended.wait(60)
    assert isinstance(ends[0], Finish), ends
    return vectors


def assert_close(found, expected, architecture="bert"):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == pytest.approx(list(other), abs=CLOSE[architecture])


def reference(path, inputs, pooling):
    """Return what the library's own high-level class makes of *inputs*, each for itself."""
    model = llama_cpp.Llama(
        str(path), embedding=True, pooling_type=pooling, n_ctx=512, n_batch=512, n_ubatch=512,
        n_threads=1, verbose=False,
    )  # fmt: skip
    vectors = []
    for tokens in inputs:
        model._batch.reset()
        model._batch.add_sequence(list(tokens), 0, logits_all=True)
        model._ctx.kv_cache_clear()
        model._ctx.decode(model._batch)
        pointer = llama_cpp.llama_get_embeddings_seq(model._ctx.ctx, 0)
        values = pointer[: model.n_embd()]
        vectors.append([value / math.hypot(*values) for value in values])
    model.close()
    return vectors


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a path for each kind of pooling, of an encoder and of a decoder."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for pooling in (1, 2, 3):
        found["bert", pooling] = random_bert.write(folder / f"bert{pooling}.gguf", pooling=pooling)
        path = folder / f"qwen{pooling}.gguf"
        shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0", pooling=pooling)
        random_gguf.write(path, shape, seed=pooling)
        found["qwen3", pooling] = path
    return found


@pytest.mark.parametrize("chunk", [512, 64])
@pytest.mark.parametrize("pooling", [1, 2, 3], ids=["mean", "cls", "last"])
@pytest.mark.parametrize("architecture", ["bert", "qwen3"])
def test_vectors_are_llama_cpps(models, architecture, pooling, chunk):
    """Alone, in one batch, and in several: equal to the library's, one input at a time."""
    path = models[architecture, pooling]
    engine = load(path, chunk=chunk)
    inputs = [engine.tokenize_input(text) for text in TEXTS]
    expected = reference(path, inputs, pooling)
    assert_close([embed(engine, [one])[0] for one in inputs], expected, architecture)
    assert_close(embed(engine, inputs), expected, architecture)
    assert_close(embed(engine, inputs * 20), expected * 20, architecture)
    engine.close()


@pytest.mark.parametrize(("architecture", "pooling"), [("bert", 1), ("qwen3", 1), ("qwen3", 3)])
def test_input_as_long_as_the_context(models, architecture, pooling):
    """It is evaluated whole, or in parts where only the last token is pooled: the same vector."""
    path = models[architecture, pooling]
    engine = load(path, chunk=64)
    tokens = ([*engine.tokenize_input("the cat sat on the mat")] * 512)[:512]
    before = engine.stats().steps
    assert_close(embed(engine, [tokens]), reference(path, [tokens], pooling), architecture)
    assert engine.stats().steps - before == (8 if pooling == 3 else 1)
    engine.close()


def test_inputs_that_fit_are_one_decode(models, monkeypatch):
    """Sixteen inputs of one request are one call of llama.cpp, and so are those of sixteen."""
    decoded = []
    plain = EmbeddingContext.decode
    at_work, go_on = threading.Event(), threading.Event()

    def decode(context, parts):
        decoded.append(len(parts))
        at_work.set()
        assert go_on.wait(60)
        return plain(context, parts)

    engine = load(models["bert", 1])
    monkeypatch.setattr(EmbeddingContext, "decode", decode)
    inputs = [engine.tokenize_input(TEXTS[place % len(TEXTS)])[:8] for place in range(16)]
    ends = queue.SimpleQueue()

    def emit(event):
        if isinstance(event, Finish | Failed):
            ends.put(event)

    engine.embed([[5]], emit)
    assert at_work.wait(60)  # what is submitted now waits for the next step
    for one in inputs:
        engine.embed([one], emit)
    go_on.set()
    assert all(isinstance(ends.get(timeout=60), Finish) for _ in range(17))
    embed(engine, inputs)
    assert decoded == [1, 16, 16]
    engine.close()


def test_inputs_get_what_the_header_wants_at_their_ends(models):
    """An encoder's [CLS] and [SEP]; a decoder's end token where the header says to add it."""
    bert = load(models["bert", 1])
    assert bert.tokenize("hello", special=True) == [random_bert.token_id("\u2581hello")]
    tokens = bert.tokenize_input("hello")
    assert tokens == [random_bert.CLS, random_bert.token_id("\u2581hello"), random_bert.SEP]
    assert bert.tokenize_input("") == [random_bert.CLS, random_bert.SEP]
    bert.close()
    qwen = load(models["qwen3", 3])
    (end,) = qwen.tokenize("<|im_end|>", special=True)
    assert qwen.tokenize_input("the") == [*qwen.tokenize("the", special=True), end]
    qwen.close()


def test_words_that_the_vocabulary_lacks(models):
    """They are unknown, and have a vector all the same."""
    engine = load(models["bert", 1])
    tokens = engine.tokenize_input("你好 🦙")
    assert 100 in tokens
    assert len(embed(engine, [tokens])[0]) == random_bert.HIDDEN
    engine.close()


def test_encoder_that_says_no_pooling_has_the_mean(models, tmp_path):
    """As sentence-transformers has it."""
    path = random_bert.write(tmp_path / "silent.gguf", pooling=None)
    engine, mean = load(path), load(models["bert", 1])
    tokens = engine.tokenize_input(TEXTS[0])
    assert_close(embed(engine, [tokens]), embed(mean, [tokens]))
    engine.close()
    mean.close()


def test_engine_is_of_its_kind(models, model_path):
    """What embeds does not write, and the other way about."""
    embedder, writer = load(models["bert", 1]), load(model_path)
    assert isinstance(embedder, EmbeddingEngine)
    assert not isinstance(embedder, Engine)
    assert isinstance(writer, Engine)
    assert not isinstance(writer, EmbeddingEngine)
    embedder.close()
    writer.close()


def test_longer_context_than_trained_is_not_given(models, caplog):
    """An encoder has a vector for each position it was trained on; beyond, llama.cpp would end."""
    engine = load(models["bert", 1], context_length=4096)
    assert engine.facts.context_length == random_bert.CONTEXT_LENGTH
    assert "context_length is reduced from 4096 to 512 tokens" in caplog.text
    engine.close()


def test_shorter_context_is_taken(models):
    """An operator may allow less."""
    engine = load(models["bert", 1], context_length=16)
    assert len(embed(engine, [[5] * 16])) == 1
    engine.close()


def test_large_vocabulary_makes_steps_smaller(tmp_path):
    """A row of logits for each token is bounded."""
    path = tmp_path / "wide.gguf"
    shape = dataclasses.replace(random_gguf.TINY, vocabulary=151_936, weights="Q8_0", pooling=3)
    random_gguf.write(path, shape)
    engine = load(path)
    assert engine._thread._decoder.step == 220
    assert len(embed(engine, [[1] * 300])) == 1
    assert engine.stats().steps == 2
    engine.close()


def test_cache_is_weighed_once(models, monkeypatch):
    """Of a decoder that embeds there is one cache, not one a slot."""
    path = models["qwen3", 3]
    cache = 512 * 512
    monkeypatch.setattr(cgroup, "available_memory", lambda: path.stat().st_size + cache)
    load(path, parallel=8).close()
    monkeypatch.setattr(cgroup, "available_memory", lambda: path.stat().st_size + cache - 1)
    with pytest.raises(InsufficientMemory):
        load(path, parallel=8)


def test_weights_that_llama_cpp_refuses(models, tmp_path):
    """The error has llama.cpp's own message, and nothing leaks."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(
        models["bert", 1].read_bytes().replace(b"attn_output_norm", b"attn_output_mron")
    )
    with pytest.raises(ModelFileInvalid, match=r"broken\.gguf"):
        load(path)


def test_numbers_that_are_none_fail_the_request(models, tmp_path):
    """A model that computes no finite number answers with an error, and not with NaN."""
    path = tmp_path / "nan.gguf"
    data = bytearray(models["bert", 1].read_bytes())
    nan = bytes((ctypes.c_float * 64)(*[math.nan] * 64))
    ones = bytes((ctypes.c_float * 64)(*[1.0] * 64))
    place = data.rindex(ones)
    data[place : place + len(nan)] = nan
    path.write_bytes(data)
    engine = load(path)
    ends, ended = [], threading.Event()

    def emit(event):
        if isinstance(event, Finish | Failed):
            ends.append(event)
            ended.set()

    engine.embed([[1, 2]], emit)
    assert ended.wait(60)
    assert "not finite" in str(ends[0].error)
    engine.close()
