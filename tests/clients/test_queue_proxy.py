"""The official Python client behind Knative's proxy: why our time limit is below the platform's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openai
import pytest

from tests.clients.queue_proxy import queue_proxy
from tests.clients.servers import FakeServer

QUESTION = [{"role": "user", "content": "hi"}]
SHORT, LONG = 1.0, 60.0
"""Seconds: what is limited waits for a token that never comes."""


@contextmanager
def behind(server: FakeServer, timeout: float) -> Iterator[openai.OpenAI]:
    """Return a client that tries once, and reaches *server* through the proxy."""
    with (
        queue_proxy(server.url, timeout) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture
def stuck(fakes: Callable[..., FakeServer]) -> Iterator[Callable[[float], FakeServer]]:
    """Return a function that serves `m`, which says one token and no more, within a time limit."""
    servers: list[FakeServer] = []

    def serve(request_timeout: float) -> FakeServer:
        servers.append(fakes({"request_timeout": request_timeout}, m={"reply": "Hello, world."}))
        gate = servers[-1].backend.token_gate
        gate.hold()
        gate.release(1)
        return servers[-1]

    yield serve
    for server in servers:
        server.backend.token_gate.release()


def stream(client: openai.OpenAI) -> list[str | None]:
    """Return the finish reason of each chunk, as far as the client reads."""
    chunks = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    return [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]


def test_an_overrun_of_ours_is_an_error(stuck):
    """The loop over a stream raises, and a whole answer is a 504 that says not to try again."""
    with behind(stuck(SHORT), LONG) as client:
        with pytest.raises(openai.APIError) as broken:
            stream(client)
        assert broken.value.code == "time_limit_exceeded"
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="m", messages=QUESTION)
    assert refused.value.status_code == 504
    assert refused.value.code == "time_limit_exceeded"
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_an_overrun_of_the_platform_s_looks_like_an_end(stuck):
    """The loop ends as if all was said, and a whole answer is a 504 that SDKs send again."""
    with behind(stuck(LONG), SHORT) as client:
        reasons = stream(client)
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="m", messages=QUESTION)
    assert reasons
    assert set(reasons) == {None}
    assert refused.value.status_code == 504
    assert "x-should-retry" not in refused.value.response.headers
    assert refused.value.response.text == "request timeout"


def test_what_is_in_time_passes(fakes):
    """The stand-in changes nothing else."""
    with behind(fakes(m={"reply": "Hello, world."}), LONG) as client:
        assert stream(client)[-1] == "stop"
        answer = client.chat.completions.create(model="m", messages=QUESTION)
    assert answer.choices[0].message.content == "Hello, world."
