"""The settings of models: where they are, how they are loaded, what they may take."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pilotlight.config.kinds import (
    CacheType,
    Count,
    DraftTokens,
    FlashAttention,
    Isolation,
    MatchTokens,
    Seconds,
    Size,
    Speculation,
    Word,
    parse_size,
)
from pilotlight.deployment import Platform


class ListenSettings(Struct, frozen=True, kw_only=True):
    """Where the server listens."""

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


class ModelSettings(ListenSettings, frozen=True, kw_only=True):
    """And its models."""

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
    ] = 63
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

    @property
    def memory_budget_bytes(self) -> int | None:
        """`memory_budget` in bytes."""
        return None if self.memory_budget is None else parse_size(self.memory_budget)
