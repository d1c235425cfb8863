"""Messages of a silent stream: the progress of the load, then pings."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from pilotlight.errors import ServiceError
from pilotlight.models.state import ModelStatus

_LOADING_EVERY = 1.0
"""Seconds between two messages about the loading."""


class ShownLoading(Struct, frozen=True):
    """The progress of a load, and how to encode it."""

    status: Callable[[], Awaitable[ModelStatus]]
    encode: Callable[[ModelStatus], bytes]


class KeepAlive:
    """The keep-alive messages of one stream."""

    def __init__(self, ping: bytes, interval: float, loading: ShownLoading | None = None) -> None:
        """Send *ping* every *interval* seconds, 0 for never; *loading* until the choices begin."""
        self._ping = ping
        self._interval = interval
        self._loading = loading

    @property
    def shows_loading(self) -> bool:
        """Whether the stream may begin while its model is loading."""
        return self._loading is not None

    @property
    def seconds(self) -> float | None:
        """How long the stream may be silent; None for ever."""
        return _LOADING_EVERY if self._loading else self._interval or None

    def begin(self) -> None:
        """Note that the choices have begun."""
        self._loading = None

    async def message(self) -> bytes:
        """Return the next message."""
        if self._loading is None:
            return self._ping
        try:
            return self._loading.encode(await self._loading.status())
        except ServiceError:  # the model is gone; the request itself gets the error
            return self._ping
