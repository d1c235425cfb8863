"""The draft model's file, and what it takes. Imports no native library."""

from msgspec.structs import replace

from pilotlight_backend import BackendError, LoadFailed, LoadOptions, ModelFacts
from pilotlight_backend.capacity import memory_need
from pilotlight_llama_cpp import probe


def draft_facts(options: LoadOptions) -> ModelFacts | None:
    """Return the facts of the draft model; None without one. Raises `LoadFailed`."""
    path = options.draft_model
    if options.speculation != "draft":
        return None
    if path is None:
        raise LoadFailed("speculation is draft and draft_model is not set: name a model")
    if not path.exists():
        raise LoadFailed(f"draft_model: there is no file {path}")
    try:
        facts = probe.probe(path)
    except BackendError as error:
        raise LoadFailed(f"draft_model: {error}") from None
    if facts is None or not facts.generates:
        raise LoadFailed(f"draft_model: {path.name} is no GGUF model that generates")
    return facts


def options_of_draft(options: LoadOptions) -> LoadOptions:
    """Return the options of the draft model, of a model's with *options*."""
    return replace(options, speculation="none", draft_model=None, projector=None, baked=None)


def slots_of_draft(draft: ModelFacts | None, facts: ModelFacts, options: LoadOptions) -> int:
    """Return the bytes that the slots of *draft* take, for the model of *facts*."""
    if draft is None:
        return 0
    length = min(draft.context_length, facts.context_length)
    return memory_need(draft, options_of_draft(options), length) - draft.size_bytes
