"""The parameters of a generation, whichever endpoint they come from."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from pilotlight.guidance import ContentGrammar
from pilotlight.output.tool_calls import Function
from pilotlight.prompt.conversation import Conversation
from pilotlight.scheduling.lease import WantedAdapter
from pilotlight_backend import Adapter, SamplingParams


class ChatPrompt(Struct, frozen=True):
    """A conversation, which the model's chat template renders."""

    conversation: Conversation
    param: str = "messages"
    """The request's field that has it."""


class TextPrompt(Struct, frozen=True):
    """Text to complete."""

    text: str
    begins: bool = True
    """Whether the model's BOS token is added, if it uses one."""
    special: bool = True
    """Whether names of special tokens in it become those tokens."""
    param: str = "prompt"


class TokensPrompt(Struct, frozen=True):
    """Token ids to complete, as they are."""

    tokens: tuple[int, ...]
    param: str = "prompt"


Prompt: TypeAlias = ChatPrompt | TextPrompt | TokensPrompt


class StructuredOutput(Struct, frozen=True):
    """What the content must match."""

    grammar: ContentGrammar
    param: str
    """The path of the grammar or schema in the request."""


class ToolCalling(Struct, frozen=True):
    """The functions that the model may call; *required*: the output consists of calls."""

    functions: tuple[Function, ...]
    required: bool = False
    parallel: bool = True
    """Whether more than one call is allowed; if not, the output ends with the first."""


class GenerationParams(Struct, frozen=True, kw_only=True):
    """What to generate: *n* choices for each prompt.

    Choices are numbered by prompt: with two prompts and `n=3`, the second one's are 3, 4 and 5.
    """

    model: str
    prompts: tuple[Prompt, ...]
    n: int = 1
    echo: bool = False
    """Whether a choice begins with the text of its prompt; has no effect on conversations."""
    max_tokens: int
    """With 0 the prompts are prefilled, and so cached, and the choices are empty."""
    sampling: SamplingParams
    """With a seed, the choices of a prompt have consecutive seeds from it."""
    lora: Sequence[WantedAdapter] | None = None
    """The adapters that the request names, in the place of what the model's name says."""
    adapters: tuple[Adapter, ...] = ()
    """Those that it gets, once its model is leased."""
    cache_salt: str | None = None
    """Cached tokens are shared with requests that have the same one."""
    stops: Sequence[str] = ()
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int | None = None
    """Alternatives for each content token's log probability; None for no log probabilities."""
    structured_output: StructuredOutput | None = None
    thinking_budget: int | None = None
    """Tokens of reasoning at most; None means no limit."""
    tool_calling: ToolCalling | None = None
    """None means that tool calls are not parsed."""
