"""Model files of known kinds where the backend that serves them is not here."""

import os

import pytest

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.file_kinds import kind_of
from pilotlight.models.listing import describe
from pilotlight.models.registry import Registry
from pilotlight_backend import ModelFileInvalid, ModelUnsupported
from pilotlight_backend.plugins import Plugin
from pilotlight_backend.testing.fake import FakeBackend

GGUF_ADVICE = "run `make llama_cpp`, or `pip install 'pilotlight[llama-cpp]'`"
NO_GGUF = f"no installed backend serves GGUF files: {GGUF_ADVICE}"
NO_GENAI = (
    "no installed backend serves folders of ONNX Runtime GenAI:"
    " run `make serve BACKEND=onnx`, or `pip install 'pilotlight[onnx]'`"
)


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "qwen3.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    return path


@pytest.fixture
def genai(tmp_path):
    folder = tmp_path / "phi"
    folder.mkdir()
    (folder / "genai_config.json").write_text("{}")
    return folder


# What is of a known kind


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gguf", b"GGUF\3\0\0\0"),
        ("A.GGUF", b"GGUF\3\0\0\0"),
        ("sha256-9f86d081", b"GGUF\3\0\0\0"),  # as Ollama calls them
        ("damaged.gguf", b""),
    ],
)
def test_a_gguf_file_is_told_by_its_name_or_its_first_bytes(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name).name == "GGUF files"


@pytest.mark.parametrize("content", [b"", b"GGU", b"gguf", b" GGUF", b"# notes"])
def test_another_file_is_of_no_known_kind(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    assert kind_of(tmp_path / "notes.txt") is None


def test_what_cannot_be_read_is_of_no_known_kind(tmp_path):
    """Neither a pipe without a writer, nor a missing file, nor a folder with such a name."""
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "odd" / "genai_config.json").mkdir(parents=True)
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nothing")
    for name in ("pipe.gguf", "folder.gguf", "odd", "dangling.gguf", "nothing.gguf"):
        assert kind_of(tmp_path / name) is None, name


# What the registry says of them


def test_a_gguf_file_without_its_backend_says_what_to_install(registry, gguf):
    with pytest.raises(ModelUnsupported) as caught:
        registry.recognise(gguf)
    assert caught.value.reason == NO_GGUF


def test_a_folder_of_genai_without_its_backend_says_what_to_install(registry, genai):
    with pytest.raises(ModelUnsupported) as caught:
        registry.claim(genai, None)
    assert caught.value.reason == NO_GENAI


def test_the_first_backend_that_recognises_a_file_has_it(no_plugins, gguf):  # noqa: ARG001
    """A third-party backend may serve such files: the table is for messages alone."""

    class Other(FakeBackend):
        def probe(self, path):
            return FakeBackend().probe(path.with_suffix(".fake"))

    gguf.with_suffix(".fake").write_text("{}")
    assert Registry({"other": Other("other")}).recognise(gguf).backend.name == "other"


def test_a_backend_that_is_not_in_use_is_not_to_be_installed(monkeypatch, gguf):
    """Where it is installed, the setting is at fault."""
    entry = Plugin("llama_cpp", "nowhere")
    monkeypatch.setattr("pilotlight.models.registry.installed", lambda _: (entry,))
    registry = Registry({"fake": FakeBackend()}, only=("fake",))
    with pytest.raises(ModelUnsupported) as caught:
        registry.recognise(gguf)
    assert caught.value.reason == (
        "no enabled backend serves GGUF files: the setting `backends` is fake"
    )
    with pytest.raises(ModelFileInvalid, match="'llama_cpp' is not in the setting `backends`"):
        registry.claim(gguf, "llama_cpp")


def test_a_configured_backend_that_is_missing_says_what_to_install(registry, gguf):
    with pytest.raises(ModelFileInvalid) as caught:
        registry.claim(gguf, "llama_cpp")
    assert caught.value.reason == f"its backend 'llama_cpp' is not installed: {GGUF_ADVICE}"
    with pytest.raises(ModelFileInvalid) as caught:
        registry.claim(gguf, "zebra")
    assert caught.value.reason == "its backend 'zebra' is not installed"


def test_it_is_listed_as_unsupported(registry, gguf):
    entry = ModelEntry("qwen3", gguf, "discovered", ModelOptions(path=str(gguf)))
    (listed,) = describe([entry], registry)
    assert (listed.trouble, listed.error) == ("unsupported", f"qwen3.gguf: {NO_GGUF}")


# What a client sees


async def test_a_request_for_it_is_refused_with_the_command(start, monkeypatch):
    monkeypatch.setattr("pilotlight.models.registry.installed", lambda _: ())
    service = await start()
    (service.folder / "qwen3.gguf").write_bytes(b"GGUF\3\0\0\0")
    (model,) = (await service.client.get("/v1/models")).json()["data"]
    assert (model["id"], model["state"]) == ("qwen3", "unsupported")
    assert model["error"] == f"qwen3.gguf: {NO_GGUF}"
    answer = await service.client.post(
        "/v1/chat/completions",
        json={"model": "qwen3", "messages": [{"role": "user", "content": "hi"}]},
    )
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_unsupported", "model")
    assert error["message"] == f"the model 'qwen3' cannot be served: {NO_GGUF}"
