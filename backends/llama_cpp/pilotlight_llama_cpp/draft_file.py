"""The draft model's file. Imports no native library."""

from pilotlight_backend import BackendError, LoadFailed, LoadOptions, ModelFacts
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
