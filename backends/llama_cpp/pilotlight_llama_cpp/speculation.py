"""Whether a model drafts tokens, and what that takes of a step."""

from pilotlight_backend import LoadOptions
from pilotlight_llama_cpp.model import LlamaModel


def drafted_rows(options: LoadOptions, model: LlamaModel) -> int:
    """Return how many drafted tokens are evaluated in a step at the most; 0 without speculation."""
    if options.speculation == "none" or no_speculation(options, model):
        return 0
    return min(options.draft_max, options.chunk)


def no_speculation(options: LoadOptions, model: LlamaModel) -> str:
    """Return why nothing is drafted with *options*; "" if there is no reason."""
    if not model.cuttable_cache:
        return "the model has a recurrent state, from which refused tokens cannot be removed"
    if options.deterministic:
        # Measured with spark, Q8_0: without flash attention a row that is computed with others has
        # logits that differ by up to 0.14 from those of the row alone, with it by nothing. A single
        # column is left to other kernels (`llamafile_sgemm` in ggml-cpu/llamafile/sgemm.cpp).
        return "deterministic is on, and several tokens round differently from one"
    return ""
