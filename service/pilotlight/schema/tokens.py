"""Texts to tokens and back, in llama-server's words and in vLLM's."""

from typing import Annotated, Any

from msgspec import Meta

from pilotlight.schema.base import ModelName, Request, Response
from pilotlight.schema.chat.messages import Message
from pilotlight.schema.chat.request import ChatTool
from pilotlight.schema.sampling import TokenId


class TokenizeRequest(Request, kw_only=True):
    """A text or a conversation: one of `content`, `prompt` and `messages`."""

    model: ModelName
    content: Annotated[
        str | None, Meta(description="A text, as llama-server has it: nothing is put before it.")
    ] = None
    prompt: Annotated[
        str | None,
        Meta(
            description=(
                "A text, as vLLM has it and as completions evaluate it: behind the token that the"
                " model's texts begin with, if there is one."
            )
        ),
    ] = None
    messages: Annotated[
        Annotated[list[Message], Meta(min_length=1)] | None,
        Meta(description="A conversation, as chat completions evaluate it."),
    ] = None

    add_special: Annotated[
        bool | None,
        Meta(description="llama-server's name for `add_special_tokens`; of a text."),
    ] = None
    add_special_tokens: Annotated[
        bool | None,
        Meta(
            description=(
                "Of a text: whether the token comes before it that the model's texts begin with. If"
                " omitted, `prompt` has it and `content` has not."
            )
        ),
    ] = None
    parse_special: Annotated[
        bool | None,
        Meta(
            description=(
                "Of a text: whether names of special tokens in it are those tokens. True if"
                " omitted."
            )
        ),
    ] = None

    add_generation_prompt: Annotated[
        bool | None,
        Meta(description="Of messages: whether the answer is begun. True if omitted."),
    ] = None
    continue_final_message: Annotated[
        bool | None,
        Meta(
            description=(
                "Of messages: whether a last assistant message is continued. True if"
                " omitted, unless `add_generation_prompt` is false."
            )
        ),
    ] = None
    tools: Annotated[
        Annotated[list[ChatTool], Meta(max_length=128)] | None,
        Meta(description="Of messages: functions that the model may call."),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None,
        Meta(description="Of messages: variables for the model's chat template."),
    ] = None

    with_pieces: Annotated[
        bool | None, Meta(description="Whether each token comes with its text.")
    ] = None
    return_token_strs: Annotated[
        bool | None, Meta(description="Whether `token_strs` has the tokens' texts.")
    ] = None


class TokenPiece(Response, kw_only=True):
    """A token, and its text, or its bytes where they are no text."""

    id: int
    piece: str | list[int]


class TokenizeResponse(Response, kw_only=True):
    """The tokens; with `with_pieces` each is an object."""

    tokens: list[int | TokenPiece]
    count: int
    max_model_len: int
    """Tokens of the model's context, prompt and answer."""
    token_strs: list[str] | None
    """The tokens' texts where they are asked for; what is no UTF-8 is U+FFFD."""


class DetokenizeRequest(Request, kw_only=True):
    """Tokens of one model."""

    model: ModelName
    tokens: Annotated[list[TokenId], Meta(description="Token ids of this model.")]


class DetokenizeResponse(Response, kw_only=True):
    """The text of the tokens, under llama-server's name and under vLLM's.

    Special tokens are spelled out; what is no UTF-8 is U+FFFD.
    """

    content: str
    prompt: str
