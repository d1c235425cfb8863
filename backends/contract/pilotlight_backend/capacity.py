"""How much memory a model needs, and which context length it gets: one rule for all backends."""

import logging
import math
from contextlib import suppress

from msgspec.structs import replace

from pilotlight_backend import cgroup
from pilotlight_backend.attention import BITS, uses_flash_attention
from pilotlight_backend.errors import InsufficientMemory
from pilotlight_backend.split_file import each_part
from pilotlight_backend.types import LoadOptions, ModelFacts

logger = logging.getLogger("pilotlight.backend")

DEFAULT_CONTEXT_LENGTH = 4096
PROMPT_CACHE_SHARE = 4
"""The prompt cache's part of the memory that is left, as a divisor: other models need the rest."""
_LOGIT = 4
"""Bytes of a logit."""
_LENGTH_STEP = 256
"""Tokens to whose multiples a length that would fit is rounded down; fewer are no use."""


def context_length(facts: ModelFacts, options: LoadOptions) -> int:
    """Return the context length in force: as asked for, else 4096; at most as trained.

    Beyond what was trained a model has no positions, or answers badly. llama-server caps the
    length in the same way (`server-context.cpp`, `n_ctx_slot`).
    """
    length = served_length(facts, options)
    if options.context_length is not None and options.context_length > length:
        logger.warning(
            "%s: context_length is reduced from %d to %d tokens, with which the model was trained",
            facts.path.name,
            options.context_length,
            length,
        )
    return length


def served_length(facts: ModelFacts, options: LoadOptions) -> int:
    """Return what `context_length` does, and log nothing: for those who only look."""
    asked = DEFAULT_CONTEXT_LENGTH if options.context_length is None else options.context_length
    return min(facts.context_length, asked)


def in_force(facts: ModelFacts, options: LoadOptions) -> ModelFacts:
    """Return *facts* with the memory that attention takes with *options*."""
    attention = facts.attention
    if attention is None:
        return facts
    fast = uses_flash_attention(options)
    values = attention.values if fast else attention.padded_values
    bits = attention.keys * BITS[options.cache_type_k] + values * BITS[options.cache_type_v]
    return replace(
        facts,
        kv_bytes_per_token=math.ceil(bits / 8),
        step_bytes=attention.step_bytes if fast else facts.step_bytes,
        # Flash attention keeps no scores, and masks of half the size
        # (`build_attn_inp_kq_mask` in llama-graph.cpp).
        score_bytes=attention.masks * 2 if fast else attention.scores * 4,
    )


def check_memory(facts: ModelFacts, options: LoadOptions, *, beside: int = 0) -> None:
    """Raise `InsufficientMemory` where weights and KV cache cannot fit.

    *beside* is the bytes of what else is loaded with the model.

    Without it the kernel would end the whole process. *facts* hold the context length in force.
    """
    available = cgroup.available_memory()
    if available is None or options.gpu_layers:
        return
    required = memory_need(facts, options, facts.context_length) + beside
    if required > available:
        raise InsufficientMemory(required, available, fitting(facts, options, available - beside))


def check_growth(facts: ModelFacts, options: LoadOptions, length: int) -> None:
    """Raise `InsufficientMemory` where a KV cache with *length* tokens for each slot cannot fit.

    For a context that grows: since `check_memory` other models may have taken what was left.
    """
    available = cgroup.available_memory()
    if available is None or options.gpu_layers:
        return
    required = options.parallel * (facts.kv_bytes_per_token * length + facts.state_bytes)
    if required > available:
        raise InsufficientMemory(required, available)


def fitting(facts: ModelFacts, options: LoadOptions, room: int) -> str:
    """Return which `context_length` and `parallel` would let the model fit into *room* bytes."""
    for parallel in dict.fromkeys((options.parallel, 1)):
        fewer = replace(options, parallel=parallel)
        # What a model needs is linear in the context length.
        fixed = memory_need(facts, fewer, 0)
        each = memory_need(facts, fewer, 1) - fixed
        length = served_length(facts, options)
        if each:
            length = min(length, (room - fixed) // each // _LENGTH_STEP * _LENGTH_STEP)
        if length >= _LENGTH_STEP and fixed <= room:
            slots = "" if parallel == options.parallel else f" with parallel {parallel}"
            return f"context_length {length}{slots} would fit"
    return "no context_length would fit"


def memory_need(facts: ModelFacts, options: LoadOptions, length: int) -> int:
    """Return the bytes that a model takes once loaded, with *length* tokens for each slot.

    That is its files, what its sequences keep, what a step works with, and images.
    A model that embeds or ranks forgets an input once it has its vector or score: one cache serves
    all.
    """
    facts = in_force(facts, options)
    slots = options.parallel if facts.generates else 1
    kept = slots * (facts.kv_bytes_per_token * length + facts.state_bytes)
    tokens = options.chunk + slots
    # In one cache for all slots a token's scores and masks are for the cells of all.
    cells = slots * length if options.kv_unified else length
    step = tokens * (facts.step_bytes + facts.score_bytes * cells)
    return facts.size_bytes + kept + step + facts.image_bytes + _speculation(facts, options)


def _speculation(facts: ModelFacts, options: LoadOptions) -> int:
    """Return the bytes of drafted tokens' logits, and of a draft model's files.

    A row of logits is computed in one buffer and copied to another (`output_reserve` in
    llama-context.cpp).
    """
    if options.speculation == "none":
        return 0
    rows = min(options.draft_max, options.chunk)
    draft = 0
    if options.speculation == "draft" and options.draft_model is not None:
        with suppress(OSError):  # the load says what is wrong with it
            draft = sum(part.stat().st_size for part in each_part(options.draft_model))
    return 2 * rows * facts.vocabulary_size * _LOGIT + draft


def draft_options(options: LoadOptions) -> LoadOptions:
    """Return the options of the draft model of a model that is loaded with *options*."""
    return replace(options, speculation="none", draft_model=None, projector=None, baked=None)


def draft_slots(draft: ModelFacts, facts: ModelFacts, options: LoadOptions) -> int:
    """Return the bytes that the draft model *draft* takes beside its files, which are counted.

    *facts* and *options* are those of the model that it drafts for: it has as many slots.
    """
    length = min(draft.context_length, served_length(facts, options))
    return memory_need(draft, draft_options(options), length) - draft.size_bytes
