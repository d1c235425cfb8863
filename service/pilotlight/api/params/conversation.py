"""A request's conversation as the prompt that a chat template renders."""

from collections.abc import Mapping
from typing import Any

from pilotlight.errors import InvalidRequest
from pilotlight.generation import ChatPrompt
from pilotlight.prompt.messages import answered_text, template_messages, template_tools
from pilotlight.schema.chat.messages import AssistantMessage, Message
from pilotlight.schema.chat.request import Tool

_RESERVED = frozenset(
    ("messages", "tools", "add_generation_prompt", "documents", "bos_token", "eos_token")
)
"""What a chat template is given by the service; no request sets these."""


def chat_prompt(
    messages: list[Message],
    tools: list[Tool],
    *,
    template_kwargs: Mapping[str, Any] | None,
    effort: str | None,
    continues: bool | None = None,
    begins: bool | None = None,
    param: str = "messages",
) -> ChatPrompt:
    """Return the prompt of *messages* and *tools*; *param* is what the request calls the former.

    A last message of the assistant's that is text is what the answer begins with, unless the
    request says that it does not *continue* it, or that the prompt does not *begin* the answer.
    Raises `InvalidRequest` for template variables that the service sets, and where there is nothing
    to continue.
    """
    said, prefill = messages, ""
    if continues if continues is not None else begins is not False:
        said, prefill = _split_prefill(messages, required=continues is True)
    variables = _variables(template_kwargs or {}, effort)
    if prefill:
        variables.setdefault("enable_thinking", False)
    return ChatPrompt(
        template_messages(said),
        template_tools(tools),
        variables,
        prefill,
        generation_prompt=begins is not False or continues is True,
        param=param,
    )


def _split_prefill(messages: list[Message], *, required: bool) -> tuple[list[Message], str]:
    last = messages[-1]
    if not isinstance(last, AssistantMessage) or last.tool_calls:
        if required:
            raise InvalidRequest(
                "continue_final_message: the last message is no text of the assistant's",
                param="continue_final_message",
            )
        return messages, ""
    return messages[:-1], answered_text(last)


def _variables(given: Mapping[str, Any], effort: str | None) -> dict[str, Any]:
    variables = dict(given)
    for name in _RESERVED & variables.keys():
        raise InvalidRequest(
            f"chat_template_kwargs.{name}: the request gives this elsewhere",
            param=f"chat_template_kwargs.{name}",
        )
    if effort is not None:
        variables.setdefault("reasoning_effort", effort)
        variables.setdefault("enable_thinking", effort != "none")
    return variables
