"""The options of a `llama_context` that say how attention is computed, and kept."""

from typing import Any

from pilotlight_backend import CacheType, LoadOptions
from pilotlight_backend.attention import uses_flash_attention

_TYPES: dict[CacheType, int] = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20,
    "bf16": 30,
}  # fmt: skip
"""`enum ggml_type` in ggml.h; the binding has no BF16."""


def set_attention(lib: Any, params: Any, options: LoadOptions) -> None:
    """Set the options for attention in *params*.

    With `deterministic` each slot has a KV stream, and there is no flash attention: a
    sequence's logits then do not depend on the others in its batch, and with Q8_0 and Q4_0
    weights they are the same to the bit if the prompt is cut into the same chunks
    (benchmarks/rounding.py). In a unified cache the cells of a sequence lie among those of
    others; flash attention takes another path for one stream than for several
    (ggml-cpu/ops.cpp, use_split_kv_path).
    """
    params.kv_unified = options.kv_unified
    params.type_k = _TYPES[options.cache_type_k]
    params.type_v = _TYPES[options.cache_type_v]
    if not uses_flash_attention(options):
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    elif options.flash_attention == "on":
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    else:
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO
