"""What a request for completions has that settings limit."""

from pilotlight.api.params.amounts import Amount, Taken, sampling
from pilotlight.schema.completions import CompletionRequest


def amounts(asked: CompletionRequest) -> Taken:
    """Yield the amounts of *asked*."""
    yield from sampling(asked)
    yield Amount("best_of", asked.best_of or 1, "choices", "max_n")
