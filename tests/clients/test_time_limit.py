"""What the SDKs make of a request whose time is over."""

from collections.abc import Callable

import anthropic
import openai
import pytest

from tests.clients.servers import FakeServer
from tests.conftest import chat


async def test_openais_client_does_not_try_again(start):
    """Clients retry a 504 by default; the header of this one prevents it."""
    service = await start(request_timeout=1.0)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    client = openai.AsyncOpenAI(
        base_url="http://pilotlight/v1", api_key="none", http_client=service.client, max_retries=2
    )
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(**chat())
    assert (failed.value.status_code, failed.value.code) == (504, "time_limit_exceeded")
    assert len(service.engine.requests) == 1


async def test_openais_client_raises_in_a_stream(start):
    """The stream breaks with an error that has the code."""
    service = await start(request_timeout=1.0)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    client = openai.AsyncOpenAI(
        base_url="http://pilotlight/v1", api_key="none", http_client=service.client
    )
    stream = await client.chat.completions.create(**chat(), stream=True)
    with pytest.raises(openai.APIError) as failed:
        _ = [chunk async for chunk in stream]
    assert failed.value.code == "time_limit_exceeded"


def test_anthropics_client_does_not_try_again(fakes: Callable[..., FakeServer]):
    """It obeys the same header, and knows Anthropic's own type of a timeout."""
    server = fakes({"request_timeout": 1.0}, m={"load_seconds": 5.0, "load_steps": 50})
    with (
        anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=2) as client,
        pytest.raises(anthropic.APIStatusError) as failed,
    ):
        client.messages.create(**chat(), max_tokens=10)
    assert (failed.value.status_code, failed.value.type) == (504, "timeout_error")
    assert server.statuses == [504]
