"""Tell from a GGUF header whether llama.cpp can generate, embed or rank with the file.

For some other files llama.cpp calls `abort()`, which ends the process with every stream in it. The
header's keys and tensors are checked where they suffice; where llama.cpp decides by the name of the
architecture, the names are here with the function that they come from.
"""

import importlib.util
import math
import mmap
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pilotlight_backend import Relevance
from pilotlight_llama_cpp.gguf import Header

TOKENS = "tokenizer.ggml.tokens"

ENCODERS = frozenset(
    {
        "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert",
        "neo-bert", "nomic-bert", "nomic-bert-moe",
    }
)  # fmt: skip
"""Architectures without causal attention and without a KV cache: they can only embed
(`llama_model::create_memory` in llama-model.cpp)."""

_ENCODER_DECODERS = {
    "t5": "an encoder-decoder",
    "t5encoder": "the encoder of an encoder-decoder",
}
"""`llama_model_has_encoder` in llama-model.cpp; the others that it lists are draft models."""
_DRAFTS = frozenset({"eagle3", "dflash", "gemma4-assistant"})
"""Draft models: their graphs assert that there is a target model's context, `cparams.ctx_other`
(eagle3.cpp, dflash.cpp, gemma4-assistant.cpp in src/models)."""
_DIFFUSION = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""`llm_arch_is_diffusion` in llama-arch.cpp."""
_SPEECH = frozenset({"wavtokenizer-dec", "qwen3tts", "pockettts"})
"""Codecs and text-to-speech models: wavtokenizer-dec.cpp, qwen3tts.cpp, pockettts.cpp in
src/models."""

_KINDS = {
    "adapter": (
        "it is a LoRA adapter, not a model: name it below `adapters:` of its model in models.yaml"
    ),
    "imatrix": "it is an importance matrix for quantisation, not a model",
    "mmproj": (
        "it is a projector of images, not a model: call it mmproj-MODEL.gguf, or name it with"
        " `mmproj:` at its model in models.yaml"
    ),
    "vocab": "it has a vocabulary but no weights",
}
"""By `general.type`, which is "model" or missing for models."""

_NO_VOCABULARY = frozenset({"none", "no_vocab"})
"""`tokenizer.ggml.model` of models without one (`llama_vocab::impl::load` in llama-vocab.cpp)."""
_ROPE_SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})
"""`LLAMA_ROPE_SCALING_TYPES` in llama-model.cpp; another name fails an assertion."""
INTERVALS = frozenset({"minimax-01", "qwen35", "qwen35moe", "qwen3next", "qwen4exp"})
"""Architectures that read `full_attention_interval`, by default 4 (their files in src/models)."""
_SHARED_AMONG_EXPERTS = frozenset(
    {
        "llada-moe",
        "mellum",
        "qwen2moe",
        "qwen35moe",
        "qwen3moe",
        "qwen3next",
        "qwen3vlmoe",
        "qwen4exp",
    }
)
"""Architectures that divide `feed_forward_length` by the experts in use (src/models)."""
_MAX_LAYERS, _MAX_EXPERTS = 512, 1024
"""`LLAMA_MAX_LAYERS` and `LLAMA_MAX_EXPERTS` in llama-hparams.h."""


class Head(NamedTuple):
    """The tensor that makes a reranker's score, and how many outputs it has."""

    tensor: str
    outputs: int


_YES_NO = ("yes", "no")
"""The outputs of a decoder that ranks: llama.cpp makes probabilities of them (`build_pooling` in
llama-graph.cpp); with one output that would always be 1."""
_HEADS = {
    **dict.fromkeys(("bert", "modern-bert", "neo-bert"), Head("cls.output.weight", 1)),
    "jina-bert-v2": Head("cls.weight", 1),
    **dict.fromkeys(("qwen3", "qwen3vl"), Head("cls.output.weight", len(_YES_NO))),
}
"""The architectures for which llama.cpp reads a classification head (src/models)."""


class Pooling(IntEnum):
    """How the vectors of a text's tokens become one: `llama_pooling_type` in llama.h."""

    NONE = 0
    MEAN = 1
    CLS = 2
    LAST = 3
    RANK = 4


UNSPECIFIED = frozenset({-1, 0xFFFFFFFF})
"""`LLAMA_POOLING_TYPE_UNSPECIFIED`, signed and as `llama_model_save_to_file` writes it. It means
the default of the context, which is no pooling (the constructor of `llama_context`)."""


def pooling_of(header: Header, architecture: str) -> Pooling:
    """Return the pooling type in *header*."""
    key = f"{architecture}.pooling_type"
    if header.values.get(key) in UNSPECIFIED:
        return Pooling.NONE
    pooling = header.number(key) or 0
    try:
        return Pooling(pooling)
    except ValueError:
        raise header.invalid(f"its pooling type {pooling} is not supported") from None


def why_not_served(header: Header, architecture: str) -> str | None:
    """Return why an undamaged file cannot be served; None if it can."""
    return (
        _other_kind(header, architecture)
        or _other_purpose(architecture)
        or _unknown(architecture)
        or _cannot_write(header, architecture)
        or _no_vocabulary(header)
    )


def check_numbers(header: Header, architecture: str) -> None:
    """Raise `ModelFileInvalid` for what fails an assertion of `llama_model_base::load_hparams`."""

    def number(name: str) -> int:
        return max(header.numbers(f"{architecture}.{name}"), default=0)

    layers, ahead = number("block_count"), number("nextn_predict_layers")
    experts, used = number("expert_count"), number("expert_used_count")
    groups, groups_used = number("expert_group_count"), number("expert_group_used_count")
    scaling = header.text(f"{architecture}.rope.scaling.type")
    if f"{architecture}.block_count" in header.values and not 0 < layers <= _MAX_LAYERS:
        raise header.invalid(f"block_count must be 1 to {_MAX_LAYERS}, got {layers}")
    if ahead > layers:
        raise header.invalid(
            f"nextn_predict_layers must be at most block_count ({layers}), got {ahead}"
        )
    if experts > _MAX_EXPERTS or used > experts or (experts and not used):
        raise header.invalid(
            f"expert_used_count must be 1 to expert_count, and that at most {_MAX_EXPERTS}:"
            f" got {used} of {experts}"
        )
    if groups and groups >= experts:
        raise header.invalid(
            f"expert_group_count must be below expert_count ({experts}), got {groups}"
        )
    if groups > 1 and (experts % groups or not 0 < groups_used < groups):
        raise header.invalid(
            f"expert_group_count must divide expert_count ({experts}) and be above"
            f" expert_group_used_count ({groups_used}), got {groups}"
        )
    if scaling is not None and scaling not in _ROPE_SCALINGS:
        raise header.invalid(f"rope.scaling.type {scaling!r} is not supported")


def check_divisors(header: Header, architecture: str) -> None:
    """Raise `ModelFileInvalid` for zeros that llama.cpp divides by: SIGFPE would end the process.

    The divisions are in src/models: in the architecture's file, mamba-base.cpp, rwkv6-base.cpp and
    rwkv7-base.cpp.
    """

    def number(name: str) -> int:
        return max(header.numbers(f"{architecture}.{name}"), default=0)

    def has(*endings: str) -> bool:
        return any(name.endswith(endings) for name in header.tensors)

    if architecture in INTERVALS and header.numbers(f"{architecture}.full_attention_interval") == (
        0,
    ):
        raise header.invalid("full_attention_interval must not be 0")
    experts = number("expert_used_count") or number("expert_feed_forward_length")
    if architecture in _SHARED_AMONG_EXPERTS and not experts:
        raise header.invalid("expert_used_count or expert_feed_forward_length must be above 0")
    scans = has(".ssm_norm.weight") and number("ssm.inner_size")
    if scans and not (number("ssm.group_count") and number("ssm.time_step_rank")):
        raise header.invalid("ssm.group_count and ssm.time_step_rank must not be 0")
    if has(".time_mix_key.weight") and not number("wkv.head_size"):
        raise header.invalid("wkv.head_size must not be 0")
    if has(".attn_q.weight", ".attn_qkv.weight") and not number("attention.head_count"):
        raise header.invalid("attention.head_count must not be 0")


def _other_kind(header: Header, architecture: str) -> str | None:
    """Return the reason for a file that is not a model."""
    part, count = header.number("split.no") or 0, header.number("split.count") or 0
    if part > 0:
        return f"it is part {part + 1} of {count}: name part 1 instead"
    if architecture == "clip":  # projectors that are older than `general.type`
        return _KINDS["mmproj"]
    if reason := _KINDS.get(header.text("general.type") or ""):
        return reason
    return None if header.tensor_count else _KINDS["vocab"]


def _other_purpose(architecture: str) -> str | None:
    """Return the reason for an architecture that neither generates nor embeds."""
    if architecture in _ENCODER_DECODERS:
        kind = _ENCODER_DECODERS[architecture]
        return f"{architecture!r} is {kind}, which is not supported"
    if architecture in _DIFFUSION:
        return f"{architecture!r} generates by diffusion, which is not supported"
    if architecture in _DRAFTS:
        return f"{architecture!r} is a draft model, which cannot run by itself"
    if architecture in _SPEECH:
        return f"{architecture!r} generates speech, which is not supported"
    return None


def _cannot_write(header: Header, architecture: str) -> str | None:
    """Return the reason for a model that neither generates token by token nor embeds."""
    pooling = pooling_of(header, architecture)
    if pooling is Pooling.RANK:
        return _cannot_rank(header, architecture)
    causal = header.values.get(f"{architecture}.attention.causal", True)
    if not causal and pooling is Pooling.NONE and architecture not in ENCODERS:
        return (
            "it can neither generate nor embed: its attention is not causal, and its header has no"
            " pooling type"
        )
    return None


def _cannot_rank(header: Header, architecture: str) -> str | None:
    """Return the reason for a reranker whose scores would mean nothing.

    llama.cpp computes with any head or none, and with none it reads scores from vectors
    (`build_pooling` in llama-graph.cpp).
    """
    head = _HEADS.get(architecture)
    if head is None:
        return f"it is a reranker, and llama.cpp does not rank with {architecture!r}"
    if head.tensor not in header.tensors:
        return f"it is a reranker without its classification head, the tensor {head.tensor!r}"
    outputs = math.prod(header.tensors[head.tensor][1:])
    if outputs != head.outputs:
        return (
            f"the outputs of its classification head {head.tensor!r} must be {head.outputs} for a"
            f" reranker, got {outputs}"
        )
    template = header.text("tokenizer.chat_template.rerank")
    if template is not None and not (template.count("{document}") == 1 and "{query}" in template):
        return "its template for reranking must have {query}, and {document} once"
    return None


def relevance_of(architecture: str) -> Relevance:
    """Return what the scores of a reranker of *architecture* are."""
    return "probability" if _HEADS[architecture].outputs == len(_YES_NO) else "logit"


def _no_vocabulary(header: Header) -> str | None:
    """Return the reason for a model without a vocabulary: tokenising a text would abort."""
    if header.text("tokenizer.ggml.model") in _NO_VOCABULARY:
        return "it has no vocabulary"
    return None


def _unknown(architecture: str) -> str | None:
    if is_known(architecture):
        return None
    return f"this version of llama.cpp does not support the architecture {architecture!r}"


def is_known(architecture: str) -> bool:
    """Return False if llama.cpp does not support *architecture*, True also where that is unsure."""
    known = _library_text()
    return known is None or known.find(architecture.encode("utf-8", "replace") + b"\0") >= 0


@lru_cache(maxsize=1)
def _library_text() -> mmap.mmap | None:
    """Return the bytes of llama.cpp's library, mapped but not loaded; None if it is not found.

    They contain the names of all supported architectures (`LLM_ARCH_NAMES` in llama-arch.cpp). The
    linker merges a string into the end of another ("bert" in "neo-bert"), so an unsupported name
    may look supported, and then fails the load. A supported name is always found.
    """
    spec = importlib.util.find_spec("llama_cpp")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("libllama.so", "libllama.dylib", "llama.dll"):
            path = Path(folder) / "lib" / name
            if path.is_file():
                with path.open("rb") as file:
                    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return None
