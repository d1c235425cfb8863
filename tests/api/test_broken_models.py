"""Models that cannot be loaded, of both backends: clients learn what is wrong, and not where."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from pilotlight.config import Settings
from pilotlight.models.fetch.download import Retries
from pilotlight.models.fetch.fetch import fetch
from pilotlight.server.app import create_app
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.conftest import CHAT, chat, running
from tests.logs import logged

pytestmark = pytest.mark.slow

GGUF = LlamaCppBackend().embedded()
ONNX = OnnxBackend().embedded()


def gguf(break_it: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Return a function that makes a broken file of llama.cpp below a folder."""

    def make(place: Path) -> Path:
        path = place.with_suffix(".gguf")
        assert GGUF
        shutil.copyfile(GGUF, path)
        break_it(path)
        return path

    return make


def onnx(break_it: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Return a function that makes a broken folder of ONNX Runtime below a folder."""

    def make(place: Path) -> Path:
        assert ONNX
        shutil.copytree(ONNX, place)
        break_it(place)
        return place

    return make


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


BROKEN: dict[str, Callable[[Path], Path]] = {
    "gguf-garbage": gguf(lambda path: path.write_bytes(b"GGUF" + b"\xff" * 100)),
    "gguf-cut": gguf(lambda path: os.truncate(path, path.stat().st_size // 2)),
    "gguf-head": gguf(lambda path: os.truncate(path, 20)),
    "gguf-architecture": gguf(lambda path: rewritten(path, b"qwen3", b"xxxxx")),
    "gguf-none": gguf(lambda path: path.write_bytes(b"text")),
    "gguf-circle": gguf(circle),
    "gguf-gone": gguf(Path.unlink),
    "onnx-graph": onnx(lambda path: (path / "model.onnx").write_bytes(b"\x08\xff\xff")),
    "onnx-text": onnx(lambda path: (path / "model.onnx").write_bytes(b"no graph" * 100)),
    "onnx-cut": onnx(lambda path: os.truncate(path / "model.onnx", 1000)),
    "onnx-data": onnx(lambda path: os.truncate(path / "model.onnx.data", 1000)),
    "onnx-no-data": onnx(lambda path: (path / "model.onnx.data").unlink()),
    "onnx-tokenizer": onnx(lambda path: (path / "tokenizer.json").write_bytes(b"{}")),
    "onnx-no-tokenizer": onnx(lambda path: (path / "tokenizer.json").unlink()),
    "onnx-tokenizer-kind": onnx(
        lambda path: (path / "tokenizer_config.json").write_bytes(b'{"tokenizer_class": "x"}')
    ),
    "onnx-config": onnx(lambda path: (path / "genai_config.json").write_bytes(b"{")),
    "onnx-type": onnx(
        lambda path: rewritten(path / "genai_config.json", b'"decoder"', b'"dekoder"')
    ),
    "onnx-circle": onnx(lambda path: circle(path / "model.onnx")),
}
OPTIONS: dict[str, dict[str, str]] = {
    "no-template": {"path": "whole.gguf", "chat_template": "nowhere/none.jinja"},
    "no-backend": {"path": "whole.gguf", "backend": "none"},
    "no-provider": {"path": "whole", "execution_provider": "nowhere"},
    "no-file": {"path": "nowhere/none.gguf"},
    "no-server": {"path": "http://127.0.0.1:9/none.gguf"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return those of a server with every broken model, in a folder with a space in its name."""
    folder = tmp_path / "my models"
    folder.mkdir()
    models = {name: {"path": str(make(folder / name))} for name, make in BROKEN.items()} | OPTIONS
    gguf(lambda _: None)(folder / "whole")
    onnx(lambda _: None)(folder / "whole")
    models_file = folder / "models.yaml"
    models_file.write_bytes(msgspec.json.encode({"models": models}))  # JSON is YAML
    return Settings(models_dir=folder, models_file=models_file, cache_dir=tmp_path / "cache")


UNSUPPORTED = (400, "model_unsupported")


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_no_error_tells_a_folder_of_the_server(settings, isolation, tmp_path, monkeypatch):
    """Every kind of broken model, at every endpoint with its error; the log has it in full."""
    monkeypatch.setitem(fetch.__kwdefaults__, "retries", Retries(tries=2, wait=0.0))
    names = [*BROKEN, *OPTIONS]
    if isolation == "process":
        names = ["gguf-cut", "onnx-text", "onnx-no-data", "onnx-tokenizer"]
    app = create_app(msgspec.structs.replace(settings, isolation=isolation, hold=45.0))
    answers = {}
    with logged(name="") as lines:
        async with (
            running(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://pilotlight", timeout=120
            ) as client,
        ):
            for name in names:
                answers[name] = await client.post(CHAT, json=chat(name, max_tokens=1))
                answers[f"{name} ready"] = await client.get("/readyz", params={"model": name})
                answers[f"{name} listed"] = await client.get(f"/v1/models/{name}")
            answers["listed"] = await client.get("/v1/models")
    folders = (str(tmp_path), str(Path.home()), sys.prefix, "my models/", "site-packages/")
    told = {name: one.text for name, one in answers.items()}
    assert {n: t for n, t in told.items() for place in folders if place in t} == {}
    outcomes = {
        name: (answers[name].status_code, answers[name].json()["error"]["code"]) for name in names
    }
    assert outcomes.pop("gguf-architecture", UNSUPPORTED) == UNSUPPORTED
    assert set(outcomes.values()) == {(503, "model_load_failed")}
    assert any(str(tmp_path) in line for line in lines.texts)
