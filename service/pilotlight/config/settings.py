"""The settings: each field of `Settings` is a flag and a `PILOTLIGHT_…` variable."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pilotlight.config.expected import EXPECTED
from pilotlight.deployment import Platform

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"
"""Where clients expect the chat endpoint."""

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Size = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B?$",
        extra={EXPECTED: "a size, such as 6GB or 512MiB"},
    ),
]
Isolation = Literal["none", "process"]
FlashAttention = Literal["auto", "on", "off"]
Speculation = Literal["none", "ngram"]
DraftTokens = Annotated[int, Meta(ge=1, le=256)]
MatchTokens = Annotated[int, Meta(ge=1, le=64)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""The contract's, which is not imported for it before the socket listens."""
UrlPath = Annotated[
    str,
    Meta(
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
        extra={EXPECTED: "a path, such as /v1/chat/completions"},
    ),
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        extra={EXPECTED: "an address, such as http://localhost:4318"},
    ),
]
Origin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@*]+)$",
        extra={EXPECTED: "origins without a path, such as http://localhost:3000, or *"},
    ),
]
HostPattern = Annotated[
    str,
    Meta(
        pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$",
        extra={EXPECTED: "hosts without a scheme, such as images.example.com, *.example.com or *"},
    ),
]


Word = Annotated[str, Meta(min_length=1, extra={EXPECTED: "a string that is not empty"})]
HeaderName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        extra={EXPECTED: "the name of a header, such as X-Forwarded-User"},
    ),
]


class Secret:
    """A text that is never shown: not in a log, an error or a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold *text*; raises `ValueError` if it is empty, which is never intended."""
        if not text:
            raise ValueError("it must not be empty")
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "Secret(…)"


class ConfigError(Exception):
    """A setting is unknown or has a bad value; the message is one line that names it."""


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of `pilotlight serve`. Each field is a flag and a variable."""

    host: Annotated[
        str,
        Meta(description="Address to listen on; by default 0.0.0.0 if the platform sets `PORT`."),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0, le=65535, description="Port to listen on, 0 for any free one; `PORT` sets it too."
        ),
    ] = 8080
    models_file: Annotated[
        Path, Meta(description="YAML file that names models; it may be missing.")
    ] = Path("~/.core/models.yaml")
    models_dir: Annotated[
        Path, Meta(description="Folder in which models are discovered; it may be missing.")
    ] = Path("~/.core/models")
    lora_dir: Annotated[
        Path | None,
        Meta(
            description="Folder from which `/v1/load_lora_adapter` loads LoRA adapters; by default"
            " none, and adapters cannot be loaded or unloaded while the server runs."
        ),
    ] = None
    backends: Annotated[
        tuple[str, ...],
        Meta(description="Backends to use, comma-separated; by default all installed ones."),
    ] = ()
    parallel: Annotated[
        Count, Meta(description="Slots of a model: requests that it serves at the same time.")
    ] = 4
    context_length: Annotated[
        Count | None,
        Meta(
            description="Tokens of one request, prompt and answer, at most as many as the model was"
            " trained with; by default up to 4096."
        ),
    ] = None
    default_max_tokens: Annotated[
        Count,
        Meta(
            description="Most tokens of a chat's or a response's answer, reasoning included, where"
            " the request has no limit."
        ),
    ] = 2048
    threads: Annotated[
        Count | None,
        Meta(description="Threads for computing; by default the CPUs of the machine or container."),
    ] = None
    deterministic: Annotated[
        bool,
        Meta(
            description="Promise that a response does not depend on the requests beside it, at the"
            " price of speed (llama.cpp)."
        ),
    ] = False
    flash_attention: Annotated[
        FlashAttention,
        Meta(description="Whether llama.cpp uses flash attention; `auto`: where it can."),
    ] = "auto"
    cache_type_k: Annotated[
        CacheType,
        Meta(description="Type of the keys in the KV cache of llama.cpp; `q8_0` takes half."),
    ] = "f16"
    cache_type_v: Annotated[
        CacheType,
        Meta(
            description="Type of the values in the KV cache of llama.cpp; the quantized ones need"
            " flash attention."
        ),
    ] = "f16"
    kv_unified: Annotated[
        bool,
        Meta(description="Whether all slots share one KV cache in llama.cpp."),
    ] = False
    speculation: Annotated[
        Speculation,
        Meta(
            description="How llama.cpp drafts tokens, so that a step evaluates several; `ngram`:"
            " what followed the last tokens where they came before."
        ),
    ] = "none"
    draft_max: Annotated[
        DraftTokens,
        Meta(description="Most tokens that a step drafts, those of all slots together."),
    ] = 32
    ngram_min: Annotated[
        MatchTokens,
        Meta(description="Tokens that have to come again before `ngram` drafts what followed."),
    ] = 3
    preload: Annotated[
        tuple[str, ...],
        Meta(description="Models to load at startup, comma-separated, or `all`."),
    ] = ()
    hold: Annotated[
        float,
        Meta(
            ge=0,
            le=45,
            description="Seconds that a request waits for a loading model before it gets a 503.",
        ),
    ] = 10.0
    max_held: Annotated[
        Count,
        Meta(
            description="Requests that may wait for loading models; further ones get a 503 at once."
        ),
    ] = 256
    platform: Annotated[
        Platform,
        Meta(
            description="Platform whose defaults apply; detected from the environment. On"
            " `cloud_run`, which throttles the CPU while no request is in flight, requests are held"
            " for 45 s."
        ),
    ] = "none"
    cache_dir: Annotated[
        Path,
        Meta(
            description="Folder for data that is kept between runs, such as load times; it may be"
            " read-only."
        ),
    ] = Path("~/.cache/pilotlight")
    idle_ttl: Annotated[
        Seconds,
        Meta(description="Seconds without a request after which a model is unloaded; 0: never."),
    ] = 0.0
    memory_budget: Annotated[
        Size | None,
        Meta(
            description="Memory for all loaded models, such as `6GiB`; idle models are unloaded to"
            " stay within it.",
        ),
    ] = None
    prompt_cache: Annotated[
        Size | None,
        Meta(
            description="Memory of each model for prompts whose slot was taken, such as `1GiB`; by"
            " default a quarter of what is left. 0: none."
        ),
    ] = None
    prompt_cache_scope: Annotated[
        Literal["key", "all"],
        Meta(
            description="Whose requests share cached prompts: those of one API key or user, or"
            " `all`. A request's `cache_salt` divides further."
        ),
    ] = "key"
    state_dir: Annotated[
        Word | None,
        Meta(
            description="Where cached prompts outlive the process: a folder that instances may"
            " share, or an address (`gs://`, `s3://`). By default nowhere."
        ),
    ] = None
    state_limit: Annotated[
        Size | None,
        Meta(description="Largest size of all files there; the longest unused are deleted first."),
    ] = None
    state_ttl: Annotated[
        Seconds,
        Meta(description="Seconds without use after which a file there is deleted; 0: never."),
    ] = 604_800.0
    isolation: Annotated[
        Isolation,
        Meta(
            description="`process` runs each model in a process of its own, so that a crash or a"
            " hang affects no other model."
        ),
    ] = "none"
    step_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds after which a step of an engine counts as hanging, more during"
            " prefill; its requests fail, and the model is loaded again. 0: never."
        ),
    ] = 60.0
    load_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds without progress after which a load counts as hanging; its"
            " requests fail. 0: never."
        ),
    ] = 900.0
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
        Meta(description="Most messages, or input items, of a request; more get a 400."),
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
            description="Seconds that a stream goes on and is kept after its client disconnects, so"
            " that it can be resumed at `/v1/stream`. 0: not at all; a disconnect cancels it."
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
                "How the names of special tokens, such as <|im_end|>, in messages and tools are"
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
    api_keys_file: Annotated[
        Path | None,
        Meta(
            description="File of API keys, one a line: `name:key` or `name:sha256:HEX`. It is"
            " reloaded when it changes."
        ),
    ] = None
    api_keys: Annotated[
        Secret | None,
        Meta(
            description="API keys, comma-separated: as in the file, or without names, which are"
            " then `key-1`, `key-2` and so on."
        ),
    ] = None
    failed_keys_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Wrong API keys a minute that one address may send before it gets a 429; 0:"
            " unlimited.",
        ),
    ] = 60
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks of proxies that sign users in, comma-separated, such as"
            " `10.0.0.0/8`. The two headers below are trusted from there only."
        ),
    ] = ()
    user_header: Annotated[
        HeaderName, Meta(description="Header in which a trusted proxy sends the name of the user.")
    ] = "X-Forwarded-User"
    groups_header: Annotated[
        HeaderName, Meta(description="Header in which it sends the groups of the user.")
    ] = "X-Forwarded-Groups"
    groups_separator: Annotated[
        Literal[",", "|", ";"],
        Meta(description="Separator between the groups in that header."),
    ] = ","
    required_group: Annotated[
        Word | None,
        Meta(description="Group that users of a proxy must belong to; by default none."),
    ] = None
    grace: Annotated[
        Seconds, Meta(description="Seconds that requests in flight may continue after SIGTERM.")
    ] = 8.0
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="`auto` writes JSON if standard error is not a terminal."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged."),
    ] = "info"
    otlp_endpoint: Annotated[
        Url | None,
        Meta(
            description="URL of an OpenTelemetry collector for traces, OTLP over HTTP, without"
            " `/v1/traces`; `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too."
        ),
    ] = None

    @property
    def memory_budget_bytes(self) -> int | None:
        """`memory_budget` in bytes."""
        return None if self.memory_budget is None else parse_size(self.memory_budget)


def parse_size(text: str) -> int:
    """Return the bytes of a size: `512MiB`, `6GB`, `1.5Gi`, `1000`."""
    digits = text.rstrip("KMGTiB ")
    unit = text[len(digits) :].strip().removesuffix("B")
    base = 1024 if unit.endswith("i") else 1000
    return int(float(digits) * base ** " KMGT".index(unit[:1] or " "))
