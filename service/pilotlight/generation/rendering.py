"""From a prompt to its tokens, in one model's dialect."""

import asyncio

from msgspec import Struct

from pilotlight.errors import InvalidRequest, ModelLoadFailed
from pilotlight.generation.dialect import Dialect
from pilotlight.generation.params import ChatPrompt, Prompt, TextPrompt, TokensPrompt
from pilotlight.output import reasoning
from pilotlight.prompt.errors import TemplateFailed, TemplateRefused

_LONG = 8192
"""Characters of a prompt from which on it is rendered in a thread."""


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
    text = await _chat_text(dialect, prompt)
    opened, may_think = _thinking(dialect.reasoning, text)
    if prompt.prefill:
        # The answer has begun already, so the thought before it is over.
        if dialect.reasoning is not None and opened:
            text += reasoning.FORMATS[dialect.reasoning].closing
        text, opened, may_think = text + prompt.prefill, False, False
    tokens = await dialect.engine.tokenize(text, special=True)
    return Rendered(tuple(tokens), chat=True, opened=opened, may_think=may_think)


def _thinking(name: str | None, text: str) -> tuple[bool, bool]:
    """Tell whether the prompt ends inside a thought, and whether one may still come or go on."""
    if name is None:
        return False, False
    return reasoning.opened(name, text), not reasoning.closed(name, text)


async def _chat_text(dialect: Dialect, prompt: ChatPrompt) -> str:
    """Render the conversation; a long one in a thread, so that the event loop goes on."""
    template = dialect.template
    if dialect.unusable:
        raise ModelLoadFailed(dialect.unusable, retry_after=None)
    if template is None:
        raise InvalidRequest(
            f"the model {dialect.model!r} has no chat template; models.yaml can give it one",
            param="model",
        )

    def text() -> str:
        return template.render(
            prompt.messages,
            tools=prompt.tools,
            add_generation_prompt=prompt.generation_prompt,
            **prompt.variables,
        )

    size = sum(len(message["content"]) for message in prompt.messages)
    try:
        # A template that takes long for a few words is not waited for on the event loop, nor one
        # of which nothing is known.
        return text() if size < _LONG and template.quick else await asyncio.to_thread(text)
    except TemplateRefused as error:
        raise InvalidRequest(
            f"the model's chat template refuses this: {error}", param=prompt.param
        ) from None
    except TemplateFailed as error:
        raise InvalidRequest(str(error), param=prompt.param) from error
