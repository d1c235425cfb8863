"""The fake's model file: a small JSON object, suffix `.fake`, that says how the model behaves."""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from pilotlight_backend import decode_errors
from pilotlight_backend.errors import ModelFileInvalid
from pilotlight_backend.types import ModelFacts, Relevance, SamplingParams

SUFFIX = ".fake"
MAX_FILE_BYTES = 1 << 20

CHAT_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n' }}
    {%- for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- elif message.content %}
        {%- for part in message.content %}{{ part.text }}{% endfor %}
    {%- endif %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- '<tool_call>\n' }}{{ call.function | tojson }}{{ '\n</tool_call>' }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""
"""ChatML as Qwen3 writes it: thinking is the model's choice unless it is switched off."""

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Piece(Struct, frozen=True, forbid_unknown_fields=True):
    """A token given by its bytes, where text cannot say them: half of a character, say."""

    base64: bytes


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """What a scripted model answers to a prompt in which *when*, a regular expression, is found."""

    when: str
    reply: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.when)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error


class FakeModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model file's keys. All are optional; an unknown key makes the file invalid."""

    architecture: str = "fake"
    name: str | None = None
    context_length: Positive = 4096
    chat_template: str | None = CHAT_TEMPLATE
    bos_token: str = ""
    eos_token: str = "<|im_end|>"  # noqa: S105 - a token of a vocabulary
    add_bos: bool = False
    special_tokens: tuple[str, ...] = ()
    """Names of special tokens beside the tokeniser's own."""
    size_bytes: Count | None = None
    """What the facts say instead of the file's size."""
    kv_bytes_per_token: Count = 0
    image_tokens: Count = 0
    """Above 0 prompts may have images, each of so many tokens; a reply or a script reads them as
    `[image 40 x 30]`."""
    embedding_length: Count = 0
    """Above 0 the model makes vectors of so many numbers and writes no answers: `fail_after` counts
    inputs then, and a step of the engine embeds one of them for each request."""

    relevance: Relevance | None = None
    """Whether the model scores documents instead, and what its scores are."""

    unserved: str | None = None
    """Why the model cannot be served, which a probe finds out."""

    reply: str | tuple[str | Piece, ...] | None = None
    """The answer: text, one token for each byte; or its tokens; null echoes the last user."""
    script: tuple[Line, ...] = ()
    """Replies by what the prompt holds: the first line that fits, else `reply`.

    A prompt holds the whole conversation, so a line for a tool's result stands before the line for
    the question that led to the call.
    """
    token_seconds: Seconds = 0.0
    """What a step takes, for tests in another process; in this one use the gate."""
    prompt_token_seconds: Seconds = 0.0
    """What it takes to evaluate a token of a prompt; a cancel and a close end that."""
    unsupported: str | None = None
    """A field of `SamplingParams` that requests may not set: the engine's own refusal."""
    longest_prompt: Count | None = None
    """Tokens of a prompt, or of an input, above which the engine refuses it by itself."""
    fail_after: Count | None = None
    """Every request ends in `Failed(InferenceFailed)` after so many tokens."""
    abort_after: Count | None = None
    """A request that has so many tokens aborts the process, as native code does."""
    hang_after: Count | None = None
    """A request that has so many tokens stops its engine's thread for good."""

    load_seconds: Seconds = 0.0
    load_steps: Positive = 4
    """Progress reports after the first one, which says that nothing is read yet."""
    load_error: Literal["invalid", "transient", "memory", "abort"] | None = None
    """How a load fails once everything is read; `abort` takes the process with it."""
    load_errors_before_success: Count | None = None
    """So many loads fail, then they succeed; null means that all fail."""

    def write(self, path: Path) -> Path:
        """Write the file that says this, and return its path."""
        path.write_bytes(msgspec.json.encode(self))
        return path

    def facts(self, path: Path) -> ModelFacts:
        """Return what a probe of *path* returns when the file there says this."""
        return ModelFacts(
            path=path,
            architecture=self.architecture,
            name=self.name,
            context_length=self.context_length,
            chat_template=self.chat_template,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            add_bos=self.add_bos,
            size_bytes=path.stat().st_size if self.size_bytes is None else self.size_bytes,
            kv_bytes_per_token=self.kv_bytes_per_token,
            input_modalities=("text", "image") if self.image_tokens else ("text",),
            embedding_length=self.embedding_length,
            relevance=self.relevance,
            sampling=frozenset(SamplingParams.__struct_fields__),
        )


def read_model(path: Path) -> FakeModel:
    """Read the model file at *path*; raises `ModelFileInvalid`, which names an unknown key."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileInvalid(path, f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ModelFileInvalid(path, f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=FakeModel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFileInvalid(path, decode_errors.describe(error)) from error
