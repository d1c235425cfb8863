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


Word = Annotated[str, Meta(min_length=1, extra={EXPECTED: "a string that is not empty"})]
HeaderName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        extra={EXPECTED: "the name of a header, such as X-Forwarded-User"},
    ),
]


class Secret:
    """A text that nobody is shown: not in a log, not in an error, not in a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold *text*; raises `ValueError` where it is empty, which nobody means."""
        if not text:
            raise ValueError("it is empty")
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Show that there is one."""
        return "Secret(…)"


class ConfigError(Exception):
    """A setting is unknown or has a bad value; the message is one line that names it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything `pilotlight serve` can be told. Each field is a flag and a variable."""

    host: Annotated[
        str, Meta(description="Address to listen on; 0.0.0.0 where the platform sets `PORT`.")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0, le=65535, description="Port to listen on, 0 for any free one; `PORT` counts too."
        ),
    ] = 8080
    models_file: Annotated[
        Path, Meta(description="The YAML file that names models; it may be absent.")
    ] = Path("~/.core/models.yaml")
    models_dir: Annotated[
        Path, Meta(description="The folder in which models are discovered; it may be absent.")
    ] = Path("~/.core/models")
    backends: Annotated[
        tuple[str, ...],
        Meta(description="Backends to use, comma-separated; by default all that are installed."),
    ] = ()
    parallel: Annotated[
        Count, Meta(description="Slots: requests that one model answers together.")
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
        Count | None, Meta(description="Threads for computing; by default what the machine grants.")
    ] = None
    preload: Annotated[
        tuple[str, ...],
        Meta(description="Models to load at the start, comma-separated, or `all`."),
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
        Meta(description="Requests that may wait for loading models; others get a 503 at once."),
    ] = 256
    platform: Annotated[
        Platform,
        Meta(
            description="Whose habits to follow; found in the environment."
            " `cloud_run` takes the CPU away while no request is in flight, so requests are held"
            " for 45 s there."
        ),
    ] = "none"
    cache_dir: Annotated[
        Path,
        Meta(description="The folder for what is remembered between runs; it may be read-only."),
    ] = Path("~/.cache/pilotlight")
    idle_ttl: Annotated[
        Seconds,
        Meta(description="Seconds without a request after which a model is unloaded; 0: never."),
    ] = 0.0
    memory_budget: Annotated[
        Size | None,
        Meta(
            description="Memory for all loaded models, such as `6GiB`; idle ones make room.",
        ),
    ] = None
    isolation: Annotated[
        Isolation,
        Meta(
            description="`process` gives each model a process of its own, which can crash or be"
            " killed alone."
        ),
    ] = "none"
    step_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds after which a step of an engine hangs, more where it reads a"
            " prompt; its requests fail, and the model is loaded anew. 0: never."
        ),
    ] = 60.0
    load_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds without any progress after which a load hangs; its requests fail."
            " 0: never."
        ),
    ] = 900.0
    max_queue: Annotated[
        Count,
        Meta(description="Requests that may wait for one model's slots before others get a 429."),
    ] = 256
    requests_per_minute: Annotated[
        Count | None, Meta(description="Requests that each caller may make a minute.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None,
        Meta(description="Tokens, of prompts and answers, that each caller may use a minute."),
    ] = None
    concurrent_requests: Annotated[
        Count | None, Meta(description="Requests that each caller may have under way.")
    ] = None
    max_request_bytes: Annotated[
        Count, Meta(description="Largest request body in bytes; a larger one gets a 413.")
    ] = 10_000_000
    max_messages: Annotated[
        Count,
        Meta(description="Most messages of a request, or items of its input; more get a 400."),
    ] = 4096
    max_tools: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="Most tools of a request; OpenAI's endpoints take up to 128 in any case.",
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
            description="Largest JSON Schema of an answer's form or a tool, in bytes without"
            " spaces.",
        ),
    ] = 131_072
    max_schema_depth: Annotated[
        int,
        Meta(ge=1, le=64, description="Most levels of objects and lists in such a schema."),
    ] = 64
    max_header_bytes: Annotated[
        Count,
        Meta(description="Largest head of a request in bytes; a larger one gets a 431."),
    ] = 65_536
    request_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds that a request may take, from its head to the end of its answer,"
            " waiting included; then it gets a 504, or its stream ends. 0: any time."
        ),
    ] = 0.0
    receive_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds in which a request's head has to come, and then its body;"
            " connections that are slower are closed. 0: any time."
        ),
    ] = 60.0
    keep_alive: Annotated[
        Seconds,
        Meta(
            description="Seconds that a connection stays open between two requests. Keep it longer"
            " than the load balancer does, which else sends some requests to closed connections."
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
            " on Anthropic's endpoint. 0: never, and a stream's headers wait for its slot."
        ),
    ] = 5.0
    unknown_fields: Annotated[
        Literal["refuse", "ignore"],
        Meta(
            description="Whether a request's unknown fields are refused, by a 400 that names them."
        ),
    ] = "refuse"
    special_tokens_in_content: Annotated[
        Literal["text", "parse"],
        Meta(
            description=(
                "How names of special tokens, such as <|im_end|>, in messages and tools are read:"
                " as text, or as the tokens. With parse a user's text can open other turns."
            )
        ),
    ] = "text"
    chat_completions: Annotated[bool, Meta(description="Whether the chat endpoint is served.")] = (
        True
    )
    chat_completions_path: Annotated[
        UrlPath, Meta(description="Where the chat endpoint is served.")
    ] = CHAT_COMPLETIONS_PATH
    cors_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="Origins of web pages that may call this server, comma-separated, such as"
            " `http://localhost:3000`, or `*` for all; by default none but its own."
        ),
    ] = ()
    api_keys_file: Annotated[
        Path | None,
        Meta(
            description="The file of API keys, a line for each: `name:key` or"
            " `name:sha256:HEX`. It is read anew when it changes."
        ),
    ] = None
    api_keys: Annotated[
        Secret | None,
        Meta(
            description="API keys, comma-separated: as in the file, or keys alone, which are"
            " called `key-1`, `key-2` and so on."
        ),
    ] = None
    failed_keys_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Wrong API keys that one address may try a minute before they get a 429;"
            " 0: any number.",
        ),
    ] = 60
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks of proxies that sign users in, comma-separated, such as"
            " `10.0.0.0/8`. What the two headers below say is believed from there alone."
        ),
    ] = ()
    user_header: Annotated[
        HeaderName, Meta(description="The header in which a trusted proxy names the user.")
    ] = "X-Forwarded-User"
    groups_header: Annotated[
        HeaderName, Meta(description="The header in which it lists the user's groups.")
    ] = "X-Forwarded-Groups"
    groups_separator: Annotated[
        Literal[",", "|", ";"],
        Meta(description="Separator between the groups in that header."),
    ] = ","
    required_group: Annotated[
        Word | None,
        Meta(description="The group that a proxy's user has to be in; by default none."),
    ] = None
    grace: Annotated[
        Seconds, Meta(description="Seconds that running requests are given after SIGTERM.")
    ] = 8.0
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="`auto` writes JSON where standard error is no terminal."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least level that is logged."),
    ] = "info"
    otlp_endpoint: Annotated[
        Url | None,
        Meta(
            description="Where traces go: an OpenTelemetry collector's address for OTLP over HTTP,"
            " without `/v1/traces`; `OTEL_EXPORTER_OTLP_ENDPOINT` counts too."
        ),
    ] = None

    @property
    def memory_budget_bytes(self) -> int | None:
        """`memory_budget` in bytes."""
        return None if self.memory_budget is None else parse_size(self.memory_budget)


def parse_size(text: str) -> int:
    """Return the bytes that *text* names: `512MiB`, `6GB`, `1.5Gi`, `1000`."""
    digits = text.rstrip("KMGTiB ")
    unit = text[len(digits) :].strip().removesuffix("B")
    base = 1024 if unit.endswith("i") else 1000
    return int(float(digits) * base ** " KMGT".index(unit[:1] or " "))
