"""Write small GGUFs of llama.cpp's kinds of model, with random weights.

    python -m benchmarks.random_families FOLDER [ARCHITECTURE …]

What an architecture's tensors are called and how large they are is asked of llama.cpp itself: it
builds a model from a header alone (`llama_model_init_from_user`) and names each tensor that it
wants. The headers follow llama.cpp's own `tests/test-llama-archs.cpp`.
"""

import argparse
import ctypes
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.random_gguf import (
    ARRAY,
    BOOL,
    CHAT_TEMPLATE,
    F32,
    I32,
    SPECIAL_TOKENS,
    STRING,
    U32,
    make_tokenizer,
    write_gguf,
)

Keys = Mapping[str, Any]
"""A header's keys below the architecture's name. Whole numbers are written as U32."""

VOCABULARY = 512
HIDDEN, HEADS, FEED_FORWARD, LAYERS = 128, 2, 192, 4
CONTEXT_LENGTH = 4096
WINDOW = 128

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_MULTIPLIED = 32
"""A row is quantised where it is a multiple of this: a block of Q8_0."""
_UNQUANTISED = (
    "_norm", "conv1d", "shortconv", "ssm_a", "ssm_d", "time_mix", "channel_mix", "ffn_gate_inp",
)  # fmt: skip
"""Tensors that llama.cpp adds or scans with, and does not multiply, as its converters keep them."""

_BASE: Keys = {
    "context_length": CONTEXT_LENGTH,
    "embedding_length": HIDDEN,
    "block_count": LAYERS,
    "feed_forward_length": FEED_FORWARD,
    "attention.head_count": HEADS,
    "attention.head_count_kv": HEADS,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-5,
}
_EXPERTS: Keys = {
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": FEED_FORWARD,
    "expert_shared_feed_forward_length": FEED_FORWARD // 2,
    "expert_shared_count": 1,
    "expert_gating_func": 2,
}
_WINDOW: Keys = {"attention.sliding_window": WINDOW}
_EVERY_OTHER_RECURRENT: Keys = {
    "attention.head_count": [HEADS, 0, HEADS, 0],
    "attention.head_count_kv": [HEADS, 0, HEADS, 0],
}
_SSM: Keys = {
    "ssm.inner_size": 2 * HIDDEN,
    "ssm.conv_kernel": 4,
    "ssm.state_size": 128,
    "ssm.time_step_rank": HEADS,
    "ssm.group_count": 2,
}
_DELTA_NET: Keys = {
    **_SSM,
    "ssm.inner_size": 256,
    "full_attention_interval": 2,
    "rope.dimension_sections": [8, 8, 8, 8],
}
_MLA: Keys = {
    "attention.head_count": 1,
    "attention.head_count_kv": 1,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "attention.q_lora_rank": 64,
    "attention.kv_lora_rank": 512,
    "rope.dimension_count": 64,
}

GENERATES: Mapping[str, Keys] = {
    # full attention, with and without experts
    "llama": {},
    "qwen3": {"attention.head_count_kv": 1},
    "qwen3moe": _EXPERTS,
    "olmoe": _EXPERTS,
    "deepseek2": {**_MLA, **_EXPERTS, "leading_dense_block_count": 1},
    # positions of time, row and column
    "qwen2vl": {"rope.dimension_sections": [8, 12, 12, 0]},
    # sliding windows
    "gemma2": _WINDOW,
    "gemma3": {**_WINDOW, "block_count": 6},
    "gpt-oss": {**_WINDOW, **_EXPERTS},
    "cohere2": {**_WINDOW, "logit_scale": 1.0},
    "llama4": {**_EXPERTS, "interleave_moe_layer_step": 2, "attention.chunk_size": WINDOW},
    # layers that share another one's cache
    "gemma4": {
        **_WINDOW,
        "block_count": 5,
        "attention.sliding_window_pattern": [1, 1, 0, 1, 0],
        "attention.shared_kv_layers": 2,
        "attention.key_length": 64,
        "attention.value_length": 64,
        "attention.key_length_swa": 32,
        "attention.value_length_swa": 32,
        "embedding_length_per_layer_input": 32,
        "rope.dimension_count": 64,
        "rope.dimension_count_swa": 32,
        "rope.freq_base_swa": 10000.0,
    },
    "gemma3n": {  # its first twenty layers have caches of their own
        **_WINDOW,
        "block_count": 22,
        "embedding_length": 64,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "attention.sliding_window_pattern": 2,
    },
    # attention in some layers, a recurrent state in the others, or both in all
    "qwen35": _DELTA_NET,
    "qwen35moe": {**_DELTA_NET, **_EXPERTS},
    "qwen3next": {**_DELTA_NET, **_EXPERTS},
    "lfm2": {**_EVERY_OTHER_RECURRENT, "shortconv.l_cache": 3},
    "granitehybrid": {**_EVERY_OTHER_RECURRENT, **_SSM},
    "jamba": {**_EVERY_OTHER_RECURRENT, **_SSM, "ssm.group_count": 0},
    "falcon-h1": _SSM,
    "nemotron_h": {
        **_EVERY_OTHER_RECURRENT,
        **_SSM,
        "feed_forward_length": [0, 0, FEED_FORWARD, 0],
    },
    "kimi-linear": {
        **_MLA,
        **_EXPERTS,
        "attention.head_count": [1, 0, 1, 0],
        "attention.head_count_kv": [1, 0, 1, 0],
        "ssm.conv_kernel": 4,
        "kda.head_dim": 128,
        "leading_dense_block_count": 1,
    },
    # recurrent alone
    "mamba": {**_SSM, "ssm.group_count": 0, "ssm.time_step_rank": 8},
    "mamba2": _SSM,
    "rwkv7": {
        "wkv.head_size": 64,
        "attention.decay_lora_rank": 32,
        "attention.iclr_lora_rank": 32,
        "attention.value_residual_mix_lora_rank": 32,
        "attention.gate_lora_rank": 32,
        "token_shift_count": 2,
    },
}
"""Models that write answers, by architecture: what their headers say beside the common keys."""

UNSUPPORTED: Mapping[str, Keys] = {
    "t5": {"attention.relative_buckets_count": 32, "decoder_start_token_id": 0},
    "t5encoder": {"attention.relative_buckets_count": 32},
    "dream": {},
    "llada": {},
    "llada-moe": _EXPERTS,
    "rnd1": _EXPERTS,
}
"""Models that load and write no answers."""


def write(
    path: Path, architecture: str, *, seed: int = 0, more: Sequence[str] = (), **keys: Any
) -> Path:
    """Write a model of *architecture*, with *keys* of the header in place of its own.

    *more* are further tokens of its vocabulary, such as those around images.
    """
    given = {**_BASE, **(GENERATES | UNSUPPORTED)[architecture], **keys}
    metadata = list(_metadata(architecture, given, more))
    write_gguf(path, metadata, list(_tensors(metadata)), seed=seed)
    return path


def _metadata(architecture: str, keys: Keys, more: Sequence[str]) -> Iterator[tuple[str, int, Any]]:
    vocabulary, merges = make_tokenizer(VOCABULARY, more)
    first_special = VOCABULARY - len(SPECIAL_TOKENS)
    yield "general.architecture", STRING, architecture
    yield "general.name", STRING, f"Random {architecture}"
    for key, value in keys.items():
        yield f"{architecture}.{key}", *_typed(value)
    yield "tokenizer.ggml.model", STRING, "gpt2"
    yield "tokenizer.ggml.pre", STRING, "qwen2"
    yield "tokenizer.ggml.tokens", ARRAY, (STRING, vocabulary)
    kinds = [_NORMAL] * (first_special - len(more)) + [_USER_DEFINED] * len(more)
    kinds += [_CONTROL] * len(SPECIAL_TOKENS)
    yield "tokenizer.ggml.token_type", ARRAY, (I32, kinds)
    yield "tokenizer.ggml.merges", ARRAY, (STRING, merges)
    yield "tokenizer.ggml.bos_token_id", U32, first_special
    yield "tokenizer.ggml.eos_token_id", U32, first_special + 2
    yield "tokenizer.ggml.add_bos_token", BOOL, False
    yield "tokenizer.chat_template", STRING, CHAT_TEMPLATE


def _typed(value: Any) -> tuple[int, Any]:
    match value:
        case bool():
            return BOOL, value
        case int():
            return U32, value
        case float():
            return F32, value
        case str():
            return STRING, value
        case _:
            return ARRAY, (U32, value)


class _Tensor(ctypes.Structure):
    """The first fields of `ggml_tensor` in ggml.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("lengths", ctypes.c_int64 * 4),
    )


class _FileParams(ctypes.Structure):
    """`gguf_init_params` in gguf.h."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def _tensors(metadata: list[tuple[str, int, Any]]) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield the tensors that llama.cpp wants of a model with *metadata*."""
    from pilotlight_llama_cpp.native import library  # noqa: PLC0415

    binding = library()
    wanted: list[tuple[str, tuple[int, ...], str]] = []
    seen: set[str] = set()
    base = ctypes.CDLL(next(Path(binding._lib._name).parent.glob("libggml-base.*")))  # noqa: SLF001
    base.ggml_get_name.restype = ctypes.c_char_p
    base.gguf_init_from_file.restype = ctypes.c_void_p
    base.gguf_init_from_file.argtypes = (ctypes.c_char_p, _FileParams)
    base.gguf_free.argtypes = (ctypes.c_void_p,)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    def note(pointer: int, _: int | None) -> None:
        name = base.ggml_get_name(ctypes.c_void_p(pointer)).decode()
        lengths = list(_Tensor.from_address(pointer).lengths)
        while len(lengths) > 1 and lengths[-1] == 1:
            lengths.pop()
        if name not in seen:  # some are made once for each layer
            seen.add(name)
            wanted.append((name, tuple(reversed(lengths)), _type(name, lengths)))

    with tempfile.TemporaryDirectory() as folder:
        header = Path(folder) / "header.gguf"
        write_gguf(header, metadata, [], seed=0)
        context = base.gguf_init_from_file(str(header).encode(), _FileParams(True, None))  # noqa: FBT003
        params = binding.llama_model_default_params()
        init = binding._lib.llama_model_init_from_user  # noqa: SLF001
        init.restype = ctypes.c_void_p
        init.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, type(params))
        model = init(context, ctypes.cast(note, ctypes.c_void_p), None, params)
        base.gguf_free(context)
    if not model:
        raise ValueError(f"llama.cpp makes no model of {[key for key, _, _ in metadata]}")
    binding.llama_model_free(model)
    return iter(wanted)


def _type(name: str, lengths: list[int]) -> str:
    plain = len(lengths) == 1 or lengths[0] % _MULTIPLIED or not name.endswith("weight")
    return "F32" if plain or any(word in name for word in _UNQUANTISED) else "Q8_0"


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("architecture", nargs="*", default=sorted(GENERATES | UNSUPPORTED))
    arguments = parser.parse_args()
    for architecture in arguments.architecture:
        write(arguments.folder / f"{architecture}.gguf", architecture)


if __name__ == "__main__":
    main()
