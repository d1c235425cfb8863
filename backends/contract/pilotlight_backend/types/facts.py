"""What a model is: the facts in the headers of its files."""

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight_backend.types.requests import BASIC_SAMPLING

Modality: TypeAlias = Literal["text", "image"]
"""A kind of what a prompt may have."""
Relevance: TypeAlias = Literal["logit", "probability"]
"""What a score is: any number, whose sigmoid is a probability, or a probability itself."""


class AttentionFacts(Struct, frozen=True, kw_only=True):
    """What attention takes of memory with each of the `LoadOptions` for it.

    From it `capacity` computes `kv_bytes_per_token`, `step_bytes` and `score_bytes`.
    """

    keys: int
    """Numbers that the KV cache keeps of a token as keys, over all layers."""
    values: int
    """The same as values."""
    padded_values: int
    """The same without flash attention: rows of all layers are then as long as the longest."""
    scores: int
    """Numbers of a step for each pair of its tokens and a token of the context, without flash
    attention: scores and masks."""
    masks: int
    """Of these, masks."""
    step_bytes: int
    """`ModelFacts.step_bytes` with flash attention: more, where scores were held in the place of
    something smaller."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What the headers of a model's files say, and on a loaded engine what is in force."""

    path: Path
    architecture: str
    """The model family, in lower case: `qwen3`, `llama`, `gemma3`."""
    name: str | None = None
    context_length: int
    """Tokens of a sequence: as trained when probed, as configured on a loaded engine."""
    chat_template: str | None = None
    """Jinja source; None for a model without one."""
    bos_token: str = ""
    eos_token: str = ""
    add_bos: bool = False
    """Whether a plain-text prompt, without the template, starts with `bos_token`."""
    size_bytes: int
    """Bytes that a load reads from disk."""
    kv_bytes_per_token: int = 0
    """KV cache of one token of a sequence; 0 if unknown."""
    attention: AttentionFacts | None = None
    """What the memory depends on, for a backend with options for attention."""
    state_bytes: int = 0
    """Memory of a sequence of any length: a recurrent state."""
    step_bytes: int = 0
    """Working memory of a step for each of its tokens, without the attention scores."""
    score_bytes: int = 0
    """Working memory of a step for each pair of a token of the step and a token of the context."""
    vocabulary_size: int = 0
    """Tokens in the vocabulary; 0 if it is not known before the load, or at all."""
    embedding_length: int = 0
    """Dimensions of the model's vectors; 0 for a model that does not embed."""
    relevance: Relevance | None = None
    """What the scores of a model that ranks are; None for a model that does not rank."""
    control_names: frozenset[str] = frozenset()
    """On a loaded engine, the names of its control tokens, such as `<|im_end|>`."""
    sampling: frozenset[str] = BASIC_SAMPLING
    """On a loaded engine, the fields of `SamplingParams` that it honours; it refuses the others."""

    projector: Path | None = None
    """The file of the projector, for a model that sees."""
    projector_bytes: int = 0
    """Bytes of that file; `size_bytes` has them too."""
    input_modalities: tuple[Modality, ...] = ("text",)
    """What prompts may have; with "image" its engine is a `SeeingEngine`."""
    image_bytes: int = 0
    """Working memory of an image that is encoded, and of those kept encoded."""

    @property
    def sees(self) -> bool:
        """Whether prompts may have images."""
        return "image" in self.input_modalities

    @property
    def embeds(self) -> bool:
        """Whether the model returns vectors: its engine is an `EmbeddingEngine`."""
        return self.embedding_length > 0

    @property
    def ranks(self) -> bool:
        """Whether the model scores documents: its engine is a `RankingEngine`."""
        return self.relevance is not None

    @property
    def generates(self) -> bool:
        """Whether the model generates text: its engine is an `Engine`."""
        return not (self.embeds or self.ranks)
