"""The errors of requests during a shutdown."""

import asyncio

from pilotlight_backend import EngineClosed
from tests.conftest import chat


async def test_who_waits_for_a_turn_is_sent_away_and_not_failed(start, monkeypatch, caplog):
    """The one at work fails; whose turn never came may ask elsewhere, and nothing is logged."""
    service = await start(parallel=1)
    service.write(reply="Hello.")
    await service.ask()
    engine, tokenize = service.engine, service.engine.tokenize

    def tokenize_while_open(text, *, special):
        if engine.closed.is_set():
            raise EngineClosed("the engine is closed")  # as engines do that have native memory
        return tokenize(text, special=special)

    monkeypatch.setattr(engine, "tokenize", tokenize_while_open)
    service.backend.token_gate.hold()
    at_work = asyncio.create_task(service.post(chat()))
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    waiting = [asyncio.create_task(service.post(chat())) for _ in range(4)]
    leases = service.app.state.service.leases
    # One more is given to the engine than it has slots.
    while leases.waiting("m") < 3:  # noqa: ASYNC110 - a count has no event
        await asyncio.sleep(0)

    await service.app.state.service.drain(0)

    assert (await at_work).status_code == 500
    answers = await asyncio.gather(*waiting)
    assert sorted(one.status_code for one in answers) == [500, 503, 503, 503]
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "shutting_down"
            assert answer.headers["retry-after"] == "2"
    assert "failed" not in caplog.text
