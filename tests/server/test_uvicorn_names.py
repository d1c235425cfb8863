"""The private parts of uvicorn that the server overrides or reads.

They may change in any release, so uvicorn is pinned to one minor version. These tests name what to
check before the pin is raised.
"""

import importlib.metadata
import inspect
import tomllib
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# The methods that HttpConnection overrides: each calls uvicorn's with the same arguments.
OVERRIDDEN = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "eof_received": [],
    "on_message_begin": [],
    "on_url": ["url"],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_body": ["body"],
    "on_message_complete": [],
    "handle_websocket_upgrade": [],
    "_should_upgrade": [],
    "_unsupported_upgrade_warning": [],
    "_start_asgi_task": ["cycle", "app"],
    "send_400_response": ["msg"],
    "_unset_keepalive_if_required": [],
    "shutdown": [],
}
PROTOCOL_ATTRIBUTES = (
    "cycle",
    "transport",
    "loop",
    "timeout_keep_alive_task",
    "url",
    "headers",
    "parser",
    "pipeline",
    "app",
    "app_state",
    "asgi_version",
    "scheme",
    "server",
    "client",
    "flow",
    "server_state",
    "access_logger",
)
CYCLE_ARGUMENTS = [
    "scope",
    "transport",
    "flow",
    "logger",
    "access_logger",
    "access_log",
    "default_headers",
    "message_event",
    "expect_100_continue",
    "keep_alive",
    "on_response",
]
CYCLE_ATTRIBUTES = (
    "scope",
    "transport",
    "keep_alive",
    "disconnected",
    "more_body",
    "message_event",
    "response_complete",
    "waiting_for_100_continue",
    "chunked_encoding",
    "expected_content_length",
)
SERVER_ATTRIBUTES = ("server_state", "servers", "should_exit", "force_exit")


@pytest.mark.parametrize(("method", "parameters"), OVERRIDDEN.items())
def test_protocol_has_the_method(method, parameters):
    """With the same parameters, in order."""
    signature = inspect.signature(getattr(HttpToolsProtocol, method))
    assert list(signature.parameters)[1:] == parameters


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (HttpToolsProtocol, PROTOCOL_ATTRIBUTES),
        (RequestResponseCycle, CYCLE_ATTRIBUTES),
        (uvicorn.Server, SERVER_ATTRIBUTES),
    ],
)
def test_class_sets_the_attributes(kind, names):
    """Each is assigned somewhere in the class."""
    source = inspect.getsource(kind)
    assert [name for name in names if f"self.{name}" not in source] == []


def test_a_request_is_made_with_these_arguments():
    """A head that cannot be parsed becomes one too."""
    assert list(inspect.signature(RequestResponseCycle).parameters) == CYCLE_ARGUMENTS


def test_the_installed_minor_version_is_the_pinned_one():
    """A wider pin would let an untested release in."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    dependencies = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    (pin,) = (one for one in dependencies if one.startswith("uvicorn"))
    major, minor, _ = importlib.metadata.version("uvicorn").split(".")
    assert pin == f"uvicorn>={major}.{minor},<{major}.{int(minor) + 1}"
