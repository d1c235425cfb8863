"""Limits by settings: messages, tools, stops, choices and schemas of a request.

The wire types have bounds too, which are in the document and independent of settings. A setting is
a lower bound, or one for a field that has none. Each endpoint lists what its requests have.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest
from pilotlight.guidance import GrammarInvalid, check_size
from pilotlight.schema.sampling import SamplingRequest


class Amount(Struct, frozen=True):
    """A number of items at a path of a request, and the setting that limits it."""

    param: str
    count: int
    of: str
    setting: str


class Schema(Struct, frozen=True):
    """A JSON Schema at a path of a request."""

    param: str
    value: Any


Taken: TypeAlias = Iterator[Amount | Schema]
"""What a request has; schemas, which take time to check, come last."""

SchemaOf: TypeAlias = Callable[[Any], tuple[str, Any]]
"""Returns the field of a tool that has its schema, and the schema; None for a skipped tool."""


def check_amounts(taken: Taken, settings: Settings) -> None:
    """Raise `InvalidRequest` for the first limit that is exceeded."""
    for one in taken:
        match one:
            case Amount(param, count, of, setting):
                most = getattr(settings, setting)
                if count > most:
                    raise InvalidRequest(
                        f"{param}: expected at most {most} {of}, got {count}",
                        param=param,
                    )
            case Schema(param, value):
                _check_schema(param, value, settings)


def _check_schema(param: str, schema: Any, settings: Settings) -> None:
    try:
        check_size(schema, depth=settings.max_schema_depth, length=settings.max_schema_bytes)
    except GrammarInvalid as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def messages(param: str, listed: Sequence[Any] | None) -> Taken:
    """Yield the number of messages, or of other items of a conversation."""
    of = "items" if param == "input" else "messages"
    yield Amount(param, len(listed or ()), of, "max_messages")


def sampling(asked: SamplingRequest) -> Taken:
    """Yield the choices and the stops of *asked*."""
    yield Amount("n", asked.n or 1, "choices", "max_n")
    if isinstance(asked.stop, str):
        yield Amount("stop", len(asked.stop), "characters", "max_stop_length")
    else:
        yield from stops("stop", asked.stop)


def stops(param: str, listed: Sequence[str] | None) -> Taken:
    """Yield the number of stops, and the length of each."""
    listed = listed or ()
    yield Amount(param, len(listed), "stops", "max_stops")
    for index, stop in enumerate(listed):
        yield Amount(f"{param}[{index}]", len(stop), "characters", "max_stop_length")


def tools(listed: Sequence[Any] | None, schema_of: SchemaOf, param: str = "tools") -> Taken:
    """Yield the number of tools, and their schemas."""
    listed = listed or ()
    yield Amount(param, len(listed), "tools", "max_tools")
    for index, tool in enumerate(listed):
        field, schema = schema_of(tool)
        if schema is not None:
            yield Schema(f"{param}[{index}].{field}", schema)
