"""Fields of requests that generate: those of all APIs, and those of chat and text completions.

OpenAI's fields, and some of llama-server's and vLLM's.
"""

from typing import Annotated, Any, Literal, Protocol, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import ModelName, NonEmpty, Request, TokenId
from pilotlight.schema.support import NO_EFFECT, SAMPLING, accepted
from pilotlight_backend.adapters import LARGEST_SCALE, MOST_ADAPTERS

CacheSalt = Annotated[
    Annotated[str, Meta(min_length=1, max_length=256)] | None,
    Meta(
        description="Cached tokens are shared with requests that have the same salt, and with"
        " no others."
    ),
]
"""As in vLLM for chat, completions and responses. Its Messages API has none."""

Breaker = Annotated[str, Meta(min_length=1, max_length=40, pattern="^[^\\x00]+$")]
TokenIdKey = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]


# A msgspec struct can have only one base with fields ("multiple bases have instance lay-out
# conflict"), so what requests of several APIs share are types of fields instead of a mixin.

Temperature: TypeAlias = Annotated[
    Annotated[float, Meta(ge=0, le=2)] | None,
    Meta(description="Sampling temperature; 0 always takes the likeliest token. 1 if omitted."),
]
TopP: TypeAlias = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None,
    Meta(description="Sample from the likeliest tokens that add up to this. 0.95 if omitted."),
]
TopK: TypeAlias = Annotated[
    Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
    Meta(description="Sample from this many of the likeliest tokens; 0 from all. 64 if omitted."),
]
MinP: TypeAlias = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None,
    Meta(description="Drop tokens below this share of the likeliest one's. 0 if omitted."),
]
Stream: TypeAlias = Annotated[
    bool | None, Meta(description="Whether the response is a stream of server-sent events.")
]


class LoraAdapter(Request, kw_only=True):
    """An adapter of the model, as llama-server's clients name it."""

    id: Annotated[
        int,
        Meta(
            ge=0, le=2**31 - 1, description="Its index among the adapters of the model, from 0 on."
        ),
    ]
    scale: Annotated[
        float,
        Meta(
            ge=-LARGEST_SCALE,
            le=LARGEST_SCALE,
            description="How strongly it applies: 1 as trained, 0 not at all.",
        ),
    ]


class SampledRequest(Protocol):
    """A request with the sampling fields of all APIs."""

    temperature: Temperature
    top_p: TopP
    top_k: TopK


class StreamOptions(Request, kw_only=True):
    """Options of a stream."""

    include_usage: Annotated[
        bool | None, Meta(description="Whether a last chunk has the usage.")
    ] = None
    include_loading: Annotated[
        bool | Literal["comments", "events"] | None,
        Meta(
            description=(
                "Whether to report the progress of a model that is loading. The stream begins at"
                " once, with a comment each second, or with `events` a chunk that has `loading`."
                " `true` means `comments`."
            )
        ),
    ] = None
    include_obfuscation: Annotated[bool | None, NO_EFFECT] = None
    continuous_usage_stats: Annotated[
        bool | None, accepted("of vLLM's streams each chunk has a usage, here the last one")
    ] = None


class SamplingRequest(Request, kw_only=True):
    """The model, how tokens are sampled, where a choice ends, and how the response is sent."""

    model: ModelName

    temperature: Temperature = None
    top_p: TopP = None
    top_k: Annotated[
        Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Sample from this many of the likeliest tokens; 0 from all, and so does vLLM's -1."
                " 64 if omitted."
            )
        ),
    ] = None
    min_p: MinP = None
    top_n_sigma: Annotated[
        Annotated[float, Meta(ge=-1, le=100)] | None,
        Meta(
            description=(
                "Drop tokens whose logit is this many standard deviations below the highest; 0 and"
                " -1 keep all. 0 if omitted."
            )
        ),
    ] = None
    typical_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description=(
                "Sample from the tokens nearest to the expected surprise that add up to this"
                " (locally typical sampling). 1, off, if omitted."
            )
        ),
    ] = None
    xtc_probability: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Probability with which XTC excludes the top tokens. 0 if omitted."),
    ] = None
    xtc_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description=(
                "With `xtc_probability`: of the tokens that have at least this probability, all but"
                " the least likely are excluded; above 0.5 none are. 0.1 if omitted."
            )
        ),
    ] = None
    dynatemp_range: Annotated[
        Annotated[float, Meta(ge=0, le=10)] | None,
        Meta(
            description=(
                "The temperature rises with the entropy, from `temperature` less this to"
                " `temperature` plus this. 0, off, if omitted."
            )
        ),
    ] = None
    dynatemp_exponent: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(
            description=(
                "With `dynatemp_range`: the exponent of the entropy's share of the greatest"
                " possible one. 1 if omitted."
            )
        ),
    ] = None
    mirostat: Annotated[
        Literal[0, 1, 2] | None,
        Meta(
            description=(
                "Mirostat's version, which replaces all filters of tokens; 0 is off. 0 if omitted."
                " With models in GGUF."
            )
        ),
    ] = None
    mirostat_tau: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(description="With `mirostat`: the surprise to aim at, in bits. 5 if omitted."),
    ] = None
    mirostat_eta: Annotated[
        Annotated[float, Meta(ge=0, le=10)] | None,
        Meta(description="With `mirostat`: its learning rate. 0.1 if omitted."),
    ] = None
    repeat_penalty: Annotated[
        Annotated[float, Meta(ge=0.01, le=100)] | None,
        Meta(
            description=(
                "Divides the logits of tokens among the last `repeat_last_n`, and multiplies"
                " negative ones. 1, off, if omitted."
            )
        ),
    ] = None
    repetition_penalty: Annotated[
        Annotated[float, Meta(ge=0.01, le=100)] | None,
        Meta(description="vLLM's name for `repeat_penalty`."),
    ] = None
    repeat_last_n: Annotated[
        Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Last tokens, the prompt's included, that the penalties count; -1 is the context."
                " 64 if omitted."
            )
        ),
    ] = None
    dry_multiplier: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(
            description=(
                "DRY lowers tokens that would continue a repetition, by `dry_multiplier *"
                " dry_base ** (length - dry_allowed_length)`. 0, off, if omitted. With models in"
                " GGUF."
            )
        ),
    ] = None
    dry_base: Annotated[
        Annotated[float, Meta(ge=1, le=100)] | None,
        Meta(description="With `dry_multiplier`. 1.75 if omitted."),
    ] = None
    dry_allowed_length: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(
            description="With `dry_multiplier`: the longest free repetition. 2 tokens if omitted."
        ),
    ] = None
    dry_penalty_last_n: Annotated[
        Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None,
        Meta(
            description=(
                "With `dry_multiplier`: tokens, the prompt's included, that it compares; -1 is"
                " the context. 64 if omitted."
            )
        ),
    ] = None
    dry_sequence_breakers: Annotated[
        Annotated[list[Breaker], Meta(max_length=16)] | None,
        Meta(
            description=(
                "With `dry_multiplier`: texts that no repetition reaches across. Line break, colon,"
                " quote and asterisk if omitted."
            )
        ),
    ] = None
    presence_penalty: Annotated[
        Annotated[float, Meta(ge=-2, le=2)] | None,
        Meta(description="Lowers tokens that the output already has. 0 if omitted."),
    ] = None
    frequency_penalty: Annotated[
        Annotated[float, Meta(ge=-2, le=2)] | None,
        Meta(description="Lowers tokens by how often the output has them. 0 if omitted."),
    ] = None
    logit_bias: Annotated[
        dict[TokenIdKey, Annotated[float, Meta(ge=-100, le=100)]] | None,
        Meta(description="Values that are added to tokens' logits, by token id of this model."),
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
        Meta(description="Seed of the sampling: the same request samples the same tokens again."),
    ] = None
    stop: Annotated[
        NonEmpty | Annotated[list[NonEmpty], Meta(max_length=16)] | None,
        Meta(description="A text, or several, that end the output and are omitted from it."),
    ] = None
    stop_token_ids: Annotated[
        Annotated[list[TokenId], Meta(max_length=64)] | None,
        Meta(description="Tokens of this model that end the output."),
    ] = None
    ignore_eos: Annotated[
        bool | None,
        Meta(
            description=(
                "Never sample the tokens that end a generation: it continues to `max_tokens`, a"
                " stop, or the end of its structured output."
            )
        ),
    ] = None
    min_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Tokens before which the model cannot end its output, nor sample one of"
                " `stop_token_ids`; the end of structured output comes first. 0 if omitted."
            )
        ),
    ] = None
    n: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(description="Number of choices; their prompt is prefilled once. 1 if omitted."),
    ] = None
    stream: Stream = None
    stream_options: Annotated[StreamOptions | None, Meta(description="Options of a stream.")] = None

    lora: Annotated[
        Annotated[list[LoraAdapter], Meta(max_length=MOST_ADAPTERS)] | None,
        Meta(
            description=(
                "The LoRA adapters of this request, in the place of what `model` says: those in the"
                " list and no others."
            )
        ),
    ] = None
    cache_prompt: Annotated[bool | None, SAMPLING["cache_prompt"]] = None
    cache_salt: CacheSalt = None
    guided_decoding_backend: Annotated[str | None, SAMPLING["guided_decoding_backend"]] = None
    id_slot: Annotated[int | None, SAMPLING["id_slot"]] = None
    include_stop_str_in_output: Annotated[bool | None, SAMPLING["include_stop_str_in_output"]] = (
        None
    )
    keep_alive: Annotated[Any, SAMPLING["keep_alive"]] = None
    length_penalty: Annotated[float | None, SAMPLING["length_penalty"]] = None
    n_keep: Annotated[int | None, SAMPLING["n_keep"]] = None
    priority: Annotated[int | None, SAMPLING["priority"]] = None
    request_id: Annotated[str | None, SAMPLING["request_id"]] = None
    return_progress: Annotated[bool | None, SAMPLING["return_progress"]] = None
    skip_special_tokens: Annotated[bool | None, SAMPLING["skip_special_tokens"]] = None
    spaces_between_special_tokens: Annotated[
        bool | None, SAMPLING["spaces_between_special_tokens"]
    ] = None
    timings_per_token: Annotated[bool | None, SAMPLING["timings_per_token"]] = None
    use_beam_search: Annotated[bool | None, SAMPLING["use_beam_search"]] = None
