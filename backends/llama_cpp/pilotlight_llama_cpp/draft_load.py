"""Loads a draft model beside the model that it drafts for."""

from contextlib import ExitStack
from itertools import count

from msgspec.structs import replace

from pilotlight_backend import LoadFailed, LoadOptions, ModelFacts
from pilotlight_backend.capacity import check_growth, draft_options, in_force
from pilotlight_backend.cgroup import available_memory
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.context import LlamaContext
from pilotlight_llama_cpp.context_lengths import lengths
from pilotlight_llama_cpp.draft_model import DraftModel
from pilotlight_llama_cpp.growing_context import GrowingContext
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.phases import Report

_UNUSED = 128
"""Tokens that one vocabulary may have more than the other: models of a family fill theirs up to
different sizes (SPEC_VOCAB_MAX_SIZE_DIFFERENCE in common/speculative.cpp)."""


def load(
    draft: ModelFacts,
    model: LlamaModel,
    facts: ModelFacts,
    options: LoadOptions,
    report: Report,
    *,
    threads: int,
) -> DraftModel:
    """Return the draft model of *draft* for *model*, whose facts and options the others are.

    Raises `LoadFailed` if its vocabulary is another one, or its cache cannot be cut.
    """
    with ExitStack() as undo:
        small = LlamaModel(
            draft.path, gpu_layers=options.gpu_layers, proceed=lambda: report("load")
        )
        undo.callback(small.close)
        if not small.cuttable_cache:
            raise LoadFailed(
                f"draft_model: {draft.path.name} has a recurrent state, from which refused tokens"
                " cannot be removed; name a model without one"
            )
        if wrong := difference(model, small):
            raise LoadFailed(
                f"draft_model: {draft.path.name} has another vocabulary than {facts.path.name}:"
                f" {wrong}; name a smaller model of the same family"
            )
        context = _context(draft, small, facts, draft_options(options), threads)
        undo.callback(context.close)
        context.warm()
        drafts = DraftModel(
            context,
            slots=options.parallel,
            chunk=options.chunk,
            vocabulary_size=min(model.vocabulary_size, small.vocabulary_size),
        )
        drafts.measure()
        undo.pop_all()
    return drafts


def _context(
    draft: ModelFacts, small: LlamaModel, facts: ModelFacts, options: LoadOptions, threads: int
) -> GrowingContext:
    """Return the context of *small*, whose facts are *draft*; it grows as the model's own does."""
    abort = AbortFlag(small.lib)  # of its own, and never set: its steps are short
    own = in_force(
        replace(draft, context_length=min(draft.context_length, facts.context_length)), options
    )

    def make(length: int) -> LlamaContext:
        check_growth(own, options, length)
        return LlamaContext(small, abort, context_length=length, options=options, threads=threads)

    return GrowingContext(
        small,
        abort,
        make,
        slots=options.parallel,
        lengths=lengths(
            own,
            small,
            slots=options.parallel,
            gpu_layers=options.gpu_layers,
            available_memory=available_memory(),
            # The model's own context, which may still be short, grows too.
            beside=options.parallel * facts.kv_bytes_per_token * facts.context_length,
        ),
    )


def difference(model: LlamaModel, other: LlamaModel) -> str:
    """Return how the vocabulary of *other* differs from that of *model*; "" if it is the same."""
    if model.vocabulary_type != other.vocabulary_type:
        return "it is of another type"
    sizes = model.vocabulary_size, other.vocabulary_size
    if abs(sizes[0] - sizes[1]) > _UNUSED:
        return f"it has {sizes[1]} tokens, and not {sizes[0]}"
    for token, text, own in zip(count(), other.texts(), model.texts(), strict=False):
        if text != own:
            return f"its token {token} is {_shown(text)}, and not {_shown(own)}"
    return ""


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace"))
