"""Prompts to tokens, and tokens to text, for one model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from pilotlight.errors import InvalidRequest, ModelLoadFailed
from pilotlight.generation.params import ChatPrompt, Prompt, TextPrompt, TokensPrompt
from pilotlight.generation.prepared_model import PreparedModel, renderer
from pilotlight.output import reasoning
from pilotlight.prompt.control_tokens import Marking, PromptText
from pilotlight.prompt.conversation import images_in
from pilotlight.prompt.errors import TemplateFailed, TemplateRefused
from pilotlight.prompt.image_marks import ImageMarks
from pilotlight.prompt.template_variables import TemplateVariables, template_variables
from pilotlight.prompt.workarounds import render_with_workarounds
from pilotlight_backend import InvalidParameter, PromptPart, Vocabulary

T = TypeVar("T")

_LONG = 8192
"""Characters and items of a request above which it is rendered on a thread."""


class Rendered(Struct, frozen=True):
    """A prompt in tokens, and what its output may contain."""

    parts: tuple[PromptPart, ...]
    """Tokens, and images among them."""
    image_tokens: int = 0
    """Tokens that its images take."""
    chat: bool = False
    """Whether the chat template wrote it: then the output may have reasoning and tool calls."""
    opened: bool = False
    """Whether it ends within reasoning."""
    may_think: bool = False
    """Whether reasoning may come, or continue, before the content."""

    @property
    def length(self) -> int:
        """Its tokens, those of images included."""
        images = sum(not isinstance(part, int) for part in self.parts) if self.image_tokens else 0
        return len(self.parts) - images + self.image_tokens


async def render(model: PreparedModel, prompt: Prompt) -> Rendered:
    """Return *prompt* in tokens.

    Raises `InvalidRequest` if the template refuses the prompt, `ModelLoadFailed` if it is unusable.
    """
    match prompt:
        case TokensPrompt():
            return Rendered(prompt.tokens)
        case TextPrompt():
            return Rendered(await _text_tokens(model, prompt))
        case ChatPrompt():
            try:
                return await _render_chat(model, prompt)
            except RecursionError:
                raise InvalidRequest(
                    f"{prompt.param}: arguments of a call, or variables of the chat template, are"
                    " nested too deeply",
                    param=prompt.param,
                ) from None


async def _text_tokens(model: PreparedModel, prompt: TextPrompt) -> tuple[int, ...]:
    begin = model.bos_token if prompt.begins else ""
    if prompt.special:
        # A client that wrote the BOS token itself gets one: models are not trained with two.
        text = prompt.text if prompt.text.startswith(begin) else begin + prompt.text
        return tuple(await model.engine.tokenize(text, special=True))
    first = await model.engine.tokenize(begin, special=True) if begin else ()
    return (*first, *await model.engine.tokenize(prompt.text, special=False))


async def _render_chat(model: PreparedModel, prompt: ChatPrompt) -> Rendered:
    conversation, prefill = prompt.conversation, prompt.conversation.prefill
    variables = template_variables(conversation)
    marks = _image_marks(model, prompt, variables)
    if marks is not None:
        variables = template_variables(conversation, marks.join)
    texts = [variables.messages, variables.tools, variables.options, prefill]
    is_long = _is_long(texts)
    try:
        marking = await _run(lambda: Marking(model.control_names, texts), in_thread=is_long)
    except TemplateFailed as error:
        raise InvalidRequest(str(error), param=prompt.param) from error
    text = await _chat_text(model, prompt, variables, marking, is_long=is_long)
    opened, may_think = _thinking(model.reasoning_format, marking.clean(text))
    if prefill:
        # The content has begun already, so the reasoning before it is over.
        if model.reasoning_format is not None and opened:
            text += reasoning.FORMATS[model.reasoning_format].closing
        text += marking.mark(prefill, model.assistant_names)
        opened, may_think = False, False
    if marks is not None:
        text = marks.unescaped(text)
    written = await _run(lambda: marking.resolve(text), in_thread=is_long)
    parts, image_tokens = await _parts(model, prompt, written, marks)
    return Rendered(parts, image_tokens, chat=True, opened=opened, may_think=may_think)


def _image_marks(
    model: PreparedModel, prompt: ChatPrompt, variables: TemplateVariables
) -> ImageMarks | None:
    """Return the marks of the conversation's images; None if it has none."""
    images = images_in(prompt.conversation.turns)
    if not images:
        return None
    template = "" if model.template is None else model.template.source
    given = (variables.messages, variables.tools, variables.options)
    try:
        return ImageMarks(images, [*given, prompt.conversation.prefill, template])
    except TemplateFailed as error:
        raise InvalidRequest(str(error), param=prompt.param) from error


async def _parts(
    model: PreparedModel, prompt: ChatPrompt, written: PromptText, marks: ImageMarks | None
) -> tuple[tuple[PromptPart, ...], int]:
    """Return the tokens and images of *written*, and how many tokens the images take."""
    parts: list[PromptPart] = []
    image_tokens = 0
    try:
        for one in (written,) if marks is None else marks.split(written):
            if isinstance(one, PromptText):
                parts += await model.engine.tokenize(one.text, special=True, verbatim=one.spans)
            else:
                image_tokens += await model.engine.image_tokens(one.width, one.height)
                parts.append(one)
    except (TemplateFailed, InvalidParameter) as error:
        raise InvalidRequest(str(error), param=prompt.param) from error
    return tuple(parts), image_tokens


def _thinking(name: str | None, text: str) -> tuple[bool, bool]:
    """Return whether the prompt ends within reasoning, and whether reasoning may follow."""
    if name is None:
        return False, False
    return reasoning.opened(name, text), not reasoning.closed(name, text)


def _is_long(texts: list[Any]) -> bool:
    """Return whether rendering *texts* would block the event loop; tools count as well."""
    left, inside = _LONG, texts.copy()
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
    model: PreparedModel, messages: Sequence[Mapping[str, Any]], marking: Marking
) -> Sequence[Mapping[str, Any]]:
    """Return *messages* with the names of control tokens marked."""
    if not marking.marks:
        return messages
    return [
        {
            key: marking.mark(
                value,
                model.assistant_names if (one["role"], key) == ("assistant", "content") else None,
            )
            for key, value in one.items()
        }
        for one in messages
    ]


async def _chat_text(
    model: PreparedModel,
    prompt: ChatPrompt,
    variables: TemplateVariables,
    marking: Marking,
    *,
    is_long: bool,
) -> str:
    """Render the marked conversation; a long one on a thread, so as not to block the event loop."""
    template = model.template
    if model.unusable:
        raise ModelLoadFailed(model.unusable, retry_after=None)
    if template is None:
        raise InvalidRequest(
            f"model: {model.name!r} has no chat template; set chat_template in models.yaml",
            param="model",
        )

    def text() -> str:
        given = TemplateVariables(
            _marked(model, variables.messages, marking),
            marking.mark(variables.tools),
            marking.mark(variables.options),
        )
        for workaround in model.workarounds:
            given = workaround(given)
        render = renderer(template, generation_prompt=prompt.conversation.generation_prompt)
        return render_with_workarounds(render, given)

    try:
        # A template that was slow the last time, or has not run yet, does not run on the event
        # loop.
        return await _run(text, in_thread=is_long or not template.quick)
    except TemplateRefused as error:
        raise InvalidRequest(
            f"the model's chat template refuses the request: {marking.clean(str(error))}",
            param=prompt.param,
        ) from None
    except TemplateFailed as error:
        raise InvalidRequest(marking.clean(str(error)), param=prompt.param) from error


async def text_of_prompt(model: PreparedModel, prompt: Prompt) -> str:
    """Return the text of *prompt*, or "" for a conversation.

    Raises `InvalidRequest` for a token that is not in the vocabulary.
    """
    match prompt:
        case TextPrompt():
            return prompt.text
        case TokensPrompt():
            pieces = pieces_of(await model.engine.vocabulary(), prompt.tokens, prompt.param)
            return text_of(pieces)
        case _:
            return ""


def pieces_of(vocabulary: Vocabulary, tokens: Sequence[int], param: str) -> list[bytes]:
    """Return the bytes of each of *tokens*; *param* is their field in the request.

    Raises `InvalidRequest` for a token that is not in the vocabulary.
    """
    size = len(vocabulary.pieces)
    for index, token in enumerate(tokens):
        if not 0 <= token < size:
            path = f"{param}[{index}]"
            raise InvalidRequest(
                f"{path}: the vocabulary has no token {token}; expected 0 to {size - 1}", param=path
            )
    return [vocabulary.pieces[token] for token in tokens]


def text_of(pieces: Sequence[bytes]) -> str:
    """Return the text of *pieces*; invalid UTF-8 becomes U+FFFD."""
    return b"".join(pieces).decode("utf-8", "replace")
