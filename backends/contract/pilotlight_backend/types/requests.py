"""A request to generate: its prompt, how to sample, and where to end."""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field

from pilotlight_backend.adapters import Adapter
from pilotlight_backend.guide import Guide
from pilotlight_backend.image import Image

BASIC_SAMPLING = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repeat_penalty",
        "logit_bias",
        "seed",
    }
)
"""The fields of `SamplingParams` that every backend honours."""

PromptPart: TypeAlias = int | Image
"""A token id, or an image, which takes as many tokens as the engine says."""

DRY_SEQUENCE_BREAKERS = ("\n", ":", '"', "*")
"""llama.cpp's own default."""


class SamplingParams(Struct, frozen=True, kw_only=True):
    """How to sample the next token. A field's default switches its stage off.

    The stages run in llama.cpp's order: logit_bias, penalties, DRY, top_n_sigma, top_k, typical_p,
    top_p, min_p, XTC, temperature. Mirostat replaces the stages between DRY and temperature.
    `validation` has the bounds.
    """

    temperature: float = 1.0
    """0 is greedy: the likeliest token after logit_bias, penalties and DRY."""
    dynatemp_range: float = 0.0
    """Above 0 the entropy sets the temperature, within this distance of `temperature`."""
    dynatemp_exponent: float = 1.0
    """The power of the normalized entropy that sets the temperature in that range."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    """Keeps tokens within so many standard deviations of the largest logit; 0 or less keeps all."""
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    """Above 0.5 XTC is off: no two tokens can both be that likely."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """Window of the three penalties, prompt included; -1: the context length."""
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """Window of DRY, prompt included; -1: the context length."""
    dry_sequence_breakers: tuple[str, ...] = DRY_SEQUENCE_BREAKERS
    mirostat: int = 0
    """The version, 1 or 2; 0 is off."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits before any other stage, by token id."""
    seed: int | None = None
    """The same seed, request and build give the same tokens; None draws a seed."""


class GenerateRequest(Struct, frozen=True, kw_only=True):
    """One sequence to generate. The service finds stop strings, and cancels the ticket."""

    prompt: tuple[PromptPart, ...]
    """Token ids, at least one; images among them if `ModelFacts.sees`."""
    max_tokens: int
    """At least 1. A full context ends the sequence too, both with reason `length`."""
    sampling: SamplingParams = SamplingParams()
    stop_token_ids: frozenset[int] = frozenset()
    """End the sequence as an end-of-generation token does; the token is not emitted."""
    ignore_eos: bool = False
    """Sample no end-of-generation token, unless the guide allows no other token."""
    min_tokens: int = 0
    """Sample no such token and none of `stop_token_ids` before so many tokens, unless the guide
    allows no other token."""
    logprobs: int | None = None
    """Return log probabilities: of each token, and of so many likeliest tokens. None: neither."""
    guide: Guide | None = None
    """Restricts the tokens. It keeps state, so each request has its own."""
    adapters: tuple[Adapter, ...] = ()
    """The adapters that change the model's weights for it, each at most once; an engine that is no
    `AdaptingEngine` refuses them. Cached tokens of requests with others are not used."""
    scope: str = ""
    """Whose cached tokens it may use, in slots and in the prompt cache: those of its own scope and
    the baked prompt's. What comes before the first NUL is the scope's owner."""
    shares_prompt: bool = False
    """Other requests with this very prompt are submitted with it, `n` answers to one question: the
    engine evaluates the prompt once for all, even where one of them has to wait for that. Each
    evaluates a few tokens at the prompt's end, for its own logits. It is evaluated again where the
    model's cache can be neither copied nor cut back, and where requests that came between them
    needed the slot that had it."""


class TokenizedPairs(Struct, frozen=True):
    """A query with each of several documents, as token ids.

    A pair's document is the tokens between those before it and the `tail`; a pair is shortened by
    dropping tokens in front of the tail.
    """

    pairs: list[list[int]]
    frame: int
    """Tokens of a pair with an empty document."""
    tail: int
    """How many of these are behind the document."""
