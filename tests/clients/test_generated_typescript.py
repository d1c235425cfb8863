"""Types that openapi-typescript makes of our document, and openapi-fetch that speaks by them.

The program is `node/generated_client.ts`; the compiler has held it, strictly, to the generated
types before any of this runs.

openapi-fetch is older than it could be: since 0.16 it loses every field whose only type is null
(openapi-typescript issue 2717), and refuses requests that are declared as what they are.
"""

from typing import Any

import pytest

from tests.clients.programs import Node
from tests.clients.servers import FakeServer
from tests.conftest import LiveServer, chat


def ask(node: Node, case: str, server: LiveServer | FakeServer, request: Any = None) -> Any:
    """Return what the program makes of *case*."""
    return node.program("generated_client", case, server.url, request or {})


def test_a_question_as_the_types_have_it(node: Node, spark: LiveServer):
    """Messages, parts, tools: what the compiler lets through is answered."""
    said = ask(node, "question", spark)

    assert "4" in said["content"]
    assert (said["object"], said["role"], said["index"]) == ("chat.completion", "assistant", 0)
    assert said["total"] > 0


def test_an_answer_and_its_stream(node: Node, troubled: FakeServer):
    """The pieces of a stream, typed as chunks, are the answer."""
    whole = ask(node, "answer", troubled, chat())
    streamed = ask(node, "stream", troubled, chat())

    assert (whole["content"], whole["reason"]) == ("Hello.", "stop")
    assert "".join(streamed["pieces"]) == "Hello."
    assert len(streamed["pieces"]) > 1
    assert streamed["reason"] == "stop"


@pytest.mark.parametrize(
    ("model", "fields", "error"),
    [
        ("m", {"stop": ""}, {"status": 400, "code": "invalid_request_error", "param": "stop"}),
        ("nobody", {}, {"status": 404, "code": "model_not_found", "param": "model"}),
        ("broken", {}, {"status": 500, "code": "inference_error", "param": None}),
        ("bad", {}, {"status": 503, "code": "model_load_failed", "param": None}),
    ],
)
def test_an_error_is_typed(node: Node, troubled: FakeServer, model: str, fields: Any, error: Any):
    """Each documented status has the one body, with all its fields."""
    told = ask(node, "answer", troubled, chat(model) | fields)

    assert {key: told[key] for key in error} == error
    assert isinstance(told["message"], str)
    assert isinstance(told["type"], str)


def test_a_full_queue(node: Node, full: FakeServer):
    """Too many requests are a 429."""
    told = ask(node, "answer", full, chat())

    assert (told["status"], told["code"]) == (429, "queue_full")


def test_a_cold_model_is_waited_for(node: Node, cold: FakeServer):
    """A program that does what `Retry-After` says gets its answer."""
    said = ask(node, "patience", cold, chat("slow"))

    assert said["content"] == "Awake."
    assert said["statuses"][0] == 503
    assert said["statuses"] == cold.statuses
    assert len(said["statuses"]) <= 4


def test_a_cold_model_is_held_for(node: Node, cold: FakeServer):
    """One request is enough with `Prefer: wait`, which the types know."""
    assert ask(node, "held", cold, chat("slow"))["content"] == "Awake."
    assert cold.statuses == [200]


def test_models_and_health(node: Node, troubled: FakeServer):
    """The other endpoints, with parameters in path and query."""
    ask(node, "answer", troubled, chat())
    models = ask(node, "models", troubled)
    health = ask(node, "health", troubled, {"model": "m"})

    assert models["first"] == models["same"]
    assert models["first"]["object"] == "model"
    assert models["nobody"] == "model_not_found"
    assert health == {"live": "ok", "ready": "ready"}
