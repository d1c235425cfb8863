"""The guard before the routes: a request without a valid key gets a 401."""

from collections.abc import Iterable
from typing import cast

from pilotlight.access import ANONYMOUS, Authenticator, Caller
from pilotlight.api.http.asgi import ASGIApp, Receive, Scope, Send, normal_path, state_of
from pilotlight.api.http.errors import error_response
from pilotlight.api.openapi.operation import Declared, Operation
from pilotlight.errors import InvalidApiKey, RateLimited, ServiceError

_CALLER = "pilotlight_caller"
_POLICY_VIOLATION = 1008
"""Close code of a WebSocket without a valid key (RFC 6455, 7.4.1)."""


def caller_of(scope: Scope) -> Caller:
    """Return the caller of *scope*; anonymous at public endpoints, and before the guard."""
    return cast("Caller", scope.get("state", {}).get(_CALLER, ANONYMOUS))


def account_of(scope: Scope) -> str:
    """Return the account that the rate limits of the caller of *scope* belong to."""
    return caller_of(scope).account


class Guard:
    """An ASGI application before *app*, which gets only requests of known callers.

    Litestar runs its middleware and guards after the routing (2.25), so that a request without a
    key would learn which paths and methods exist. No body is read here.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        """Pass requests to public paths on without a key."""
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or send the error in the shape of its path."""
        if normal_path(scope["path"]) not in state_of(scope).paths.public:
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
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.message})
        return
    await error_response(scope, error)(scope, receive, send)


def public_paths(declared: Iterable[tuple[str, str, Declared]]) -> frozenset[str]:
    """Return the paths at which every operation that is *declared* is public."""
    public: set[str] = set()
    closed: set[str] = set()
    for path, _, operation in declared:
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
