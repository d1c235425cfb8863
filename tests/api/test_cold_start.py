"""What a request that meets a cold model is shown: the timing, the wait, the metrics."""

import asyncio
import re

import pytest

from pilotlight.api.http import sse
from tests.api.caller import Call
from tests.conftest import CHAT, chat

pytestmark = pytest.mark.slow

LOAD = ("read", "warm")
ANSWER = ("hold", "queue", "prefill", "first_token")


def phases(server_timing: str) -> dict[str, float]:
    """Return the milliseconds of a `Server-Timing` value by name."""
    parts = (re.fullmatch(r"(\w+);dur=([0-9.]+)", part) for part in server_timing.split(", "))
    return {part[1]: float(part[2]) for part in parts if part}


async def loading(service) -> None:
    """Wait until the model's load stands before the held gate."""
    assert await asyncio.to_thread(service.backend.load_gate.wait_reached)


# The timing


async def test_the_answer_of_a_cold_model_carries_the_timing(service):
    """Each phase is listed once, in order; the process's own start with its first model."""
    response = await service.post(chat())
    told = phases(response.headers["server-timing"])
    assert tuple(told) == ("import", "begin", *LOAD, *ANSWER)
    assert told["first_token"] >= told["hold"] + told["prefill"]
    assert told["import"] > 0


async def test_the_answer_of_a_warm_model_carries_none(service):
    """Nothing was loaded for it."""
    await service.post(chat())
    assert "server-timing" not in (await service.post(chat())).headers


async def test_a_second_models_timing_has_no_import(service):
    """The process was there already."""
    service.write("other")
    await service.post(chat())
    response = await service.post(chat("other"))
    assert tuple(phases(response.headers["server-timing"])) == (*LOAD, *ANSWER)


async def test_a_stream_tells_what_it_knows_in_headers_and_the_rest_in_a_comment(service):
    """The headers go before the first token, so the whole timing follows in the stream."""
    response = await service.post(chat(stream=True))
    assert tuple(phases(response.headers["server-timing"])) == (
        "import",
        "begin",
        *LOAD,
        "hold",
        "queue",
    )
    comments = re.findall(r"^: server-timing: (.*)$", response.text, re.MULTILINE)
    assert [tuple(phases(comment)) for comment in comments] == [("import", "begin", *LOAD, *ANSWER)]


async def test_the_wait_is_in_the_timing(start):
    """`hold` is what the request waited, `read` what the load took."""
    service = await start()
    service.write(load_seconds=0.2)
    told = phases((await service.post(chat())).headers["server-timing"])
    assert told["hold"] >= told["read"] >= 200


# The wait, shown


async def shown(service, how: object, **fields: object) -> Call:
    """Ask for a stream that shows the loading, and let the load stand before the gate."""
    service.backend.load_gate.hold()
    options = {"include_loading": how}
    call = Call(service.app, chat(stream=True, stream_options=options, **fields))
    await loading(service)
    return call


async def rest_of(call: Call) -> list[object]:
    """Return every event that is still to come."""
    told = []
    while not told or told[-1] != "[DONE]":
        told += await call.next()
    return told


async def test_the_wait_is_shown_in_events(service):
    """Each is a chunk without choices, with state and progress; then the response follows."""
    call = await shown(service, "events")
    first = (await call.next())[0]
    assert (call.status, first["object"], first["choices"]) == (200, "chat.completion.chunk", [])
    assert first["loading"] == {
        "state": "loading",
        "progress": 0.0,
        "retry_after": None,
        "phase": "read",
    }
    assert first["model"] == "m"

    service.backend.load_gate.release()
    told = await rest_of(call)
    chunks = [one for one in told if one != "[DONE]" and "loading" not in one]
    assert {chunk["id"] for chunk in chunks} == {first["id"]}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello."


@pytest.mark.parametrize("how", [True, "comments"])
async def test_the_wait_is_shown_in_comments(start, how):
    """A reader of events sees nothing but the answer, and the connection is never silent."""
    service = await start()
    service.write(reply="Hello.", load_seconds=1.6, load_steps=16)
    response = await service.post(chat(stream=True, stream_options={"include_loading": how}))
    comments = re.findall(r"^: m loading (\d+)%$", response.text, re.MULTILINE)
    assert len(comments) >= 2
    assert comments == sorted(comments, key=int)
    lines = [line for line in response.text.splitlines() if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)


async def test_a_warm_model_has_nothing_to_show(service):
    """The stream begins with the answer."""
    await service.ask()
    told = await service.stream(stream_options={"include_loading": "events"})
    assert all("loading" not in one for one in told if one != "[DONE]")


async def test_a_shown_wait_outlasts_the_hold(start):
    """The connection is not silent, so nothing cuts it: there is no 503 to retry."""
    service = await start(hold=0.0)
    service.write(reply="Hello.")
    call = await shown(service, "events")
    assert (await call.next())[0]["loading"]["state"] == "loading"
    service.backend.load_gate.release()
    assert (await rest_of(call))[-1] == "[DONE]"


async def test_prefer_ends_a_shown_wait(start):
    """The client's own word counts, and the stream ends as a broken one does."""
    service = await start()
    service.write()
    service.backend.load_gate.hold()
    options = {"include_loading": "events"}
    body = chat(stream=True, stream_options=options)
    call = Call(service.app, body, {"prefer": "wait=0.5"})
    told = await rest_of(call)
    assert told[-3]["error"]["code"] == "model_loading"
    assert told[-2]["choices"][0]["finish_reason"] == "error"


async def test_a_load_that_fails_ends_a_shown_wait(start):
    """The stream says why."""
    service = await start()
    service.write(load_error="invalid")
    call = await shown(service, "events")
    assert (await call.next())[0]["loading"]["state"] == "loading"
    service.backend.load_gate.release()
    assert (await rest_of(call))[-3]["error"]["code"] == "model_load_failed"


async def test_what_is_refused_at_once_keeps_its_status(service):
    """An unknown model is a 404, shown or not."""
    options = {"include_loading": "events"}
    response = await service.post(chat("nobody", stream=True, stream_options=options))
    assert response.status_code == 404


async def test_a_client_that_leaves_a_shown_wait_leaves_nothing(service):
    """The load goes on, the request is gone."""
    call = await shown(service, "events")
    await call.next()
    await call.hang_up()
    assert service.app.state.service.admission._in_flight == 0
    service.backend.load_gate.release()
    await service.ask()
    assert not service.engine.stats().slots_busy


async def test_a_client_that_leaves_before_the_stream_leaves_nothing(service):
    """So does one that leaves while the headers are held."""
    service.backend.load_gate.hold()
    call = Call(service.app, chat(stream=True))
    await loading(service)
    await call.hang_up()
    assert service.app.state.service.admission._in_flight == 0


@pytest.mark.parametrize("how", ["loudly", 1, []])
async def test_an_unknown_way_to_show_it_is_refused(service, how):
    """The 400 names the field."""
    response = await service.post(chat(stream=True, stream_options={"include_loading": how}))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "stream_options.include_loading"


def test_a_comment_is_one_line():
    """A name with line breaks in it makes no event."""
    assert sse.comment("a\n\ndata: b\r\nc") == b": a  data: b c\n\n"


# One model's readiness


async def test_readyz_asks_for_one_model(service):
    """503 while it is absent or loading, with state and progress; 200 once it is ready."""
    absent = await service.client.get("/readyz?model=M")
    assert (absent.status_code, absent.json()["models"][0]["state"]) == (503, "absent")
    await service.ask()
    ready = await service.client.get("/readyz?model=m")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert [(one["id"], one["state"]) for one in ready.json()["models"]] == [("m", "ready")]
    assert len(service.backend.loads) == 1


async def test_readyz_tells_why_one_model_failed(service):
    """The failure is in the answer."""
    service.write(load_error="invalid")
    await service.post(chat())
    failed = await service.client.get("/readyz?model=m")
    assert failed.status_code == 503
    assert failed.json()["status"] == "failed"
    assert "invalid" in failed.json()["models"][0]["error"]


@pytest.mark.parametrize(("model", "status"), [("nobody", 404), ("", 400), (" ", 400)])
@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_readyz_refuses_a_name_that_is_none(service, path, model, status):
    """An unknown name is an error as on every endpoint."""
    refused = await service.client.get(path, params={"model": model})
    assert refused.status_code == status
    assert refused.json()["error"]["param"] == "model"


# Metrics


async def test_metrics_count_answers_errors_and_loads(service):
    """The scrape has the cold start's phases, the answer's times, and what was refused."""
    service.write("bad", load_error="invalid")
    await service.ask()
    await service.post(chat("bad"))
    await service.post(chat("nobody"))
    response = await service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'pilotlight_load_phase_seconds_count{backend="fake",model="m",phase="read"} 1.0',
        'pilotlight_time_to_first_token_seconds_count{model="m"} 1.0',
        'pilotlight_requests_total{model="m",outcome="stop"} 1.0',
        'pilotlight_requests_total{model="bad",outcome="model_load_failed"} 1.0',
        'pilotlight_requests_total{model="",outcome="model_not_found"} 1.0',
        'pilotlight_loads_total{backend="",model="bad",outcome="model_load_failed"} 1.0',
        'pilotlight_slots{model="m"} 4.0',
    ):
        assert line in response.text
    assert re.search(r"^pilotlight_start_seconds [0-9.]+$", response.text, re.MULTILINE)


async def test_a_client_that_leaves_is_counted_as_cancelled(service):
    """It is not counted as an error."""
    service.backend.token_gate.hold()
    call = Call(service.app, chat(stream=True))
    await call.next()
    await call.hang_up()
    text = (await service.client.get("/metrics")).text
    assert 'pilotlight_requests_total{model="m",outcome="cancelled"} 1.0' in text


async def test_the_names_that_clients_send_are_no_labels(service):
    """Requests for a thousand unknown models make no thousand series."""
    for number in range(5):
        await service.client.post(CHAT, json=chat(f"nobody-{number}"))
    text = (await service.client.get("/metrics")).text
    assert 'pilotlight_requests_total{model="",outcome="model_not_found"} 5.0' in text
    assert "nobody" not in text
