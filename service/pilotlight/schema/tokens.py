"""Tokenize and detokenize, with the fields of llama-server and of vLLM."""

from typing import Annotated, Any

from msgspec import Meta

from pilotlight.schema.base import ModelName, Request, Response, TokenId
from pilotlight.schema.chat.messages import Message
from pilotlight.schema.chat.request import ChatTool


class TokenizeRequest(Request, kw_only=True):
    """A text or a conversation: one of `content`, `prompt` and `messages`."""

    model: ModelName
    content: Annotated[
        str | None, Meta(description="A text, as llama-server has it: without a token before it.")
    ] = None
    prompt: Annotated[
        str | None,
        Meta(
            description=(
                "A text, as vLLM has it and as text completions use it: after the model's BOS"
                " token, if it has one."
            )
        ),
    ] = None
    messages: Annotated[
        Annotated[list[Message], Meta(min_length=1)] | None,
        Meta(description="A conversation, as chat completions use it."),
    ] = None

    add_special: Annotated[
        bool | None,
        Meta(description="llama-server's name for `add_special_tokens`."),
    ] = None
    add_special_tokens: Annotated[
        bool | None,
        Meta(
            description=(
                "With a text: whether the model's BOS token comes before it. If omitted, `prompt`"
                " has it and `content` has not."
            )
        ),
    ] = None
    parse_special: Annotated[
        bool | None,
        Meta(
            description=(
                "With a text: whether names of special tokens in it are those tokens. True if"
                " omitted."
            )
        ),
    ] = None

    add_generation_prompt: Annotated[
        bool | None,
        Meta(description="With messages: whether the assistant's turn is begun. True if omitted."),
    ] = None
    continue_final_message: Annotated[
        bool | None,
        Meta(
            description=(
                "With messages: whether a last assistant message is continued. True if"
                " omitted, unless `add_generation_prompt` is false."
            )
        ),
    ] = None
    tools: Annotated[
        Annotated[list[ChatTool], Meta(max_length=128)] | None,
        Meta(description="With messages: functions that the model may call."),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None,
        Meta(description="With messages: variables for the model's chat template."),
    ] = None

    with_pieces: Annotated[
        bool | None, Meta(description="Whether each token comes with its text.")
    ] = None
    return_token_strs: Annotated[
        bool | None, Meta(description="Whether `token_strs` has the tokens' texts.")
    ] = None


class TokenPiece(Response, kw_only=True):
    """A token, and its text, or its bytes if they are not UTF-8."""

    id: int
    piece: str | list[int]


class TokenizeResponse(Response, kw_only=True):
    """The tokens; with `with_pieces` each is an object."""

    tokens: list[int | TokenPiece]
    count: int
    max_model_len: int
    """Tokens of the model's context: prompt and completion."""
    token_strs: list[str] | None
    """The tokens' texts with `return_token_strs`; bytes that are not UTF-8 are U+FFFD."""


class DetokenizeRequest(Request, kw_only=True):
    """Tokens of one model."""

    model: ModelName
    tokens: Annotated[list[TokenId], Meta(description="Token ids of this model.")]


class DetokenizeResponse(Response, kw_only=True):
    """The text of the tokens, under llama-server's name and under vLLM's.

    Special tokens are spelled out; bytes that are not UTF-8 are U+FFFD.
    """

    content: str
    prompt: str
