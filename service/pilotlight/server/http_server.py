"""uvicorn with a shutdown that drains requests first."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server

from pilotlight.api.application import Application
from pilotlight.api.http.asgi import ASGIApp
from pilotlight.config import Settings
from pilotlight.server import shutdown
from pilotlight.server.connection import connection_class
from pilotlight.service import Service

logger = logging.getLogger(__name__)

_FIRST_REQUEST = 0.5
"""Seconds after a preload in which a request is expected: those that came during the start are
still in the socket if the model was ready first."""
_FIRST_ANSWERS = 10.0
"""Seconds after that for which imports wait until no request is in flight. The requests that waited
for the model need the CPU; a server that is never idle imports all the same."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class HttpServer(Server):
    """A uvicorn server that exits once the requests in flight have ended."""

    def __init__(
        self, app: Application, service: Service, settings: Settings, listener: socket.socket
    ) -> None:
        super().__init__(_config(app, service, settings))
        self._service = service
        self._import_rest = app.import_rest
        self._grace = settings.grace
        self._listener = listener
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and handle signals."""
        await super().startup(sockets)
        self._settling = asyncio.create_task(settle(self._service, self._import_rest))
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._draining:  # the second signal
            self.should_exit = self.force_exit = True
            return
        logger.info("shutting down: requests in flight have %g s", self._grace)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._service.drain(self._grace)
            connections: Any = self.server_state.connections  # HttpConnection, and WebSockets
            await shutdown.close(self._listener, self.servers, connections)
        finally:
            self.should_exit = True


def _config(app: ASGIApp, service: Service, settings: Settings) -> Config:
    connection = connection_class(
        receive_timeout=settings.receive_timeout, max_header_bytes=settings.max_header_bytes
    )
    return Config(
        closing_on_shutdown(app, lambda: service.admission.closed),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `access` decides which peers' headers to trust
        timeout_graceful_shutdown=1,
        timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # passed on to call_later, which takes a float
        http=connection,
    )


def closing_on_shutdown(app: ASGIApp, ends: Callable[[], bool]) -> ASGIApp:
    """Wrap *app* so that responses close their connections once *ends* returns True.

    A client that keeps its connection could send its next request just as that is closed.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if message["type"] == "http.response.start" and ends():
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = message | {"headers": headers}
            await send(message)

        await app(scope, receive, send_last if scope["type"] == "http" else send)

    return wrapped


async def settle(service: Service, import_rest: Callable[[], None]) -> None:
    """Enable garbage collection, without what lives as long as the process, and *import_rest*.

    There are 80,000 objects after startup, and a full collection over all of them delays every
    request by 60 ms. Preloaded models add more. Nothing is frozen later: garbage of unloaded models
    would never be collected.

    The endpoints that were not called are imported once the first model is ready and idle, so that
    neither the first request nor a later one waits for them.
    """
    gc.freeze()
    gc.enable()
    if service.preload.names:
        await service.preloaded()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_REQUEST):
                await service.admission.served()
        await service.admission.drained(_FIRST_ANSWERS)
        await asyncio.to_thread(import_rest)
        gc.freeze()
    else:
        await service.admission.served()
        await asyncio.to_thread(import_rest)
