"""Requests whose head is not HTTP, or too large: the connection passes them on with their error.

So they are recorded like all others, and answered in their clients' shape.
"""

from pilotlight.api.http.asgi import ASGIApp, Receive, Scope, Send
from pilotlight.api.http.errors import error_response
from pilotlight.errors import ServiceError

_ERROR = "pilotlight.unparsed"


def mark_unparsed(scope: Scope, error: ServiceError) -> None:
    """Let `Unparsed` answer the request of *scope* with *error*."""
    scope[_ERROR] = error


class Unparsed:
    """An ASGI application before *app* that answers requests whose head could not be parsed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with its error."""
        error = scope.get(_ERROR)
        app = self._app if error is None else error_response(scope, error)
        await app(scope, receive, send)
