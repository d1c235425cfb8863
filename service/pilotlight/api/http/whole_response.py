"""Responses that are not streams: reads a generation to its end, and encodes JSON."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from pilotlight.api.http.response import Response
from pilotlight.generation import Begun, Ended, Events, FirstToken
from pilotlight.observability.timing import Phases, server_timing
from pilotlight.output.events import OutputEvent

_encoder = msgspec.json.Encoder()


class WholeGeneration(Struct, frozen=True):
    """The outcome of a generation whose choices have all ended."""

    begun: Begun
    endings: Mapping[int, Ended]
    """By the choices' numbers."""
    timing: Phases | None
    """The phases of a cold start."""


async def collect(
    generation: AsyncGenerator[Events], add: Callable[[int, OutputEvent], None]
) -> WholeGeneration:
    """Read *generation* to its end; *add* gets each output with its choice's number."""
    endings: dict[int, Ended] = {}
    begun: Begun | None = None
    timing: Phases | None = None
    async with aclosing(generation):
        async for events in generation:
            for number, event in events:
                match event:
                    case Begun():
                        begun = event
                        timing = event.timing or timing
                    case FirstToken():
                        timing = event.timing
                    case Ended():
                        endings[number] = event
                    case _:
                        add(number, event)
    assert begun  # noqa: S101 - a generation begins, or raises
    return WholeGeneration(begun, endings, timing)


def json_response(body: Any, timing: Phases | None = None) -> Response:
    """Return *body* as JSON, with the timing of a cold start."""
    headers = {} if timing is None else {"Server-Timing": server_timing(timing)}
    return Response(_encoder.encode(body), headers=headers)
