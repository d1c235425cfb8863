"""What a stream says while it has nothing else to say: how its model loads, then pings."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from pilotlight.errors import ServiceError
from pilotlight.models.state import ModelStatus

_LOADING_EVERY = 1.0
"""Seconds from one word about the loading to the next."""


class ShownLoading(Struct, frozen=True):
    """How a client wants to see its model loading."""

    status: Callable[[], Awaitable[ModelStatus]]
    encode: Callable[[ModelStatus], bytes]


class KeepAlive:
    """The words of one stream."""

    def __init__(self, ping: bytes, interval: float, loading: ShownLoading | None = None) -> None:
        """Say *ping* every *interval* seconds, 0 for never; *loading* until the answer begins."""
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
        """Note that the answer has begun."""
        self._loading = None

    async def words(self) -> bytes:
        """Return what to say."""
        if self._loading is None:
            return self._ping
        try:
            return self._loading.encode(await self._loading.status())
        except ServiceError:  # the model is gone; the request is told so in its own time
            return self._ping
