"""What is to be generated, in no endpoint's words."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from pilotlight.guidance import Body
from pilotlight.output.tool_calls import Function
from pilotlight.prompt.conversation import Conversation
from pilotlight_backend import SamplingParams


class ChatPrompt(Struct, frozen=True):
    """A conversation, which the model's chat template renders."""

    conversation: Conversation
    param: str = "messages"
    """The request's field that has it."""


class TextPrompt(Struct, frozen=True):
    """Text to be continued."""

    text: str
    begins: bool = True
    """Whether the token comes before it that the model's texts begin with, if there is one."""
    special: bool = True
    """Whether names of special tokens in it are those tokens."""
    param: str = "prompt"


class TokensPrompt(Struct, frozen=True):
    """Tokens to be continued, as they are."""

    tokens: tuple[int, ...]
    param: str = "prompt"


Prompt: TypeAlias = ChatPrompt | TextPrompt | TokensPrompt


class Form(Struct, frozen=True):
    """What the content of an answer is to look like; *param* is what the request calls it."""

    body: Body
    param: str


class Calls(Struct, frozen=True):
    """The functions that an answer may call; *required*: it consists of calls."""

    functions: tuple[Function, ...]
    required: bool = False
    parallel: bool = True
    """Whether it may make more than one call; where not, it ends with the first."""


class GenerationParams(Struct, frozen=True, kw_only=True):
    """What to generate: *n* answers to each of the prompts.

    The answers are counted by prompt, then by answer: of two prompts with `n=3`, the second one's
    are 3, 4 and 5.
    """

    model: str
    prompts: tuple[Prompt, ...]
    n: int = 1
    echo: bool = False
    """Whether an answer begins with its prompt's text; a conversation has none."""
    max_tokens: int
    """With 0 the prompts are evaluated, so that slots hold them, and the answers are empty."""
    sampling: SamplingParams
    """With a seed, each answer to a prompt has one of its own, counted from that."""
    stops: Sequence[str] = ()
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int | None = None
    """Whether content comes with its tokens' log probabilities, and those of how many others."""
    form: Form | None = None
    thinking_budget: int | None = None
    """Tokens that an answer may think; None leaves it to the model."""
    calls: Calls | None = None
    """Without these nothing is taken for a call."""
