"""The events of a generation, which every endpoint projects to its own format.

The events of all choices are yielded in lists as they arrive, each with its choice's number. Each
choice has a `Begun`, then output events, then an `Ended`. Errors are raised as a `ServiceError`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight.observability.timing import Phases
from pilotlight.output.events import OutputEvent
from pilotlight_backend import Usage


class Begun(Struct, frozen=True):
    """The choice has a slot. Headers are sent, so a later error can only end the stream."""

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
    """The choice is complete."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage
    reasoning_tokens: int
    stop: str | None = None
    """The stop string that ended it."""


GenerationEvent: TypeAlias = Begun | FirstToken | OutputEvent | Ended
Events: TypeAlias = Sequence[tuple[int, GenerationEvent]]


def total_usage(usages: Sequence[Usage], n: int) -> Usage:
    """Return the usage of a request from the *usages* of its choices, *n* for each prompt.

    A prompt counts once for all its choices. Its cached tokens are those that no choice evaluated.
    """
    prompts = [usages[start : start + n] for start in range(0, len(usages), n)]
    return Usage(
        prompt_tokens=sum(choices[0].prompt_tokens for choices in prompts),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(min(one.cached_tokens for one in choices) for choices in prompts),
        drafted_tokens=sum(usage.drafted_tokens for usage in usages),
        accepted_tokens=sum(usage.accepted_tokens for usage in usages),
    )
