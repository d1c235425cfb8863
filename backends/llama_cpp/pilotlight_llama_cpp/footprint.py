"""Estimate the memory that llama.cpp takes for a model's sequences, from its GGUF header.

Which layers keep keys and values and which a recurrent state follows `llama_model::create_memory`
and the constructors of `llama_kv_cache` and `llama_memory_recurrent`. The width of a layer's keys
is taken from its tensors if it has any, since the header's keys have defaults by architecture.
`tests/backends/llama_cpp/test_footprint.py` compares the estimate with what llama.cpp allocates.
"""

from typing import NamedTuple

from pilotlight_backend import AttentionFacts
from pilotlight_llama_cpp.gguf import Header
from pilotlight_llama_cpp.servable import ENCODERS, INTERVALS

_F16, _F32 = 2, 4
_ALWAYS_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""`llm_arch_is_recurrent` in llama-arch.cpp: no layer keeps keys and values."""
_BOTH_IN_A_LAYER = frozenset({"falcon-h1"})
"""Every layer has attention and a recurrent state (falcon-h1.cpp)."""
_KV_FROM_START = {"gemma3n": 20}
"""Layers with a cache of their own, for architectures without a key for it (gemma3n.cpp)."""
_WINDOWED = frozenset({"llama4"})
"""Architectures with chunked attention, which no key says (llama4.cpp)."""
_EMBEDDED_BY_LAYER = {"gemma3n": 256}
"""`n_embd_altup` in llama-hparams.h, which no key says."""
_STATES = ("ssm.", "wkv.", "kda.", "shortconv.")
_MATRIX = 2
_STREAMS, _SCANNED, _MIXED = 4, 6, 16
"""Rows that a token takes at the same time: of the residual stream, of an SSM scan, of RWKV's token
shift. Measured."""
_MAX_LAYERS = 512


class Footprint(NamedTuple):
    """Bytes of a model's sequences and steps.

    *kv_per_token* is for a token of a sequence, *state* for a sequence of any length. A step takes
    *step* for each of its tokens, and *score* for each pair of one of its tokens and a KV cell.
    The first and the last are those of f16 without flash attention; *attention* has what they
    depend on, None for a model without keys and values.
    """

    kv_per_token: int
    state: int
    step: int
    score: int
    attention: AttentionFacts | None


def of(header: Header, architecture: str, *, pools: bool) -> Footprint:
    """Return a model's footprint; a part is 0 if the header does not say enough.

    A step of a model that *pools*, which embeds or ranks, depends on its inputs, and is not
    estimated.
    """
    model = _Layers(header, architecture)
    attention = None if architecture in ENCODERS else model.attention(pools=pools)
    return Footprint(
        kv_per_token=_F16 * (attention.keys + attention.padded_values) if attention else 0,
        state=model.state(),
        step=0 if pools else model.step(flash=False),
        score=_F32 * attention.scores if attention else 0,
        # The options for attention are those of models that generate.
        attention=None if pools else attention,
    )


class _Layers:
    """A header's numbers by layer, with llama.cpp's defaults."""

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

    def attention(self, *, pools: bool) -> AttentionFacts | None:
        """Return the numbers that all layers keep of a token, and that a step computes of it."""
        layers = [layer for layer in self._layers if self._caches(layer)]
        if not layers:
            return None
        keys = sum(map(self._key_width, layers))
        if self._is_mla():
            # A compressed row for each layer. Without flash attention values exist for one layer at
            # a time.
            values, padded = 0, self._number("attention.kv_lora_rank")
        else:
            values = sum(map(self._value_width, layers))
            # Without flash attention values are transposed, and each layer's rows are then as long
            # as the longest (the constructor of `llama_kv_cache`, n_embd_v_gqa_max).
            padded = len(layers) * max(map(self._value_width, range(self._all)), default=0)
        masks = 0 if pools else self._masks()
        heads = max(self._heads, default=0)
        return AttentionFacts(
            keys=keys,
            values=values,
            padded_values=padded,
            scores=0 if pools else heads + masks,
            masks=masks,
            step_bytes=0 if pools else self.step(flash=True),
        )

    def _masks(self) -> int:
        """Return the masks of a step; layers with a sliding window have one of their own."""
        window = self._architecture in _WINDOWED or self._number("attention.sliding_window")
        return 2 if window else 1

    def _caches(self, layer: int) -> bool:
        """Return whether *layer* keeps keys and values of its own."""
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
        """Return the rows of a layer's projection; None if it has none of its own."""
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
        """Return the bytes of the state that recurrent layers keep for a sequence."""
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
        """Return whether *layer* is feed-forward alone: one of Nemotron-H's three kinds."""
        lengths = self._header.numbers(f"{self._architecture}.feed_forward_length")
        return (
            self._architecture.startswith("nemotron_h")
            and len(lengths) > layer
            and lengths[layer] > 0
        )

    def _convolution(self) -> int:
        """Return the same as `llama_hparams::n_embd_r`."""
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
        """Return the same as `llama_hparams::n_embd_s`."""
        if wkv := self._number("wkv.head_size"):
            return self._width * wkv
        if head := self._number("kda.head_dim"):
            return head * head * self._first_heads()
        return self._number("ssm.state_size") * self._number("ssm.inner_size")

    def _first_heads(self) -> int:
        return self._heads[0] if self._heads else 0

    # ── a step ─────────────────────────────────────────────────────────────────────────────────

    def step(self, *, flash: bool) -> int:
        """Return the bytes of a token's rows that llama.cpp's graph holds at the same time.

        These are copies of the residual stream and the widest intermediate of a layer. The factors
        are measured; with a long context the scores are far more, without *flash* attention.
        """
        heads = max(self._heads, default=0)
        attention = heads * (self._length("key_length") + self._length("value_length"))
        dense = max(self._per_layer("feed_forward_length"), default=0)
        experts = self._number("expert_used_count") * self._number("expert_feed_forward_length")
        widest = max(attention, 2 * dense, 2 * experts)
        if flash or not self._attends():  # scores are more, and not held at the same time
            groups = 2 * self._number("ssm.group_count") * self._number("ssm.state_size")
            scan = _SCANNED * self._number("ssm.inner_size") + 3 * groups
            mixed = _MIXED * self._width if self._number("wkv.head_size") else 0
            widest = max(widest, scan, mixed)
        return _F32 * (_STREAMS * (self._width + self._embedded_by_layer()) + widest)

    def _embedded_by_layer(self) -> int:
        """Return the size of a token's per-layer embeddings: those of all layers, at once."""
        default = _EMBEDDED_BY_LAYER.get(self._architecture, 0)
        return (self._number("embedding_length_per_layer_input") or default) * self._all

    # ── the header ─────────────────────────────────────────────────────────────────────────────

    def _number(self, name: str) -> int:
        return max(self._header.numbers(f"{self._architecture}.{name}"), default=0)

    def _per_layer(self, name: str) -> tuple[int, ...]:
        """Return a value by layer; the header may have one for all."""
        values = self._header.numbers(f"{self._architecture}.{name}")
        return values * self._all if len(values) == 1 else values[: self._all]
