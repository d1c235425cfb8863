"""From what an answer is to look like to guides for one model."""

import asyncio
from collections.abc import Sequence

from pilotlight.errors import InvalidRequest
from pilotlight.generation.calling import Plan, compiled
from pilotlight.generation.dialect import Dialect
from pilotlight.generation.params import Calls, GenerationParams
from pilotlight.generation.rendering import Rendered
from pilotlight.generation.single_flight import SingleFlight
from pilotlight.guidance import Guides, GuideTokenizer, Reasoning
from pilotlight.output import reasoning
from pilotlight_backend import Guide


class Guiding:
    """Makes guides; keeps each model's tokens in llguidance's form for as long as it is loaded."""

    def __init__(self) -> None:
        self._tokens: SingleFlight[Dialect, GuideTokenizer] = SingleFlight()

    async def guides(
        self, dialect: Dialect, params: GenerationParams, prompts: Sequence[Rendered]
    ) -> list[Guide | None]:
        """Return a guide for each answer; None where nothing is restricted.

        Raises `InvalidRequest` for a form that cannot be honoured.
        """
        guides: list[Guide | None] = []
        for prompt in prompts:
            make = await self._guides(dialect, params, prompt)
            guides += [None if make is None else make() for _ in range(params.n)]
        return guides

    async def _guides(
        self, dialect: Dialect, params: GenerationParams, prompt: Rendered
    ) -> Guides | None:
        thought = await _thought(dialect, params, prompt)
        calls = params.calls if prompt.chat else None
        if calls is not None and dialect.tool_calls is None:
            _check_needless(dialect, calls)
            calls = None
        budget = None if thought is None else thought.budget
        if params.form is None and calls is None and budget is None:
            return None
        form = None if calls is not None and calls.required else params.form
        plan = Plan(
            form=form,
            calls=calls,
            prefixes=_prefixes(dialect, prompt),
            thought=thought,
            reasoning=dialect.reasoning,
            opened=prompt.opened,
            tool_calls=dialect.tool_calls or "",
        )
        tokens = await self._tokens.get(dialect, lambda: _make_tokens(dialect))
        return await asyncio.to_thread(compiled, plan, tokens)


async def _make_tokens(dialect: Dialect) -> GuideTokenizer:
    vocabulary = await dialect.engine.vocabulary()
    return await asyncio.to_thread(GuideTokenizer.of, vocabulary, dialect.skipped.calls)


async def _thought(
    dialect: Dialect, params: GenerationParams, prompt: Rendered
) -> Reasoning | None:
    """Return what may come before the content, if this model thinks."""
    if dialect.reasoning is None or not prompt.may_think:
        return None
    written = reasoning.FORMATS[dialect.reasoning]
    closing: Sequence[int] = ()
    if params.thinking_budget is not None:
        closing = await dialect.engine.tokenize(written.closing, special=True)
    return Reasoning(
        opener=written.opening,
        closer=written.closer,
        opened=prompt.opened,
        budget=params.thinking_budget,
        closing=tuple(closing),
    )


def _prefixes(dialect: Dialect, prompt: Rendered) -> tuple[str, ...]:
    """Return what must come before the content; the prompt wrote it where no thought may come."""
    if dialect.reasoning is None or not prompt.may_think:
        return ()
    return reasoning.FORMATS[dialect.reasoning].prefixes


def _check_needless(dialect: Dialect, calls: Calls) -> None:
    """Raise `InvalidRequest` where calls are required of a model that has no way to write them."""
    if calls.required:
        raise InvalidRequest(
            f"tool_choice: the chat template of {dialect.model!r} shows no format of tool calls",
            param="tool_choice",
        )
