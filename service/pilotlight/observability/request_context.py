"""The context of the current HTTP request, for its log lines, metrics and trace."""

import asyncio
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from msgspec import Struct

from pilotlight.observability.metrics import AnswerRecord, RequestRecord

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_TRACEPARENT = re.compile(
    r"(?!ff|00-.{53})[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
"""W3C Trace Context; version 00 has exactly these fields, and version ff is invalid."""
_CLOUD_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")


class TraceContext(Struct, frozen=True):
    """A span, by its ids in lower-case hexadecimal."""

    trace_id: str
    span_id: str | None
    sampled: bool


@dataclass(eq=False)
class RequestContext:
    """The facts about one request, set as they become known."""

    id: str
    method: str
    path: str
    """The template of the route, or the requested path if it has no route."""
    trace: TraceContext | None = None
    """The span of its log lines: the client's, or the server's if traces are enabled."""
    route: str | None = None
    operation: str | None = None
    """The tag of the endpoint: `chat`, `embeddings`."""
    caller: str | None = None
    error: str | None = None
    """The code of its error response."""
    client_gone: bool = False
    """Whether the client disconnected before the response was complete."""
    resumed: bool = False
    """Whether its response continues the stream of an earlier request."""
    answer: AnswerRecord | None = None
    """The record of its request to a model."""
    answered_at: int = 0
    """The time of that record, in nanoseconds of the epoch."""
    limit: asyncio.Timeout | None = None
    """The timeout of `request_timeout`."""
    limit_seconds: float = 0.0
    """The seconds of that timeout."""
    over: bool = False

    def record(self, status: int, seconds: float) -> RequestRecord:
        """Return the record of the request, once it has ended."""
        return RequestRecord(
            method=self.method,
            route=self.route,
            status=status,
            seconds=seconds,
            error=self.error,
            client_gone=self.client_gone,
        )


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current() -> RequestContext | None:
    """Return the context of the request that this code runs for, or that started this task.

    A task of a request, such as a load, may outlive it: then the context is `over`.
    """
    return _current.get()


@contextmanager
def activated(context: RequestContext) -> Iterator[None]:
    """Make *context* the current one for the block and the tasks that it starts."""
    token = _current.set(context)
    try:
        yield
    finally:
        context.over = True
        _current.reset(token)


def note_answer(record: AnswerRecord) -> None:
    """Set the model record of the current request."""
    if context := current():
        context.answer = record
        context.answered_at = time.time_ns()


def note_error(code: str) -> None:
    """Set the error code of the current request."""
    if context := current():
        context.error = code


def note_resumed() -> None:
    """Note that the current request resumes the stream of an earlier one."""
    if context := current():
        context.resumed = True


def overdue() -> bool:
    """Return whether the current request is cancelled because of its timeout."""
    context = current()
    return context is not None and context.limit is not None and context.limit.expired()


def request_id(given: str | None) -> str:
    """Return the client's id if it is safe in headers and logs, else a new one."""
    if given is not None and _ID.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"


def trace_context(headers: Mapping[str, str]) -> TraceContext | None:
    """Return the parent span from the headers of a request.

    From W3C's `traceparent`, or the older `X-Cloud-Trace-Context` of Google's load balancers, whose
    span id is a decimal number. Invalid headers are ignored, as W3C specifies.
    """
    if parent := _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip()):
        trace_id, span_id, flags = parent.groups()
        if int(trace_id, 16) and int(span_id, 16):
            return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))
    if cloud := _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", "").strip()):
        trace_id, number, option = cloud.groups()
        span = int(number or 0) & (2**64 - 1)
        return TraceContext(trace_id.lower(), f"{span:016x}" if span else None, option == "1")
    return None
