"""Logs, as JSON for collectors and as text for people."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from pilotlight.config import Settings
from pilotlight.observability.logs import (
    CloudLogging,
    JsonFormatter,
    TextFormatter,
    configure_logging,
)
from pilotlight.observability.request_context import RequestContext, TraceContext, activated

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FIELDS = {"method": "POST", "path": "/v1/x", "status": 200, "duration": 0.25, "model": "m"}


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Give the process's logging back as it was."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    handlers, levels = root.handlers[:], (root.level, uvicorn.level)
    root.handlers[:] = []  # those are pytest's, which configuring would close
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    uvicorn.setLevel(levels[1])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(message: str, *args: object, level: int = logging.INFO, exc_info=None):
    """Return a log record of 2026-01-01."""
    made = logging.LogRecord("pilotlight.pool", level, __file__, 1, message, args, exc_info)
    made.created = 1767225600.5
    return made


def test_line_is_a_json_object():
    """A line has the time, the severity, the logger and the message, under collectors' names."""
    line = JsonFormatter().format(record("loaded %s in %.1f s", "é", 2.0))
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.500000+00:00",
        "severity": "INFO",
        "logger": "pilotlight.pool",
        "message": "loaded é in 2.0 s",
    }


def test_exception_is_a_field_of_the_one_line():
    """A traceback stays inside its line."""

    def fail() -> None:
        raise ValueError("first\nsecond")

    try:
        fail()
    except ValueError:
        line = JsonFormatter().format(record("x", level=logging.ERROR, exc_info=sys.exc_info()))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["severity"] == "ERROR"
    assert fields["exception"].startswith("Traceback")
    assert fields["exception"].endswith("\nValueError")  # what it says may quote a prompt


@pytest.mark.parametrize("message", ['"quoted"\n\ttab', "\x00\x1b[31m", "name \udcff", "\ud83d"])
def test_strange_text_stays_one_line(message):
    """Control characters are escaped, and a file name that is not UTF-8 is logged nevertheless."""
    line = JsonFormatter().format(record("%s", message))
    assert line.isprintable()
    assert json.loads(line)["message"] == message.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("log_format", "stream", "as_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", _Terminal, False),
        ("json", _Terminal, True),
        ("text", io.StringIO, False),
    ],
)
def test_format_follows_the_setting_and_the_terminal(monkeypatch, log_format, stream, as_json):
    """`auto` is text for people at a terminal, and JSON for everything else."""
    monkeypatch.setattr(sys, "stderr", stream())
    configure_logging(Settings(log_format=log_format))
    logging.getLogger("pilotlight.x").warning("hello")
    line = sys.stderr.getvalue()
    assert line.startswith("{") == as_json
    assert "hello" in line
    if not as_json:
        assert line == "WARNING pilotlight.x: hello\n"


def test_level_is_the_least_that_is_logged(monkeypatch):
    """What is below the level is not written; of uvicorn only warnings and errors."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logging(Settings(log_level="info", log_format="text"))
    logging.getLogger("a").debug("one")
    logging.getLogger("a").info("two")
    logging.getLogger("uvicorn.error").info("three")
    assert sys.stderr.getvalue() == "INFO    a: two\n"


def context(trace: TraceContext | None = None) -> RequestContext:
    return RequestContext(id="req_1", method="POST", path="/v1/x", trace=trace)


def access() -> logging.LogRecord:
    made = record("POST /v1/x 200")
    made.fields = FIELDS
    return made


def test_a_line_of_a_request_has_its_id():
    """Each line that is written for a request says which, and no line after it."""
    with activated(one := context()):
        assert json.loads(JsonFormatter().format(record("x")))["request_id"] == "req_1"
        assert TextFormatter().format(record("x")) == "INFO    pilotlight.pool: x [req_1]"
        one.over = True  # as for a load that goes on when its request has ended
        assert "req_1" not in JsonFormatter().format(record("x"))
        assert "req_1" not in TextFormatter().format(record("x"))
    assert "req_1" not in JsonFormatter().format(record("x"))


def test_a_line_of_a_traced_request_has_its_span():
    """Logs and traces find each other by OpenTelemetry's names."""
    with activated(context(TraceContext(TRACE, SPAN, sampled=True))):
        line = json.loads(JsonFormatter().format(record("x")))
    assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)
    with activated(context(TraceContext(TRACE, None, sampled=True))):
        assert "span_id" not in JsonFormatter().format(record("x"))


def test_fields_are_fields():
    """An access line's fields stand beside its message; people read them behind it."""
    line = json.loads(JsonFormatter().format(access()))
    assert {name: line[name] for name in FIELDS} == FIELDS
    assert line["message"] == "POST /v1/x 200"
    assert "httpRequest" not in line
    assert TextFormatter().format(access()) == (
        "INFO    pilotlight.pool: POST /v1/x 200 duration=0.250 model=m"
    )


def test_cloud_logging_has_names_of_its_own():
    """Under Cloud Run and Knative a line is told to be a request's, and beside its trace."""
    cloud = JsonFormatter(CloudLogging("p"))
    with activated(context(TraceContext(TRACE, SPAN, sampled=True))):
        line = json.loads(cloud.format(access()))
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert line["logging.googleapis.com/spanId"] == SPAN
    assert line["logging.googleapis.com/trace_sampled"] is True
    assert line["httpRequest"] == {
        "requestMethod": "POST",
        "requestUrl": "/v1/x",
        "status": 200,
        "latency": "0.250000s",
    }
    assert "trace_id" not in line
    with activated(context(TraceContext(TRACE, None, sampled=False))):
        line = json.loads(JsonFormatter(CloudLogging(None)).format(record("x")))
    assert line["logging.googleapis.com/trace"] == TRACE
    assert "logging.googleapis.com/spanId" not in line
    assert "httpRequest" not in line


@pytest.mark.parametrize(
    ("platform", "environ", "trace"),
    [
        ("cloud_run", {"GOOGLE_CLOUD_PROJECT": "p"}, f"projects/p/traces/{TRACE}"),
        ("knative", {}, TRACE),
        ("kubernetes", {"GOOGLE_CLOUD_PROJECT": "p"}, None),
    ],
)
def test_the_platform_chooses_the_names(monkeypatch, platform, environ, trace):
    """Cloud Logging's names are written where it reads."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure_logging(Settings(log_format="json", platform=platform), environ)
    with activated(context(TraceContext(TRACE, SPAN, sampled=True))):
        logging.getLogger("a").warning("hello")
    line = json.loads(sys.stderr.getvalue())
    assert line.get("logging.googleapis.com/trace") == trace
    assert ("trace_id" in line) == (trace is None)
