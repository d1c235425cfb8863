"""Where later prompts are likely to part from one, so that a checkpoint is worth taking. Pure."""

from collections.abc import Sequence
from typing import TypeVar

from pilotlight_backend.placement import REWRITTEN

MOST = 6
"""Checkpoints of a slot. One of Qwen3.5-0.8B takes 20 MB; llama-server keeps 32."""

_EVERY = 2048
"""Tokens between two checkpoints of a prompt in which no turn begins."""

_SHORT = 32
"""Tokens that are evaluated anew rather than that a checkpoint is taken behind them."""

T = TypeVar("T")


def branches(
    prompt: Sequence[int], control: frozenset[int], *, shares_prompt: bool = False
) -> tuple[int, ...]:
    """Return the lengths of *prompt* at which later prompts may part from it, rising.

    Conversations under one system prompt part where their first turn begins, and the next turn of
    one where the answer's turn begins: what is behind it, the template may write otherwise.
    *control* are the tokens that are no text; the first of them that is not the beginning of a text
    opens a turn. Requests that share the prompt part before its last token.
    """
    turns = _turns(prompt, control)
    # Without turns, where the next turn is written otherwise, and now and then before.
    chosen = {*turns[:1], *turns[-2:]} or {len(prompt) - 1 - REWRITTEN}
    last = max(chosen)
    between = [length for length in range(_EVERY, last, _EVERY) if length not in chosen]
    chosen.update(between[-(MOST - len(chosen) - 1) :])
    if shares_prompt:
        chosen.add(len(prompt) - 1)
    return tuple(sorted(length for length in chosen if _SHORT <= length < len(prompt)))


def _turns(prompt: Sequence[int], control: frozenset[int]) -> list[int]:
    """Return where turns begin behind the first one."""
    places = [place for place, token in enumerate(prompt) if token in control]
    if not places:
        return []
    # A text begins with a token of its own, or with the first turn.
    first = places[1] if len(places) > 1 and places[1] == 1 else places[0]
    opener = prompt[first]
    return [place for place in places if place > first and prompt[place] == opener]


def thinned(checkpoints: list[T], most: int) -> list[T]:
    """Return at most *most* of *checkpoints*: the first, where conversations part, and the last."""
    if len(checkpoints) <= most:
        return checkpoints
    return [checkpoints[0], *checkpoints[1 - most :]]
