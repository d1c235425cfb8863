"""Chat messages as a conversation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pilotlight.api.params.images import image_at
from pilotlight.api.params.reasoning import template_options
from pilotlight.errors import InvalidRequest
from pilotlight.prompt.conversation import (
    AssistantTurn,
    Conversation,
    Part,
    SystemTurn,
    TextPart,
    Tool,
    ToolCall,
    ToolTurn,
    Turn,
    UserTurn,
    parse_arguments,
    split_prefill,
)
from pilotlight.schema.chat import messages as wire
from pilotlight.schema.openai import RefusalPart


def chat_conversation(
    messages: Sequence[wire.Message],
    tools: Sequence[Tool] = (),
    *,
    template_kwargs: Mapping[str, Any] | None = None,
    effort: str | None = None,
    continues: bool | None = None,
    begins: bool | None = None,
) -> Conversation:
    """Return the conversation of *messages*, of which *tools* are shown to the model.

    A last assistant message of text is the prefill, unless *continues* is false
    (`continue_final_message`), or *begins* is (`add_generation_prompt`). Raises `InvalidRequest`
    where *continues* is true and there is no such message.
    """
    turns: Sequence[Turn] = [
        _turn(message, f"messages[{index}].content") for index, message in enumerate(messages)
    ]
    prefill: str | None = None
    if continues if continues is not None else begins is not False:
        turns, prefill = split_prefill(turns)
    if continues and prefill is None:
        raise InvalidRequest(
            "continue_final_message: expected the last message to be the assistant's, without"
            " tool_calls",
            param="continue_final_message",
        )
    return Conversation(
        turns=turns,
        tools=tools,
        template_options=template_options(template_kwargs, effort, prefill),
        prefill=prefill or "",
        generation_prompt=begins is not False or continues is True,
    )


def _turn(message: wire.Message, path: str) -> Turn:
    """Return *message* as a turn; *path* is that of its content."""
    match message:
        case wire.SystemMessage() | wire.DeveloperMessage():
            # Templates know no developer; OpenAI defines the role as system's newer name.
            return SystemTurn(_parts(message.content), message.name)
        case wire.UserMessage():
            return UserTurn(_shown_parts(message.content, path), message.name)
        case wire.ToolMessage():
            parts = _shown_parts(message.content or "", path)
            return ToolTurn(parts, message.tool_call_id, message.name)
        case wire.AssistantMessage():
            reasoning = message.reasoning_content or message.reasoning
            return AssistantTurn(
                tuple(_assistant_parts(message)),
                reasoning or "\n".join(_thinking(message)),
                tuple(map(_call, message.tool_calls or ())),
            )


def _parts(content: str | Sequence[wire.TextPart]) -> Sequence[Part]:
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(TextPart(part.text) for part in content)


def _shown_parts(
    content: str | Sequence[wire.TaggedTextPart | wire.ImagePart], path: str
) -> Sequence[Part]:
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(_shown_part(part, f"{path}[{index}]") for index, part in enumerate(content))


def _shown_part(part: wire.TaggedTextPart | wire.ImagePart, path: str) -> Part:
    match part:
        case wire.TaggedTextPart():
            return TextPart(part.text)
        case wire.ImagePart(image_url=str(url)):
            return image_at(url, f"{path}.image_url")
        case wire.ImagePart(image_url=wire.ImageUrl(url=url, detail=detail)):
            return image_at(url, f"{path}.image_url.url", detail)
        case _:
            raise TypeError(f"{type(part).__name__} is no part")


def _assistant_parts(message: wire.AssistantMessage) -> Iterator[Part]:
    """Yield the content; to the model a refusal is text like other text."""
    content = message.content
    if content is None:
        content = message.refusal or ""
    if isinstance(content, str):
        yield TextPart(content)
        return
    for part in content:
        match part:
            case RefusalPart():
                yield TextPart(part.refusal)
            case wire.TaggedTextPart():
                yield TextPart(part.text)


def _thinking(message: wire.AssistantMessage) -> Iterator[str]:
    """Yield the text of thinking parts, each a string or text parts of its own."""
    for part in message.content if isinstance(message.content, list) else ():
        if isinstance(part, wire.ThinkingPart):
            thinking = part.thinking
            yield thinking if isinstance(thinking, str) else "\n".join(one.text for one in thinking)


def _call(call: wire.ToolCall) -> ToolCall:
    arguments = call.function.arguments or ""
    parsed = parse_arguments(arguments) if isinstance(arguments, str) else arguments
    return ToolCall(call.id, call.function.name, parsed)
