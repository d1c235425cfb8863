"""A conversation in Anthropic's content blocks as the variables that chat templates expect."""

from collections.abc import Iterator, Sequence
from typing import Any

from pilotlight.schema.messages.content import (
    AssistantTurn,
    PlainTextBlock,
    SystemContent,
    SystemTurn,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UserTurn,
)


def conversation(
    system: SystemContent | None, turns: Sequence[Turn]
) -> tuple[list[dict[str, Any]], str]:
    """Return the messages as templates read them, and what the answer begins with already.

    That is the text of a last assistant message; one that makes calls is a message like others.
    """
    prefill = ""
    last = turns[-1]
    if isinstance(last, AssistantTurn) and not _calls(last):
        turns, prefill = turns[:-1], _answered_text(last)
    messages = [] if not system else [{"role": "system", "content": _text(system)}]
    last_user = max((at for at, turn in enumerate(turns) if isinstance(turn, UserTurn)), default=-1)
    for at, turn in enumerate(turns):
        if not (isinstance(turn, SystemTurn) and _is_over(turn, before=at < last_user)):
            messages += _messages(turn)
    return _combined(messages), prefill


def _is_over(turn: SystemTurn, *, before: bool) -> bool:
    """Tell whether the model does not see *turn*; *before*: a turn of the user's follows."""
    return not turn.content or (before and turn.clear_at == "next_user_message")


def _messages(turn: Turn) -> Iterator[dict[str, Any]]:
    match turn:
        case SystemTurn():
            yield {"role": "system", "content": _text(turn.content)}
        case AssistantTurn():
            yield _assistant(turn)
        case UserTurn(content=str(text)):
            yield {"role": "user", "content": text}
        case UserTurn():
            for block in turn.content:
                yield _user_block(block)


def _user_block(block: Any) -> dict[str, Any]:
    if isinstance(block, ToolResultBlock):
        return {"role": "tool", "content": _result(block), "tool_call_id": block.tool_use_id}
    return {"role": "user", "content": block.text}


def _result(block: ToolResultBlock) -> str:
    """Templates have no place for a failure, so the text says it."""
    text = _text(block.content or "")
    return f"Error: {text}" if block.is_error else text


def _assistant(turn: AssistantTurn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _answered_text(turn)}
    thoughts = [
        block.thinking
        for block in _blocks(turn)
        # It is empty where the thinking was not displayed.
        if isinstance(block, ThinkingBlock) and block.thinking
    ]
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls := _calls(turn):
        message["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": call.input},
            }
            for call in calls
        ]
    return message


def _blocks(turn: AssistantTurn) -> Sequence[Any]:
    return [TextBlock(text=turn.content)] if isinstance(turn.content, str) else turn.content


def _calls(turn: AssistantTurn) -> list[ToolUseBlock]:
    return [block for block in _blocks(turn) if isinstance(block, ToolUseBlock)]


def _answered_text(turn: AssistantTurn) -> str:
    return "\n".join(block.text for block in _blocks(turn) if isinstance(block, TextBlock))


def _text(content: str | Sequence[PlainTextBlock]) -> str:
    """Join blocks as vLLM and llama.cpp do for templates that take one string."""
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _combined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one message of neighbours that say the same role, but for tools.

    Anthropic says so of turns, and many templates refuse turns that do not alternate.
    """
    combined: list[dict[str, Any]] = []
    for message in messages:
        if combined and message["role"] == combined[-1]["role"] != "tool":
            combined[-1] = _joined(combined[-1], message)
        else:
            combined.append(message)
    return combined


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    texts = (first["content"], second["content"])
    joined = {"role": first["role"], "content": "\n".join(text for text in texts if text)}
    thoughts = [one["reasoning_content"] for one in (first, second) if "reasoning_content" in one]
    if thoughts:
        joined["reasoning_content"] = "\n".join(thoughts)
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    if calls:
        joined["tool_calls"] = calls
    return joined
