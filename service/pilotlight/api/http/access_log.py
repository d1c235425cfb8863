"""What the access log says of a request: who asked for what, and what came of it. Never content."""

import logging
from collections.abc import Mapping
from typing import Any

from pilotlight.observability.metrics import AnswerRecord, RequestRecord
from pilotlight.observability.request_watch import RequestWatch

logger = logging.getLogger("pilotlight.access")

_PROBES = frozenset(("/livez", "/readyz", "/health", "/metrics"))
"""Asked for every few seconds by platforms; told at debug alone."""
_FINISHES = frozenset(("stop", "length", "tool_calls"))


def log_request(watch: RequestWatch, record: RequestRecord) -> None:
    """Write the one line of a request that has ended."""
    level = logging.DEBUG if watch.route in _PROBES else logging.INFO
    if logger.isEnabledFor(level):
        hung_up = ", the client hung up" if watch.client_gone else ""
        line = f"{watch.method} {watch.path} {record.status}{hung_up}"
        logger.log(level, "%s", line, extra={"fields": fields_of(watch, record)})


def fields_of(watch: RequestWatch, record: RequestRecord) -> Mapping[str, Any]:
    """Return what is known, in the order in which it is told; times in seconds."""
    known = {
        "method": watch.method,
        "path": watch.path,
        "status": record.status,
        "duration": round(record.seconds, 6),
        "client_gone": watch.client_gone or None,
        "caller": watch.caller,
        **(_answer(watch.answer) if watch.answer else {}),
        "error_code": watch.error,
    }
    return {name: value for name, value in known.items() if value is not None}


def _answer(answer: AnswerRecord) -> Mapping[str, Any]:
    told = answer.prompt_tokens or answer.completion_tokens
    return {
        "model": answer.model or None,
        "prompt_tokens": answer.prompt_tokens if told else None,
        "cached_tokens": answer.cached_tokens if told else None,
        "completion_tokens": answer.completion_tokens if told else None,
        "inputs": answer.inputs or None,
        "hold": _rounded(answer.hold),
        "queue": _rounded(answer.queue),
        "time_to_first_token": _rounded(answer.first_token),
        "finish_reason": answer.outcome if answer.outcome in _FINISHES else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
