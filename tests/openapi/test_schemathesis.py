"""Schemathesis against the live service: every check, every endpoint, every phase."""

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pilotlight.app import create_app
from pilotlight.config import Secret, Settings
from tests.backends import random_bert
from tests.conftest import LiveServer, live

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


KEY = "s3cret"


@contextmanager
def serving(folder: Path, backend: str, **settings: Any) -> Iterator[LiveServer]:
    """Serve the embedded model of *backend*, and an encoder to who knows it, from *folder*."""
    models = folder / "models"
    models.mkdir()
    random_bert.write(models / "bert.gguf")
    given = Settings(
        backends=(backend,),
        models_dir=models,
        models_file=folder / "models.yaml",
        preload=("spark",),
        parallel=8,
        **settings,
    )
    with live(create_app(given)) as server:
        yield server


@pytest.fixture(params=["llama_cpp", "onnx"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    """Serve each backend in turn."""
    with serving(tmp_path, request.param) as server:
        yield server


def schemathesis(
    server: LiveServer, document: Path, folder: Path, *flags: str, timeout: float | None = 300
) -> str:
    """Return what schemathesis says of *server*, which must be that it does what *document* says.

    The document is a file and no address: the endpoint it came from would be left out.
    """
    command = [
        SCHEMATHESIS,
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        document,
        f"--url={server.url}",
        "--checks=all",
        "--mode=all",
        "--no-color",
        *flags,
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}

    run = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=folder,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}" in run.stdout, run.stdout
    return run.stdout


def test_the_service_does_what_its_document_says(served: LiveServer, tmp_path: Path):
    """No generated request, valid or not, is answered in a way that the document does not have."""
    phases = "--phases=examples,coverage,fuzzing,stateful"
    schemathesis(served, HERE.parents[1] / "openapi/openapi.yaml", tmp_path, phases)

    counted = httpx.get(f"{served.url}/metrics").text
    assert 'outcome="stop"' in counted
    if "llama_cpp" in served.app.state.service.registry.names:
        # The encoder was really asked, and not merely refused.
        assert 'pilotlight_requests_total{model="bert",outcome="stop"}' in counted


QUICK = ("--phases=examples,coverage", "--max-examples=5")
WITH_KEY = f"--header=Authorization: Bearer {KEY}"


@pytest.mark.parametrize("document", ["committed", "own"])
def test_it_does_so_with_keys(tmp_path: Path, document: str):
    """With the right key everything is as without keys.

    The server's own document says that one is required, and so each operation is asked without
    one and with a wrong one too.
    """
    with serving(tmp_path, "llama_cpp", api_keys=Secret(KEY)) as server:
        path = HERE.parents[1] / "openapi/openapi.yaml"
        if document == "own":
            path = own_document(server, tmp_path)
        schemathesis(server, path, tmp_path, *QUICK, WITH_KEY)


def test_a_door_left_open_is_found(tmp_path: Path):
    """Against a server that asks for no key, the document of one that does is wrong."""
    closed, open_door = tmp_path / "closed", tmp_path / "open"
    closed.mkdir()
    open_door.mkdir()
    with serving(closed, "llama_cpp", api_keys=Secret(KEY)) as server:
        path = own_document(server, tmp_path)
    with (
        serving(open_door, "llama_cpp") as server,
        pytest.raises(AssertionError, match="API accepts requests without authentication"),
    ):
        schemathesis(server, path, tmp_path, *QUICK, WITH_KEY)


def own_document(server: LiveServer, folder: Path) -> Path:
    """Return a file with the document that *server* publishes."""
    path = folder / "own.json"
    path.write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    return path
