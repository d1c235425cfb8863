"""What a trace says of a request and of a load: spans with OpenTelemetry's names, as plain values.

Attributes follow OpenTelemetry's conventions for HTTP servers and for generative AI
(opentelemetry.io/docs/specs/semconv); what those have no name for begins with `pilotlight.`. No
attribute holds what a client wrote.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from pilotlight.metrics import AnswerRecord, LoadRecord, RequestRecord

Attributes: TypeAlias = Mapping[str, str | bool | int | float | Sequence[str]]

_PROVIDER = "pilotlight"
_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "tokens": "tokenize",
}
"""What the conventions call an endpoint, by its tag; they have no name for the last."""
_FINISHES = frozenset(("stop", "length", "tool_calls"))
_NO_ERRORS = _FINISHES | {"cancelled", "tokenized"}
_SERVER_ERRORS = 500


class Span(Struct, frozen=True, kw_only=True):
    """A span inside of a request or a load; seconds count from where the outermost begins."""

    name: str
    start: float
    end: float
    attributes: Attributes = {}
    error: str | None = None
    """What it failed with."""
    children: "Sequence[Span]" = ()


def request_attributes(record: RequestRecord) -> Attributes:
    """Return what the end of a request adds to its server span."""
    attributes: dict[str, str | int | bool] = {"http.response.status_code": record.status}
    if record.route is not None:
        attributes["http.route"] = record.route
    if record.client_gone:
        attributes["pilotlight.client_gone"] = True
    return attributes


def request_error(record: RequestRecord) -> str | None:
    """Return what the server failed with; what the client did wrong is no error of the server's.

    A stream that breaks has sent its 200 before.
    """
    if record.status >= _SERVER_ERRORS:
        return record.error or str(record.status)
    return record.error if record.status == 200 else None  # noqa: PLR2004 - HTTP's own


def answer_span(record: AnswerRecord, tag: str | None) -> Span:
    """Return the span of what a model did for one request to an endpoint with *tag*."""
    took = record.took or 0.0
    operation = _OPERATIONS.get(tag or "", "generate")
    attributes: dict[str, str | int | Sequence[str]] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDER,
    }
    if record.model:
        attributes |= {
            "gen_ai.request.model": record.model,
            "gen_ai.response.model": record.model,
        }
    if record.prompt_tokens:
        attributes["gen_ai.usage.input_tokens"] = record.prompt_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
    if record.completion_tokens:
        attributes["gen_ai.usage.output_tokens"] = record.completion_tokens
    if record.inputs:
        attributes["pilotlight.embedding.inputs"] = record.inputs
    if record.outcome in _FINISHES:
        attributes["gen_ai.response.finish_reasons"] = [record.outcome]
    return Span(
        name=f"{operation} {record.model}" if record.model else operation,
        start=0.0,
        end=took,
        attributes=attributes,
        error=None if record.outcome in _NO_ERRORS else record.outcome,
        children=[
            Span(name=name, start=start, end=end) for name, start, end in _phases(record, took)
        ],
    )


def _phases(record: AnswerRecord, took: float) -> list[tuple[str, float, float]]:
    """Return the phases that a request came to; the last of one that was cut short ends with it."""
    phases = [] if record.hold is None else [("hold", 0.0, record.hold)]
    at = record.submitted
    for name, seconds in (
        ("queue", record.queue),
        ("prefill", record.prefill),
        ("decode", record.decode),
    ):
        if at is None or (name == "decode" and not _decodes(record)):
            break
        end = took if seconds is None else at + seconds
        phases.append((name, at, end))
        at = None if seconds is None else end
    return phases


def _decodes(record: AnswerRecord) -> bool:
    """Tell whether tokens were generated: embeddings end with their prefill."""
    return record.completion_tokens > 0 or record.decode is None


def load_span(record: LoadRecord) -> Span:
    """Return the span of a load; its phases but for the fetch follow each other to its end."""
    children = []
    end = record.seconds
    for name, seconds in reversed(list(record.phases.items())):
        if name == "fetch":
            children.append(Span(name=name, start=0.0, end=seconds))
        else:
            children.append(Span(name=name, start=max(end - seconds, 0.0), end=end))
            end -= seconds
    attributes = {"gen_ai.request.model": record.model, "gen_ai.provider.name": _PROVIDER}
    if record.backend:
        attributes["pilotlight.backend"] = record.backend
    return Span(
        name=f"load {record.model}",
        start=0.0,
        end=record.seconds,
        attributes=attributes,
        error=None if record.outcome == "ready" else record.outcome,
        children=children[::-1],
    )
