"""From a GGUF file's header to the facts of its model."""

import re
from enum import IntEnum
from pathlib import Path
from typing import Any

from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_backend.small_file import is_regular
from pilotlight_llama_cpp.gguf import MAGIC, Header

_TOKENS = "tokenizer.ggml.tokens"
_F16_BYTES = 2
_PART = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_NO_MODELS = frozenset({"adapter", "imatrix", "mmproj"})  # general.type; models say "model"

ENCODERS = frozenset(
    {
        "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert",
        "neo-bert", "nomic-bert", "nomic-bert-moe",
    }
)  # fmt: skip
"""Architectures whose tokens see the whole text, and which keep no cache: they embed alone
(`llama_model::create_memory` in llama-model.cpp)."""


class Pooling(IntEnum):
    """How one vector is made of a text's many: `llama_pooling_type` in llama.h."""

    NONE = 0
    MEAN = 1
    CLS = 2
    LAST = 3
    RANK = 4


def probe(path: Path) -> ModelFacts | None:
    """Return the facts of the model at *path*; None for what is no GGUF model.

    Also None: a part of a split model other than its first, an adapter, a projector of images.
    """
    try:
        if not is_regular(path):  # to open a pipe would wait for its writer
            return None
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
        with Header(path, keep_strings=(_TOKENS,)) as header:
            return _facts(header)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise ModelFileInvalid(path, f"it cannot be read: {error.strerror}") from error


def parts(path: Path) -> list[Path]:
    """Return the files of the model whose first, or only, file is *path*."""
    name = _PART.fullmatch(path.name)
    if name is None:
        return [path]
    count = int(name["count"])
    return [
        path.with_name(f"{name['prefix']}-{number:05}-of-{count:05}.gguf")
        for number in range(1, count + 1)
    ]


def _facts(header: Header) -> ModelFacts | None:
    architecture = _text(header, "general.architecture")
    part = _number(header, "split.no") or 0
    if architecture == "clip" or _text(header, "general.type") in _NO_MODELS or part > 0:
        return None
    if not architecture:
        raise header.invalid("it names no architecture")
    context_length = _number(header, f"{architecture}.context_length")
    if not context_length:
        raise header.invalid("it tells no context length")
    if not header.tensor_count:
        raise header.invalid("it holds no tensors")
    embeds = _embeds(header, architecture)
    return ModelFacts(
        path=header.path,
        architecture=architecture,
        name=_text(header, "general.name"),
        context_length=context_length,
        chat_template=_text(header, "tokenizer.chat_template"),
        bos_token=_token(header, "tokenizer.ggml.bos_token_id"),
        eos_token=_token(header, "tokenizer.ggml.eos_token_id"),
        add_bos=_flag(header, "tokenizer.ggml.add_bos_token"),
        size_bytes=_size_bytes(header),
        kv_bytes_per_token=_kv_bytes_per_token(header, architecture),
        embedding_length=_embedding_length(header, architecture) if embeds else 0,
    )


def _embeds(header: Header, architecture: str) -> bool:
    """Tell whether the model makes vectors of texts: it says how, or can do nothing else."""
    pooling = _number(header, f"{architecture}.pooling_type") or Pooling.NONE
    if pooling == Pooling.RANK:
        raise header.invalid("it ranks documents (pooling type 4), which is not supported")
    if pooling > Pooling.RANK:
        raise header.invalid(f"its pooling type {pooling} is not supported")
    return pooling != Pooling.NONE or architecture in ENCODERS


def _embedding_length(header: Header, architecture: str) -> int:
    """Return the length of its vectors; a last layer may make them longer or shorter."""
    length = _number(header, f"{architecture}.embedding_length_out") or _number(
        header, f"{architecture}.embedding_length"
    )
    if not length:
        raise header.invalid("it tells no embedding length")
    return length


def _size_bytes(header: Header) -> int:
    """Return the bytes of all parts, each of them checked."""
    count = _number(header, "split.count") or 1
    paths = parts(header.path)
    if len(paths) != count:
        raise header.invalid(f"it is a part of {count}, which its name does not say")
    size = header.size_bytes
    for path in paths[1:]:
        try:
            with Header(path) as part:
                size += part.size_bytes
        except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
            raise header.invalid(f"its part {path.name} cannot be read") from error
    return size


def _kv_bytes_per_token(header: Header, architecture: str) -> int:
    """Return the bytes of keys and values in 16 bits; 0 where the header does not say enough."""
    if architecture in ENCODERS:
        return 0

    def number(name: str) -> int:
        return _number(header, f"{architecture}.{name}") or 0

    layers = number("block_count")
    latent = number("attention.kv_lora_rank")
    if latent and number("attention.key_length_mla"):
        # Multi-head latent attention keeps one compressed row a layer, and no values.
        return _F16_BYTES * layers * (latent + number("rope.dimension_count"))
    heads = _per_layer(header, f"{architecture}.attention.head_count", layers)
    kv_heads = _per_layer(header, f"{architecture}.attention.head_count_kv", layers) or heads
    width = number("embedding_length") // max(heads, default=0) if any(heads) else 0
    key = number("attention.key_length") or width
    value = number("attention.value_length") or width
    return _F16_BYTES * sum(kv_heads) * (key + value)


def _per_layer(header: Header, key: str, layers: int) -> list[int]:
    """Return a value that is one number, or one a layer."""
    value = header.values.get(key)
    if isinstance(value, tuple) and all(type(each) is int for each in value):
        return list(value[:layers])
    if isinstance(value, tuple):
        raise header.invalid(f"{key!r} does not hold whole numbers")
    number = _number(header, key)
    return [] if number is None or layers > _MAX_LAYERS else [number] * layers


_MAX_LAYERS = 4096


def _number(header: Header, key: str) -> int | None:
    value: int | None = _typed(header, key, int)
    if value is not None and value < 0:
        raise header.invalid(f"{key!r} cannot be {value}")
    return value


def _text(header: Header, key: str) -> str | None:
    value: str | None = _typed(header, key, str)
    return value


def _flag(header: Header, key: str) -> bool:
    return bool(_typed(header, key, bool))


def _typed(header: Header, key: str, kind: type) -> Any:
    value = header.values.get(key)
    if value is not None and type(value) is not kind:
        raise header.invalid(f"{key!r} is no {kind.__name__}")
    return value


def _token(header: Header, key: str) -> str:
    index = _number(header, key)
    return "" if index is None else header.string_at(_TOKENS, index)
