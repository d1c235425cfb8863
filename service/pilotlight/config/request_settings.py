"""The settings of requests: their limits, waits and streams, and the paths that are served."""

from typing import Annotated, Literal

from msgspec import Meta

from pilotlight.config.kinds import (
    CHAT_COMPLETIONS_PATH,
    Count,
    HostPattern,
    Origin,
    Seconds,
    Size,
    UrlPath,
)
from pilotlight.config.model_settings import ModelSettings


class RequestSettings(ModelSettings, frozen=True, kw_only=True):
    """And its requests."""

    max_queue: Annotated[
        Count,
        Meta(
            description="Requests that may wait for the slots of a model; further ones get a 429."
        ),
    ] = 256
    requests_per_minute: Annotated[
        Count | None, Meta(description="Requests a minute that each caller may send.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None,
        Meta(description="Tokens a minute, of prompts and answers, that each caller may use."),
    ] = None
    concurrent_requests: Annotated[
        Count | None, Meta(description="Requests that each caller may have in flight.")
    ] = None
    max_request_bytes: Annotated[
        Count, Meta(description="Largest request body in bytes; a larger one gets a 413.")
    ] = 10_000_000
    image_urls: Annotated[
        tuple[HostPattern, ...],
        Meta(
            description="Hosts from which images of requests are fetched over HTTPS,"
            " comma-separated: `images.example.com`, `*.example.com` for its subdomains, or `*` for"
            " all. Private addresses are always refused. By default none: images are data URLs."
        ),
    ] = ()
    max_images: Annotated[
        Count, Meta(description="Most images of a request, in all of its messages.")
    ] = 16
    max_image_bytes: Annotated[
        Count,
        Meta(description="Largest file of an image in bytes, in the request or fetched."),
    ] = 10_000_000
    max_image_pixels: Annotated[
        Count, Meta(description="Most pixels of an image, width times height.")
    ] = 25_000_000
    image_side: Annotated[
        Count,
        Meta(
            description="Longest side in pixels of an image that a model gets; a larger image is"
            " scaled down."
        ),
    ] = 2048
    max_messages: Annotated[
        Count,
        Meta(
            description="Most messages, or input items, of a request; more get a 400. In the"
            " Messages API, results of tools count as messages."
        ),
    ] = 4096
    max_tools: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="Most tools of a request; the OpenAI endpoints accept up to 128 at most.",
        ),
    ] = 1024
    max_stops: Annotated[int, Meta(ge=1, le=16, description="Most stop strings of a request.")] = 16
    max_stop_length: Annotated[Count, Meta(description="Most characters of a stop string.")] = 1024
    max_n: Annotated[
        int, Meta(ge=1, le=128, description="Most answers to a prompt: `n` and `best_of`.")
    ] = 128
    max_schema_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=131_072,
            description="Largest JSON Schema of a structured output or a tool, in bytes without"
            " spaces.",
        ),
    ] = 131_072
    max_schema_depth: Annotated[
        int,
        Meta(ge=1, le=64, description="Most levels of objects and lists in such a schema."),
    ] = 64
    max_header_bytes: Annotated[
        Count,
        Meta(description="Largest request line and headers in bytes; larger ones get a 431."),
    ] = 65_536
    request_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds that a request may take, from its headers to the end of its"
            " answer, including waits; then it gets a 504, or its stream ends. 0: unlimited."
        ),
    ] = 0.0
    receive_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds in which the headers of a request have to arrive, and then its"
            " body; slower connections are closed. 0: unlimited."
        ),
    ] = 60.0
    keep_alive: Annotated[
        Seconds,
        Meta(
            description="Seconds that a connection stays open between two requests. Set it longer"
            " than in the load balancer, which otherwise sends some requests to closed connections."
        ),
    ] = 620.0
    max_retry_after: Annotated[
        float,
        Meta(
            ge=1,
            le=60,
            description="Largest Retry-After in seconds; by default 45 on Knative and Cloud Run.",
        ),
    ] = 60.0
    sse_ping_interval: Annotated[
        Seconds,
        Meta(
            description="Seconds of silence after which a stream sends a comment, or a `ping` event"
            " on Anthropic's endpoint. 0: never, and the headers of a stream wait for its slot."
        ),
    ] = 5.0
    stream_replay: Annotated[
        Seconds,
        Meta(
            description="Seconds that a stream continues and is kept after its client disconnects,"
            " so that it can be resumed at `/v1/stream`. 0: not at all; a disconnect cancels it."
        ),
    ] = 0.0
    stream_replay_bytes: Annotated[
        Size,
        Meta(
            description="Size of the buffer of such a stream. If it is full while no client is"
            " connected, the stream is cancelled."
        ),
    ] = "4MiB"
    unknown_fields: Annotated[
        Literal["refuse", "ignore"],
        Meta(
            description="Whether unknown fields of a request are refused with a 400 that names"
            " them."
        ),
    ] = "refuse"
    special_tokens_in_content: Annotated[
        Literal["text", "parse"],
        Meta(
            description=(
                "How the names of special tokens, such as `<|im_end|>`, in messages and tools are"
                " tokenized: as text, or as these tokens. With `parse` a user's text can start"
                " other turns."
            )
        ),
    ] = "text"
    chat_completions: Annotated[bool, Meta(description="Whether the chat endpoint is served.")] = (
        True
    )
    chat_completions_path: Annotated[UrlPath, Meta(description="Path of the chat endpoint.")] = (
        CHAT_COMPLETIONS_PATH
    )
    page: Annotated[bool, Meta(description="Whether the chat page is served at `/`.")] = True
    cors_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="Origins of web pages that may call this server, comma-separated, such as"
            " `http://localhost:3000`, or `*` for all; by default only its own."
        ),
    ] = ()
