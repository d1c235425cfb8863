"""ASGI 3.0: its types, how paths are read, and what the application keeps for its requests."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from pilotlight.api.http.paths import Paths
    from pilotlight.api.http.replay import Replays
    from pilotlight.service import Service

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_STATE = "pilotlight"
_SLASHES = re.compile("//+")


class AppState:
    """What an application keeps for its requests, each of which has it in its scope."""

    def __init__(
        self,
        service: "Service",
        replays: "Replays",
        paths: "Paths",
        *,
        max_request_bytes: int,
        max_retry_after: float,
    ) -> None:
        self.service = service
        self.replays = replays
        self.paths = paths
        self.max_request_bytes = max_request_bytes
        self.max_retry_after = max_retry_after

    def enter(self, scope: Scope) -> None:
        """Let `state_of` find this in *scope*."""
        scope[_STATE] = self


def state_of(scope: Scope) -> AppState:
    """Return the state of the application that *scope* belongs to."""
    return cast("AppState", scope[_STATE])


def normal_path(path: str) -> str:
    """Return *path* as Litestar's router reads it: without doubled slashes and one at the end."""
    return _SLASHES.sub("/", f"/{path.strip('/')}")
