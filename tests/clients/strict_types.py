"""What is wrong with an answer, by the types that a client's library has for it.

The libraries build their objects without validation, so that a field which is missing, misspelled
or of another type is met only by the program that reads it. Here the same types are strict.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import openai.types
import openai.types.chat.chat_completion_chunk as openai_chunk
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.responses import Response, ResponseErrorEvent
from pydantic import BaseModel, TypeAdapter, ValidationError

Extensions = Mapping[type[BaseModel], frozenset[str]]

EXTENSIONS: Extensions = {
    # The thinking, beside the content: DeepSeek's name for it, which clients know.
    ChatCompletionMessage: frozenset({"reasoning_content"}),
    openai_chunk.ChoiceDelta: frozenset({"reasoning_content"}),
    # The thinking once more, where clients that show it look for it.
    ChatCompletion: frozenset({"thought"}),
    # `loading` comes where `stream_options.include_loading` asks for it.
    ChatCompletionChunk: frozenset({"thought", "loading"}),
    # Whether the model is loaded, or why it cannot be, what serves it, how long a request may be,
    # and what it is for.
    openai.types.Model: frozenset(
        {
            "state",
            "error",
            "backend",
            "context_length",
            "capabilities",
            "input_modalities",
            "parent",
            "root",
        }
    ),
    # That nothing is stored: OpenAI sends the field too, and its types do not have it.
    Response: frozenset({"store"}),
    # The error's body once more: by this field the SDKs know an error in a stream, and raise it.
    ResponseErrorEvent: frozenset({"error"}),
}
"""Every field that the server adds to OpenAI's own, by the type that it is added to."""


def misfits(answer: bytes | str, kind: Any, extensions: Extensions = EXTENSIONS) -> list[str]:
    """Return what keeps *answer*, JSON, from being a *kind*, each with its place; none is right.

    *kind* is a pydantic model or any type that is made of them. A field is wrong that is missing,
    that has another type (nothing is converted: `"1"` and `true` are no integers), or that no type
    knows, at any depth; *extensions* are the unknown ones that are meant.
    """
    try:
        value = _adapter(kind).validate_json(answer, strict=True)
    except ValidationError as error:
        return [
            f"{_place(fault['loc'])}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors(include_url=False)
        ]
    return list(_unknown(value, "", extensions))


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what validates *kind*; making one for all events of a stream takes half a second."""
    return TypeAdapter(kind)


def _unknown(value: Any, place: str, extensions: Extensions) -> Iterable[str]:
    """Yield the fields in *value* that its types do not know."""
    if isinstance(value, BaseModel):
        meant = _meant(value, extensions)
        extra = value.model_extra or {}
        kind = type(value).__name__
        yield from (
            f"{_under(place, name)}: {kind} has no such field"
            for name in extra
            if name not in meant
        )
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), _under(place, name), extensions)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _unknown(item, _under(place, str(name)), extensions)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _unknown(item, f"{place}[{index}]", extensions)


def _meant(value: BaseModel, extensions: Extensions) -> frozenset[str]:
    return frozenset[str]().union(
        *(names for kind, names in extensions.items() if isinstance(value, kind))
    )


def _under(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for part in location:
        place = f"{place}[{part}]" if isinstance(part, int) else _under(place, part)
    return place or "the answer"
