"""Makes the guides of a request's choices: structured output, tool calls, reasoning budget."""

import asyncio
from collections.abc import Sequence

from pilotlight.errors import InvalidRequest
from pilotlight.generation.constraints import Constraints, compile_constraints
from pilotlight.generation.params import GenerationParams, ToolCalling
from pilotlight.generation.prepared_model import PreparedModel
from pilotlight.generation.rendering import Rendered
from pilotlight.generation.single_flight import SingleFlight
from pilotlight.guidance import Guides, GuideTokenizer, Reasoning
from pilotlight.output import reasoning
from pilotlight_backend import Guide


class GuideFactory:
    """Makes guides; keeps each model's `GuideTokenizer` while the model is loaded."""

    def __init__(self) -> None:
        self._tokenizers: SingleFlight[PreparedModel, GuideTokenizer] = SingleFlight()

    async def guides(
        self, model: PreparedModel, params: GenerationParams, prompts: Sequence[Rendered]
    ) -> list[Guide | None]:
        """Return a guide for each choice, or None if nothing is restricted.

        Raises `InvalidRequest` for a grammar or schema that is not supported.
        """
        guides: list[Guide | None] = []
        for prompt in prompts:
            make = await self._guides(model, params, prompt)
            guides += [None if make is None else make() for _ in range(params.n)]
        return guides

    async def _guides(
        self, model: PreparedModel, params: GenerationParams, prompt: Rendered
    ) -> Guides | None:
        block = await _reasoning(model, params, prompt)
        calls = params.tool_calling if prompt.chat else None
        if calls is not None and model.tool_call_format is None:
            _check_not_required(model, calls)
            calls = None
        budget = None if block is None else block.budget
        if params.structured_output is None and calls is None and budget is None:
            return None
        # Required calls leave no content that structured output could constrain.
        output = None if calls is not None and calls.required else params.structured_output
        constraints = Constraints(
            structured_output=output,
            tool_calling=calls,
            prefixes=_prefixes(model, prompt),
            reasoning=block,
            reasoning_format=model.reasoning_format,
            opened=prompt.opened,
            tool_call_format=model.tool_call_format or "",
        )
        tokenizer = await self._tokenizers.get(model, lambda: _make_tokenizer(model))
        return await asyncio.to_thread(compile_constraints, constraints, tokenizer)


async def _make_tokenizer(model: PreparedModel) -> GuideTokenizer:
    vocabulary = await model.engine.vocabulary()
    return await asyncio.to_thread(GuideTokenizer.of, vocabulary, model.skipped.tool_calls)


async def _reasoning(
    model: PreparedModel, params: GenerationParams, prompt: Rendered
) -> Reasoning | None:
    """Return the reasoning that may precede the content, or None."""
    if model.reasoning_format is None or not prompt.may_think:
        return None
    written = reasoning.FORMATS[model.reasoning_format]
    closing: Sequence[int] = ()
    if params.thinking_budget is not None:
        closing = await model.engine.tokenize(written.closing, special=True)
    return Reasoning(
        opener=written.opening,
        closer=written.closer,
        opened=prompt.opened,
        budget=params.thinking_budget,
        closing=tuple(closing),
    )


def _prefixes(model: PreparedModel, prompt: Rendered) -> tuple[str, ...]:
    """Return the texts of which one must precede the content.

    If no reasoning may come, the prompt has written it already.
    """
    if model.reasoning_format is None or not prompt.may_think:
        return ()
    return reasoning.FORMATS[model.reasoning_format].prefixes


def _check_not_required(model: PreparedModel, calls: ToolCalling) -> None:
    """Raise `InvalidRequest` if calls are required of a model without a tool-call format."""
    if calls.required:
        raise InvalidRequest(
            f"tool_choice: the chat template of {model.name!r} shows no tool-call format; expected"
            " auto or none, or tool_call_format in models.yaml",
            param="tool_choice",
        )
