"""Makes the engine of a model that generates: projector, baked prompt, context, engine.

Imported while llama.cpp loads the weights.
"""

import logging
from concurrent.futures import wait
from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pilotlight_backend import LoadFailed, LoadOptions, ModelFacts, SamplingParams
from pilotlight_backend.baking import MappedPrompt
from pilotlight_backend.capacity import check_growth, draft_slots
from pilotlight_backend.cgroup import available_memory
from pilotlight_backend.projectors import without_projector
from pilotlight_llama_cpp import draft_load
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.background import in_background
from pilotlight_llama_cpp.baking import adopt, find
from pilotlight_llama_cpp.context import LlamaContext
from pilotlight_llama_cpp.context_lengths import lengths
from pilotlight_llama_cpp.draft_model import DraftModel
from pilotlight_llama_cpp.engine import LlamaCppEngine
from pilotlight_llama_cpp.growing_context import GrowingContext, MakeContext
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.phases import Report
from pilotlight_llama_cpp.projector import Projector
from pilotlight_llama_cpp.prompt_states import state_identity
from pilotlight_llama_cpp.speculation import no_speculation

if TYPE_CHECKING:  # few have a storage
    from pilotlight_backend.prompt_cache.recent import RecentLengths

logger = logging.getLogger("pilotlight.llama_cpp")


def load(
    model: LlamaModel,
    facts: ModelFacts,
    options: LoadOptions,
    report: Report,
    *,
    threads: int,
    recent: "RecentLengths | None" = None,
    draft: ModelFacts | None = None,
) -> LlamaCppEngine:
    """Make the context and the engine of *model*; free what was made if a part fails.

    *report* is called with each phase. *recent* is the lengths of stored states, *draft* the facts
    of the draft model.
    """
    with ExitStack() as undo:
        # That computes nothing: its thread makes no OpenMP pool.
        control = in_background(model.read_control, f"vocabulary {facts.path.name}")
        undo.callback(wait, [control])  # the model is not freed under it
        projector = _load_projector(facts, options, model, threads)
        if projector is not None:
            undo.callback(projector.close)
        facts = facts if projector else without_projector(facts)
        prompt = find(model, facts, options)
        if prompt:
            undo.callback(prompt.close)
        identity = state_identity(model, facts, options)
        expected = 0 if recent is None else recent.of(identity)
        abort = AbortFlag(model.lib)
        context = GrowingContext(
            model,
            abort,
            _maker(model, abort, facts, options, threads=threads, projector=projector),
            slots=options.parallel,
            lengths=_lengths(facts, model, options, draft, baked=prompt, expected=expected),
        )
        undo.callback(context.close)  # it frees the model, so
        undo.callback(wait, [control])
        report("warm")
        context.warm()
        control.result()
        baked = adopt(context, prompt, facts, options)
        draft_model = _load_draft(draft, model, facts, options, report, threads=threads)
        if draft_model is not None:
            undo.callback(draft_model.close)
        engine = LlamaCppEngine(
            _with_vocabulary(facts, model),
            model,
            context,
            options,
            baked=baked,
            identity=identity,
            projector=projector,
            draft_model=draft_model,
        )
        undo.pop_all()
    return engine


def _lengths(
    facts: ModelFacts,
    model: LlamaModel,
    options: LoadOptions,
    draft: ModelFacts | None,
    *,
    baked: MappedPrompt | None,
    expected: int,
) -> tuple[int, ...]:
    """Return the lengths that the context grows through, beside a draft model if there is one."""
    return lengths(
        facts,
        model,
        slots=options.parallel,
        gpu_layers=options.gpu_layers,
        available_memory=available_memory(),
        beside=draft.size_bytes + draft_slots(draft, facts, options) if draft else 0,
        baked=len(baked.tokens) if baked else 0,
        expected=expected,
    )


def _load_draft(
    draft: ModelFacts | None,
    model: LlamaModel,
    facts: ModelFacts,
    options: LoadOptions,
    report: Report,
    *,
    threads: int,
) -> DraftModel | None:
    """Load the draft model, if one is asked for and *model* can remove what it refuses."""
    if draft is None or no_speculation(options, model):
        return None
    return draft_load.load(draft, model, facts, options, report, threads=threads)


def _maker(
    model: LlamaModel,
    abort: AbortFlag,
    facts: ModelFacts,
    options: LoadOptions,
    *,
    threads: int,
    projector: Projector | None,
) -> MakeContext:
    """Return what makes a context of a length."""
    images = None if projector is None else projector.traits

    def make(length: int) -> LlamaContext:
        check_growth(facts, options, length)
        return LlamaContext(
            model, abort, context_length=length, options=options, threads=threads, images=images
        )

    return make


def _with_vocabulary(facts: ModelFacts, model: LlamaModel) -> ModelFacts:
    return replace(
        facts,
        vocabulary_size=model.vocabulary_size,
        control_names=model.control_names,
        sampling=frozenset(SamplingParams.__struct_fields__),
    )


def _load_projector(
    facts: ModelFacts, options: LoadOptions, model: LlamaModel, threads: int
) -> Projector | None:
    """Load the projector, if there is one.

    One that models.yaml does not name may be another model's: then the model reads text alone.
    """
    if facts.projector is None:
        return None
    try:
        return Projector(facts.projector, model, threads=threads, gpu=options.gpu_layers != 0)
    except ImportError as error:
        reason = f"llama-cpp-python is built without mtmd: {error}"
    except LoadFailed as error:
        reason = str(error)
    if options.projector is not None:
        raise LoadFailed(reason)
    logger.warning("%s takes no images: %s", facts.path.name, reason)
    return None
