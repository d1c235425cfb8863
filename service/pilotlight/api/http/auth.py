"""The guard before the routes: a request without a valid key gets a 401."""

from typing import Any, cast

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils import normalize_path

from pilotlight.access import ANONYMOUS, Authenticator, Caller
from pilotlight.api.http.errors import handle_error
from pilotlight.api.openapi.operation import Declared, Operation, declared
from pilotlight.errors import InvalidApiKey, RateLimited, ServiceError

_CALLER = "pilotlight_caller"
_POLICY_VIOLATION = 1008
"""Close code of a WebSocket without a valid key (RFC 6455, 7.4.1)."""


def caller_of(scope: Scope) -> Caller:
    """Return the caller of *scope*; anonymous at public endpoints, and before the guard."""
    return cast("Caller", scope.get("state", {}).get(_CALLER, ANONYMOUS))


def account_of(request: Request[Any, Any, Any]) -> str:
    """Return the account that the rate limits of *request*'s caller belong to."""
    return caller_of(request.scope).account


class Guard:
    """An ASGI application before *app*, which gets only requests of known callers.

    Litestar runs its middleware and guards after the routing (2.25), so that a request without a
    key would learn which paths and methods exist. No body is read here.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, public: frozenset[str]) -> None:
        """Pass requests to *public* paths on without a key."""
        self._app = app
        self._authenticator = authenticator
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or send the error in the shape of its path."""
        if normalize_path(scope["path"]) not in self._public:  # as Litestar's router reads it
            client = scope.get("client")
            try:
                caller = self._authenticator.authenticate(
                    list(scope["headers"]), None if client is None else client[0]
                )
            except (InvalidApiKey, RateLimited) as error:
                await _refuse(error, scope, receive, send)
                return
            scope.setdefault("state", {})[_CALLER] = caller
        await self._app(scope, receive, send)


async def _refuse(error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == ScopeType.WEBSOCKET:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.message})
        return
    request: Request[Any, Any, Any] = Request(scope, receive, send)
    response = handle_error(request, error).to_asgi_response(app=None, request=request)
    await response(scope, receive, send)


def public_paths(app: Litestar) -> frozenset[str]:
    """Return the paths of *app* at which everything is public."""
    public: set[str] = set()
    closed: set[str] = set()
    for path, _, operation in declared(app):
        is_public = isinstance(operation, Operation) and operation.public
        (public if is_public else closed).update(_spelled_out(path, operation))
    return frozenset(public - closed)  # the chat endpoint may be moved to any of them


def _spelled_out(path: str, operation: Declared) -> set[str]:
    """Return the paths of the template *path*, with each listed value of a parameter."""
    paths = {path}
    for parameter in operation.parameters if isinstance(operation, Operation) else ():
        if parameter.place == "path":
            values = parameter.schema.get("enum", ())
            paths = {one.replace(f"{{{parameter.name}}}", v) for one in paths for v in values}
    return paths
