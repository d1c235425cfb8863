"""Which prompt a request to tokenise means, and which of its fields go with that."""

from collections.abc import Sequence

from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.chat.tools import tool_of
from pilotlight.errors import InvalidRequest
from pilotlight.generation import ChatPrompt, Prompt, TextPrompt
from pilotlight.schema.chat.messages import Message
from pilotlight.schema.chat.request import Tool
from pilotlight.schema.declared import offered
from pilotlight.schema.tokens import TokenizeRequest

_INPUTS = ("content", "prompt", "messages")
_OF_TEXT = ("add_special", "add_special_tokens", "parse_special")
_OF_MESSAGES = (
    "add_generation_prompt",
    "continue_final_message",
    "tools",
    "chat_template_kwargs",
)


def prompt_of(asked: TokenizeRequest) -> Prompt:
    """Return the prompt.

    Raises `InvalidRequest` for none or several, and for a field of another kind of prompt.
    """
    given = [name for name in _INPUTS if getattr(asked, name) is not None]
    if not given:
        raise InvalidRequest("one of content, prompt and messages is required", param="content")
    kind = given[0]
    for other in given[1:]:
        raise InvalidRequest(f"{other}: cannot be combined with {kind}", param=other)
    for name in _OF_TEXT if kind == "messages" else _OF_MESSAGES:
        if getattr(asked, name) is not None:
            raise InvalidRequest(f"{name}: cannot be combined with {kind}", param=name)
    if asked.messages is not None:
        return _chat_prompt(asked, asked.messages)
    return _text(asked)


def _text(asked: TokenizeRequest) -> TextPrompt:
    if asked.content is not None:
        return TextPrompt(asked.content, _begins(asked, default=False), _special(asked), "content")
    return TextPrompt(asked.prompt or "", _begins(asked, default=True), _special(asked), "prompt")


def _special(asked: TokenizeRequest) -> bool:
    return asked.parse_special is not False


def _begins(asked: TokenizeRequest, *, default: bool) -> bool:
    said = {asked.add_special, asked.add_special_tokens} - {None}
    if len(said) > 1:
        raise InvalidRequest(
            "add_special_tokens: expected the same value as add_special, its other name",
            param="add_special_tokens",
        )
    return True in said or (not said and default)


def _chat_prompt(asked: TokenizeRequest, messages: Sequence[Message]) -> ChatPrompt:
    conversation = chat_conversation(
        messages,
        [tool_of(tool) for tool in offered(asked.tools, Tool)],
        template_kwargs=asked.chat_template_kwargs,
        continues=asked.continue_final_message,
        begins=asked.add_generation_prompt,
    )
    return ChatPrompt(conversation)
