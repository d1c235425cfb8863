"""Images in the engine, beyond the conformance suite: chunks, cached states, and what is logged."""

import pytest
from msgspec.structs import replace

from pilotlight_backend import EngineClosed, LoadOptions, PromptCacheOptions
from pilotlight_backend.testing.conformance.listener import run, submit
from pilotlight_backend.testing.conformance.seeing import asking, end_of, picture, said
from pilotlight_llama_cpp.backend import LlamaCppBackend

OPTIONS = LoadOptions(parallel=2, context_length=1024, threads=1, deterministic=True)
TALL = picture(1, 90, 200)
"""With M-RoPE 78 rows in 13 positions."""


@pytest.fixture
def load(seeing_model):
    """Return a function that loads a model that sees, and close what it has loaded."""
    backend, engines = LlamaCppBackend(), []

    def make(name, options=OPTIONS):
        engines.append(backend.load(backend.probe(seeing_model(name)), options, lambda _: None))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def request(engine):
    words = engine.tokenize("What do you see? ", special=False)
    return asking(words * 6, TALL, words)


@pytest.mark.parametrize("name", ["mlp", "gemma3", "idefics3", "qwen2vl", "qwen35"])
def test_response_does_not_depend_on_the_chunk(load, name):
    """An image larger than a chunk is cut, or is one batch where it must be; nothing aborts."""
    whole, cut = load(name), load(name, replace(OPTIONS, chunk=5))

    assert said(run(whole, request(whole))) == said(run(cut, request(cut)))


@pytest.mark.parametrize("name", ["mlp", "gemma3", "qwen2vl", "qwen35"])
def test_image_is_restored_from_storage_and_not_encoded(load, name, tmp_path):
    """Another process finds the prompt by the image's pixels."""
    cache = PromptCacheOptions(memory_bytes=0, storage=str(tmp_path / "states"))
    options = replace(OPTIONS, prompt_cache=cache)
    first = load(name, options)
    asked = request(first)
    response = run(first, asked)
    first.save_prompts(30)
    first.close()

    second = load(name, options)
    again = run(second, replace(asked, prompt=(*asked.prompt, *asked.prompt[:4])))

    image = second.image_tokens(TALL.width, TALL.height)
    assert end_of(again).usage.cached_tokens >= image + 64
    assert second.stats().images_encoded == 0
    assert second.stats().prompt_cache.storage_hits == 1
    fresh = load(name)
    assert said(run(fresh, replace(asked, prompt=(*asked.prompt, *asked.prompt[:4])))) == said(
        again
    )
    assert end_of(response).usage.prompt_tokens == end_of(again).usage.prompt_tokens - 4


@pytest.mark.parametrize("name", ["mlp", "qwen2vl", "qwen35"])
def test_choices_of_a_prompt_that_ends_with_an_image(load, name):
    """A copy ends where the image does: with M-RoPE its positions are fewer than its numbers."""
    engine = load(name)
    words = engine.tokenize("What do you see? " * 8, special=False)
    asked = replace(asking(words, TALL, []), shares_prompt=True)
    choices = [submit(engine, asked).listener for _ in range(2)]
    for one in choices:
        one.finish()
    engine.clear_prompts()
    assert [said(one) for one in choices] == [said(run(engine, asked))] * 2
    assert engine.stats().images_encoded == 2


def test_vectors_go_when_the_prompt_is_evaluated(load):
    """A long completion does not keep them: those of a large image take 60 MB."""
    engine = load("mlp")
    asked = submit(engine, replace(request(engine), max_tokens=500))
    asked.listener.wait_tokens(3)
    assert (asked.ticket.encoded, asked.ticket.encodings) == ({}, [])
    asked.ticket.cancel()
    asked.listener.finish()


def test_closed_engine_refuses_images(load):
    """A request that comes while its model is unloaded ends with an error, and not the process."""
    engine = load("mlp")
    engine.close()
    with pytest.raises(EngineClosed):
        engine.image_tokens(31, 17)
    with pytest.raises(EngineClosed):
        engine.submit(asking([1], picture(2, 31, 17), [2]), lambda _: None)


def test_another_image_is_not_restored(load, tmp_path):
    cache = PromptCacheOptions(memory_bytes=0, storage=str(tmp_path / "states"))
    first = load("mlp", replace(OPTIONS, prompt_cache=cache))
    run(first, request(first))
    first.save_prompts(30)

    second = load("mlp", replace(OPTIONS, prompt_cache=cache))
    words = second.tokenize("What do you see? ", special=False)
    usage = end_of(run(second, asking(words * 6, picture(2, 90, 200), words))).usage

    assert usage.cached_tokens <= len(words) * 6
    assert second.stats().images_encoded == 1


@pytest.mark.slow
def test_context_grows_by_the_cells_of_an_image(load):
    """With M-RoPE an image takes more cells than positions."""
    engine = load("qwen2vl", replace(OPTIONS, context_length=4096))
    words = engine.tokenize("What do you see? ", special=False)
    many = asking(*[picture(number, 200, 200) for number in range(12)], words)
    listener = run(engine, many)

    assert end_of(listener).usage.prompt_tokens > 1024
    whole = load("qwen2vl", replace(OPTIONS, context_length=4096, parallel=1))
    assert said(run(whole, many)) == said(listener)


def test_what_mrope_always_warns_of_is_no_warning(load, caplog):
    engine = load("qwen35")
    run(engine, request(engine))

    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
