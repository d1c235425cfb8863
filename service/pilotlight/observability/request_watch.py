"""What is known of one HTTP request while it is under way, for its log lines, metrics and trace."""

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
"""W3C's; version 00 has nothing more, and there is no version ff."""
_CLOUD_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")


class TraceContext(Struct, frozen=True):
    """A span, by its ids in lower-case hexadecimal."""

    trace_id: str
    span_id: str | None
    sampled: bool


@dataclass(eq=False)
class RequestWatch:
    """Follows one request; whoever learns something about it notes it here."""

    id: str
    method: str
    path: str
    """As it may be told: the route's template, or where there is no route what was asked for."""
    trace: TraceContext | None = None
    """The span that its log lines belong to: the caller's, or where traces are told our own."""
    route: str | None = None
    operation: str | None = None
    """The tag of what was asked for: `chat`, `embeddings`."""
    caller: str | None = None
    error: str | None = None
    """The code of the error that it was answered with."""
    client_gone: bool = False
    """Whether the client hung up before the answer was whole."""
    answer: AnswerRecord | None = None
    """What a model did for it."""
    answered_at: int = 0
    """When that was noted, in nanoseconds of the epoch."""
    limit: asyncio.Timeout | None = None
    """Ends it when its time is over."""
    limit_seconds: float = 0.0
    """How much time that is."""
    over: bool = False

    def record(self, status: int, seconds: float) -> RequestRecord:
        """Return what is told of the request, once it has ended."""
        return RequestRecord(
            method=self.method,
            route=self.route,
            status=status,
            seconds=seconds,
            error=self.error,
            client_gone=self.client_gone,
        )


_current: ContextVar[RequestWatch | None] = ContextVar("request_watch", default=None)


def current() -> RequestWatch | None:
    """Return the watch over the request for which this code runs, or that began what runs.

    What a request begins and does not wait for, such as a load, may outlive it: then it is `over`.
    """
    return _current.get()


@contextmanager
def watching(watch: RequestWatch) -> Iterator[None]:
    """Make *watch* the current one for the block and what it begins."""
    token = _current.set(watch)
    try:
        yield
    finally:
        watch.over = True
        _current.reset(token)


def note_answer(record: AnswerRecord) -> None:
    """Note what a model did for the current request."""
    if watch := current():
        watch.answer = record
        watch.answered_at = time.time_ns()


def note_error(code: str) -> None:
    """Note that the current request is answered with an error."""
    if watch := current():
        watch.error = code


def overdue() -> bool:
    """Tell whether the current request is being ended because its time is over."""
    watch = current()
    return watch is not None and watch.limit is not None and watch.limit.expired()


def request_id(given: str | None) -> str:
    """Return the client's id where it is fit for headers and logs, else a new one."""
    if given is not None and _ID.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"


def trace_context(headers: Mapping[str, str]) -> TraceContext | None:
    """Return the span that the client says its request belongs to.

    In W3C's `traceparent`, or in the older `X-Cloud-Trace-Context` of Google's load balancers,
    whose span is a decimal number. One that cannot be understood is ignored, as W3C has it.
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
