"""A response's instructions and input items as a conversation."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import TypeAlias

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
    text_of,
)
from pilotlight.schema.openai import RefusalPart
from pilotlight.schema.responses import input as wire
from pilotlight.schema.responses.request import ResponseRequest
from pilotlight.schema.support import IMAGES_OF_USERS

NO_TURNS = (wire.InputWebSearch, wire.InputToolListing, wire.InputTools)
"""Items that say nothing to the model, or not in a turn."""


def conversation_of(asked: ResponseRequest, tools: Sequence[Tool]) -> Conversation:
    """Return the conversation of *asked*, of which *tools* are shown to the model.

    A last assistant message is the prefill. Raises `InvalidRequest` for template variables that the
    service sets.
    """
    turns, prefill = split_prefill(_turns(asked))
    effort = asked.reasoning.effort if asked.reasoning else None
    return Conversation(
        turns=turns,
        tools=tools,
        template_options=template_options(asked.chat_template_kwargs, effort, prefill),
        prefill=prefill or "",
    )


def _turns(asked: ResponseRequest) -> Sequence[Turn]:
    if isinstance(asked.input, str):
        turns: list[Turn] = [UserTurn((TextPart(asked.input),))]
    else:
        turns = list(_item_turns(asked.input))
    return turns if asked.instructions is None else _instructed(asked.instructions, turns)


def _instructed(instructions: str, turns: Sequence[Turn]) -> Sequence[Turn]:
    """Put *instructions* first, in one turn with the system's that follow.

    Most templates know one system message, at the beginning: they refuse others, or drop them.
    """
    system = list(takewhile(lambda turn: isinstance(turn, SystemTurn), turns))
    texts = filter(None, [instructions, *(text_of(turn.parts) for turn in system)])
    return [SystemTurn((TextPart("\n\n".join(texts)),)), *turns[len(system) :]]


def _item_turns(items: Sequence[wire.InputItem]) -> Iterator[Turn]:
    """Yield a turn for each item, and one for all of the model's that follow each other.

    Templates expect the reasoning, text and calls of one response in one message.
    """
    turns = (pair for pair in enumerate(items) if not isinstance(pair[1], NO_TURNS))
    for is_models, group in groupby(turns, lambda pair: _is_models(pair[1])):
        if is_models:
            yield _assistant_turn(group)
        else:
            yield from (_turn(item, f"input[{index}]") for index, item in group)


def _is_models(item: wire.InputItem) -> bool:
    if isinstance(item, wire.InputMessage):
        return item.role == "assistant"
    return isinstance(item, wire.InputReasoning | wire.InputFunctionCall | wire.InputCustomCall)


def _assistant_turn(items: Iterable[tuple[int, wire.InputItem]]) -> AssistantTurn:
    parts: list[Part] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    for index, item in items:
        match item:
            case wire.InputReasoning():
                reasoning += [part.text for part in item.content or item.summary]
            case wire.InputMessage():
                parts += _parts(item.content, f"input[{index}].content", shown=False) or [
                    TextPart("")
                ]
            case wire.InputFunctionCall():
                arguments = parse_arguments(item.arguments)
                calls.append(ToolCall(item.call_id, item.name, arguments))
            case wire.InputCustomCall():
                # To the model it is a function's call.
                calls.append(ToolCall(item.call_id, item.name, {"input": item.input}))
    return AssistantTurn(parts, "\n".join(reasoning), calls)


def _turn(item: wire.InputItem, path: str) -> Turn:
    match item:
        case wire.InputMessage(role="user"):
            return UserTurn(_parts(item.content, f"{path}.content", shown=True))
        case wire.InputMessage():
            return SystemTurn(_parts(item.content, f"{path}.content", shown=False))
        case wire.InputFunctionCallOutput() | wire.InputCustomCallOutput():
            return ToolTurn(_parts(item.output, f"{path}.output", shown=True), item.call_id)
        case _:
            raise TypeError(f"{type(item).__name__} is no turn")


_InputPart: TypeAlias = wire.InputTextPart | wire.OutputTextPart | RefusalPart | wire.InputImagePart


def _parts(content: str | Sequence[_InputPart], path: str, *, shown: bool) -> Sequence[Part]:
    """Return *content*, which is at *path*, as parts.

    Raises `InvalidRequest` for an image where none is *shown*.
    """
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(_part(part, f"{path}[{index}]", shown=shown) for index, part in enumerate(content))


def _part(part: _InputPart, path: str, *, shown: bool) -> Part:
    match part:
        case wire.InputImagePart() if shown:
            return image_at(part.image_url, f"{path}.image_url", part.detail)
        case wire.InputImagePart():
            raise InvalidRequest(f"{path}.type: {IMAGES_OF_USERS}", param=f"{path}.type")
        case RefusalPart():  # to the model a refusal is text like other text
            return TextPart(part.refusal)
        case _:
            return TextPart(part.text)
