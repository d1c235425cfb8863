"""A response's instructions and input items as a conversation."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile

from pilotlight.api.params.reasoning import template_options
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


def _item_turns(items: Iterable[wire.InputItem]) -> Iterator[Turn]:
    """Yield a turn for each item, and one for all of the model's that follow each other.

    Templates expect the reasoning, text and calls of one response in one message.
    """
    turns = (item for item in items if not isinstance(item, NO_TURNS))
    for is_models, group in groupby(turns, _is_models):
        if is_models:
            yield _assistant_turn(group)
        else:
            yield from map(_turn, group)


def _is_models(item: wire.InputItem) -> bool:
    if isinstance(item, wire.InputMessage):
        return item.role == "assistant"
    return isinstance(item, wire.InputReasoning | wire.InputFunctionCall | wire.InputCustomCall)


def _assistant_turn(items: Iterable[wire.InputItem]) -> AssistantTurn:
    parts: list[Part] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    for item in items:
        match item:
            case wire.InputReasoning():
                reasoning += [part.text for part in item.content or item.summary]
            case wire.InputMessage():
                parts += _parts(item.content) or [TextPart("")]
            case wire.InputFunctionCall():
                arguments = parse_arguments(item.arguments)
                calls.append(ToolCall(item.call_id, item.name, arguments))
            case wire.InputCustomCall():
                # To the model it is a function's call.
                calls.append(ToolCall(item.call_id, item.name, {"input": item.input}))
    return AssistantTurn(parts, "\n".join(reasoning), calls)


def _turn(item: wire.InputItem) -> Turn:
    match item:
        case wire.InputMessage(role="user"):
            return UserTurn(_parts(item.content))
        case wire.InputMessage():
            return SystemTurn(_parts(item.content))
        case wire.InputFunctionCallOutput() | wire.InputCustomCallOutput():
            return ToolTurn(_parts(item.output), item.call_id)
        case _:
            raise TypeError(f"{type(item).__name__} is no turn")


def _parts(
    content: str
    | Sequence[wire.FunctionOutputPart]
    | Sequence[wire.InputTextPart | wire.OutputTextPart | RefusalPart],
) -> Sequence[Part]:
    """Return *content* as parts; to the model a refusal is text like other text."""
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(
        TextPart(part.refusal if isinstance(part, RefusalPart) else part.text) for part in content
    )
