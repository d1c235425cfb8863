"""From a prompt to its tokens, in one model's dialect."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from pilotlight.errors import InvalidRequest, ModelLoadFailed
from pilotlight.generation.dialect import Dialect, rendering
from pilotlight.generation.params import ChatPrompt, Prompt, TextPrompt, TokensPrompt
from pilotlight.output import reasoning
from pilotlight.prompt.adapting import Conversation, adapted
from pilotlight.prompt.errors import TemplateFailed, TemplateRefused
from pilotlight.prompt.template_variables import TemplateVariables, template_variables
from pilotlight.prompt.verbatim import Marking

T = TypeVar("T")

_LONG = 8192
"""Characters and items of a request from which on it is rendered in a thread."""


class Rendered(Struct, frozen=True):
    """A prompt as the engine takes it."""

    tokens: tuple[int, ...]
    chat: bool = False
    """Whether the chat template wrote it: then the answer may hold thoughts and calls."""
    opened: bool = False
    """Whether it ends inside a thought."""
    may_think: bool = False
    """Whether a thought may still come before the content."""


async def render(dialect: Dialect, prompt: Prompt) -> Rendered:
    """Return *prompt* in tokens.

    Raises `InvalidRequest` where the template refuses it, `ModelLoadFailed` where it is broken.
    """
    match prompt:
        case TokensPrompt():
            return Rendered(prompt.tokens)
        case TextPrompt():
            return Rendered(await _text_tokens(dialect, prompt))
        case ChatPrompt():
            return await _render_chat(dialect, prompt)


async def _text_tokens(dialect: Dialect, prompt: TextPrompt) -> tuple[int, ...]:
    begin = dialect.bos_token if prompt.begins else ""
    if prompt.special:
        text = prompt.text if prompt.text.startswith(begin) else begin + prompt.text
        return tuple(await dialect.engine.tokenize(text, special=True))
    first = await dialect.engine.tokenize(begin, special=True) if begin else ()
    return (*first, *await dialect.engine.tokenize(prompt.text, special=False))


async def _render_chat(dialect: Dialect, prompt: ChatPrompt) -> Rendered:
    variables, prefill = template_variables(prompt.conversation), prompt.conversation.prefill
    said = [variables.messages, variables.tools, variables.options, prefill]
    is_long = _is_long(said)
    try:
        marking = await _run(lambda: Marking(dialect.names, said), in_thread=is_long)
    except TemplateFailed as error:
        raise InvalidRequest(str(error), param=prompt.param) from error
    text = await _chat_text(dialect, prompt, variables, marking, is_long=is_long)
    opened, may_think = _thinking(dialect.reasoning, marking.clean(text))
    if prefill:
        # The answer has begun already, so the thought before it is over.
        if dialect.reasoning is not None and opened:
            text += reasoning.FORMATS[dialect.reasoning].closing
        text += marking.mark(prefill, dialect.answer_names)
        opened, may_think = False, False
    written = await _run(lambda: marking.resolve(text), in_thread=is_long)
    tokens = await dialect.engine.tokenize(written.text, special=True, verbatim=written.spans)
    return Rendered(tuple(tokens), chat=True, opened=opened, may_think=may_think)


def _thinking(name: str | None, text: str) -> tuple[bool, bool]:
    """Tell whether the prompt ends inside a thought, and whether one may still come or go on."""
    if name is None:
        return False, False
    return reasoning.opened(name, text), not reasoning.closed(name, text)


def _is_long(said: list[Any]) -> bool:
    """Tell whether *said* is more than the event loop can wait for: a megabyte of tools is too."""
    left, inside = _LONG, said.copy()
    while inside and left > 0:
        match inside.pop():
            case str() as text:
                left -= len(text)
            case Mapping() as mapping:
                inside += [*mapping.keys(), *mapping.values()]
                left -= len(mapping)
            case list() | tuple() as items:
                inside += items
                left -= len(items)
    return left <= 0


async def _run(work: Callable[[], T], *, in_thread: bool) -> T:
    return await asyncio.to_thread(work) if in_thread else work()


def _marked(
    dialect: Dialect, messages: Sequence[Mapping[str, Any]], marking: Marking
) -> Sequence[Mapping[str, Any]]:
    """Return *messages* with names of control tokens marked."""
    if not marking.marks:
        return messages
    return [
        {
            key: marking.mark(
                value,
                dialect.answer_names if (one["role"], key) == ("assistant", "content") else None,
            )
            for key, value in one.items()
        }
        for one in messages
    ]


async def _chat_text(
    dialect: Dialect,
    prompt: ChatPrompt,
    variables: TemplateVariables,
    marking: Marking,
    *,
    is_long: bool,
) -> str:
    """Render the conversation, marked; a long one in a thread, so that the event loop goes on."""
    template = dialect.template
    if dialect.unusable:
        raise ModelLoadFailed(dialect.unusable, retry_after=None)
    if template is None:
        raise InvalidRequest(
            f"the model {dialect.model!r} has no chat template; models.yaml can give it one",
            param="model",
        )

    def text() -> str:
        messages = _marked(dialect, variables.messages, marking)
        given = Conversation(messages, marking.mark(variables.tools))
        for adapt in dialect.adaptations:
            given = adapt(given)
        render = rendering(
            template,
            marking.mark(variables.options),
            generation_prompt=prompt.conversation.generation_prompt,
        )
        return adapted(render, given)

    try:
        # A template that takes long for a few words is not waited for on the event loop, nor one
        # of which nothing is known.
        return await _run(text, in_thread=is_long or not template.quick)
    except TemplateRefused as error:
        raise InvalidRequest(
            f"the model's chat template refuses this: {marking.clean(str(error))}",
            param=prompt.param,
        ) from None
    except TemplateFailed as error:
        raise InvalidRequest(marking.clean(str(error)), param=prompt.param) from error
