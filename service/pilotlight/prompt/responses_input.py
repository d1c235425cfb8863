"""A response's instructions and input items as the messages of a conversation."""

import msgspec

from pilotlight.schema.chat.messages import (
    AssistantMessage,
    CalledFunction,
    Message,
    RefusalPart,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from pilotlight.schema.responses.input import (
    FunctionOutputPart,
    InputCustomCall,
    InputCustomCallOutput,
    InputFunctionCall,
    InputFunctionCallOutput,
    InputItem,
    InputMessage,
    InputReasoning,
    InputTextPart,
    InputToolListing,
    InputTools,
    InputWebSearch,
    OutputTextPart,
)

NO_MESSAGES = (InputWebSearch, InputToolListing, InputTools)
"""Items that say nothing to the model, or not in a message."""


def conversation(instructions: str | None, given: str | list[InputItem]) -> list[Message]:
    """Return the messages that *given* comes to, after the *instructions*."""
    messages: list[Message]
    messages = [UserMessage(content=given)] if isinstance(given, str) else _messages(given)
    return messages if instructions is None else _instructed(instructions, messages)


def _instructed(instructions: str, messages: list[Message]) -> list[Message]:
    """Put *instructions* first, in one message with those of the system's that follow.

    Most templates know one system message, at the beginning: they refuse others, or lose them.
    """
    texts = [instructions]
    for message in messages:
        if not isinstance(message, SystemMessage):
            break
        texts.append(str(message.content))
    text = "\n\n".join(filter(None, texts))
    return [SystemMessage(content=text), *messages[len(texts) - 1 :]]


class _Turn:
    """The items of one turn of the model's: thoughts, texts and calls."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []

    def message(self) -> AssistantMessage:
        return AssistantMessage(
            content="\n".join(self.texts) if self.texts else None,
            reasoning_content="\n".join(self.thoughts) or None,
            tool_calls=self.calls or None,
        )


def _messages(items: list[InputItem]) -> list[Message]:
    """Return a message for each item, and one for all of the model's that follow each other.

    Templates expect that the model says all that it has to say at once.
    """
    messages: list[Message] = []
    turn: _Turn | None = None
    for item in items:
        if isinstance(item, NO_MESSAGES):
            continue
        if (message := _others(item)) is not None:
            if turn is not None:
                messages.append(turn.message())
                turn = None
            messages.append(message)
        else:
            turn = turn or _Turn()
            _add(turn, item)
    return messages if turn is None else [*messages, turn.message()]


def _others(item: InputItem) -> Message | None:
    """Return what somebody else than the model says; None where it is the model."""
    match item:
        case InputMessage(role="user"):
            return UserMessage(content=_text(item.content))
        case InputMessage(role="system" | "developer"):
            return SystemMessage(content=_text(item.content))
        case InputFunctionCallOutput() | InputCustomCallOutput():
            return ToolMessage(content=_text(item.output), tool_call_id=item.call_id)
        case _:
            return None


def _add(turn: _Turn, item: InputItem) -> None:
    match item:
        case InputReasoning():
            turn.thoughts += [part.text for part in item.content or item.summary]
        case InputMessage():
            turn.texts.append(_text(item.content))
        case InputFunctionCall():
            function = CalledFunction(name=item.name, arguments=item.arguments)
            turn.calls.append(ToolCall(id=item.call_id, function=function))
        case InputCustomCall():
            arguments = msgspec.json.encode({"input": item.input}).decode()
            function = CalledFunction(name=item.name, arguments=arguments)
            turn.calls.append(ToolCall(id=item.call_id, function=function))


def _text(
    content: str | list[FunctionOutputPart] | list[InputTextPart | OutputTextPart | RefusalPart],
) -> str:
    """Join parts as those of chat's messages are; a refusal is text like other text."""
    if isinstance(content, str):
        return content
    return "\n".join(
        part.refusal if isinstance(part, RefusalPart) else part.text for part in content
    )
