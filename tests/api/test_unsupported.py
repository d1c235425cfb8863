"""Models whose files are whole, and that no backend serves."""

import pytest

from benchmarks import random_families
from pilotlight_backend.testing.fake import FakeModel
from tests.conftest import CHAT, chat

WHY = "it draws pictures"


@pytest.fixture
def drawing(service):
    """Put a model that writes no answers into the models folder."""
    return FakeModel(unserved=WHY).write(service.folder / "drawing.fake")


async def test_it_is_listed_with_the_reason(service, drawing):  # noqa: ARG001
    """It has a state of its own, and the reason is in the list, not in the log alone."""
    listed = (await service.client.get("/v1/models")).json()["data"]
    (model,) = [one for one in listed if one["id"] == "drawing"]
    assert (model["state"], model["error"]) == ("unsupported", f"drawing.fake: {WHY}")
    assert (model["backend"], model["context_length"]) == (None, None)
    assert (await service.client.get("/v1/models/drawing")).json() == model


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat("drawing")),
        ("/v1/completions", {"model": "drawing", "prompt": "a"}),
        ("/v1/responses", {"model": "drawing", "input": "a"}),
        ("/v1/embeddings", {"model": "drawing", "input": "a"}),
        ("/v1/messages", chat("drawing", max_tokens=5)),
        ("/tokenize", {"model": "drawing", "prompt": "a"}),
    ],
)
async def test_a_request_is_refused_for_good(service, drawing, path, body):  # noqa: ARG001
    """It is the request's model that is wrong, and no try can help, now or later."""
    for _ in range(2):
        answer = await service.client.post(path, json=body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("model_unsupported", "model")
        assert error["message"] == f"the model 'drawing' cannot be served: {WHY}"
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers


async def test_a_request_for_it_is_no_error_of_the_log(service, drawing, caplog):  # noqa: ARG001
    """Clients may ask for what they like: that is a warning."""
    await service.client.post(CHAT, json=chat("drawing"))
    (line,) = [one for one in caplog.records if "cannot load drawing" in one.message]
    assert line.levelname == "WARNING"


async def test_an_empty_file_is_invalid(service):
    """What is no model in spite of its name is listed as such, and its requests are 503s."""
    (service.folder / "empty.gguf").touch()
    (service.folder / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    listed = (await service.client.get("/v1/models")).json()["data"]
    found = {one["id"]: (one["state"], one["error"]) for one in listed}
    assert found["empty"] == ("invalid", "empty.gguf: the file is empty")
    assert found["pointer"][0] == "invalid"
    assert "Git LFS pointer" in found["pointer"][1]
    answer = await service.client.post(CHAT, json=chat("empty"))
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "false")
    assert answer.json()["error"]["code"] == "model_load_failed"


@pytest.mark.parametrize("architecture", random_families.UNSUPPORTED)
async def test_what_llama_cpp_cannot_generate_with(service, architecture):
    """Encoder-decoders aborted the server; each is a 400, and the next model answers."""
    random_families.write(service.folder / "new.gguf", architecture)
    answer = await service.client.post(CHAT, json=chat("new"))
    assert answer.status_code == 400
    assert f"cannot be served: '{architecture}'" in answer.json()["error"]["message"]
    assert (await service.ask())["choices"][0]["message"]["content"] == "Hello."


async def test_a_loaded_model_stays_in_service(service):
    """What becomes of its file does not change what it is."""
    await service.ask()
    (service.folder / "m.fake").write_text("{")
    model = (await service.client.get("/v1/models/m")).json()
    assert model["state"] == "ready"
