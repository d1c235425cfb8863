"""Write a GGUF of a real architecture's shape with random weights, for measuring and for tests.

    python benchmarks/random_gguf.py model.gguf          # Qwen3-0.6B's shape, Q8_0, 640 MB
    python benchmarks/random_gguf.py --tiny tiny.gguf    # half a megabyte

The tokenizer is a real byte-level BPE whose merges spell the words of an alphabet in order.
The same seed writes the same bytes.
"""

import argparse
import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RERANK_TEMPLATE = (
    "<|im_start|>user\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)
"""As Qwen3-Reranker's, without its instructions."""
RANK = 4
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
"""Types of a key's value; an array's value is its elements' type and they."""
_GGML_TYPES = {"F32": 0, "F16": 1, "Q8_0": 8}
_NORMAL, _CONTROL = 1, 3
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen3's dimensions; the defaults are those of Qwen3-0.6B."""

    layers: int = 28
    hidden: int = 1024
    heads: int = 16
    kv_heads: int = 8
    head: int = 128
    feed_forward: int = 3072
    vocabulary: int = 151_936
    context_length: int = 40_960
    weights: str = "Q8_0"
    pooling: int | None = None
    """`llama_pooling_type` of a model that embeds, as Qwen3-Embedding with 3 (the last token), or
    that ranks, as Qwen3-Reranker with 4."""


TINY = Shape(
    layers=2, hidden=64, heads=4, kv_heads=2, head=32, feed_forward=128,
    vocabulary=512, context_length=512, weights="F16",
)  # fmt: skip


def write(path: Path, shape: Shape, *, seed: int = 0) -> None:
    """Write a model of *shape* to *path*."""
    write_gguf(path, metadata(shape), tensors(shape), seed=seed)


def write_gguf(
    path: Path,
    metadata: Iterable[tuple[str, int, Any]],
    tensors: Iterable[tuple[str, tuple[int, ...], str]],
    *,
    seed: int,
) -> None:
    """Write a model of random weights: keys with type and value, tensors with shape and type."""
    generator = np.random.default_rng(seed)
    tensors = list(tensors)
    infos, offset = b"", 0
    for name, dimensions, kind in tensors:
        infos += _text(name) + struct.pack("<I", len(dimensions))
        infos += struct.pack(f"<{len(dimensions)}Q", *reversed(dimensions))
        infos += struct.pack("<IQ", _GGML_TYPES[kind], offset)
        offset += _padded(_size(dimensions, kind))
    keys = [_pair(key, kind, value) for key, kind, value in metadata]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    with path.open("wb") as file:
        file.write(header.ljust(_padded(len(header)), b"\0"))
        for name, dimensions, kind in tensors:
            data = _weights(generator, name, dimensions, kind)
            file.write(data.ljust(_padded(len(data)), b"\0"))


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield each tensor's name, its rows and columns, and its type."""
    kind, hidden = shape.weights, shape.hidden
    yield "token_embd.weight", (shape.vocabulary, hidden), kind  # also the output's: tied
    yield "output_norm.weight", (hidden,), "F32"
    if shape.pooling == RANK:
        yield "cls.output.weight", (2, hidden), kind
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (hidden,), "F32"
        yield f"{block}.attn_q.weight", (shape.heads * shape.head, hidden), kind
        yield f"{block}.attn_k.weight", (shape.kv_heads * shape.head, hidden), kind
        yield f"{block}.attn_v.weight", (shape.kv_heads * shape.head, hidden), kind
        yield f"{block}.attn_q_norm.weight", (shape.head,), "F32"
        yield f"{block}.attn_k_norm.weight", (shape.head,), "F32"
        yield f"{block}.attn_output.weight", (hidden, shape.heads * shape.head), kind
        yield f"{block}.ffn_norm.weight", (hidden,), "F32"
        yield f"{block}.ffn_gate.weight", (shape.feed_forward, hidden), kind
        yield f"{block}.ffn_up.weight", (shape.feed_forward, hidden), kind
        yield f"{block}.ffn_down.weight", (hidden, shape.feed_forward), kind


def metadata(shape: Shape) -> Iterator[tuple[str, int, Any]]:
    """Yield the header's keys, each with its type and value."""
    vocabulary, merges = make_tokenizer(shape.vocabulary)
    first_special = shape.vocabulary - len(SPECIAL_TOKENS)
    yield "general.architecture", STRING, "qwen3"
    yield "general.name", STRING, "Random"
    yield "qwen3.block_count", U32, shape.layers
    yield "qwen3.context_length", U32, shape.context_length
    yield "qwen3.embedding_length", U32, shape.hidden
    yield "qwen3.feed_forward_length", U32, shape.feed_forward
    yield "qwen3.attention.head_count", U32, shape.heads
    yield "qwen3.attention.head_count_kv", U32, shape.kv_heads
    yield "qwen3.attention.key_length", U32, shape.head
    yield "qwen3.attention.value_length", U32, shape.head
    yield "qwen3.attention.layer_norm_rms_epsilon", F32, 1e-6
    yield "qwen3.rope.freq_base", F32, 1e6
    yield "tokenizer.ggml.model", STRING, "gpt2"
    yield "tokenizer.ggml.pre", STRING, "qwen2"
    yield "tokenizer.ggml.tokens", ARRAY, (STRING, vocabulary)
    kinds = [_NORMAL] * first_special + [_CONTROL] * len(SPECIAL_TOKENS)
    yield "tokenizer.ggml.token_type", ARRAY, (I32, kinds)
    yield "tokenizer.ggml.merges", ARRAY, (STRING, merges)
    yield "tokenizer.ggml.bos_token_id", U32, first_special
    yield "tokenizer.ggml.eos_token_id", U32, first_special + 2
    yield "tokenizer.ggml.add_bos_token", BOOL, False
    if shape.pooling is not None:
        yield "qwen3.pooling_type", U32, shape.pooling
    if shape.pooling == RANK:
        yield "qwen3.classifier.output_labels", ARRAY, (STRING, ["yes", "no"])
        yield "tokenizer.chat_template.rerank", STRING, RERANK_TEMPLATE
    elif shape.pooling is not None:
        yield "tokenizer.ggml.add_eos_token", BOOL, True
    yield "tokenizer.chat_template", STRING, CHAT_TEMPLATE


def make_tokenizer(size: int, more: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return *size* tokens, special ones last, and the merges that make the longer of them.

    *more* are tokens of their own before these.
    """
    tokens = [_byte_letter(byte) for byte in range(256)]
    merges: list[str] = []
    words = itertools.chain.from_iterable(
        itertools.product(_LETTERS, repeat=length) for length in itertools.count(2)
    )
    for letters in itertools.islice(words, size - len(tokens) - len(more) - len(SPECIAL_TOKENS)):
        word = "".join(letters)
        merges.append(f"{word[:-1]} {word[-1]}")
        tokens.append(word)
    return [*tokens, *more, *SPECIAL_TOKENS], merges


def _byte_letter(byte: int) -> str:
    """Return GPT-2's printable letter for a byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(256 + sum(other not in printable for other in range(byte)))


def _weights(
    generator: np.random.Generator, name: str, dimensions: tuple[int, ...], kind: str
) -> bytes:
    """Return random weights; norms are ones, and layers outweigh the embedding they are added to.

    Else the tied output would see the last token's embedding alone, and repeat it for ever.
    """
    if kind == "F32":
        return np.full(dimensions, _plain(generator, name, dimensions), dtype="<f4").tobytes()
    scale = 0.02 if name.startswith("token_embd") else dimensions[-1] ** -0.5
    if kind == "Q8_0":
        block = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
        blocks = np.empty(int(np.prod(dimensions)) // 32, dtype=block)
        blocks["scale"] = scale / 73.0  # 73: what -127..127 deviates by, so that scale comes out
        blocks["values"] = generator.integers(-127, 128, (len(blocks), 32), dtype=np.int8)
        return blocks.tobytes()
    return (generator.standard_normal(dimensions, dtype=np.float32) * scale).astype("<f2").tobytes()


def _plain(generator: np.random.Generator, name: str, dimensions: tuple[int, ...]) -> Any:
    """Return weights in 32 bits: norms are ones; what a state decays by is negative."""
    if "ssm_a" in name:
        return -generator.uniform(0.1, 1.0, dimensions)
    if len(dimensions) == 1 and not name.endswith(".bias"):
        return 1.0
    return generator.uniform(-0.1, 0.1, dimensions)


def _size(dimensions: tuple[int, ...], kind: str) -> int:
    count = int(np.prod(dimensions))
    return {"F32": count * 4, "F16": count * 2, "Q8_0": count // 32 * 34}[kind]


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT


def _pair(key: str, kind: int, value: Any) -> bytes:
    return _text(key) + struct.pack("<I", kind) + _value(kind, value)


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(value)
    if kind == ARRAY:
        element, values = value
        elements = b"".join(_value(element, each) for each in values)
        return struct.pack("<IQ", element, len(values)) + elements
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a shape for tests")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.path, TINY if arguments.tiny else Shape(), seed=arguments.seed)


if __name__ == "__main__":
    main()
