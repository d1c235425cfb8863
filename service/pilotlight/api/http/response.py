"""A response that is one body."""

from collections.abc import Mapping

from pilotlight.api.http.asgi import Receive, Scope, Send

JSON = "application/json"


class Response:
    """An ASGI application that sends *content*."""

    def __init__(
        self,
        content: bytes,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str = JSON,
    ) -> None:
        self.content = content
        self.status = status
        self.headers = headers or {}
        self.media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it whole; servers leave the body out for HEAD."""
        headers = [
            *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.content)).encode()),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.content, "more_body": False})
