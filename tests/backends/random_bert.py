"""Write a GGUF of BERT's shape with random weights: an encoder with a WordPiece vocabulary."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.random_gguf import ARRAY, BOOL, F32, I32, STRING, U32, write_gguf

HIDDEN, HEADS, FEED_FORWARD, LAYERS = 64, 4, 128, 2
CONTEXT_LENGTH = 512
CLS, SEP = 101, 102

_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
_WORDS = ("the", "cat", "sat", "on", "mat", "dog", "ran", "home", "what", "is", "hello")


RANK = 4
"""`llama_pooling_type` of a cross-encoder, which has a head of two layers and one output."""


def write(path: Path, *, pooling: int | None = 1, seed: int = 0) -> Path:
    """Write the model, with `llama_pooling_type` *pooling* or none, and return its path."""
    tensors = [*_tensors("Q8_0"), *(_head() if pooling == RANK else ())]
    write_gguf(path, _metadata(pooling), tensors, seed=seed)
    return path


def _vocabulary() -> tuple[list[str], list[int]]:
    """Return the tokens and their types: bytes as words and as pieces, words, special ones.

    A token that begins a word has the mark that llama.cpp's converter gives it.
    """
    special = {0: "[PAD]", 100: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", 103: "[MASK]"}
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*(f"\u2581{letter}" for letter in letters), *letters]
    pieces += [f"\u2581{word}" for word in _WORDS]
    tokens, kinds = [], []
    while pieces or len(tokens) <= max(special):
        place = len(tokens)
        token = special.get(place) or (pieces.pop(0) if pieces else f"[unused{place}]")
        tokens.append(token)
        kinds.append(_CONTROL if place in special else _NORMAL)
    kinds[100] = _UNKNOWN
    return tokens, kinds


def _metadata(pooling: int | None) -> Iterator[tuple[str, int, Any]]:
    tokens, kinds = _vocabulary()
    yield "general.architecture", STRING, "bert"
    yield "general.name", STRING, "Random BERT"
    yield "bert.block_count", U32, LAYERS
    yield "bert.context_length", U32, CONTEXT_LENGTH
    yield "bert.embedding_length", U32, HIDDEN
    yield "bert.feed_forward_length", U32, FEED_FORWARD
    yield "bert.attention.head_count", U32, HEADS
    yield "bert.attention.layer_norm_epsilon", F32, 1e-12
    yield "bert.attention.causal", BOOL, False
    if pooling is not None:
        yield "bert.pooling_type", U32, pooling
    yield "tokenizer.ggml.model", STRING, "bert"
    yield "tokenizer.ggml.pre", STRING, "default"
    yield "tokenizer.ggml.token_type_count", U32, 2
    yield "tokenizer.ggml.tokens", ARRAY, (STRING, tokens)
    yield "tokenizer.ggml.token_type", ARRAY, (I32, kinds)
    yield "tokenizer.ggml.unknown_token_id", U32, 100
    yield "tokenizer.ggml.seperator_token_id", U32, SEP
    yield "tokenizer.ggml.padding_token_id", U32, 0
    yield "tokenizer.ggml.cls_token_id", U32, CLS
    yield "tokenizer.ggml.bos_token_id", U32, CLS
    yield "tokenizer.ggml.mask_token_id", U32, 103


def _tensors(kind: str) -> Iterator[tuple[str, tuple[int, ...], str]]:
    tokens, _ = _vocabulary()
    yield "token_embd.weight", (len(tokens), HIDDEN), "F16"
    yield "position_embd.weight", (CONTEXT_LENGTH, HIDDEN), "F16"
    yield "token_types.weight", (2, HIDDEN), "F32"
    yield from _with_bias("token_embd_norm", (HIDDEN,), "F32")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield from _with_bias(f"{block}.{name}", (HIDDEN, HIDDEN), kind)
        yield from _with_bias(f"{block}.attn_output_norm", (HIDDEN,), "F32")
        yield from _with_bias(f"{block}.ffn_up", (FEED_FORWARD, HIDDEN), kind)
        yield from _with_bias(f"{block}.ffn_down", (HIDDEN, FEED_FORWARD), kind)
        yield from _with_bias(f"{block}.layer_output_norm", (HIDDEN,), "F32")


def _head() -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield from _with_bias("cls", (HIDDEN, HIDDEN), "F16")
    yield from _with_bias("cls.output", (1, HIDDEN), "F16")


def _with_bias(
    name: str, shape: tuple[int, ...], kind: str
) -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield f"{name}.weight", shape, kind
    yield f"{name}.bias", shape[:1], "F32"


def token_id(token: str) -> int:
    """Return the id of *token*, spelled as in the vocabulary."""
    return _vocabulary()[0].index(token)
