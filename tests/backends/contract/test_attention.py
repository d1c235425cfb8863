"""Which options for attention go together, and what the KV cache takes with them."""

from pathlib import Path

import pytest

from pilotlight_backend import AttentionFacts, LoadOptions, ModelFacts
from pilotlight_backend.attention import conflict, uses_flash_attention
from pilotlight_backend.capacity import in_force, memory_need

FACTS = ModelFacts(
    path=Path("m.gguf"),
    architecture="m",
    size_bytes=0,
    context_length=1000,
    kv_bytes_per_token=2 * (64 + 96),
    step_bytes=10,
    score_bytes=4 * 5,
    attention=AttentionFacts(
        keys=64, values=32, padded_values=96, scores=5, masks=1, step_bytes=12
    ),
)


@pytest.mark.parametrize(
    ("options", "key", "kv", "score"),
    [
        (LoadOptions(), "default", 2 * (64 + 32), 2),
        (LoadOptions(deterministic=True), "deterministic", 2 * (64 + 96), 20),
        (LoadOptions(flash_attention="off"), "off", 2 * (64 + 96), 20),
        (LoadOptions(cache_type_k="q8_0", cache_type_v="q8_0"), "q8_0", 68 + 34, 2),
        (LoadOptions(cache_type_k="q4_0", cache_type_v="f32"), "mixed", 36 + 128, 2),
    ],
)
def test_memory_in_force(options, key, kv, score):
    """Quantized caches are smaller; flash attention keeps no scores and pads no values."""
    del key
    facts = in_force(FACTS, options)
    assert (facts.kv_bytes_per_token, facts.score_bytes) == (kv, score)
    assert in_force(facts, options) == facts
    assert memory_need(FACTS, options, 100) == memory_need(facts, options, 100)


def test_one_cache_for_all_slots_has_masks_over_all_cells():
    """A token's mask spans what any sequence holds."""
    apart, unified = (
        LoadOptions(parallel=4, chunk=6),
        LoadOptions(parallel=4, chunk=6, kv_unified=True),
    )
    difference = memory_need(FACTS, unified, 100) - memory_need(FACTS, apart, 100)
    assert difference == (6 + 4) * 2 * 100 * 3


def test_models_of_other_backends_are_as_probed():
    """Without facts of its attention a model takes what its probe says."""
    plain = ModelFacts(
        path=Path("m"), architecture="m", size_bytes=0, context_length=9, kv_bytes_per_token=7
    )
    assert in_force(plain, LoadOptions(cache_type_k="q4_0")) == plain


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"cache_type_v": "q8_0", "flash_attention": "off"}, "cache_type_v", "auto or on"),
        ({"cache_type_v": "q4_0", "deterministic": True}, "cache_type_v", "deterministic"),
        ({"flash_attention": "on", "deterministic": True}, "flash_attention", "deterministic"),
        ({"kv_unified": True, "deterministic": True}, "kv_unified", "deterministic"),
    ],
)
def test_options_that_exclude_each_other(options, option, words):
    """The option is named, with what it cannot be combined with."""
    found = conflict(LoadOptions(**options))
    assert found is not None
    assert found.option == option
    assert words in str(found)


@pytest.mark.parametrize(
    ("options", "flash"),
    [
        ({}, True),
        ({"deterministic": True}, False),
        ({"deterministic": True, "flash_attention": "off", "cache_type_k": "q4_0"}, False),
        ({"flash_attention": "on", "cache_type_v": "iq4_nl", "kv_unified": True}, True),
        ({"flash_attention": "off", "cache_type_k": "q8_0", "cache_type_v": "bf16"}, False),
    ],
)
def test_options_that_go_together(options, flash):
    """Quantized keys need no flash attention."""
    assert conflict(LoadOptions(**options)) is None
    assert uses_flash_attention(LoadOptions(**options)) is flash
