"""What an engine emits for a request, and the counts and times of its end."""

from array import array
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight_backend.errors import BackendError


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one request. *completion_tokens* counts every sampled token, also the last one."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Prompt tokens that were not evaluated again."""
    drafted_tokens: int = 0
    """Tokens that were drafted by speculation; *completion_tokens* has those that were accepted."""
    accepted_tokens: int = 0


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds of one request in the queue, in prefill and in decode.

    Waiting for another request to evaluate a shared prompt counts as `queue`.
    """

    queue: float
    restore: float = 0.0
    """Reading a cached state from storage and putting it into the slot, before the prefill."""
    prefill: float
    decode: float


FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]


class Started(Struct, frozen=True, gc=False, tag=True):
    """The request has a slot. A shared prompt has been evaluated by then."""

    prompt_tokens: int
    cached_tokens: int
    restore: float = 0.0
    """As in `Timings`."""


class Candidate(Struct, frozen=True, gc=False):
    """An alternative token and its log probability."""

    id: int
    piece: bytes
    logprob: float


class Token(Struct, frozen=True, gc=False, tag=True):
    """One sampled token and its bytes; special tokens are spelled out.

    A character's UTF-8 bytes may be spread over several tokens.
    """

    id: int
    piece: bytes
    logprob: float | None = None
    """If requested; from the model's distribution, before the guide and the stages of sampling."""
    candidates: tuple[Candidate, ...] = ()
    """The likeliest tokens in descending order."""


class Finish(Struct, frozen=True, tag=True):
    """The request ended by a stop token, by its length, or by its ticket."""

    reason: FinishReason
    usage: Usage
    timings: Timings


class Failed(Struct, frozen=True, tag=True):
    """The request ended by an error."""

    error: BackendError


EngineEvent: TypeAlias = Started | Token | Finish | Failed
"""A request's events: `Started` at most once, `Token`s, then exactly one `Finish` or `Failed`."""


class Embedded(Struct, frozen=True, gc=False, tag=True):
    """An input's vector: 32-bit floats, normalized to length 1."""

    vector: "array[float]"


EmbedEvent: TypeAlias = Started | Embedded | Finish | Failed
"""An embedding request's events: at most one `Started`, an `Embedded` for each input in order, then
exactly one `Finish` or `Failed`. Its usage has no completion tokens."""


class Scored(Struct, frozen=True, gc=False, tag=True):
    """How relevant a pair's document is to its query: the higher, the more."""

    score: float


RankEvent: TypeAlias = Started | Scored | Finish | Failed
"""A ranking request's events: at most one `Started`, a `Scored` for each pair in order, then
exactly one `Finish` or `Failed`. Its usage has no completion tokens."""
