"""Log to standard error, one line a record: text for people, JSON for collectors."""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec
from msgspec import Struct

from pilotlight.config import Settings
from pilotlight.observability.request_context import RequestContext, TraceContext, current
from pilotlight_backend.redaction import trace


class _Formatter(logging.Formatter):
    """Formats exceptions without their messages, which may contain what a client sent."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name and method
        """Return the class and the frames of the exception in *ei*, a `sys.exc_info` tuple."""
        return "" if ei[1] is None else trace(ei[1])


class JsonFormatter(_Formatter):
    """One JSON object a line, with the field names that Cloud Logging reads: severity, message."""

    def __init__(self, cloud: "CloudLogging | None" = None) -> None:
        """*cloud* adds the fields of Cloud Logging for traces and HTTP requests."""
        super().__init__()
        self._cloud = cloud

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON, with the id of its request."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._request(),
            **fields,
        }
        if self._cloud is not None and "status" in fields:
            line["httpRequest"] = http_request(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _encodable(value) for key, value in line.items()}).decode()

    def _request(self) -> Mapping[str, Any]:
        context = _under_way()
        if context is None:
            return {}
        trace = context.trace
        if trace is None:
            return {"request_id": context.id}
        if self._cloud is not None:
            return {"request_id": context.id, **self._cloud.trace(trace)}
        span = {} if trace.span_id is None else {"span_id": trace.span_id}
        return {"request_id": context.id, "trace_id": trace.trace_id, **span}


class TextFormatter(_Formatter):
    """A line for people, with the fields of the record and the id of its request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the exception formatted here and not by another handler."""
        record.exc_text = None
        return super().format(record)

    def __init__(self) -> None:
        super().__init__("%(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without the traceback."""
        fields = " ".join(
            f"{name}={_plain(value)}"
            for name, value in getattr(record, "fields", {}).items()
            if name not in _IN_MESSAGE
        )
        context = _under_way()
        parts = (super().formatMessage(record), fields, f"[{context.id}]" if context else "")
        return " ".join(part for part in parts if part)


_IN_MESSAGE = frozenset(("method", "path", "status", "client_gone"))
"""Fields that are part of the message of an access line."""


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if text.isprintable() and " " not in text else ascii(text)


def _under_way() -> RequestContext | None:
    """Return the request that a line belongs to; None once it is over: a load may outlive it."""
    context = current()
    return None if context is None or context.over else context


class CloudLogging(Struct, frozen=True):
    """The special fields of Cloud Logging (cloud.google.com/logging/docs/structured-logging)."""

    project: str | None
    """The project of the traces; without it a trace is only its id."""

    def trace(self, trace: TraceContext) -> Mapping[str, Any]:
        """Return the fields that link a line to its trace."""
        name = trace.trace_id
        if self.project is not None:
            name = f"projects/{self.project}/traces/{name}"
        span = {} if trace.span_id is None else {"logging.googleapis.com/spanId": trace.span_id}
        return {
            "logging.googleapis.com/trace": name,
            **span,
            "logging.googleapis.com/trace_sampled": trace.sampled,
        }


def http_request(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the *fields* of an access line as an `HttpRequest` of `LogEntry`."""
    return {
        "requestMethod": fields["method"],
        "requestUrl": fields["path"],
        "status": fields["status"],
        "latency": f"{fields['duration']:.6f}s",
    }


def _encodable(value: Any) -> Any:
    """Escape lone surrogates, which file names can contain and JSON cannot."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def configure_logging(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Send the process's logs to standard error. Called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    cloud = None
    if settings.platform in ("cloud_run", "knative"):
        cloud = CloudLogging(environ.get("GOOGLE_CLOUD_PROJECT") or None)
    handler.setFormatter(JsonFormatter(cloud) if as_json else TextFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread
    # uvicorn logs its start and stop, which the server logs already.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """Log an uncaught exception; Python would print its message."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, frames)
        return
    logging.getLogger("pilotlight").critical(
        "uncaught exception, the process exits", exc_info=(kind, error, frames)
    )


def _log_thread(args: threading.ExceptHookArgs) -> None:
    """Log an uncaught exception of a thread."""
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "unknown"
        logging.getLogger("pilotlight").error(
            "uncaught exception in the thread %r", name, exc_info=args.exc_value
        )
