"""The ASGI application that servers run."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from traceback import format_exc
from typing import TYPE_CHECKING

from pilotlight.api.http.asgi import AppState, ASGIApp, Receive, Scope, Send, normal_path
from pilotlight.api.once import Once

if TYPE_CHECKING:
    from litestar import Litestar


class Application:
    """An ASGI application: its lifespan, and its requests, which *serve* gets.

    *litestar* has the routes that a first answer does not need. It is imported for the first
    request to a path that is not in *state*, and adds its paths there.
    """

    def __init__(
        self,
        serve: ASGIApp,
        litestar: Once["Litestar"],
        state: AppState,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self.state = state
        self.lifespan = lifespan
        self._serve = serve
        self._litestar = litestar

    @property
    def litestar(self) -> "Litestar":
        """Litestar's application, with every route; the first use imports it."""
        return self._litestar.get()

    def import_rest(self) -> None:
        """Import Litestar, and each endpoint that was not called yet."""
        from pilotlight.api.framework import import_deferred  # noqa: PLC0415 - imports Litestar

        import_deferred(self.litestar)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.state.enter(scope)
        if not self.state.paths.leads_to_endpoint(normal_path(scope["path"])):
            await self._litestar.wait()
        await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Begin and end with the server (ASGI 3.0, Lifespan Protocol)."""
        during = "startup"
        await receive()
        try:
            async with self.lifespan():
                await _send_lifespan(send, f"{during}.complete")
                during = "shutdown"
                await receive()
        except BaseException:
            await _send_lifespan(send, f"{during}.failed", format_exc())
            raise
        await _send_lifespan(send, f"{during}.complete")


async def _send_lifespan(send: Send, what: str, message: str | None = None) -> None:
    event = {"type": f"lifespan.{what}"}
    if message is not None:
        event["message"] = message
    await send(event)
