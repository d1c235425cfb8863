"""Attention and the types of the KV cache, on real, small models."""

import pytest
from msgspec.structs import replace

from pilotlight_backend import BakedPrompt, LoadFailed, LoadOptions, Token
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.answer import GREEDY, Answer, prompt_of

ROUNDING = 0.03
FAST = LoadOptions(parallel=4, context_length=512, chunk=64)


@pytest.fixture
def load(exact_model):
    """Return a function that loads the model with options; engines are closed afterwards."""
    engines = []

    def load(options):
        backend = LlamaCppBackend()
        engines.append(backend.load(backend.probe(exact_model), options, lambda _: None))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flash_attention": "on"},
        {"flash_attention": "off"},
        {"kv_unified": True},
        {"kv_unified": True, "flash_attention": "off"},
        {"cache_type_k": "q8_0", "cache_type_v": "q8_0"},
        {"cache_type_k": "bf16", "cache_type_v": "bf16"},
        {"cache_type_k": "f32", "cache_type_v": "f32", "kv_unified": True},
        {"deterministic": True, "cache_type_k": "q8_0"},
    ],
    ids=str,
)
def test_sequences_do_not_see_each_other(load, options):
    """Six requests in four slots have the probabilities that each has alone.

    Rounding moves them by a hundredth at most; a wrong token in the prompt moves them by more.
    """
    prompts = [prompt_of(seed, length) for seed, length in enumerate([3, 70, 20, 130, 64, 90])]
    engine = load(replace(FAST, **options))
    alone = [likeliest(ask(engine, one)) for one in prompts]
    wrong = [likeliest(ask(engine, [*one[:1], 7, *one[2:]])) for one in prompts]
    engine.clear_prompts()
    together = [likeliest(one) for one in [ask(engine, one) for one in prompts]]
    assert max(map(difference, alone, together)) < ROUNDING
    assert min(map(difference, alone, wrong)) > ROUNDING
    if options.get("deterministic"):
        assert together == alone


@pytest.mark.parametrize("unified", [False, True], ids=["streams", "unified"])
def test_copy_into_a_used_slot_is_the_prompt_alone(load, unified):
    """Choices that share a prompt get copies of it, whatever their slots held before."""
    engine = load(replace(FAST, parallel=3, kv_unified=unified))
    for seed in range(3):
        assert ask(engine, prompt_of(seed, 150)).tokens
    prompt = prompt_of(7, 120)
    choices = [
        Answer(engine, prompt, sampling=GREEDY, logprobs=20, shares_prompt=True) for _ in range(3)
    ]
    told = [likeliest(one) for one in choices]
    assert [one.last.usage.cached_tokens for one in choices] == [0, 119, 119]
    engine.clear_prompts()
    alone = likeliest(ask(engine, prompt))
    assert max(difference(alone, one) for one in told) < ROUNDING


def ask(engine, prompt):
    return Answer(engine, prompt, max_tokens=1, sampling=GREEDY, logprobs=20)


def likeliest(answer):
    """Return the log probabilities of the likeliest first tokens."""
    assert answer.tokens
    first = next(event for event in answer.events if isinstance(event, Token))
    return {one.id: one.logprob for one in first.candidates}


def difference(one, other):
    """Return the largest between two log probabilities; a hundred if few tokens are in both."""
    both = one.keys() & other.keys()
    return max(abs(one[token] - other[token]) for token in both) if len(both) > 10 else 100.0


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_prompt_comes_back_from_memory(load, kind):
    """States of a quantized cache are saved and restored as those of any other."""
    options = replace(FAST, parallel=1, cache_type_k=kind, cache_type_v=kind)
    cache = replace(options.prompt_cache, memory_bytes=1 << 24)
    engine = load(replace(options, prompt_cache=cache))
    prompt = prompt_of(1, 200)
    first = Answer(engine, prompt, sampling=GREEDY).tokens
    Answer(engine, prompt_of(2, 200), sampling=GREEDY).tokens  # noqa: B018 - waits for its end
    again = Answer(engine, prompt, sampling=GREEDY)
    assert again.tokens == first
    assert again.last.usage.cached_tokens >= 192


@pytest.mark.parametrize(
    "change",
    [
        {"deterministic": True},
        {"flash_attention": "off"},
        {"cache_type_k": "q8_0"},
        {"cache_type_v": "q8_0"},
        {"kv_unified": True},
    ],
    ids=str,
)
def test_baked_prompt_of_another_attention_is_ignored(load, tmp_path, caplog, change):
    """The warning names the option; a state is never read with another one."""
    baked = BakedPrompt(path=tmp_path / "m.baked", template="")
    prompt = tuple(prompt_of(5, 64))
    load(FAST).bake(prompt, baked)
    with_it = Answer(load(replace(FAST, baked=baked)), [*prompt, 1, 2])
    assert with_it.tokens
    assert with_it.last.usage.cached_tokens == 64
    other = Answer(load(replace(FAST, baked=baked, **change)), [*prompt, 1, 2])
    assert other.tokens
    assert other.last.usage.cached_tokens == 0
    [name] = change
    assert f"m.baked is ignored: baked with {name} " in caplog.text


def test_quantized_values_without_flash_attention(load):
    """The error names the option and says what would be right."""
    with pytest.raises(LoadFailed) as caught:
        load(replace(FAST, flash_attention="off", cache_type_v="q8_0"))
    assert str(caught.value).startswith("cache_type_v: 'q8_0' needs flash attention; set ")


def test_heads_that_a_block_does_not_divide(family):
    """llama.cpp's own reason is in the error: blocks of 32 values do not fit heads of 16."""
    path = family("llama", **{"attention.key_length": 16, "attention.value_length": 16})
    backend = LlamaCppBackend()
    with pytest.raises(LoadFailed, match="K cache type q8_0 with block size 32 does not divide"):
        backend.load(backend.probe(path), replace(FAST, cache_type_k="q8_0"), lambda _: None)
