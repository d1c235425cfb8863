"""From what an answer is to look like to guides for one model."""

import asyncio
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from pilotlight.errors import InvalidRequest
from pilotlight.generation.dialect import Dialect
from pilotlight.generation.params import GenerationParams
from pilotlight.generation.rendering import Rendered
from pilotlight.guidance import (
    Grammar,
    GrammarInvalid,
    Guides,
    Thought,
    Tokens,
    compile_grammar,
)
from pilotlight.output import reasoning
from pilotlight_backend import Guide


class Guiding:
    """Makes guides; keeps each model's tokens in llguidance's form for as long as it is loaded."""

    def __init__(self) -> None:
        self._tokens: WeakKeyDictionary[Dialect, asyncio.Task[Tokens]] = WeakKeyDictionary()

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
        if params.form is None and (thought is None or thought.budget is None):
            return None
        body = None if params.form is None else params.form.body
        grammar = Grammar(body=body, thought=thought)
        tokens = await self._tokens_of(dialect)
        try:
            return await asyncio.to_thread(compile_grammar, grammar, tokens)
        except GrammarInvalid as error:
            param = params.form.param if params.form else None
            raise InvalidRequest(f"{param}: {error}", param=param) from None

    async def _tokens_of(self, dialect: Dialect) -> Tokens:
        """Return the model's tokens, made once for all that ask at the same time."""
        making = self._tokens.get(dialect)
        if making is None:
            making = asyncio.create_task(asyncio.to_thread(_make_tokens, dialect))
            self._tokens[dialect] = making
        # A client that leaves must not take it from the others.
        return await asyncio.shield(making)


def _make_tokens(dialect: Dialect) -> Tokens:
    return Tokens.of(dialect.engine.vocabulary())


async def _thought(dialect: Dialect, params: GenerationParams, prompt: Rendered) -> Thought | None:
    """Return what may come before the content, if this model thinks."""
    if dialect.reasoning is None or not prompt.may_think:
        return None
    written = reasoning.FORMATS[dialect.reasoning]
    closing: Sequence[int] = ()
    if params.thinking_budget is not None:
        closing = await dialect.engine.tokenize(written.closing, special=True)
    return Thought(
        opener=written.opening,
        closer=written.closer,
        opened=prompt.opened,
        budget=params.thinking_budget,
        closing=tuple(closing),
    )
