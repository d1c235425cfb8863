"""Makes the engine of a model that embeds or ranks. Imported like `generation_load`."""

from contextlib import ExitStack

from msgspec.structs import replace

from pilotlight_backend import EmbeddingEngine, LoadOptions, ModelFacts, RankingEngine
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.embedding_engine import LlamaCppEmbeddingEngine
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.phases import Report
from pilotlight_llama_cpp.pooling_context import EmbeddingContext, RankingContext
from pilotlight_llama_cpp.ranking_engine import LlamaCppRankingEngine


def load(
    model: LlamaModel, facts: ModelFacts, options: LoadOptions, report: Report, *, threads: int
) -> EmbeddingEngine | RankingEngine:
    """Make the context and the engine of *model*; free what was made if a part fails.

    *report* is called with each phase.
    """
    with ExitStack() as undo:
        context = (RankingContext if facts.ranks else EmbeddingContext)(
            model,
            AbortFlag(model.lib),
            facts.architecture,
            context_length=facts.context_length,
            options=options,
            threads=threads,
        )
        undo.callback(context.close)
        report("warm")
        context.warm()
        facts = replace(facts, vocabulary_size=model.vocabulary_size)
        if isinstance(context, RankingContext):
            model.read_control()
            facts = replace(facts, control_names=model.control_names)
        undo.pop_all()
    if isinstance(context, RankingContext):
        return LlamaCppRankingEngine(facts, model, context)
    facts = replace(facts, embedding_length=model.embedding_length)
    return LlamaCppEmbeddingEngine(facts, model, context)
