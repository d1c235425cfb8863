"""What a request took, as OpenAI's answers tell it."""

from collections.abc import Mapping

from pilotlight.generation import Ended, total_usage
from pilotlight.schema.openai import (
    CompletionTokensDetails,
    CompletionUsage,
    PromptTokensDetails,
)


def usage_of(endings: Mapping[int, Ended], n: int) -> CompletionUsage:
    """Return the usage of answers that ended like *endings*, by number, *n* to each prompt."""
    ended = [endings[number] for number in sorted(endings)]
    usage = total_usage([one.usage for one in ended], n)
    thought = sum(one.reasoning_tokens for one in ended)
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=thought),
    )
