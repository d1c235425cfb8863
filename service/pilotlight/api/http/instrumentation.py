"""Instrumentation of every request: its id, its line in the log, metrics and traces."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPMethod
from urllib.parse import quote

from pilotlight.access import ANONYMOUS
from pilotlight.api.http.access_log import log_request
from pilotlight.api.http.asgi import ASGIApp, Message, Receive, Scope, Send
from pilotlight.api.http.auth import caller_of
from pilotlight.api.http.error_bodies import ANTHROPIC, shape_at
from pilotlight.api.http.sse import Headers
from pilotlight.observability.metrics import OTHER, Metrics
from pilotlight.observability.request_context import (
    RequestContext,
    activated,
    request_id,
    trace_context,
)
from pilotlight.observability.traces import Traces

_GONE = 499
"""nginx's status for a client that disconnects before the response."""
_FAILED = 500
_METHODS = frozenset(map(str, HTTPMethod))
_LONGEST_PATH = 200
"""Characters that are logged of a path that is not served."""


class Instrumentation:
    """An ASGI application that records the requests to *app*, refused ones included.

    It wraps the router: a middleware of Litestar's sees no request without a route.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        traces: Traces,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; it is recorded when this returns."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock()
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        method = str(scope["method"])
        context = RequestContext(
            id=request_id(headers.get("x-request-id")),
            method=method if method in _METHODS else OTHER,
            path=quote(scope["path"][:_LONGEST_PATH], errors="replace"),
            trace=trace_context(headers),
        )
        exchange = _Exchange(context, receive, send, _id_headers(context.id, scope["path"]))
        span = self._traces.begin(context, scope.get("scheme", "http"), headers)
        with activated(context):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                _note_scope(context, scope)
                record = context.record(exchange.status, self._clock() - began)
                log_request(context, record)
                self._metrics.note(record)
                if span is not None:
                    self._traces.end(span, context, record)


class _Exchange:
    """The messages of one request, observed in both directions."""

    def __init__(
        self, context: RequestContext, receive: Receive, send: Send, headers: Headers
    ) -> None:
        self._context = context
        self._receive = receive
        self._send = send
        self._headers = headers
        self._whole = False
        self._status: int | None = None

    @property
    def status(self) -> int:
        """The status that was sent, or the one to record if none was."""
        if self._status is not None:
            return self._status
        return _GONE if self._context.client_gone else _FAILED

    async def receive(self) -> Message:
        """Return the next message, and note a disconnect."""
        message = await self._receive()
        # Servers send it for every connection once its response is complete.
        if message["type"] == "http.disconnect" and not self._whole:
            self._context.client_gone = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on. No coroutine: it is called for every token."""
        if message["type"] == "http.response.start":
            self._status = _GONE if self._context.client_gone else message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._whole = True
        return self._send(message)


def _id_headers(request_id: str, path: str) -> Headers:
    """Return the headers with the request id, by the names that clients of *path* read."""
    value = request_id.encode()
    headers = [(b"x-request-id", value)]
    return [*headers, (b"request-id", value)] if shape_at(path) is ANTHROPIC else headers


def _note_scope(context: RequestContext, scope: Scope) -> None:
    """Note the route and the caller, which the layers below wrote to *scope*."""
    template = scope.get("path_template")
    if isinstance(template, str):
        context.path = context.route = template
    operation = scope.get("operation") or getattr(scope.get("route_handler"), "opt", {}).get(
        "operation"
    )
    context.operation = getattr(operation, "tag", None)
    caller = caller_of(scope)
    context.caller = None if caller is ANONYMOUS else caller.name
