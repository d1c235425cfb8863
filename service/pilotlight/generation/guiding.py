"""From what an answer is to look like to guides for one model."""

import asyncio
from collections.abc import Sequence

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
    supported,
)
from pilotlight.output import reasoning, tool_calls
from pilotlight.single_flight import SingleFlight
from pilotlight_backend import Guide


class Guiding:
    """Makes guides; keeps each model's tokens in llguidance's form for as long as it is loaded."""

    def __init__(self) -> None:
        self._tokens: SingleFlight[Dialect, Tokens] = SingleFlight()

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
        calls = _calls(dialect, params)
        if params.form is None and calls is None and (thought is None or thought.budget is None):
            return None
        grammar = Grammar(
            body=None if params.form is None else params.form.body,
            lead=_lead(dialect, prompt),
            calls=calls,
            thought=thought,
        )
        tokens = await self._tokens.get(dialect, lambda: _make_tokens(dialect))
        try:
            return await asyncio.to_thread(compile_grammar, grammar, tokens)
        except GrammarInvalid as error:
            param = "tools" if params.form is None else params.form.param
            raise InvalidRequest(f"{param}: {error}", param=param) from None


async def _make_tokens(dialect: Dialect) -> Tokens:
    vocabulary = await dialect.engine.vocabulary()
    return await asyncio.to_thread(Tokens.of, vocabulary, dialect.silent.calls)


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


def _lead(dialect: Dialect, prompt: Rendered) -> tuple[str, ...]:
    """Return what must come before the content; the prompt wrote it where no thought may come."""
    if dialect.reasoning is None or not prompt.may_think:
        return ()
    return reasoning.FORMATS[dialect.reasoning].lead


def _calls(dialect: Dialect, params: GenerationParams) -> str | None:
    """Return the rules of the calls that the answer has to make, or may make in place of a form."""
    calls = params.calls
    if calls is None or not (calls.required or params.form):
        return None
    if dialect.tool_calls is None:
        if not calls.required:
            return None
        raise InvalidRequest(
            f"tool_choice: the chat template of {dialect.model!r} shows no format of tool calls",
            param="tool_choice",
        )
    functions = [_supported(function) for function in calls.functions]
    written = tool_calls.FORMATS[dialect.tool_calls]
    return written.grammar(functions, parallel=calls.parallel)


def _supported(function: tool_calls.Function) -> tool_calls.Function:
    try:
        return tool_calls.Function(function.name, supported(function.parameters))
    except GrammarInvalid as error:
        raise InvalidRequest(f"tools: {function.name}: {error}", param="tools") from None
