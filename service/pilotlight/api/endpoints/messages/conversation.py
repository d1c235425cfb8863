"""Anthropic's system prompt, turns and content blocks as a conversation."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec import structs

from pilotlight.api.params.images import image_at, image_in
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
    split_prefill,
    text_of,
)
from pilotlight.schema.messages import content as wire
from pilotlight.schema.messages.request import CountTokensRequest, ThinkingDisabled


def conversation_of(asked: CountTokensRequest, tools: Sequence[Tool]) -> Conversation:
    """Return the conversation of *asked*, of which *tools* are shown to the model.

    A last assistant turn without calls is the prefill.
    """
    turns: Sequence[Turn] = _merged(_turns(asked.messages))
    prefill: str | None = None
    if isinstance(asked.messages[-1], wire.AssistantTurn):  # and not a system turn that is empty
        turns, prefill = split_prefill(turns)
    if asked.system:
        turns = _merged([SystemTurn(_parts(asked.system)), *turns])
    return Conversation(
        turns=turns,
        tools=tools,
        template_options=_template_options(asked, prefill),
        prefill=prefill or "",
    )


def _template_options(asked: CountTokensRequest, prefill: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if asked.output_config and asked.output_config.effort:
        options["reasoning_effort"] = asked.output_config.effort
    if asked.thinking is not None:
        options["enable_thinking"] = not isinstance(asked.thinking, ThinkingDisabled)
    elif prefill:
        # Reasoning would have to come before the text that is there already.
        options["enable_thinking"] = False
    return options


def _turns(messages: Sequence[wire.Turn]) -> Iterator[Turn]:
    last_user = max(
        (at for at, turn in enumerate(messages) if isinstance(turn, wire.UserTurn)), default=-1
    )
    for at, message in enumerate(messages):
        match message:
            case wire.SystemTurn():
                if message.content and not _cleared(message, before_user=at < last_user):
                    yield SystemTurn(_parts(message.content))
            case wire.AssistantTurn():
                yield _assistant_turn(message)
            case wire.UserTurn(content=str(text)):
                yield UserTurn((TextPart(text),))
            case wire.UserTurn(content=list(blocks)):
                for number, block in enumerate(blocks):
                    yield _user_turn(block, f"messages[{at}].content[{number}]")


def _cleared(turn: wire.SystemTurn, *, before_user: bool) -> bool:
    return before_user and turn.clear_at == "next_user_message"


def _user_turn(block: wire.TextBlock | wire.ImageBlock | wire.ToolResultBlock, path: str) -> Turn:
    if not isinstance(block, wire.ToolResultBlock):
        return UserTurn((_part(block, path),))
    parts = _result_parts(block, path)
    if block.is_error:
        # Templates have no field for a failure, so the text says it.
        images = [part for part in parts if not isinstance(part, TextPart)]
        parts = (TextPart(f"Error: {text_of(parts)}"), *images)
    return ToolTurn(parts, block.tool_use_id)


def _result_parts(block: wire.ToolResultBlock, path: str) -> Sequence[Part]:
    content = block.content or ""
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(_part(part, f"{path}.content[{at}]") for at, part in enumerate(content))


def _part(block: wire.TextBlock | wire.ImageBlock, path: str) -> Part:
    if isinstance(block, wire.TextBlock):
        return TextPart(block.text)
    asked = block.transformations
    scales = asked is None or asked.oversized_image != "error"
    match block.source:
        case wire.UrlSource(url=url):
            return image_at(url, f"{path}.source.url", may_be_scaled=scales)
        case wire.Base64Source(data=data):
            return image_in(data, f"{path}.source.data", may_be_scaled=scales)


def _assistant_turn(turn: wire.AssistantTurn) -> AssistantTurn:
    if isinstance(turn.content, str):
        return AssistantTurn((TextPart(turn.content),))
    parts: list[Part] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    for block in turn.content:
        match block:
            case wire.TextBlock():
                parts.append(TextPart(block.text))
            case wire.ThinkingBlock() if block.thinking:  # empty where display was "omitted"
                reasoning.append(block.thinking)
            case wire.ToolUseBlock():
                calls.append(ToolCall(block.id, block.name, block.input))
    return AssistantTurn(parts, "\n".join(reasoning), calls)


def _parts(content: str | Iterable[wire.PlainTextBlock]) -> Sequence[Part]:
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(TextPart(block.text) for block in content)


def _merged(turns: Iterable[Turn]) -> Sequence[Turn]:
    """Merge neighbours of one role, but for results of tools.

    Anthropic's API does so, and many templates refuse turns that do not alternate.
    """
    merged: list[Turn] = []
    for kind, group in groupby(turns, type):
        neighbours = list(group)
        merged += neighbours if kind is ToolTurn else [_merge(neighbours)]
    return merged


def _merge(turns: Sequence[Turn]) -> Turn:
    """Return *turns* of one role as one; those without text add no line."""
    first, *others = turns
    if not others:
        return first
    parts = tuple(part for turn in turns if tuple(turn.parts) not in _EMPTY for part in turn.parts)
    if not isinstance(first, AssistantTurn):
        return structs.replace(first, parts=parts)
    answers = [turn for turn in turns if isinstance(turn, AssistantTurn)]
    reasoning = "\n".join(filter(None, (turn.reasoning for turn in answers)))
    return AssistantTurn(parts, reasoning, [call for turn in answers for call in turn.tool_calls])


_EMPTY: tuple[Sequence[Part], ...] = ((), (TextPart(""),))
