"""The memory that llama.cpp will take for a model's sequences, read from a GGUF's header.

Which layers keep keys and values, and which a recurrent state, follows `llama_model::create_memory`
and the constructors of `llama_kv_cache` and `llama_memory_recurrent`. Where a layer's tensors say
how wide its keys are, they are believed before the keys of the header, which have defaults by
architecture. `tests/backends/llama_cpp/test_footprint.py` holds all of it against what llama.cpp
allocates.
"""

from typing import NamedTuple

from pilotlight_llama_cpp.gguf import Header
from pilotlight_llama_cpp.servable import ENCODERS, INTERVALS

_F16, _F32 = 2, 4
_ALWAYS_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""`llm_arch_is_recurrent` in llama-arch.cpp: no layer keeps keys and values."""
_BOTH_IN_A_LAYER = frozenset({"falcon-h1"})
"""Attention and a state in every layer (falcon-h1.cpp)."""
_KV_FROM_START = {"gemma3n": 20}
"""Layers with a cache of their own, where no key says how many (gemma3n.cpp)."""
_WINDOWED = frozenset({"llama4"})
"""Architectures with a window, of chunks, that no key names (llama4.cpp)."""
_EMBEDDED_BY_LAYER = {"gemma3n": 256}
"""`n_embd_altup` in llama-hparams.h, which no key says."""
_STATES = ("ssm.", "wkv.", "kda.", "shortconv.")
_MATRIX = 2
_STREAMS, _SCANNED, _MIXED = 4, 6, 16
"""Rows of a token: copies of the residual stream, of what a state scans, and what RWKV mixes."""
_MAX_LAYERS = 512


class Footprint(NamedTuple):
    """Bytes. *kv_per_token* is of one sequence, *state* of one sequence however long it is.

    A step takes *step* for each of its tokens, and *score* for each pair of a token and a cell.
    """

    kv_per_token: int
    state: int
    step: int
    score: int


def of(header: Header, architecture: str, *, embeds: bool) -> Footprint:
    """Return what a model takes; zeros where the header does not say enough.

    What a step of a model that *embeds* takes depends on its inputs, and is not foreseen.
    """
    model = _Layers(header, architecture)
    return Footprint(
        kv_per_token=0 if architecture in ENCODERS else model.kv_per_token(),
        state=model.state(),
        step=0 if embeds else model.step(),
        score=0 if embeds else model.score(),
    )


class _Layers:
    """A header's numbers, layer by layer, with llama.cpp's defaults."""

    def __init__(self, header: Header, architecture: str) -> None:
        self._header = header
        self._architecture = architecture
        layers = min(self._number("block_count"), _MAX_LAYERS)
        self._all = layers
        self._layers = range(max(layers - self._number("nextn_predict_layers"), 0))
        self._heads = self._per_layer("attention.head_count")
        self._kv_heads = self._per_layer("attention.head_count_kv") or self._heads
        self._width = self._number("embedding_length")

    # ── keys and values ────────────────────────────────────────────────────────────────────────

    def kv_per_token(self) -> int:
        """Return the bytes that all layers keep of a token."""
        layers = [layer for layer in self._layers if self._caches(layer)]
        keys = sum(map(self._key_width, layers))
        if self._is_mla():  # one compressed row a layer, and no values but a layer's at a time
            return _F16 * (keys + self._number("attention.kv_lora_rank"))
        # Values are kept transposed, and then each layer's rows are as long as the longest.
        values = max(map(self._value_width, range(self._all)), default=0)
        return _F16 * (keys + values * len(layers))

    def _caches(self, layer: int) -> bool:
        """Tell whether *layer* keeps keys and values of its own."""
        shared = self._number("attention.shared_kv_layers")
        own = _KV_FROM_START.get(self._architecture, self._all - shared)
        if self._architecture in _BOTH_IN_A_LAYER:
            return True
        return layer < own and not self._is_recurrent(layer) and not self._is_feed_forward(layer)

    def _is_mla(self) -> bool:
        return bool(
            self._number("attention.kv_lora_rank") and self._number("attention.key_length_mla")
        )

    def _key_width(self, layer: int) -> int:
        if self._is_mla():
            latent = self._number("attention.kv_lora_rank") + self._number("rope.dimension_count")
            return self._number("attention.key_length") or latent
        return self._projected("attn_k", layer) or self._kv_heads_of(layer) * self._length(
            "key_length"
        )

    def _value_width(self, layer: int) -> int:
        given = self._projected("attn_v", layer)
        if given is None and self._projected("attn_k", layer):
            return self._key_width(layer)  # the keys serve as values, as in Gemma 4
        return given or self._kv_heads_of(layer) * self._length("value_length")

    def _projected(self, name: str, layer: int) -> int | None:
        """Return the rows of a layer's projection; None where it has none of its own."""
        shape = self._header.tensors.get(f"blk.{layer}.{name}.weight", ())
        return shape[1] if len(shape) == _MATRIX else None

    def _length(self, name: str) -> int:
        heads = max(self._heads, default=0)
        return self._number(f"attention.{name}") or (self._width // heads if heads else 0)

    def _kv_heads_of(self, layer: int) -> int:
        return self._kv_heads[layer] if layer < len(self._kv_heads) else 0

    def _attends(self) -> bool:
        return any(map(self._caches, self._layers))

    # ── the recurrent state ────────────────────────────────────────────────────────────────────

    def state(self) -> int:
        """Return the bytes of the state that recurrent layers keep of a sequence."""
        count = sum(map(self._is_recurrent, self._layers))
        return _F32 * count * (self._convolution() + self._recurrence()) if count else 0

    def _is_recurrent(self, layer: int) -> bool:
        if self._architecture in _ALWAYS_RECURRENT | _BOTH_IN_A_LAYER:
            return True
        if self._architecture in INTERVALS:
            listed = self._per_layer("attention.recurrent_layers")
            interval = self._number("full_attention_interval") or 4
            return bool(listed[layer]) if layer < len(listed) else (layer + 1) % interval != 0
        has_state = any(key.startswith(self._states) for key in self._header.values)
        return has_state and self._kv_heads_of(layer) == 0 and not self._is_feed_forward(layer)

    @property
    def _states(self) -> tuple[str, ...]:
        return tuple(f"{self._architecture}.{state}" for state in _STATES)

    def _is_feed_forward(self, layer: int) -> bool:
        """Tell whether *layer* is nothing else: in Nemotron-H a layer is one of three kinds."""
        lengths = self._header.numbers(f"{self._architecture}.feed_forward_length")
        return (
            self._architecture.startswith("nemotron_h")
            and len(lengths) > layer
            and lengths[layer] > 0
        )

    def _convolution(self) -> int:
        """Return what `llama_hparams::n_embd_r` does."""
        if self._number("wkv.head_size"):
            shifts = 1 if self._architecture in {"rwkv6qwen2", "arwkv7"} else 2
            return (self._number("token_shift_count") or shifts) * self._width
        if cached := self._number("shortconv.l_cache"):
            return self._width * (cached - 1)
        kernel = self._number("ssm.conv_kernel")
        if head := self._number("kda.head_dim"):
            return 3 * (kernel - 1 if kernel else 3) * self._first_heads() * head
        groups = 2 * self._number("ssm.group_count") * self._number("ssm.state_size")
        return max(kernel - 1, 0) * (self._number("ssm.inner_size") + groups)

    def _recurrence(self) -> int:
        """Return what `llama_hparams::n_embd_s` does."""
        if wkv := self._number("wkv.head_size"):
            return self._width * wkv
        if head := self._number("kda.head_dim"):
            return head * head * self._first_heads()
        return self._number("ssm.state_size") * self._number("ssm.inner_size")

    def _first_heads(self) -> int:
        return self._heads[0] if self._heads else 0

    # ── a step ─────────────────────────────────────────────────────────────────────────────────

    def step(self) -> int:
        """Return the bytes of a token's rows that llama.cpp's graph holds at the same time.

        The residual stream and copies of it, and the widest that a layer makes of it. The factors
        were measured; beside the scores of a long context it is little.
        """
        heads = max(self._heads, default=0)
        attention = heads * (self._length("key_length") + self._length("value_length"))
        dense = max(self._per_layer("feed_forward_length"), default=0)
        experts = self._number("expert_used_count") * self._number("expert_feed_forward_length")
        widest = max(attention, 2 * dense, 2 * experts)
        if not self._attends():  # else the scores, which are not held at the same time, are more
            groups = 2 * self._number("ssm.group_count") * self._number("ssm.state_size")
            scan = _SCANNED * self._number("ssm.inner_size") + 3 * groups
            mixed = _MIXED * self._width if self._number("wkv.head_size") else 0
            widest = max(widest, scan, mixed)
        return _F32 * (_STREAMS * (self._width + self._embedded_by_layer()) + widest)

    def _embedded_by_layer(self) -> int:
        """Return the numbers of a token's embeddings that are looked up for all layers at once."""
        default = _EMBEDDED_BY_LAYER.get(self._architecture, 0)
        return (self._number("embedding_length_per_layer_input") or default) * self._all

    def score(self) -> int:
        """Return the bytes of a token's scores and masks for each cell, without flash attention.

        Layers with a window have a mask of their own.
        """
        if not self._attends():
            return 0
        window = self._architecture in _WINDOWED or self._number("attention.sliding_window")
        masks = 2 if window else 1
        return _F32 * (max(self._heads, default=0) + masks)

    # ── the header ─────────────────────────────────────────────────────────────────────────────

    def _number(self, name: str) -> int:
        return max(self._header.numbers(f"{self._architecture}.{name}"), default=0)

    def _per_layer(self, name: str) -> tuple[int, ...]:
        """Return a value that is one number, or one a layer."""
        values = self._header.numbers(f"{self._architecture}.{name}")
        return values * self._all if len(values) == 1 else values[: self._all]
