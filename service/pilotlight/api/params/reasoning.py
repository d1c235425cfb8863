"""Reasoning effort, and other variables of the chat template."""

from collections.abc import Mapping
from typing import Any

from pilotlight.errors import InvalidRequest

_BUDGETS = {"minimal": 128, "low": 512, "medium": 2048, "high": 8192}
"""Reasoning tokens of each effort; others have no limit."""

_RESERVED = frozenset(
    ("messages", "tools", "add_generation_prompt", "documents", "bos_token", "eos_token")
)
"""Variables that the service sets; no request may."""


def thinking_budget(effort: str | None) -> int | None:
    """Return the maximum of reasoning tokens for *effort*; None for no limit."""
    return _BUDGETS.get(effort or "")


def template_options(
    template_kwargs: Mapping[str, Any] | None, effort: str | None, prefill: str | None
) -> dict[str, Any]:
    """Return *template_kwargs*, and what the effort and the prefill mean beside them.

    Raises `InvalidRequest` for a variable that the service sets.
    """
    options = dict(template_kwargs or {})
    for name in _RESERVED & options.keys():
        raise InvalidRequest(
            f"chat_template_kwargs.{name}: reserved; the server sets this variable",
            param=f"chat_template_kwargs.{name}",
        )
    if effort is not None:
        options.setdefault("reasoning_effort", effort)
        options.setdefault("enable_thinking", effort != "none")
    if prefill:
        # Reasoning would have to come before the text that is there already.
        options.setdefault("enable_thinking", False)
    return options
