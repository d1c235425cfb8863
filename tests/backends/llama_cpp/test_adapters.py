"""LoRA adapters over a real, small model."""

import threading

import pytest

from benchmarks import random_lora
from pilotlight_backend import (
    Adapter,
    InvalidParameter,
    LoadOptions,
    PromptCacheOptions,
    Token,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.answer import GREEDY, Answer, prompt_of

PROMPT = prompt_of(7, 100)


def load(path, **options):
    backend = LlamaCppBackend()
    options = {"deterministic": True, "chunk": 32, **options}
    return backend.load(backend.probe(path), LoadOptions(**options), lambda _: None)


@pytest.fixture(scope="module")
def adapters(exact_model, tmp_path_factory):
    """Return the files of three adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        random_lora.write(folder / f"{seed}.gguf", exact_model, rank=4 * seed, seed=seed)
        for seed in (1, 2, 3)
    ]


@pytest.fixture
def engine(exact_model):
    engine = load(exact_model, parallel=8)
    yield engine
    engine.close()


def answer(engine, *adapters, prompt=PROMPT, **options):
    return Answer(
        engine,
        prompt,
        adapters=tuple(adapters),
        **{"sampling": GREEDY, "max_tokens": 40, **options},
    )


def alone(model, path, scale=1.0, **options):
    """Return the tokens of a server with this adapter and nothing else."""
    engine = load(model, parallel=1)
    chosen = [] if path is None else [Adapter(engine.load_adapter(path), scale)]
    tokens = answer(engine, *chosen, **options).tokens
    engine.close()
    return tokens


@pytest.mark.slow
def test_eight_streams_of_three_adapters_and_the_base_answer_as_alone(
    exact_model, engine, adapters
):
    """Steps alternate between adapters, and none sees the cached prompt of another."""
    paths = [None, *adapters]
    expected = [alone(exact_model, path) for path in paths]
    ids = [engine.load_adapter(path) for path in adapters]
    chosen = [[], *([Adapter(one)] for one in ids)]
    answers = [answer(engine, *chosen[number % 4]) for number in range(8)]
    assert [one.tokens for one in answers] == expected * 2
    assert len({tuple(tokens) for tokens in expected}) == 4


def test_scale_is_part_of_what_a_prompt_was_read_with(exact_model, engine, adapters):
    """The same adapter at half its scale answers as alone, and 0 is the base."""
    adapter = engine.load_adapter(adapters[1])
    whole = answer(engine, Adapter(adapter)).tokens
    half = answer(engine, Adapter(adapter, 0.5))
    assert half.tokens == alone(exact_model, adapters[1], 0.5) != whole
    assert half.last.usage.cached_tokens == 0
    assert answer(engine).last.usage.cached_tokens == 0
    assert answer(engine, Adapter(adapter, 0.0)).last.usage.cached_tokens == len(PROMPT) - 1


def test_prompt_of_the_same_adapter_is_reused(engine, adapters):
    """Only what this adapter read counts, whichever slot has it."""
    first, second = (engine.load_adapter(path) for path in adapters[:2])
    assert answer(engine, Adapter(first)).last.usage.cached_tokens == 0
    assert answer(engine, Adapter(second)).last.usage.cached_tokens == 0
    assert answer(engine).last.usage.cached_tokens == 0
    assert answer(engine, Adapter(first)).last.usage.cached_tokens == len(PROMPT) - 1


def test_two_adapters_at_once(engine, adapters):
    """Their order does not matter, and they are another set than either."""
    first, second = (engine.load_adapter(path) for path in adapters[:2])
    both = answer(engine, Adapter(first), Adapter(second, 0.5))
    assert both.tokens not in (answer(engine, Adapter(first)).tokens, answer(engine).tokens)
    again = answer(engine, Adapter(second, 0.5), Adapter(first))
    assert again.tokens == both.tokens
    assert again.last.usage.cached_tokens == len(PROMPT) - 1


def test_unloaded_adapter_is_freed_after_its_last_request(engine, adapters):
    """A running request ends as it would, and new ones are refused at once."""
    adapter = engine.load_adapter(adapters[0])
    expected = answer(engine, Adapter(adapter), max_tokens=300).tokens
    running = answer(engine, Adapter(adapter), max_tokens=300)
    while not isinstance(running.next(), Token):
        pass
    engine.unload_adapter(adapter)
    with pytest.raises(InvalidParameter, match=r"adapters\[0\]: the engine has no such adapter"):
        answer(engine, Adapter(adapter))
    assert running.tokens == expected
    assert answer(engine).tokens  # a step after which it is certain to be freed
    assert engine._model.adapters == {}
    again = engine.load_adapter(adapters[0])
    assert answer(engine, Adapter(again), max_tokens=300).tokens == expected


def test_same_content_is_loaded_once(engine, adapters, tmp_path):
    """A copy of the file is the same adapter, until both are unloaded."""
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(adapters[0].read_bytes())
    first, second = engine.load_adapter(adapters[0]), engine.load_adapter(copy)
    assert first == second
    engine.unload_adapter(first)
    assert answer(engine, Adapter(second)).tokens
    engine.unload_adapter(second)
    assert engine._model.adapters == {}


def test_adapter_that_is_loaded_while_it_is_unloaded_stays(engine, adapters, monkeypatch):
    """The load waits: else it would find nothing to load, and the unload would free it."""
    adapter = engine.load_adapter(adapters[0])
    between_steps = engine._adapters._between_steps
    loading = threading.Thread(target=engine.load_adapter, args=(adapters[0],))

    def retire(call):
        monkeypatch.undo()
        loading.start()
        loading.join(0.2)  # as long as a load takes that does not wait
        return between_steps(call)

    monkeypatch.setattr(engine._adapters, "_between_steps", retire)
    engine.unload_adapter(adapter)
    loading.join(60)
    assert answer(engine, Adapter(adapter)).tokens
    engine.unload_adapter(adapter)
    assert engine._model.adapters == {}


def test_aborted_request_leaves_the_others_of_its_adapter(exact_model, engine, adapters):
    """Eight streams, every second one cancelled while it runs."""
    expected = alone(exact_model, adapters[0], max_tokens=100)
    adapter = Adapter(engine.load_adapter(adapters[0]))
    running = [answer(engine, adapter, max_tokens=100) for _ in range(8)]
    for one in running[::2]:
        while not isinstance(one.next(), Token):
            pass
        one.ticket.cancel()
    assert {one.last.reason for one in running[::2]} <= {"cancelled", "length"}
    assert [one.tokens for one in running[1::2]] == [expected] * 4


def test_prompt_cache_is_keyed_by_the_adapter(exact_model, adapters, tmp_path):
    """What is saved of a prompt, in memory and in storage, is found with its own adapter alone."""
    options = {
        "parallel": 1,
        "prompt_cache": PromptCacheOptions(memory_bytes=50_000_000, storage=str(tmp_path)),
    }
    engine = load(exact_model, **options)
    adapter = Adapter(engine.load_adapter(adapters[0]))
    expected = answer(engine, adapter).tokens
    assert answer(engine).last.usage.cached_tokens == 0  # takes the slot
    back = answer(engine, adapter)
    assert back.tokens == expected
    assert back.last.usage.cached_tokens == len(PROMPT) - 1
    assert engine.stats().prompt_cache.memory_hits == 1
    engine.save_prompts(30.0)
    engine.close()
    engine = load(exact_model, **options)
    other = Adapter(engine.load_adapter(adapters[1]))
    assert answer(engine, other).last.usage.cached_tokens == 0
    adapter = Adapter(engine.load_adapter(adapters[0]))
    again = answer(engine, adapter)
    assert again.tokens == expected
    assert again.last.usage.cached_tokens > 64
    engine.close()
