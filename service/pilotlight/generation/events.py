"""What happens to an answer, as every endpoint projects it.

The events of a request's answers are yielded in lists, as they arrive, each with its answer's
number. An answer's are first a `Begun`, then output events, last an `Ended`. What goes wrong is
raised as a `ServiceError`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight.observability.timing import Phases
from pilotlight.output.events import OutputEvent
from pilotlight_backend import Usage


class Begun(Struct, frozen=True):
    """The answer has a slot; from here on an error can only end a stream."""

    model: str
    fingerprint: str
    prompt_tokens: int
    cached_tokens: int
    timing: Phases | None = None
    """Where the time went so far, if the model was cold when the request came."""


class FirstToken(Struct, frozen=True):
    """Told once to a request that came to a cold model, with the whole timing."""

    timing: Phases


class Ended(Struct, frozen=True):
    """The answer is whole."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage
    reasoning_tokens: int
    stop: str | None = None
    """The text stop that it ended at."""


GenerationEvent: TypeAlias = Begun | FirstToken | OutputEvent | Ended
Events: TypeAlias = Sequence[tuple[int, GenerationEvent]]


def total_usage(usages: Sequence[Usage], n: int) -> Usage:
    """Return what a request took whose answers took *usages*, *n* of them for each prompt.

    A prompt that several answers share is evaluated once, and counts once; cached is what was not
    evaluated even then.
    """
    prompts = [usages[start : start + n] for start in range(0, len(usages), n)]
    return Usage(
        prompt_tokens=sum(answers[0].prompt_tokens for answers in prompts),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(min(one.cached_tokens for one in answers) for answers in prompts),
    )
