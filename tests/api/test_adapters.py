"""LoRA adapters as models of their own, with llama.cpp and a small random model."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from benchmarks import random_gguf, random_lora
from tests.models.fetch.server import file_server

COMPLETIONS = "/v1/completions"

PROMPT = "the model of a customer, and what it answers to a long question"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a model and three adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0")
    random_gguf.write(folder / "base.gguf", shape, seed=3)
    for number in (1, 2, 3):
        random_lora.write(folder / f"{number}.gguf", folder / "base.gguf", seed=number)
    return folder


def models_file(folder: Path, files: Path, extra: str = "") -> Path:
    path = folder / "models.yaml"
    path.write_text(
        "models:\n  base:\n"
        f"    path: {files}/base.gguf\n    adapters:\n      one: {files}/1.gguf\n"
        f"      two:\n        path: {files}/2.gguf\n        scale: 0.5\n{extra}"
    )
    return path


@pytest.fixture
async def service(start, files, tmp_path):
    """Return a server with the base and two adapters."""
    models_file(tmp_path, files)
    return await start(deterministic=True, hold=45.0, parallel=4)


async def complete(service, model, **fields):
    return await service.client.post(
        COMPLETIONS,
        json={
            "model": model, "prompt": PROMPT, "max_tokens": 16, "temperature": 0,
            "ignore_eos": True, **fields,
        },
    )  # fmt: skip


async def answered(service, model, **fields):
    response = await complete(service, model, **fields)
    assert response.status_code == 200, response.text
    assert response.json()["model"] == model
    return response.json()["choices"][0]["text"]


async def listed(service):
    return {one["id"]: one for one in (await service.client.get("/v1/models")).json()["data"]}


async def test_adapters_are_models_with_a_parent(service):
    models = await listed(service)
    assert [models[name]["parent"] for name in ("base", "one", "two")] == [None, "base", "base"]
    assert [models[name]["root"] for name in ("base", "one")] == ["base.gguf", "1.gguf"]
    assert models["two"]["state"] == "absent"
    assert models["two"]["capabilities"] == ["completion"]
    assert models["two"]["context_length"] == models["base"]["context_length"]


async def test_each_answers_in_its_own_way_over_weights_that_are_loaded_once(service):
    texts = [await answered(service, name) for name in ("base", "one", "two")]
    assert len(set(texts)) == 3
    assert [await answered(service, name) for name in ("base", "one", "two")] == texts
    states = {name: one["state"] for name, one in (await listed(service)).items()}
    assert (states["base"], states["one"], states["two"]) == ("ready", "ready", "ready")
    loaded = service.app.state.service.pool.loaded
    assert [entry.name for entry in loaded] == ["base"]


async def test_lora_field_names_adapters_by_their_order(service):
    """As llama-server's: an empty list is the base, whatever the name says."""
    base, one, two = [await answered(service, name) for name in ("base", "one", "two")]
    assert await answered(service, "base", lora=[{"id": 0, "scale": 1.0}]) == one
    assert await answered(service, "base", lora=[{"id": 1, "scale": 0.5}]) == two
    assert await answered(service, "one", lora=[]) == base
    assert await answered(service, "one", lora=[{"id": 0, "scale": 0}]) == base
    both = [{"id": 0, "scale": 1}, {"id": 1, "scale": 1}]
    assert await answered(service, "base", lora=both) not in {base, one, two}


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ([{"id": 2, "scale": 1}], "lora[0].id: the model 'base' has adapters with the ids 0 to 1"),
        (
            [{"id": 0, "scale": 1}, {"id": 0, "scale": 2}],
            "lora[1].id: the adapter 0 is given twice",
        ),
        ([{"id": -1, "scale": 1}], "lora[0].id: "),
        ([{"id": 0, "scale": 1e9}], "lora[0].scale: "),
        ([{"id": 0}], "lora[0].scale: "),
        ([{"id": 0, "scale": 1}] * 5, "lora: "),
    ],
)
async def test_wrong_lora_field_is_refused_by_its_path(service, lora, message):
    response = await complete(service, "base", lora=lora)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


async def test_lora_field_of_a_model_without_adapters(service):
    service.write(reply="Hello.")
    response = await complete(service, "m", lora=[{"id": 0, "scale": 1}])
    assert response.status_code == 400
    assert response.json()["error"]["message"] == (
        "lora[0].id: the model 'm' has no adapters, got 0"
    )


async def test_mixed_requests_at_once_answer_as_alone(service):
    names = ["base", "one", "two"]
    alone = {name: await answered(service, name) for name in names}
    together = await asyncio.gather(*(answered(service, names[n % 3]) for n in range(9)))
    assert together == [alone[names[n % 3]] for n in range(9)]


async def test_broken_adapter_is_an_error_of_its_own_name(start, files, tmp_path):
    """The base, its other adapters and its readiness are not affected."""
    (tmp_path / "bad.gguf").write_bytes((files / "3.gguf").read_bytes()[:-1000])
    models_file(tmp_path, files, "      bad: bad.gguf\n      gone: gone.gguf\n")
    service = await start(hold=45.0)
    response = await complete(service, "bad")
    assert response.status_code == 503
    assert response.headers["x-should-retry"] == "false"
    assert "bad.gguf: the file is incomplete" in response.json()["error"]["message"]
    response = await complete(service, "gone")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "gone.gguf: no such file"
    assert await answered(service, "one")
    models = await listed(service)
    assert models["bad"]["state"] == "invalid"
    assert models["one"]["state"] == "ready"
    ready = await service.client.get("/readyz", params={"model": "base"})
    assert ready.status_code == 200


async def test_adapter_of_a_backend_without_adapters(start, tmp_path):
    (tmp_path / "models.yaml").write_text("m:\n  path: models/m.fake\n  adapters: {a: a.gguf}\n")
    service = await start()
    service.write(reply="Hello.")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    response = await complete(service, "a")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "model_unsupported"
    assert "the backend 'fake' has no LoRA adapters" in response.json()["error"]["message"]


async def test_idle_adapters_make_room_for_others(start, files, tmp_path):
    """Of one budget for all, the longest unused adapter goes."""
    models_file(tmp_path, files, f"      three: {files}/3.gguf\n")
    service = await start(hold=45.0, deterministic=True, parallel=1, prompt_cache="0")
    pool = service.app.state.service.pool
    texts = {name: await answered(service, name) for name in ("base", "one", "two", "three")}
    base = pool._models[pool.loaded[0]]
    need, size = base.need, (files / "1.gguf").stat().st_size
    tight = await start(
        hold=45.0, deterministic=True, parallel=1, prompt_cache="0",
        memory_budget=f"{need - size}B",
    )  # fmt: skip
    for name in ("one", "two", "three", "one"):
        assert await answered(tight, name) == texts[name]
    states = {name: one["state"] for name, one in (await listed(tight)).items()}
    assert (states["one"], states["two"], states["three"]) == ("ready", "absent", "ready")


async def test_preloaded_adapter_loads_its_model(start, files, tmp_path):
    models_file(tmp_path, files)
    service = await start(preload=("one",))
    await service.app.state.service.preloaded()
    states = {name: one["state"] for name, one in (await listed(service)).items()}
    assert (states["base"], states["one"], states["two"]) == ("ready", "ready", "absent")


async def test_isolated_model_has_adapters(start, files, tmp_path):
    """They are loaded in the model's own process."""
    models_file(tmp_path, files)
    here = await start(deterministic=True, hold=45.0)
    apart = await start(deterministic=True, hold=45.0, isolation="process")
    assert await answered(apart, "one") == await answered(here, "one")
    response = await complete(apart, "base", lora=[{"id": 1, "scale": 1}])
    assert response.status_code == 200


# ── loading and unloading while the server runs ─────────────────────────────────────────────────


@pytest.fixture
async def open_service(start, files, tmp_path):
    """Return a server whose folder of adapters is that of the files."""
    models_file(tmp_path, files)
    return await start(deterministic=True, hold=45.0, parallel=4, lora_dir=files)


async def load(service, name="three", path="3.gguf", **fields):
    body = {"lora_name": name, "lora_path": path, "base_model_name": "base", **fields}
    return await service.post(body, path="/v1/load_lora_adapter")


async def unload(service, name="three"):
    return await service.post({"lora_name": name}, path="/v1/unload_lora_adapter")


async def test_adapter_is_loaded_and_unloaded_at_run_time(open_service):
    """With vLLM's bodies and texts; its id is the next one."""
    response = await load(open_service)
    assert response.status_code == 200, response.text
    assert response.text == "Success: LoRA adapter 'three' added successfully."
    text = await answered(open_service, "three")
    assert text == await answered(open_service, "base", lora=[{"id": 2, "scale": 1}])
    assert (await listed(open_service))["three"]["parent"] == "base"
    ids = (await open_service.client.get("/lora-adapters")).json()
    assert [(one["id"], one["name"], one["model"]) for one in ids] == [
        (0, "one", "base"),
        (1, "two", "base"),
        (2, "three", "base"),
    ]
    nameless = await open_service.client.get("/lora-adapters?model=")
    assert nameless.status_code == 400
    assert nameless.json()["error"]["param"] == "model"
    assert (await unload(open_service)).status_code == 200
    assert (await complete(open_service, "three")).status_code == 404
    assert "three" not in await listed(open_service)
    assert (await unload(open_service)).status_code == 404


async def test_running_stream_of_an_unloaded_adapter_ends_well(open_service):
    assert (await load(open_service)).status_code == 200
    expected = await answered(open_service, "three", max_tokens=200)
    running = asyncio.create_task(complete(open_service, "three", max_tokens=200))
    pool = open_service.app.state.service.pool
    while not pool._models[pool.loaded[0]].loaded.base.stats().slots_busy:  # noqa: ASYNC110 - an engine has no event
        await asyncio.sleep(0)
    assert (await unload(open_service)).status_code == 200
    assert (await complete(open_service, "three")).status_code == 404
    response = await running
    assert response.json()["choices"][0]["text"] == expected
    engine = pool._models[pool.loaded[0]].loaded.base
    while engine._model.adapters:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)


async def test_adapter_is_replaced_in_place(open_service):
    assert (await load(open_service)).status_code == 200
    before = await answered(open_service, "three")
    response = await load(open_service, path="1.gguf")
    assert response.status_code == 400
    assert "set load_inplace" in response.json()["error"]["message"]
    assert (await load(open_service, path="1.gguf", load_inplace=True)).status_code == 200
    after = await answered(open_service, "three")
    assert after == await answered(open_service, "one") != before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"path": "../base.gguf"}, "lora_path"),
        ({"path": "/etc/passwd"}, "lora_path"),
        ({"path": "gone.gguf"}, "lora_path"),
        ({"path": "base.gguf"}, "lora_path"),
        ({"path": "."}, "lora_path"),
        ({"path": "a\0b"}, "lora_path"),
        ({"name": "base"}, "lora_name"),
        ({"name": " "}, "lora_name"),
        ({"base_model_name": "one"}, "base_model_name"),
        ({"base_model_name": None}, "base_model_name"),
        ({"scale": 1e6}, "scale"),
    ],
)
async def test_wrong_load_names_its_field(open_service, fields, param):
    response = await load(open_service, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_link_out_of_the_folder_is_not_followed(start, files, tmp_path):
    models_file(tmp_path, files)
    folder = tmp_path / "loras"
    folder.mkdir()
    (folder / "out.gguf").symlink_to(files / "3.gguf")
    service = await start(lora_dir=folder, hold=45.0)
    response = await load(service, path="out.gguf")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "lora_path"


async def test_endpoints_are_off_by_default(service):
    assert (await load(service)).status_code == 404
    assert (await unload(service)).status_code == 404


async def test_metrics_say_which_adapters_have_requests(service):
    """As vLLM's: names in labels, and the time as the value."""
    assert await answered(service, "one")
    running = asyncio.create_task(complete(service, "one", max_tokens=300))
    use = service.app.state.service.leases.adapter_use
    while not use.running:  # noqa: ASYNC110 - a request that has just begun has no event
        await asyncio.sleep(0)
    metrics = (await service.client.get("/metrics")).text
    assert (
        'vllm:lora_requests_info{max_lora="4",running_lora_adapters="one",waiting_lora_adapters=""}'
        in metrics
    )
    await running
    assert (use.running, use.waiting) == ([], [])
    assert 'pilotlight_model_state{model="one",state="ready"} 1.0' in metrics
    assert 'pilotlight_model_state{model="two",state="absent"} 1.0' in metrics
    assert 'pilotlight_completion_tokens_total{model="one"} 16.0' in metrics


async def test_adapter_is_fetched_from_its_address_at_its_first_request(start, files, tmp_path):
    """Into the models folder, under its name; a missing one is an error of its own name."""
    with file_server() as server:
        server.files["/lora.gguf"] = (files / "3.gguf").read_bytes()
        models_file(
            tmp_path,
            files,
            f"      far: {server.url}/lora.gguf\n      lost: {server.url}/no.gguf\n",
        )
        service = await start(deterministic=True, hold=45.0, lora_dir=files)
        assert "not fetched yet" in (await listed(service))["far"]["error"]
        far = await answered(service, "far")
        assert (service.folder / "far.gguf").exists()
        assert (await complete(service, "lost")).status_code == 503
    assert (await load(service)).status_code == 200
    assert await answered(service, "three") == far


async def test_adapter_is_loaded_for_a_model_that_is_not_fetched_yet(start, files, tmp_path):
    """The model is fetched and loaded first; one that cannot be is its own error."""
    with file_server() as server:
        server.files["/base.gguf"] = (files / "base.gguf").read_bytes()
        (tmp_path / "models.yaml").write_text(
            f"base: {server.url}/base.gguf\nlost: {server.url}/no.gguf\n"
        )
        service = await start(hold=45.0, lora_dir=files)
        assert (await load(service)).status_code == 200
        lost = await load(service, "four", base_model_name="lost")
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "model_load_failed")
    assert lost.json()["error"]["message"].startswith("lost: ")
    assert (await listed(service))["three"]["parent"] == "base"


async def test_adapter_in_the_models_folder_is_listed_once(start, files, tmp_path):
    """Under its name below its model, and not as a model that cannot be served too."""
    models_file(tmp_path, files, "      mine: models/mine.gguf\n")
    service = await start()
    (service.folder / "mine.gguf").write_bytes((files / "3.gguf").read_bytes())
    (service.folder / "other.gguf").write_bytes((files / "3.gguf").read_bytes())
    models = await listed(service)
    assert models["mine"]["parent"] == "base"
    assert models["other"]["state"] == "unsupported"
    assert "name it below `adapters:` of its model" in models["other"]["error"]
