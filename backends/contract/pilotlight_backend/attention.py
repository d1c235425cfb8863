"""Which ways of computing attention go together, and what the KV cache takes with them. Pure."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from pilotlight_backend.types import CacheType, FlashAttention

BITS: Mapping[CacheType, float] = {
    "f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5,
    "q4_0": 4.5, "iq4_nl": 4.5,
}  # fmt: skip
"""Bits of a value, its part of its block's scale included (`type_traits` in ggml.c)."""

_PLAIN = frozenset[CacheType]({"f32", "f16", "bf16"})


class AttentionOptions(Protocol):
    """The options that are checked here; `LoadOptions` has them."""

    @property
    def flash_attention(self) -> FlashAttention:
        """Whether flash attention is used."""

    @property
    def cache_type_k(self) -> CacheType:
        """The type of keys."""

    @property
    def cache_type_v(self) -> CacheType:
        """The type of values."""

    @property
    def kv_unified(self) -> bool:
        """Whether all slots share one KV cache."""

    @property
    def deterministic(self) -> bool:
        """Whether a response is promised not to depend on other requests."""


class Conflict(Struct, frozen=True):
    """An option that another one excludes, and why."""

    option: str
    reason: str

    def __str__(self) -> str:
        """Return both, for an error message."""
        return f"{self.option}: {self.reason}"


def uses_flash_attention(options: AttentionOptions) -> bool:
    """Return whether flash attention is used where the model and the device have it."""
    return options.flash_attention != "off" and not options.deterministic


def conflict(options: AttentionOptions) -> Conflict | None:
    """Return what in *options* excludes each other; None if they go together.

    The reasons for `deterministic` are in `LlamaContext`. llama.cpp keeps values transposed without
    flash attention, and a transposed row cannot be quantized (`llama_init_from_model`).
    """
    quantized = options.cache_type_v not in _PLAIN
    if options.deterministic:
        if options.flash_attention == "on":
            return Conflict("flash_attention", "'on' cannot be combined with deterministic")
        if options.kv_unified:
            return Conflict("kv_unified", "true cannot be combined with deterministic")
        if quantized:
            return Conflict(
                "cache_type_v",
                f"{options.cache_type_v!r} needs flash attention, which deterministic switches off;"
                " use f16, bf16 or f32",
            )
    if quantized and options.flash_attention == "off":
        return Conflict(
            "cache_type_v",
            f"{options.cache_type_v!r} needs flash attention; set flash_attention to auto or on,"
            " or use f16, bf16 or f32",
        )
    return None
