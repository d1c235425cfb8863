"""Work that is cancelled when the client disconnects."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pilotlight.api.http.asgi import Receive

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client disconnected before the response."""


async def unless_disconnected(receive: Receive, work: Awaitable[T]) -> T:
    """Return what *work* returns, and cancel it when the client disconnects.

    Call it after the request's body has been read, when the next message is the disconnect. Raises
    `ClientDisconnected`, or what *work* raises.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        raise ClientDisconnected
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
