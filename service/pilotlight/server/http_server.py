"""uvicorn, told what it serves, and when and how to end."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from litestar.types import ASGIApp

from pilotlight.config import Settings
from pilotlight.server import shutdown
from pilotlight.server.connection import connection_class
from pilotlight.service import Service

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class HttpServer(uvicorn.Server):
    """uvicorn, told to end only when the requests have ended."""

    def __init__(
        self, app: ASGIApp, service: Service, settings: Settings, listener: socket.socket
    ) -> None:
        super().__init__(_config(app, service, settings))
        self._service = service
        self._grace = settings.grace
        self._listener = listener
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and to be told to end."""
        await super().startup(sockets)
        self._aside = asyncio.create_task(set_aside(self._service))
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end)

    def _end(self) -> None:
        if self._draining:  # asked twice
            self.should_exit = self.force_exit = True
            return
        logger.info("shutting down: requests in flight have %g s", self._grace)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._service.drain(self._grace)
            connections: Any = self.server_state.connections  # ours, and WebSockets
            await shutdown.close(self._listener, self.servers, connections)
        finally:
            self.should_exit = True


def _config(app: ASGIApp, service: Service, settings: Settings) -> uvicorn.Config:
    connection = connection_class(
        receive_timeout=settings.receive_timeout, max_header_bytes=settings.max_header_bytes
    )
    return uvicorn.Config(
        hanging_up(app, lambda: service.admission.closed),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who the peer is decides what is believed; a header cannot say it
        timeout_graceful_shutdown=1,
        timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # it is call_later's
        http=connection,
    )


def hanging_up(app: ASGIApp, ends: Callable[[], bool]) -> ASGIApp:
    """Return *app* so that its answers end their connections once *ends* says that it ends.

    A client that keeps its connection would send the next request as that is closed.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if message["type"] == "http.response.start" and ends():
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = message | {"headers": headers}
            await send(message)

        await app(scope, receive, send_last if scope["type"] == "http" else send)

    return answer


async def set_aside(service: Service) -> None:
    """Let the collector of garbage pass over what is there for good, and do its work from now on.

    There are 80,000 such objects: to look at all of them, as a full collection does, holds every
    request up for 60 ms. What preloading brings is there for good too. Nothing is set aside later:
    what a model leaves that is unloaded would never be found.
    """
    gc.freeze()
    gc.enable()
    await service.preloaded()
    gc.freeze()
