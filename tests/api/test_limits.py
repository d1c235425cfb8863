"""Limits on the wire: the headers, and what is refused."""

import asyncio

import pytest

from pilotlight.api.http.rate_limit_headers import duration
from pilotlight.config import Secret
from tests.api.caller import Call
from tests.conftest import chat

ALICE = {"authorization": "Bearer alices-key"}
BOB = {"authorization": "Bearer bobs-key"}
KEYS = {"api_keys": Secret("alice:alices-key,bob:bobs-key")}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0ms"), (0.0204, "20ms"), (1, "1s"), (1.5, "1.5s"), (90, "1m30s"), (59.9996, "1m0s")],
)
def test_durations_are_written_as_openais_are(seconds, said):
    """Clients parse them."""
    assert duration(seconds) == said


async def test_what_is_left_is_told(start):
    """Each answer says how its caller's limits stand, and no other caller's."""
    service = await start(requests_per_minute=60, tokens_per_minute=6000, **KEYS)
    service.write(reply="Hello.")

    first = await service.post(chat(), **ALICE)
    second = await service.post(chat(), **ALICE)
    others = await service.post(chat(), **BOB)

    spent = first.json()["usage"]["total_tokens"]
    assert first.headers["x-ratelimit-limit-requests"] == "60"
    assert first.headers["x-ratelimit-limit-tokens"] == "6000"
    assert first.headers["x-ratelimit-remaining-requests"] == "59"
    assert second.headers["x-ratelimit-remaining-requests"] == "58"
    assert int(second.headers["x-ratelimit-remaining-tokens"]) == pytest.approx(
        6000 - 2 * spent, abs=3
    )
    assert second.headers["x-ratelimit-reset-requests"].endswith("s")
    assert others.headers["x-ratelimit-remaining-requests"] == "59"


async def test_without_limits_nothing_is_told(service):
    """There are no such headers."""
    response = await service.post(chat())
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat()),
        ("/v1/completions", {"model": "m", "prompt": "x"}),
        ("/v1/responses", {"model": "m", "input": "x"}),
        ("/v1/embeddings", {"model": "e", "input": "x"}),
        ("/tokenize", {"model": "m", "content": "x"}),
        ("/detokenize", {"model": "m", "tokens": [1]}),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": chat()["messages"]}),
        ("/v1/messages/count_tokens", {"model": "m", "messages": chat()["messages"]}),
    ],
)
async def test_requests_of_a_minute(start, path, body):
    """Every endpoint that needs a model counts, and refuses with a wait that is true."""
    service = await start(requests_per_minute=1, **KEYS)
    service.write(reply="Hello.")
    service.write("e", embedding_length=4)
    assert (await service.client.post(path, json=body, headers=ALICE)).status_code == 200

    refused = await service.client.post(path, json=body, headers=ALICE)
    other = await service.client.post(path, json=body, headers=BOB)

    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert error["message"] == "this caller's limit is 1 requests a minute"
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert other.status_code == 200


async def test_tokens_of_a_minute(start):
    """An answer's tokens count, and its caller waits until its debt is paid."""
    service = await start(tokens_per_minute=10, **KEYS)
    service.write(reply="Hello.")

    assert (await service.post(chat(), **ALICE)).status_code == 200
    refused = await service.post(chat(), **ALICE)

    assert refused.status_code == 429
    assert refused.json()["error"]["message"] == "this caller's limit is 10 tokens a minute"


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/embeddings", {"embedding_length": 4}, {"input": ["abcd"] * 50}),
        ("/v1/rerank", {"relevance": "logit"}, {"query": "q", "documents": ["abcd"] * 50}),
    ],
)
async def test_tokens_of_a_client_that_disconnects(start, path, model, body):
    """A request that has begun costs its tokens, whether its client waits for the end or not."""
    service = await start(tokens_per_minute=10_000, **KEYS)
    service.write("e", **model)
    service.backend.token_gate.hold()
    call = Call(service.app, {"model": "e", **body}, ALICE, path)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()
    left = service.app.state.service.limiter.allowances("key:alice")["tokens"].remaining
    assert left <= 10_000 - 200
    service.backend.token_gate.release()


async def test_requests_at_a_time(start):
    """A caller's next request is refused while as many as may are under way."""
    service = await start(concurrent_requests=1, **KEYS)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    running = asyncio.create_task(service.post(chat(), **ALICE))
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)

    refused = await service.post(chat(), **ALICE)
    service.backend.token_gate.release()

    assert refused.status_code == 429
    assert (await running).status_code == 200
    assert (await service.post(chat(), **ALICE)).status_code == 200
    assert (await service.post(chat(), **BOB)).status_code == 200


async def test_callers_take_turns(start):
    """Who comes after another's many requests is answered after the next of them."""
    service = await start(parallel=1, **KEYS)
    service.write(reply="Hello.")
    assert (await service.post(chat(), **BOB)).status_code == 200
    service.backend.token_gate.hold()
    order: list[str] = []

    async def ask(name: str, key: dict[str, str]) -> None:
        assert (await service.post(chat(text=name), **key)).status_code == 200
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(ask(f"alice {number}", ALICE))
        await asyncio.sleep(0)
        while service.app.state.service.leases.waiting("m") < 4:  # noqa: ASYNC110 - tells no event
            await asyncio.sleep(0.005)
        group.create_task(ask("bob", BOB))
        while service.app.state.service.leases.waiting("m") < 5:  # noqa: ASYNC110 - tells no event
            await asyncio.sleep(0.005)
        service.backend.token_gate.release()

    assert order.index("bob") == 3
