"""A conversation as a model gets it, whichever API it came through.

Each endpoint has one adapter into these structs (`api/endpoints/*/conversation.py`), and
`prompt/template_variables.py` is the one renderer out of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, structs

from pilotlight_backend import Image


class TextPart(Struct, frozen=True):
    """A piece of text."""

    text: str


class ImagePart(Struct, frozen=True):
    """A picture."""

    image: Image


class ImageReference(Struct, frozen=True):
    """A picture as a request gives it; it becomes an `ImagePart` before the prompt is rendered."""

    source: str | bytes
    """A URL, a `data:` URL, base64, or the bytes of a file."""
    param: str
    """The path of *source* in the request."""
    base64: bool = False
    """Whether *source* is base64 and no URL."""
    low_detail: bool = False
    may_be_scaled: bool = True
    """Whether a larger image than the model gets is scaled down, and not refused."""

    def __repr__(self) -> str:
        # Without the source, which is what a user shows.
        return f"ImageReference({self.param})"


Part: TypeAlias = TextPart | ImagePart | ImageReference
"""A piece of a turn's content: the union of the kinds that there are."""


class ToolCall(Struct, frozen=True):
    """A call that the model made in an earlier turn."""

    id: str
    name: str
    arguments: Mapping[str, Any] | str
    """An object, or the model's own text where that is not one."""


class SystemTurn(Struct, frozen=True):
    """Instructions for the model."""

    parts: Sequence[Part]
    name: str | None = None


class UserTurn(Struct, frozen=True):
    """A message of the user's."""

    parts: Sequence[Part]
    name: str | None = None


class AssistantTurn(Struct, frozen=True):
    """An earlier response of the model's."""

    parts: Sequence[Part] = ()
    reasoning: str = ""
    tool_calls: Sequence[ToolCall] = ()


class ToolTurn(Struct, frozen=True):
    """The result of the call *tool_call_id*."""

    parts: Sequence[Part]
    tool_call_id: str
    name: str | None = None


Turn: TypeAlias = SystemTurn | UserTurn | AssistantTurn | ToolTurn


class Tool(Struct, frozen=True):
    """A function that the model may call; *parameters* is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class Conversation(Struct, frozen=True, kw_only=True):
    """Turns, oldest first, and what the chat template gets beside them."""

    turns: Sequence[Turn]
    tools: Sequence[Tool] = ()
    template_options: Mapping[str, Any] = {}
    """Variables of the chat template's own, such as `enable_thinking`."""
    prefill: str = ""
    """Text that the response begins with (assistant prefill)."""
    generation_prompt: bool = True
    """Whether the prompt ends with the beginning of the assistant's turn."""


def split_prefill(turns: Sequence[Turn]) -> tuple[Sequence[Turn], str | None]:
    """Return *turns* without the assistant's text at their end, and that text.

    The text is None where the last turn is another's, or makes calls.
    """
    last = turns[-1] if turns else None
    if not isinstance(last, AssistantTurn) or last.tool_calls:
        return turns, None
    return turns[:-1], text_of(last.parts)


def image_references(turns: Iterable[Turn]) -> list[ImageReference]:
    """Return the images in *turns* that have not been read yet."""
    return [part for turn in turns for part in turn.parts if isinstance(part, ImageReference)]


def replace_images(turns: Iterable[Turn], images: Mapping[str, Part]) -> Sequence[Turn]:
    """Return *turns* with the image at each path of *images* in place of the reference to it."""

    def part_of(part: Part) -> Part:
        return images.get(part.param, part) if isinstance(part, ImageReference) else part

    return [structs.replace(turn, parts=tuple(map(part_of, turn.parts))) for turn in turns]


def text_of(parts: Iterable[Part]) -> str:
    """Join the texts in *parts* by lines, as vLLM and llama.cpp do for templates of one string."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def images_in(turns: Iterable[Turn]) -> list[Image]:
    """Return the images in *turns*, in order."""
    return [part.image for turn in turns for part in turn.parts if isinstance(part, ImagePart)]


_arguments = msgspec.json.Decoder(dict[str, Any])


def parse_arguments(text: str) -> Mapping[str, Any] | str:
    """Return the JSON object in *text*, `{}` for an empty one, or *text* where it is none."""
    with suppress(msgspec.DecodeError, RecursionError):
        return _arguments.decode(text or "{}")
    return text
