"""spark and a picture, through each client and each API, whole and streamed."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from tests.clients.programs import Node
from tests.conftest import LiveServer
from tests.pictures import PNG, QUESTION, of_chat, of_messages, of_response

pytestmark = [
    pytest.mark.parametrize("spark", ["llama_cpp"], indirect=True),
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*fields' attribute on the instance"),
]
USER = "user"


def turn(content: Any) -> Any:
    """Return a conversation of one message."""
    return [{"role": USER, "content": content}]


def check(text: str | None) -> None:
    """Raise unless the model has seen the picture: a guess could be any of eight colours."""
    assert text is not None
    assert "red" in text.lower()


# ── OpenAI's client for Python ──────────────────────────────────────────────────────────────────


@pytest.fixture
def client(spark: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{spark.url}/v1", api_key="none", max_retries=0) as client:
        yield client


CHAT: Any = {"model": "spark", "messages": turn(of_chat(QUESTION)), "temperature": 0}
RESPONSE: Any = {"model": "spark", "input": turn(of_response(QUESTION)), "temperature": 0}


def test_openai_chat(client: openai.OpenAI):
    check(client.chat.completions.create(**CHAT).choices[0].message.content)


def test_openai_chat_streamed(client: openai.OpenAI):
    with client.chat.completions.stream(**CHAT) as stream:
        check(stream.get_final_completion().choices[0].message.content)


def test_openai_response(client: openai.OpenAI):
    check(client.responses.create(**RESPONSE).output_text)


def test_openai_response_streamed(client: openai.OpenAI):
    with client.responses.stream(**RESPONSE) as stream:
        check(stream.get_final_response().output_text)


# ── Anthropic's client for Python ───────────────────────────────────────────────────────────────

MESSAGE: Any = {
    "model": "spark",
    "max_tokens": 60,
    "messages": turn(of_messages(QUESTION)),
    "extra_body": {"temperature": 0},
}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_anthropic(spark: LiveServer):
    with anthropic.Anthropic(base_url=spark.url, api_key="none", max_retries=0) as client:
        check(text_of(client.messages.create(**MESSAGE)))


def test_anthropic_streamed(spark: LiveServer):
    with (
        anthropic.Anthropic(base_url=spark.url, api_key="none", max_retries=0) as client,
        client.messages.stream(**MESSAGE) as stream,
    ):
        check(text_of(stream.get_final_message()))


# ── LangChain ───────────────────────────────────────────────────────────────────────────────────

# LangChain's own form of an image, which it converts for each API.
SHOWN = HumanMessage(
    content=[
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "text", "text": QUESTION},
    ]
)


def langchain(api: str, server: LiveServer) -> Any:
    """Return LangChain's model for an API."""
    options: Any = {"model": "spark", "api_key": "none", "temperature": 0, "max_retries": 0}
    if api == "messages":
        return ChatAnthropic(base_url=server.url, max_tokens=60, **options)
    return ChatOpenAI(base_url=f"{server.url}/v1", use_responses_api=api == "responses", **options)


@pytest.fixture(autouse=True)
def _traced_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(variable, "false")


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_langchain(spark: LiveServer, api: str):
    check(langchain(api, spark).invoke([SHOWN]).text)


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_langchain_streamed(spark: LiveServer, api: str):
    check("".join(chunk.text for chunk in langchain(api, spark).stream([SHOWN])))


# ── LiteLLM ─────────────────────────────────────────────────────────────────────────────────────


def litellm_chat(litellm: Any, url: str, *, stream: bool) -> str:
    given = CHAT | {"model": "openai/spark", "api_base": f"{url}/v1", "api_key": "none"}
    answer = litellm.completion(**given, stream=stream)
    if stream:
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    text: str = answer.choices[0].message.content
    return text


def litellm_response(litellm: Any, url: str, *, stream: bool) -> str:
    given = RESPONSE | {"model": "openai/spark", "api_base": f"{url}/v1", "api_key": "none"}
    answer = litellm.responses(**given, stream=stream)
    if stream:
        events = [event for event in answer if event.type == "response.output_text.delta"]
        return "".join(event.delta for event in events)
    return "".join(
        part.text for item in answer.output if item.type == "message" for part in item.content
    )


def litellm_message(litellm: Any, url: str, *, stream: bool) -> str:
    # LiteLLM reaches the messages API as Anthropic's; chat's parts become blocks.
    given = CHAT | {"model": "anthropic/spark", "api_base": url, "api_key": "none"}
    answer = litellm.completion(**given, max_tokens=60, stream=stream)
    if stream:
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    text: str = answer.choices[0].message.content
    return text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("ask", [litellm_chat, litellm_response, litellm_message])
def test_litellm(
    spark: LiveServer,
    litellm: Any,
    ask: Callable[..., str],
    stream: bool,  # noqa: FBT001 - a parameter of the test
):
    check(ask(litellm, spark.url, stream=stream))


# ── Node: OpenAI's client, and the AI SDK ───────────────────────────────────────────────────────


@pytest.mark.parametrize("streamed", ["", " streamed"], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "case", ["chat", "responses", "AI SDK chat", "AI SDK responses", "AI SDK messages"]
)
def test_node(node: Node, spark: LiveServer, case: str, streamed: str):
    check(node.program("seeing", case + streamed, spark.url, "spark", QUESTION, PNG))
