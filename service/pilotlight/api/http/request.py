"""A request, as the endpoints that need no framework see it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from urllib.parse import parse_qsl

from pilotlight.api.http.asgi import Receive, Scope, state_of
from pilotlight.api.http.disconnect import ClientDisconnected
from pilotlight.errors import RequestTooLarge


class Headers(Mapping[str, str]):
    """A request's headers, by names in any case. Of a repeated one, the first counts."""

    def __init__(self, scope: Scope) -> None:
        self._fields = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ]
        self._first: dict[str, str] = dict(reversed(self._fields))

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def getall(self, name: str) -> list[str]:
        """Return every value of the header *name*."""
        return [value for field, value in self._fields if field == name.lower()]


class Request:
    """A request: its scope, and the messages with its body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive

    @cached_property
    def headers(self) -> Headers:
        """The headers."""
        return Headers(self.scope)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query parameters; of a repeated one, the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces; raises `RequestTooLarge` or `ClientDisconnected`.

        The length that the client announces is checked before a byte is read.
        """
        most = state_of(self.scope).max_request_bytes
        read = 0
        if int(self.headers.get("content-length", "0")) > most:
            raise _too_large()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            if message["type"] == "http.request":
                read += len(message["body"])
                if read > most:
                    raise _too_large()
                yield message["body"]
                if not message.get("more_body", False):
                    return


def _too_large() -> RequestTooLarge:
    return RequestTooLarge("the body is larger than this server accepts")
