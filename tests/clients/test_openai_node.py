"""OpenAI's client for Node, unmodified, against the live service."""

from typing import Any

import pytest

from tests.clients.programs import SOURCES, Node
from tests.clients.servers import FakeServer
from tests.conftest import LiveServer, chat

QUESTION = chat("spark", "What is 2+2?", temperature=0)
ONCE = {"maxRetries": 0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

INVALID = {"code": "invalid_request_error", "type": "invalid_request_error"}
UNKNOWN = {"code": "model_not_found", "type": "model_not_found"}
REFUSED = [
    ("m", {"stop": ""}, {"class": "BadRequestError", "status": 400, "param": "stop"} | INVALID),
    (
        "m",
        {"messages": [{"content": "hi"}]},
        {"class": "BadRequestError", "status": 400, "param": "messages[0].role"} | INVALID,
    ),
    ("nobody", {}, {"class": "NotFoundError", "status": 404, "param": "model"} | UNKNOWN),
]


def ask(node: Node, case: str, server: LiveServer | FakeServer, *arguments: Any) -> Any:
    """Return what the client makes of *case*."""
    return node.program("openai_client", case, f"{server.url}/v1", *arguments)


def test_an_answer(node: Node, spark: LiveServer):
    """A whole answer, with its usage, and the fields that the client does not know."""
    answer = ask(node, "answer", spark, QUESTION)

    (choice,) = answer["choices"]
    assert "4" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert answer["thought"] == choice["message"]["reasoning_content"]


def test_a_stream(node: Node, spark: LiveServer):
    """The pieces of a stream are the whole answer, and the usage comes last."""
    whole = ask(node, "answer", spark, QUESTION)
    chunks = ask(node, "stream", spark, QUESTION | {"stream_options": {"include_usage": True}})

    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]]
    assert len(pieces) > 3
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_tool_call_is_accumulated(node: Node, spark: LiveServer):
    """The client puts a streamed call together, and it is the call of the whole answer."""
    asked = chat("spark", "What is the weather in Paris?", temperature=0, tools=[WEATHER])

    whole = ask(node, "answer", spark, asked)["choices"][0]
    streamed = ask(node, "accumulated", spark, asked)["choices"][0]

    (call,) = streamed["message"]["tool_calls"]
    assert streamed["finish_reason"] == whole["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    assert (
        call["function"]["arguments"]
        == (whole["message"]["tool_calls"][0]["function"]["arguments"])
    )
    assert call["id"].startswith("call_")


def test_the_client_runs_tools(node: Node, spark: LiveServer):
    """It sends their results back as its answer had the calls, and gets an answer to them."""
    asked = chat("spark", "What is the weather in Paris?", temperature=0)

    ran = ask(node, "runTools", spark, asked)

    assert ran["cities"] == ["Paris"]
    assert ran["roles"] == ["user", "assistant", "tool", "assistant"]
    assert "sunny" in ran["content"].lower()


def test_a_parsed_answer(node: Node, spark: LiveServer):
    """A schema is kept, so the client's parser takes every one of several answers."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "sunny": {"type": "boolean"}},
        "required": ["city", "sunny"],
        "additionalProperties": False,
    }
    described = {"name": "weather", "schema": schema, "strict": True}
    asked = chat(
        "spark", "Rome?", n=3, response_format={"type": "json_schema", "json_schema": described}
    )

    parsed = ask(node, "parsed", spark, asked)

    assert len(parsed) == 3
    assert all(one.keys() == {"city", "sunny"} for one in parsed)


def test_completions(node: Node, spark: LiveServer):
    """A text is continued: whole with its prefix, and as a stream without it."""
    whole = ask(node, "completion", spark, chat("spark"))
    pieces = ask(node, "completions", spark, chat("spark"))

    assert whole["choices"][0]["text"].startswith("1, 2, 3,")
    assert len(pieces) > 3


def test_responses(node: Node, spark: LiveServer):
    """The Responses API answers, and the client's accumulator puts its events together."""
    whole = ask(node, "response", spark, chat("spark"))
    streamed = ask(node, "responses", spark, chat("spark"))

    assert "4" in whole["output_text"]
    assert streamed["types"][0] == "response.created"
    assert streamed["types"][-1] == "response.completed"
    assert "4" in streamed["final"]["output_text"]


def test_embeddings(node: Node, fakes: Any):
    """The client unpacks the vectors."""
    server = fakes(e={"embedding_length": 8})

    answer = ask(node, "embeddings", server, chat("e"))

    assert [len(one["embedding"]) for one in answer["data"]] == [8, 8]


def test_an_abort_frees_the_slot(node: Node, fakes: Any):
    """A client that disconnects frees its slot: there is one, and a long response."""
    slow = {"reply": "word " * 800, "token_seconds": 0.05}
    server = fakes({"parallel": 1}, m=slow)

    after = ask(node, "abort", server, chat())

    assert after == {"error": True, "finish_reason": "length"}
    engine = server.backend.engines[0]
    assert engine.stats().slots_busy == 0
    assert len(engine.requests) == 3


@pytest.mark.parametrize(("model", "fields", "wrong"), REFUSED)
@pytest.mark.parametrize("case", ["answer", "stream"])
def test_what_is_refused(
    node: Node, troubled: FakeServer, *, case: str, model: str, fields: Any, wrong: Any
):
    """Each status has its class, with code, type and the field at fault, streamed or not."""
    error = ask(node, case, troubled, chat(model) | fields, ONCE)["error"]

    assert {key: error[key] for key in wrong} == wrong
    assert troubled.statuses == [wrong["status"]]


def test_a_failed_engine(node: Node, troubled: FakeServer):
    """A whole answer that fails is a 500; in a stream, which has begun, it is an event."""
    whole = ask(node, "answer", troubled, chat("broken"), ONCE)["error"]
    streamed = ask(node, "stream", troubled, chat("broken"), ONCE)["error"]

    assert (whole["class"], whole["status"]) == ("InternalServerError", 500)
    assert streamed["class"] == "APIError"
    assert whole["code"] == streamed["code"] == "inference_error"
    assert troubled.statuses == [500, 200]


def test_a_full_queue(node: Node, full: FakeServer):
    """Too many requests are the client's `RateLimitError`."""
    error = ask(node, "answer", full, chat(), ONCE)["error"]

    assert (error["class"], error["status"]) == ("RateLimitError", 429)
    assert error["code"] == "queue_full"


def test_a_full_queue_is_tried_again(node: Node, full: FakeServer):
    """The client retries by itself, as the headers say."""
    error = ask(node, "answer", full, chat(), {"maxRetries": 1})["error"]

    assert error["class"] == "RateLimitError"
    assert full.statuses == [429, 429]


def test_a_model_that_never_loads_is_tried_once(node: Node, troubled: FakeServer):
    """A client does not retry where the header says that it cannot help."""
    error = ask(node, "answer", troubled, chat("bad"))["error"]

    assert (error["class"], error["status"]) == ("InternalServerError", 503)
    assert error["code"] == "model_load_failed"
    assert troubled.statuses == [503]


@pytest.mark.parametrize("case", ["answer", "accumulated"])
def test_a_cold_model_ends_in_an_answer(node: Node, cold: FakeServer, case: str):
    """With its default retries the client outlasts a load that is longer than the hold."""
    answer = ask(node, case, cold, chat("slow"))

    assert answer["choices"][0]["message"]["content"] == "Awake."
    assert cold.statuses[0] == 503
    assert cold.statuses[-1] == 200
    assert len(cold.statuses) <= 3  # the first try and the client's two retries


def test_models(node: Node, spark: LiveServer):
    """The models can be listed and looked up."""
    models = ask(node, "models", spark)

    assert models["ids"] == ["spark"]
    assert models["first"]["owned_by"] == "pilotlight"


def test_the_lock_names_no_registry():
    """Packages are pinned by version and hash alone, so any mirror can serve them."""
    text = (SOURCES / "package-lock.json").read_text()

    assert "registry" not in text
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 20
