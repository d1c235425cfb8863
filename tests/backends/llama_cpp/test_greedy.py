"""The likeliest token by numpy: the same as that of llama.cpp's chain."""

import math
import threading

import numpy as np
import pytest

from pilotlight_backend import GenerateRequest, LoadOptions, SamplingParams, Token
from pilotlight_backend.testing.conformance.listener import run
from pilotlight_llama_cpp import greedy
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.greedy import Greedy, likeliest


@pytest.mark.parametrize(
    ("bias", "token"),
    [
        ({}, 1),
        ({1: -0.5}, 3),
        ({1: -math.inf, 3: -math.inf}, 2),
        ({0: 4.5}, 0),
        ({0: 3.0}, 0),
        (dict.fromkeys(range(5), -math.inf), 0),
    ],
    ids=["first of two", "one less", "two excluded", "one more", "as much", "all excluded"],
)
def test_likeliest_token_is_the_first_with_the_most(bias, token):
    logits = np.array([0.0, 3.0, 2.0, 3.0, -1.0], np.float32)
    before = logits.copy()
    assert likeliest(logits, bias) == token
    assert (logits == before).all()


def test_bias_is_added_in_the_precision_of_logits():
    """0.1 is no float32; llama.cpp rounds it before it adds it."""
    logits = np.array([1.0, np.float32(1.0) + np.float32(0.1)], np.float32)
    assert likeliest(logits, {0: 0.1}) == 0


def test_numpy_is_imported_beside_once_it_pays(monkeypatch):
    monkeypatch.setattr(greedy, "sys", type("Sys", (), {"modules": {}}))
    monkeypatch.setattr(greedy, "_WORTH", 300)
    imported, gate = threading.Event(), threading.Event()
    choice = Greedy()
    load = choice._import

    def held():
        assert gate.wait(10)
        load()
        imported.set()

    monkeypatch.setattr(choice, "_import", held)
    assert [choice.is_ready(100) for _ in range(5)] == [False] * 5
    gate.set()
    assert imported.wait(10)
    assert choice.is_ready(100)


def test_numpy_is_imported_while_nothing_runs_if_the_vocabulary_is_large(monkeypatch):
    monkeypatch.setattr(greedy, "sys", type("Sys", (), {"modules": {}}))
    choice = Greedy()
    choice.rest(50_000)  # nothing was sampled yet
    assert not choice.is_ready(50_000)
    choice.rest(49_999)
    assert choice._thread is None
    choice.rest(50_000)
    first = choice._thread
    choice.rest(50_000)
    assert choice._thread is first
    first.join(10)
    assert choice.is_ready(50_000)


def test_thread_that_becomes_idle_lets_its_context_rest(monkeypatch):
    backend = LlamaCppBackend()
    options = LoadOptions(parallel=1, context_length=64)
    engine = backend.load(backend.probe(backend.embedded()), options, lambda _: None)
    rested = threading.Event()
    monkeypatch.setattr(engine._thread._decoder, "rest", rested.set)
    run(
        engine,
        GenerateRequest(prompt=(5, 6), max_tokens=2, sampling=SamplingParams(temperature=0.0)),
    )
    assert rested.wait(10)
    engine.close()


def test_numpy_that_is_there_is_used_at_once():
    choice = Greedy()
    choice.is_ready(1)
    choice._thread.join(10)
    assert choice.is_ready(1)


@pytest.mark.parametrize("fields", [{}, {"logit_bias": {40: 3.5, 41: -2.0}}], ids=["plain", "bias"])
def test_completion_is_that_of_the_chain(monkeypatch, fields):
    backend = LlamaCppBackend()
    options = LoadOptions(parallel=1, context_length=256, deterministic=True)
    engine = backend.load(backend.probe(backend.embedded()), options, lambda _: None)
    found = []
    try:
        for is_ready in (True, False):
            monkeypatch.setattr(Greedy, "is_ready", lambda *_, is_ready=is_ready: is_ready)
            request = GenerateRequest(
                prompt=tuple(engine.tokenize("Once upon a time", special=False)),
                max_tokens=48,
                ignore_eos=True,
                sampling=SamplingParams(temperature=0, **fields),
            )
            found.append([one.id for one in run(engine, request).events if isinstance(one, Token)])
    finally:
        engine.close()
    assert found[0] == found[1]
    assert len(found[0]) == 48
