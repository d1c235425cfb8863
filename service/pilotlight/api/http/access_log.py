"""The access log: one line for each request, never with content."""

import logging
from collections.abc import Mapping
from typing import Any

from pilotlight.observability.metrics import AnswerRecord, RequestRecord
from pilotlight.observability.request_context import RequestContext

logger = logging.getLogger("pilotlight.access")

_PROBES = frozenset(("/livez", "/readyz", "/health", "/metrics"))
"""Platforms probe them every few seconds, so they are logged at debug."""
_FINISHES = frozenset(("stop", "length", "tool_calls"))


def log_request(context: RequestContext, record: RequestRecord) -> None:
    """Write the one line of a request that has ended."""
    level = logging.DEBUG if context.route in _PROBES else logging.INFO
    if logger.isEnabledFor(level):
        hung_up = ", the client disconnected" if context.client_gone else ""
        resumed = ", resumed" if context.resumed else ""
        line = f"{context.method} {context.path} {record.status}{resumed}{hung_up}"
        logger.log(level, "%s", line, extra={"fields": fields_of(context, record)})


def fields_of(context: RequestContext, record: RequestRecord) -> Mapping[str, Any]:
    """Return the fields of the line in their order; times in seconds."""
    known = {
        "method": context.method,
        "path": context.path,
        "status": record.status,
        "duration": round(record.seconds, 6),
        "client_gone": context.client_gone or None,
        "resumed": context.resumed or None,
        "caller": context.caller,
        **(_answer(context.answer) if context.answer else {}),
        "error_code": context.error,
    }
    return {name: value for name, value in known.items() if value is not None}


def _answer(answer: AnswerRecord) -> Mapping[str, Any]:
    counted = answer.prompt_tokens or answer.completion_tokens
    return {
        "model": answer.model or None,
        "prompt_tokens": answer.prompt_tokens if counted else None,
        "cached_tokens": answer.cached_tokens if counted else None,
        "completion_tokens": answer.completion_tokens if counted else None,
        "inputs": answer.inputs or None,
        "hold": _rounded(answer.hold),
        "queue": _rounded(answer.queue),
        "time_to_first_token": _rounded(answer.first_token),
        "finish_reason": answer.outcome if answer.outcome in _FINISHES else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
