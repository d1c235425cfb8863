"""Who finds whose cached prompts, through every endpoint, and how they are deleted."""

import asyncio
import re
from pathlib import Path

import pytest

from pilotlight.config import Secret
from tests.api.caller import Call
from tests.conftest import CHAT, RESPONSES, chat

KEYS = Secret("ann:one,bob:two")
ANN, BOB = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
LONG = "A long text that is worth to be kept, since it is evaluated again without a cache. " * 3


async def cached(service, text=LONG, headers=ANN, **fields):
    """Return how many tokens of a chat's prompt were cached."""
    response = await service.post(chat(text=text, **fields), **headers)
    assert response.status_code == 200, response.text
    return response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


async def clear(service, headers=ANN):
    return await service.client.delete("/v1/prompt_cache", headers=headers)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "states"


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


async def stored(service) -> None:
    """Write what idle slots hold to storage."""
    await asyncio.to_thread(service.engine.save_prompts, 10)


async def test_another_key_s_request_finds_nothing(start):
    service = await start(api_keys=KEYS)
    service.write()
    assert await cached(service) == 0
    assert await cached(service, headers=BOB) == 0
    assert await cached(service) > 200


async def test_all_callers_share_where_the_operator_says_so(start):
    service = await start(api_keys=KEYS, prompt_cache_scope="all")
    service.write()
    assert await cached(service) == 0
    assert await cached(service, headers=BOB) > 200
    assert await cached(service, headers=BOB, cache_salt="mine") == 0


async def test_a_salt_divides_the_prompts_of_a_key(start):
    service = await start(api_keys=KEYS)
    service.write()
    assert await cached(service, cache_salt="a") == 0
    assert await cached(service, cache_salt="b") == 0
    assert await cached(service) == 0
    assert await cached(service, cache_salt="a") > 200
    assert await cached(service, headers=BOB, cache_salt="a") == 0


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", {"prompt": LONG}), (RESPONSES, {"input": LONG})]
)
async def test_a_salt_divides_completions_and_responses_too(start, path, body):
    service = await start(api_keys=KEYS)
    service.write()

    async def usage(**fields):
        answer = await service.post({"model": "m", **body, **fields}, path, **ANN)
        assert answer.status_code == 200, answer.text
        usage = answer.json()["usage"]
        details = usage.get("input_tokens_details") or usage["prompt_tokens_details"]
        return details["cached_tokens"]

    assert await usage(cache_salt="a") == 0
    assert await usage(cache_salt="b") == 0
    assert await usage(cache_salt="a") > 200


async def test_prompt_cache_key_divides_nothing(start):
    service = await start(api_keys=KEYS)
    service.write()
    assert await cached(service, prompt_cache_key="a") == 0
    assert await cached(service, prompt_cache_key="b") > 200


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        (
            "/v1/completions",
            {"prompt": LONG, "max_tokens": 4},
            lambda usage: usage["prompt_tokens_details"]["cached_tokens"],
        ),
        (
            RESPONSES,
            {"input": LONG},
            lambda usage: usage["input_tokens_details"]["cached_tokens"],
        ),
        (
            "/v1/messages",
            {"max_tokens": 4, "messages": [{"role": "user", "content": LONG}]},
            lambda usage: usage["cache_read_input_tokens"],
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": LONG}]},
            lambda usage: usage["prompt_tokens_details"]["cached_tokens"],
        ),
    ],
)
async def test_a_restored_prompt_counts_as_cached(start, folder, path, body, read):
    """On every endpoint, after a restart that found it in storage."""
    counts = []
    for _ in range(2):
        service = await start(api_keys=KEYS, state_dir=str(folder))
        service.write()
        response = await service.post({"model": "m", **body}, path, **ANN)
        assert response.status_code == 200, response.text
        counts.append(read(response.json()["usage"]))
        phases = re.findall(r"(\w+);dur", response.headers["server-timing"])
        assert ("restore" in phases) == (len(counts) == 2)
        stats = service.engine.stats().prompt_cache
        await stored(service)
    assert counts[0] == 0
    assert counts[1] > 200
    assert stats.storage_hits == 1


async def test_a_caller_deletes_its_prompts_with_every_salt(start, folder):
    """In slots, memory and storage; those of others stay."""
    service = await start(api_keys=KEYS, state_dir=str(folder), parallel=4)
    service.write()
    for headers in (ANN, BOB):
        for salt in (None, "a"):
            await cached(service, headers=headers, cache_salt=salt)
    await stored(service)
    assert len(files(folder)) == 4
    response = await clear(service)
    assert (response.status_code, response.content) == (204, b"")
    assert len(files(folder)) == 2
    for salt in (None, "a"):
        assert await cached(service, headers=BOB, cache_salt=salt) > 200
        assert await cached(service, cache_salt=salt) == 0


async def test_everything_is_deleted_where_callers_share(start, folder):
    service = await start(api_keys=KEYS, state_dir=str(folder), prompt_cache_scope="all")
    service.write()
    await cached(service)
    await cached(service, cache_salt="a")
    await stored(service)
    assert len(files(folder)) == 2
    assert (await clear(service, BOB)).status_code == 204
    assert files(folder) == []
    assert await cached(service) == 0


async def test_prompts_of_a_model_that_is_not_loaded_are_deleted(start, folder):
    """Their files have their owner in their names."""
    first = await start(api_keys=KEYS, state_dir=str(folder))
    first.write()
    for headers in (ANN, BOB):
        await cached(first, headers=headers)
    await stored(first)
    second = await start(api_keys=KEYS, state_dir=str(folder))
    assert len(files(folder)) == 2
    assert (await clear(second)).status_code == 204
    assert len(files(folder)) == 1
    assert second.backend.engines == []
    assert await cached(second, headers=BOB) > 200


async def test_a_running_request_keeps_its_slot_until_it_ends(start):
    service = await start(api_keys=KEYS, parallel=1)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    call = Call(service.app, chat(text=LONG, stream=True), headers=ANN)
    await call.next()
    assert (await clear(service)).status_code == 204
    service.backend.token_gate.release()
    await call.read()
    assert await cached(service) == 0


async def test_deleting_needs_a_key_where_there_are_keys(start):
    service = await start(api_keys=KEYS)
    response = await clear(service, {})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_storage_that_fails_is_an_error(start, folder, caplog):
    """Prompts that are not deleted are not said to be; the reason is the operator's to read."""
    service = await start(api_keys=KEYS, state_dir=str(folder))
    folder.write_text("no folder any more")
    response = await clear(service)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "storage_unavailable")
    assert str(folder) not in error["message"]
    assert int(response.headers["retry-after"]) == 30
    assert "Not a directory" in caplog.text


async def test_nothing_to_delete_is_no_error(start):
    """Without a key, a model or a folder."""
    service = await start()
    assert (await clear(service, {})).status_code == 204


async def test_only_delete_is_served(start):
    service = await start()
    response = await service.client.get("/v1/prompt_cache")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, OPTIONS")


async def test_a_folder_that_vanishes_costs_no_answer_and_one_warning(start, folder, caplog):
    """Requests are served; the folder is made again for the next state."""
    service = await start(state_dir=str(folder), prompt_cache="0", parallel=1)
    service.write()
    await cached(service, headers={})
    await stored(service)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("in its way")
    for text in ("x" * 200, "y" * 200, LONG):
        await cached(service, text=text, headers={})
        await stored(service)
    written = [one for one in caplog.messages if "cannot be written" in one]
    assert len(written) == 1, caplog.messages
