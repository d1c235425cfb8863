"""Work that ends when the client hangs up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from litestar.types import Receive

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client hung up; there is nobody to answer."""


async def unless_disconnected(receive: Receive, work: Awaitable[T]) -> T:
    """Return what *work* returns, and cancel it when the client hangs up.

    To be called when the request's body has been read: what comes next is the disconnect. Raises
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
