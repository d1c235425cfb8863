"""What requests for text say alike, whatever the answer goes on from.

OpenAI's fields, and some of llama-server's and vLLM's.
"""

from typing import Annotated, Literal

from msgspec import Meta

from pilotlight.schema.base import ModelName, NonEmpty, Request
from pilotlight.schema.support import NO_EFFECT

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenIdKey = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]


class StreamOptions(Request, kw_only=True):
    """What a stream carries beside the answer."""

    include_usage: Annotated[
        bool | None, Meta(description="Whether a last chunk carries the usage.")
    ] = None
    include_loading: Annotated[
        bool | Literal["comments", "events"] | None,
        Meta(
            description=(
                "Whether to show the wait for a model that is loading: the stream begins at once,"
                " with a comment each second, or with `events` a chunk that carries `loading`."
                " `true` means `comments`."
            )
        ),
    ] = None
    include_obfuscation: Annotated[bool | None, NO_EFFECT] = None


class SamplingRequest(Request, kw_only=True):
    """Which model, how its tokens are drawn, where an answer ends, and how it is sent."""

    model: ModelName

    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="How freely tokens are drawn; 0 takes the likeliest. 1 if omitted."),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Draw from the likeliest tokens of this total share. 0.95 if omitted."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(description="Draw from this many of the likeliest; 0 from all. 64 if omitted."),
    ] = None
    min_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Drop tokens below this share of the likeliest one's. 0 if omitted."),
    ] = None
    presence_penalty: Annotated[
        Annotated[float, Meta(ge=-2, le=2)] | None,
        Meta(description="Lowers tokens that the answer has already. 0 if omitted."),
    ] = None
    frequency_penalty: Annotated[
        Annotated[float, Meta(ge=-2, le=2)] | None,
        Meta(description="Lowers tokens by how often the answer has them. 0 if omitted."),
    ] = None
    logit_bias: Annotated[
        dict[TokenIdKey, Annotated[float, Meta(ge=-100, le=100)]] | None,
        Meta(description="What to add to tokens' logits, by token id of this model."),
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
        Meta(description="Makes the draw repeatable."),
    ] = None
    stop: Annotated[
        NonEmpty | Annotated[list[NonEmpty], Meta(max_length=16)] | None,
        Meta(description="A text, or several, that end the answer and are left out of it."),
    ] = None
    stop_token_ids: Annotated[
        Annotated[list[TokenId], Meta(max_length=64)] | None,
        Meta(description="Tokens of this model that end the answer."),
    ] = None
    n: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(description="Number of answers; the prompt is evaluated once for all. 1 if omitted."),
    ] = None
    stream: Annotated[
        bool | None, Meta(description="Whether the answer comes as server-sent events.")
    ] = None
    stream_options: Annotated[
        StreamOptions | None, Meta(description="What a stream carries beside the answer.")
    ] = None
